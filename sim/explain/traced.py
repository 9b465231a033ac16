"""Numbers that remember how they were made.

The model is run unchanged on :class:`Traced` values in place of the numbers of a device, a tier or a price book. NumPy
hands every operation on them to this module (its ``__array_ufunc__`` and ``__array_function__`` protocols), which
computes the same value and notes the operation, its operands, and the function of the model that asked for it. What
comes out is the formula itself: nothing is written down twice, so nothing can disagree with the model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

OWN = (__name__, "numpy", "functools", "dataclasses")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A number that the model was given: its dotted name, its unit and where it was published or measured."""

    name: str
    unit: str = ""
    source: str = ""


class Traced(NDArrayOperatorsMixin):
    """A value with the operation that made it, its operands, and where in the model that was done."""

    __array_priority__ = 1000.0
    __hash__ = object.__hash__  # values of one node are never compared to find it again
    __iadd__ = NDArrayOperatorsMixin.__add__  # a new value, as of any number: what is noted is not overwritten
    __isub__ = NDArrayOperatorsMixin.__sub__
    __imul__ = NDArrayOperatorsMixin.__mul__
    __itruediv__ = NDArrayOperatorsMixin.__truediv__

    def __init__(
        self, value: Any, operation: str = "", operands: Any = (), *, given: Leaf | None = None, extra: Any = None
    ) -> None:
        self.value: NDArray[Any] = np.asarray(value)
        self.operation, self.operands, self.leaf, self.extra = operation, tuple(operands), given, extra
        self.code = _asking() if given is None else None

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """What the operation gives on the values, with a note of it."""
        if options.pop("out", None) is not None:
            return NotImplemented  # nothing is overwritten that may have been noted
        value = getattr(ufunc, method)(*map(bare, inputs), **options)
        if method == "reduce":
            return Traced(value, f"{ufunc.__name__}.reduce", inputs, extra=options.get("axis", 0))
        name = ufunc.__name__.removesuffix(" (vectorized)")  # as NumPy calls a function of the model's own
        own = None if name == ufunc.__name__ else ufunc
        return Traced(np.asarray(value, float) if own else value, name.rpartition(".")[2], inputs, extra=own)

    def __array_function__(self, function: Callable[..., Any], _: Any, args: Any, options: Any) -> Any:
        """The same for functions of arrays; those that only look at a shape give a plain answer."""
        value = function(*bare(args), **bare(options))
        name = function.__name__
        if name == "broadcast_arrays":
            return tuple(Traced(v, "broadcast_to", (one,)) for v, one in zip(value, args, strict=True))
        if name in _MOVING:
            return Traced(value, name, tuple(args[0]) if name == "stack" else args[:1])
        if name in _CHOOSING:
            return Traced(value, name, args, extra=options.get("axis"))
        return value

    def __getitem__(self, key: Any) -> Traced:
        return Traced(self.value[bare(key)], "getitem", (self,), extra=bare(key))

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __len__(self) -> int:
        return len(self.value)

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's shape."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """The value's number of dimensions."""
        return self.value.ndim

    @property
    def flat(self) -> Any:
        """The values one by one."""
        return self.value.flat

    def min(self, axis: int | None = None) -> Traced:
        """The least along an axis."""
        return Traced(self.value.min(axis=axis), "minimum.reduce", (self,), extra=axis)

    def max(self, axis: int | None = None) -> Traced:
        """The most along an axis."""
        return Traced(self.value.max(axis=axis), "maximum.reduce", (self,), extra=axis)

    def sum(self, axis: int | None = None) -> Traced:
        """The sum along an axis."""
        return Traced(self.value.sum(axis=axis), "add.reduce", (self,), extra=axis)

    def argmin(self, axis: int | None = None) -> Any:
        """The place of the least, a plain number."""
        return self.value.argmin(axis=axis)

    def argmax(self, axis: int | None = None) -> Any:
        """The place of the most, a plain number."""
        return self.value.argmax(axis=axis)

    def reshape(self, *shape: Any) -> Traced:
        """The same values in another shape."""
        return Traced(self.value.reshape(*shape), "reshape", (self,))

    def __repr__(self) -> str:
        return f"Traced({self.value!r}, {self.leaf or self.operation})"


_MOVING = {"broadcast_to", "ravel", "reshape", "atleast_1d", "stack", "squeeze"}  # values stay as they are
_CHOOSING = {"where", "clip", "sum", "max", "min", "amax", "amin"}


def leaf(value: Any, name: str, unit: str = "", source: str = "") -> Any:
    """A number that the model is given, known by its name."""
    return Traced(value, given=Leaf(name, unit, source))


def bare(value: Any) -> Any:
    """The value without its history, also inside tuples, lists and mappings."""
    if isinstance(value, Traced):
        return value.value
    if isinstance(value, tuple | list):
        return type(value)(map(bare, value))
    return {key: bare(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value


def _asking() -> Any:
    """The code of the model that asked for an operation."""
    frame = sys._getframe(2)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(OWN):
        frame = frame.f_back
    while frame.f_back is not None and frame.f_code.co_name.startswith("<"):  # a comprehension is its function's
        frame = frame.f_back
    return frame.f_globals.get("__name__", ""), frame.f_code.co_qualname, frame.f_globals
