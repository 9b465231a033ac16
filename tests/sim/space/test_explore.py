"""Search: on a space that can be swept, it finds the front that the sweep has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from einsum import WeirError
from sim.space.explore import explore
from sim.space.pareto import pareto
from sim.space.store import opened
from sim.space.sweep import sweep

pytest.importorskip("optuna")
AXES: dict[str, Any] = {"batch": [1, 8, 64, 512], "context": [1000, 4000, 16_000]}
OBJECTIVES: dict[str, Any] = {"minimise": ["seconds"], "maximise": ["tokens_per_second"]}


def test_search_finds_the_front_of_a_small_space(tmp_path: Path) -> None:
    whole = sweep("llama-3-8b", on=["2xh100"], **AXES).dropna(subset=["seconds"])
    found = explore("llama-3-8b", on=["2xh100"], trials=120, store=tmp_path / "a.db", **OBJECTIVES, **AXES)
    fronts = [pareto(f.dropna(subset=["seconds"]), **OBJECTIVES) for f in (whole, found)]
    points = [set(zip(f["batch"], f["context"], strict=True)) for f in fronts]
    assert points[0] == points[1]
    with opened(tmp_path / "a.db") as store:
        assert sum(store.versions().values()) == len(found)


def test_conditions_steer_and_mistakes_are_said() -> None:
    found = explore("llama-3-8b", on=["2xh100"], trials=20, where="batch <= 8", **OBJECTIVES, **AXES)
    assert (found["batch"] <= 8).any()
    with pytest.raises(WeirError, match="nothing to minimise"):
        explore("llama-3-8b", on=["2xh100"], **AXES)
    with pytest.raises(WeirError, match=r"no column 'dollars'; known: batch, .*seconds"):
        explore("llama-3-8b", on=["2xh100"], minimise=["dollars"], **AXES)
