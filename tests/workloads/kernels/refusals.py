"""Every kernel, called as its row calls it but for one argument, spoilt.

Run by ``test_running.py`` in a process of its own, uncompiled: nothing here hangs on the compiler, which takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np
import pytest

from sim.numerics.draw import Draw
from sim.numerics.rows import table

TABLE = table()
KERNEL = pytest.mark.parametrize("kernel", TABLE)
Spoil = Callable[[Any], Any]
SPOILT: dict[str, Spoil] = {
    "no array": lambda a: a.tolist(),
    "one rank more": lambda a: a[None],
    "complex": lambda a: a.astype(complex),
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "objects": lambda a: a.astype(object),
}


class CrashedError(AssertionError):
    """A kernel raised something other than a refusal."""


@dataclass(frozen=True, slots=True)
class Recorder(Draw):
    """A draw that keeps what kernels are called with, and lets nothing but refusals through."""

    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def run(self, kernel: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.calls.append((kernel, args, options))
        try:
            return Draw.run(self, kernel, *args, **options)
        except Exception as raised:
            if isinstance(raised, ValueError) and str(raised).startswith(f"{kernel.__name__}: "):
                raise
            raise CrashedError(f"{kernel.__name__} raised {type(raised).__name__}: {raised}") from raised


def recorded(kernel: str) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The first call that the row makes of its kernel."""
    row = TABLE[kernel]
    draw = Recorder(np.random.default_rng(0), np.float64, 2, 4, 2, 3, 20, 4, row.kinds[0])
    next(row.cases(draw))
    return next(call for call in draw.calls if call[0].__name__ == kernel.split(".")[1])


def spoilt(arg: Any, spoil: Spoil) -> Iterator[Any]:
    """The argument with each of its arrays spoilt in turn, where that changes it."""
    if isinstance(arg, tuple):
        for at, part in enumerate(arg):
            for worse in spoilt(part, spoil):
                parts = (*arg[:at], worse, *arg[at + 1 :])
                yield type(arg)(*parts) if hasattr(arg, "_fields") else parts
    elif isinstance(arg, np.ndarray):
        worse = spoil(arg)
        same = isinstance(worse, np.ndarray) and (worse.dtype, worse.ndim) == (arg.dtype, arg.ndim)
        if not same or not worse.flags.c_contiguous:
            yield worse


@KERNEL
@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_array_is_refused_by_name(kernel: str, how: str) -> None:
    function, args, options = recorded(kernel)
    names, tried = list(signature(function).parameters), 0
    for at, arg in enumerate(args):
        for worse in spoilt(arg, SPOILT[how]):
            with pytest.raises(ValueError, match=f"^{function.__name__}: ") as refused:
                function(*args[:at], worse, *args[at + 1 :], **options)
            message, tried = str(refused.value), tried + 1
            assert isinstance(arg, tuple) or message.split(": ")[1].startswith(f"{names[at]} "), message
            assert "expected" in message
            assert "\n" not in message
    assert tried


@KERNEL
def test_numbers_out_of_range_are_refused_by_name(kernel: str) -> None:
    function, args, options = recorded(kernel)
    worse: dict[str, Any] = {name: -1 for name, value in options.items() if not isinstance(value, bool | str)}
    for name, value in {**worse, "threads": 0}.items():
        with pytest.raises(ValueError, match=f"^{function.__name__}: {name} is {value}, expected"):
            function(*args, **options | {name: value})
