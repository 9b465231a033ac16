"""CPU seconds to evaluate the FuseMax study, 120 points and their projections: ``python -m benchmarks.fusemax``.

Every design is evaluated for all models and lengths at once, the largest block of queries that fits included. For
comparison one point is evaluated at a time, and one mapping is changed at 100,000 block sizes.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np

from mappings.attention_arrays import interleaved
from sim.arch import device
from sim.model.spatial import evaluate
from sim.published.kinds import fusion
from sim.published.shelf import FOLDER
from workloads import attention


def inputs() -> dict[str, Any]:
    """The study's models, lengths and designs."""
    with (FOLDER / "fusemax.toml").open("rb") as file:
        found: dict[str, Any] = tomllib.load(file)["inputs"]
        return found


def best(run: Callable[[], object], times: int = 3) -> float:
    """The least CPU seconds of some runs."""
    spent = []
    for _ in range(times):
        start = process_time()
        run()
        spent.append(process_time() - start)
    return min(spent)


def study(given: dict[str, Any], whole: bool = False) -> int:
    """All designs at all points, nothing remembered from before; returns the number of points."""
    of = fusion.projections if whole else fusion.attentions
    of.cache_clear()
    designs = [name for name, one in given["designs"].items() if "like" not in one]  # the others are what-ifs
    return sum(np.size(of(json.dumps(given), design)["seconds"]) for design in designs)


def alone() -> None:
    """FuseMax on one problem, legality included."""
    cascade = attention.one_pass(batch=64, heads=12, query=4096, context=4096, head_dim=64)
    made = evaluate(cascade, interleaved(block=4096), device("fusemax_cloud"))
    assert made.seconds > 0 and made.joules > 0  # noqa: PT018 - both are worked out only when asked for


def many(count: int) -> None:
    """FuseMax on one problem with as many blocks of queries."""
    cascade = attention.one_pass(batch=64, heads=12, query=2**20, context=2**20, head_dim=64)
    blocks = 256.0 * (1 + np.arange(count) % 4096)
    made = evaluate(cascade, interleaved(block=256), device("fusemax_cloud"), tiles={"p.0": blocks}, checked=False)
    assert np.size(made.seconds) == np.size(made.joules) == count


def main(count: int = 100_000) -> None:
    """Print the four times."""
    given = inputs()
    points = study(given)
    print(f"{points} attention points: {best(lambda: study(given)):.3f} s")
    print(f"their projections: {best(lambda: study(given, whole=True)):.3f} s")
    print(f"one mapping of FuseMax, checked: {1e3 * best(alone):.1f} ms")
    seconds = best(lambda: many(count), 2)
    print(f"{count:,} mappings of FuseMax: {seconds:.2f} s, {count / seconds:,.0f}/s")


if __name__ == "__main__":
    main()
