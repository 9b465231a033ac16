"""Kernels tried against the meaning of their cascades: how far apart they are, and how much faster."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from time import perf_counter
from typing import Any

import numpy as np

from einsum.errors import WeirError, hint
from sim.numerics.draw import Draw, Row, error, expected
from sim.numerics.rows import table

# Few and many of everything, odd and prime sizes among them: b, h, r, p, m, e as in Draw.
SHAPES = ((1, 2, 3, 1, 1, 5), (1, 1, 1, 2, 3, 1), (2, 3, 2, 13, 67, 8), (1, 3, 5, 4, 129, 17), (2, 1, 1, 3, 211, 3))
TIMED = (1, 4, 2, 64, 512, 64)  # large enough that a call's fixed cost does not count
TYPES = (np.float32, np.float64)


@dataclass(frozen=True, slots=True)
class Result:
    """One kernel in one type of arithmetic: its worst case, and its time beside the interpreter's."""

    kernel: str
    dtype: str
    cases: int
    error: float  # relative, of the worst case
    tolerance: float
    seconds: float  # of the kernel, once compiled, on tensors of the timed sizes
    interpreter_seconds: float

    @property
    def ok(self) -> bool:
        """Whether the worst case is within its tolerance."""
        return self.error <= self.tolerance

    @property
    def ratio(self) -> float:
        """How many times faster than the interpreter."""
        return self.interpreter_seconds / self.seconds if self.seconds > 0 else math.inf


@dataclass(frozen=True, slots=True)
class Report:
    """The results on some kernels."""

    results: tuple[Result, ...]
    threads: int
    seed: int

    @property
    def ok(self) -> bool:
        """Whether every kernel is within its tolerance."""
        return all(result.ok for result in self.results)

    def frame(self) -> Any:
        """A pandas DataFrame, one line a result."""
        import pandas as pd

        return pd.DataFrame([_plain(result) for result in self.results])

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON; an error that is not finite is None."""
        head = {"schema": "weir.check/1", "ok": self.ok, "threads": self.threads, "seed": self.seed}
        return {**head, "results": [_plain(result) for result in self.results]}

    def __str__(self) -> str:
        """A table, and the tally."""
        columns = (f"{'kernel':<34} {'type':<8} {'cases':>5} {'worst error':>11} {'tolerance':>9} {'ms':>8} "
                   f"{'x interpreter':>13}")  # fmt: skip
        failed = sum(not result.ok for result in self.results)
        kernels = len({result.kernel for result in self.results})
        tally = f"{kernels} kernel{'s' * (kernels > 1)}: " + (
            f"{failed} results exceed their tolerance" if failed else "all agree"
        )
        return "\n".join([columns, *map(_line, self.results), "", tally])


def _line(r: Result) -> str:
    flag = "" if r.ok else "  EXCEEDS"
    return (f"{r.kernel:<34} {r.dtype:<8} {r.cases:>5} {r.error:>11.1e} {r.tolerance:>9.0e} {r.seconds * 1e3:>8.3f} "
            f"{r.ratio:>13.1f}{flag}")  # fmt: skip


def _plain(result: Result) -> dict[str, Any]:
    values = {name: getattr(result, name) for name in Result.__dataclass_fields__}
    values |= {"error": result.error if math.isfinite(result.error) else None, "ok": result.ok}
    return values | {"ratio": result.ratio if math.isfinite(result.ratio) else None}


def check(
    kernels: Sequence[str] = (),
    *,
    threads: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Run kernels (``exact.one_pass``), families (``exact``) or all against the interpreter, in both types."""
    for name, value, least, most in (("threads", threads, 1, 1024), ("seed", seed, 0, 2**63)):
        if not least <= value <= most:
            raise WeirError(f"check: {name} is {value}; it must be from {least} to {most}")
    rows = _wanted(kernels, table())
    jobs = list(product(rows.items(), TYPES))
    results = []
    for done, ((kernel, row), dtype) in enumerate(jobs):
        progress(done, len(jobs))
        results.append(_tried(kernel, row, dtype, threads, seed))
    return Report(tuple(results), threads, seed)


def _wanted(names: Sequence[str], rows: dict[str, Row]) -> dict[str, Row]:
    """The rows of what is named, in the table's order; all if nothing is."""
    chosen: set[str] = set()
    for name in names:
        found = {kernel for kernel in rows if name in (kernel, *kernel.split("."))}
        if not found:
            known = {*rows, *(part for kernel in rows for part in kernel.split("."))}
            raise WeirError(f"check: no kernel or family {name!r}{hint(name, known)}")
        chosen |= found
    return {kernel: row for kernel, row in rows.items() if not names or kernel in chosen}


def _tried(kernel: str, row: Row, dtype: Any, threads: int, seed: int) -> Result:
    """All cases of one kernel in one type; the first of them compile it."""
    cases, worst, tolerance = 0, 0.0, row.tolerance(dtype)
    for place, (shape, kind) in enumerate(product(SHAPES, row.kinds)):
        for pair in row.cases(Draw(np.random.default_rng([seed, place]), dtype, *shape, kind, threads)):
            worst = max(worst, error(pair[0], expected(pair)))
            cases += 1
    draw = Draw(np.random.default_rng(seed), dtype, *TIMED, row.kinds[0], threads)
    meant = 0.0
    for pair in row.cases(draw):
        start = perf_counter()
        expected(pair)
        meant += perf_counter() - start
    return Result(kernel, np.dtype(dtype).name, cases, worst, tolerance, draw.clock.seconds, meant)
