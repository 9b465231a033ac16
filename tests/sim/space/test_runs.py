"""Sweeps of a cascade under nests: every row is what the model says of that point alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import WeirError, parse
from mappings.text import parse as read
from sim.arch import device
from sim.mapper.hunt import search
from sim.model.estimate import estimate
from sim.model.spatial import MappedEstimate
from sim.space.sweep import state, sweep
from workloads.catalogue import build

GEMM = parse("Z[m, n] = A[m, k] * B[k, n]", name="gemm", m=64, n=64, k=64)
NEST = """
keep A, B, Z in dram
for m tile 32
  for n tile 16
    keep A, B, Z in buffer
    for k tile 8
      keep Z in registers
      Z on vector
"""
HARDWARE = """
title = "toy"
vendor = "weir"
architecture = "Toy"
year = 2026
source = "a test"
[[memory]]
name = "dram"
capacity = "1 GB"
bandwidth = "10 GB/s"
energy = "30 pJ/B"
[[memory]]
name = "buffer"
under = "dram"
capacity = "16 kB"
bandwidth = "100 GB/s"
energy = "3 pJ/B"
[[memory]]
name = "registers"
under = "buffer"
capacity = "4 kB"
[[compute]]
name = "vector"
under = "registers"
[compute.rate]
mac.bf16 = "10 GFLOP/s"
"""


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chip") / "toy.toml"
    path.write_text(HARDWARE)
    return path


def nest(path: Path) -> Path:
    path.write_text(NEST)
    return path


SIZES = st.lists(st.integers(1, 80), min_size=1, max_size=3, unique=True)


def alone(chip: Path, row: dict[str, Any]) -> MappedEstimate | str:
    """One point, computed without a sweep; or why it is refused."""
    text = NEST.replace("m tile 32", f"m tile {row['tile.m.0']}").replace("n tile 16", f"n tile {row['tile.n.0']}")
    where = device(chip).with_("buffer.capacity", row["buffer.capacity"])
    try:
        return estimate(GEMM, where, mapping=read(text), m=row["m"], k=row["k"])
    except WeirError as problem:
        return str(problem)


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, SIZES, st.lists(st.sampled_from(["1 kB", "2 kB", "40 kB"]), max_size=1))
def test_rows_are_single_estimates(chip: Path, m: list[int], k: list[int], tiles: list[int], room: list[str]) -> None:
    axes: dict[str, Any] = {"buffer.capacity": [*room, "1 MB"], "tile.m.0": tiles, "tile.n.0": [16, 5]}
    table = sweep(GEMM, on=chip, mapping=read(NEST), m=m, k=k, **axes)
    assert len(table) == len(m) * len(k) * len(tiles) * 2 * (1 + len(room))
    for row in table.to_dict("records"):
        found = alone(chip, row)
        if isinstance(found, str):
            assert (row["fits"], row["reason"]) == (False, found)
            continue
        assert row["fits"]
        assert (row["seconds"], row["joules"], row["bound"]) == (found.seconds, found.joules, found.bound)
        assert (row["dram_bytes"], row["vector_used"]) == (found.traffic("dram"), found.utilisation("vector"))


def test_a_named_cascade_has_the_sizes_that_build_it(tmp_path: Path) -> None:
    found = search(build("attention.one_pass", {"query": 256, "context": 1024, "head_dim": 64}), "fusemax_cloud")
    table = sweep("attention.one_pass", on="fusemax_cloud", mapping=str(found.nest), query=256, head_dim=64,
                  context=[512, 1024, 2048, 1000])  # fmt: skip
    assert table["fits"].all()  # blocks of 256 keys, and of 250 for the last
    assert table["seconds"][1] == float(np.ravel(found.estimate.seconds)[0])
    assert table["seconds"][2] > table["seconds"][1] > table["seconds"][0]
    assert table.attrs["units"]["buffer_bytes"] == "B"


def test_without_a_nest_the_best_is_searched_for(chip: Path) -> None:
    table = sweep(GEMM, on=chip, m=[16, 64], n=32, objective=["time", "energy"])
    for row in table.to_dict("records"):
        found = search(GEMM, device(chip), objective=row["objective"], m=row["m"], n=32)
        assert row["seconds"] == float(np.ravel(found.estimate.seconds)[0])
        assert row["joules"] == float(np.ravel(found.estimate.joules)[0])


def test_a_condition_on_axes_counts_nothing_else(chip: Path) -> None:
    table = sweep(GEMM, on=chip, mapping=read(NEST), m=[8, 16, 32], n=[8, 16], where="m * n <= 128 and seconds > 0")
    assert list(zip(table["m"], table["n"], strict=True)) == [(8, 8), (8, 16), (16, 8)]


def test_a_store_goes_on_where_it_stopped(chip: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "on": chip,
        "mapping": str(nest(tmp_path / "nest.txt")),
        "m": list(range(1, 9)),
        "n": [1, 2],
    }
    first = sweep(GEMM, store=tmp_path / "runs.db", **asked)
    assert state(GEMM, store=tmp_path / "runs.db", **asked)[:2] == (16, 16)
    assert first.equals(sweep(GEMM, store=tmp_path / "runs.db", **asked))
    nest(tmp_path / "nest.txt").write_text(NEST.replace("k tile 8", "k tile 4"))  # another nest under the same name
    assert state(GEMM, store=tmp_path / "runs.db", **asked)[:2] == (0, 16)


@pytest.mark.parametrize(
    ("what", "axes", "message"),
    [
        (GEMM, {"q": [1]}, "gemm has no rank 'q'"),
        (GEMM, {"m": [1.5]}, "axis 'm' has 1.5; sizes are whole numbers"),
        (GEMM, {"m": [0]}, "values are at least 1"),
        (GEMM, {"tile.m.0": [4]}, "tile sizes are those of a loop nest"),
        (GEMM, {"tile.q.0": [4], "mapping": NEST}, "axis 'tile.q.0': the nest has no such loop"),
        (GEMM, {"objective": "time", "mapping": NEST}, "an objective is for a search"),
        (GEMM, {"objective": "speed"}, "unknown objective 'speed'"),
        (GEMM, {"price.h100": [1]}, "has no price"),
        (GEMM, {"mapping": "no such nest"}, "is not a node"),
        ("attention.one_pas", {"query": 1}, "did you mean 'attention.one_pass'"),
        ("attention.one_pass", {"quer": 1}, "attention.one_pass has no size 'quer'"),
        ("attention.one_pass", {"query": 1}, "attention.one_pass needs context"),
    ],
)
def test_mistakes(chip: Path, what: Any, axes: dict[str, Any], message: str) -> None:
    with pytest.raises(WeirError, match="(?s).*" + message):
        sweep(what, on=chip, **axes)


def test_a_device_is_needed() -> None:
    with pytest.raises(WeirError, match="on which device"):
        sweep(GEMM, m=[1])
