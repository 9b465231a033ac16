"""A family of constraints beside what it means: assignments of its variables, and whether both agree on them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sim.planner.milp import holds

Values = Mapping[str, float]
LIMIT = 400  # assignments of a case: all of them, or so many at random
BIT = (0.0, 1.0)


class At:
    """The value of a variable, or of a number, under an assignment."""

    def __init__(self, values: Values) -> None:
        self.values = values

    def __call__(self, x: Any) -> float:
        return x if isinstance(x, int | float) else self.values[x.name]


@dataclass(frozen=True)
class Case:
    """Rows, the values that variables take, and what should then be so; ``free`` variables take whatever suits, and
    assignments that are not ``possible`` are left to other families."""

    rows: Iterable[Any]
    choices: Mapping[str, tuple[float, ...]]
    meaning: Callable[[At], bool]
    free: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    possible: Callable[[At], bool] = lambda at: True

    def assignments(self, seed: int) -> Iterator[Values]:
        """All values that the variables may take together, or some at random."""
        names, sets = list(self.choices), list(self.choices.values())
        if np.prod([len(s) for s in sets], dtype=float) <= LIMIT:
            yield from (dict(zip(names, values, strict=True)) for values in itertools.product(*sets))
            return
        draw = random.Random(seed)  # noqa: S311
        yield from ({n: draw.choice(s) for n, s in self.choices.items()} for _ in range(LIMIT))


def named(variables: Iterable[Any], values: tuple[float, ...]) -> dict[str, tuple[float, ...]]:
    """The same choices for each variable; numbers among them have none."""
    return {v.name: values for v in variables if not isinstance(v, float)}


def check(case: Case, seed: int) -> None:
    """The rows hold at an assignment exactly where their meaning does."""
    rows = list(case.rows)
    for values in case.assignments(seed):
        at = At(values)
        if case.possible(at):
            frees = (dict(zip(case.free, more, strict=True)) for more in itertools.product(*case.free.values()))
            found = any(all(holds(row, {**values, **more}) for row in rows) for more in frees)
            assert found == case.meaning(at), values
