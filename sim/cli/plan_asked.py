"""What is asked of ``weir plan``, and which of its options are for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einsum import WeirError

OFFSETS, GRAPH, GRAPH_CURVE, STEP, STEP_CURVE = KINDS = (
    "a table of buffers", "a JSON of tasks", "the --curve of a JSON of tasks", "a model's step",
    "the --curve of a model's step",
)  # fmt: skip
CURVES = {GRAPH: GRAPH_CURVE, STEP: STEP_CURVE}
RESIDENT = ("recompute", "keep")  # strategies that leave everything on the device
FLAGS = {"capacity": "--capacity (--budget)"}  # where an option is called by two names
# What an argument is for, by name; those that are not here are for all kinds.
FOR: Mapping[str, frozenset[str]] = {
    "on": frozenset({GRAPH, GRAPH_CURVE, STEP, STEP_CURVE}),
    "capacity": frozenset({OFFSETS, GRAPH, STEP}),
    "solver": frozenset({OFFSETS, GRAPH, GRAPH_CURVE, STEP_CURVE}),
    "sequence": frozenset({STEP, STEP_CURVE}),
    "batch": frozenset({STEP, STEP_CURVE}),
    "strategy": frozenset({STEP}),
    "split": frozenset({STEP, STEP_CURVE}),
    "host": frozenset({GRAPH, GRAPH_CURVE, STEP, STEP_CURVE}),
    "link": frozenset({GRAPH, GRAPH_CURVE, STEP, STEP_CURVE}),
    "prices": frozenset({STEP}),
    "price": frozenset({STEP}),
    "curve": frozenset({GRAPH, GRAPH_CURVE, STEP, STEP_CURVE}),
    "layers": frozenset({STEP_CURVE}),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the command line puts it."""

    what: str
    given: frozenset[str] = frozenset()  # names of the arguments that were typed
    on: tuple[str, ...] = ()
    capacity: str | None = None
    seconds: float = 60.0
    objective: str | None = None
    solver: str = "highs"
    save: str | None = None
    plot: str | None = None
    sequence: str | None = None
    batch: int = 1
    strategy: str | None = None
    split: str = "tensor"
    host: str | None = None
    link: str | None = None
    prices: str | None = None
    price: tuple[str, ...] = ()
    curve: bool = False
    layers: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """The question that a command's arguments, by name, put."""
        typed = {name: given[name] for name in cls.__slots__ if name in given and _typed(given[name])}
        own = typed | {name: tuple(typed[name]) for name in ("on", "price") if name in typed}
        return cls(what=given["problem"], given=frozenset(typed), **own)

    @property
    def kind(self) -> str:
        """What is planned: a file that is no JSON has buffers, a JSON has tasks (a ``config.json`` is a model's)."""
        name = Path(self.what).name.lower()
        if name.endswith(".json") and name != "config.json":
            plain = GRAPH
        elif name.endswith(".csv") or (self.sequence is None and name != "config.json" and Path(self.what).is_file()):
            plain = OFFSETS
        else:
            plain = STEP
        return CURVES.get(plain, plain) if self.curve else plain

    def check(self) -> None:
        """Raise :class:`WeirError` for an option that is not for what is planned, or lacks another that it is of."""
        for name, kinds in FOR.items():
            if name in self.given and self.kind not in kinds:
                flag = FLAGS.get(name, f"--{name}")
                raise WeirError(f"{flag} is for {_listed(kinds)}, and this is {self.kind}")
        if self.host is not None and self.kind in (GRAPH, GRAPH_CURVE) and not self.on:
            raise WeirError("--host is of a device: give --on too, or a second tier in the JSON")
        if self.link is not None and self.host is None and self.kind != STEP:
            raise WeirError("--link is the rate to --host: give --host too")
        if self.kind == STEP and self.strategy in RESIDENT and (copied := self.given & {"host", "link"}):
            raise WeirError(f"--{min(copied)} is of what is swapped, and --strategy {self.strategy} swaps nothing")


def _typed(value: Any) -> bool:
    return value is not None and value is not False and value not in ([], ())


def _listed(kinds: frozenset[str]) -> str:
    """Kinds in words; a curve is not named beside what it is of."""
    of = {curve: plain for plain, curve in CURVES.items()}
    return " or ".join(kind for kind in KINDS if kind in kinds and not (kind in of and of[kind] in kinds))
