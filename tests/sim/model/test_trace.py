"""The timeline of a nest, by hand and against the estimate it draws."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pytest

from einsum import Cascade, WeirError, parse
from mappings import attention_arrays
from mappings.text import parse as read
from sim.arch import Compute, Device, Memory, device
from sim.model.spatial import MappedEstimate, evaluate
from sim.model.trace import Event, Timeline, timeline
from workloads import attention

CHIP = Device(
    name="chip",
    title="A chip",
    vendor="nobody",
    architecture="toy",
    year=2026,
    memories=(Memory("dram", bandwidth=1.0), Memory("buffer", under="dram", capacity=64.0)),
    fanouts=(),
    computes=(Compute("alu", under="buffer", rates=(("mac", "int8", 2.0),)),),
    links=(),
    power=None,
    source="made up for a test",
)
DOT = "keep A, B, Z in dram\nfor k tile 2\n  keep A, B in buffer{}\n  keep Z in buffer\n  Z on alu\n"


def dot() -> Cascade:
    return parse("Z = A[k] * B[k]", name="dot", dtype="int8", k=6)


def run(how: str = "") -> MappedEstimate:
    return evaluate(dot(), read(DOT.format(how)), CHIP)


def of(line: Timeline, lane: str) -> list[tuple[str, str, float, float]]:
    return [(e.kind, e.name, e.start, e.seconds) for e in line.events if e.lane == lane]


def test_a_single_piece_is_waited_for() -> None:
    line = timeline(run())  # 2 + 2 bytes at a byte a second, then two multiply-accumulates of a second each
    assert [e[2:] for e in of(line, "alu")] == [(4, 2), (10, 2), (16, 2)]
    assert of(line, "dram")[:3] == [("fill", "A", 0, 2), ("fill", "B", 2, 2), ("fill", "A", 6, 2)]
    assert of(line, "dram")[-1] == ("drain", "Z", 18, 1)


def test_a_second_piece_is_filled_while_the_first_is_used() -> None:
    line = timeline(run(" double"))
    assert [e[2:] for e in of(line, "alu")] == [(4, 2), (8, 2), (12, 2)]
    assert [(e[2], e[3]) for e in of(line, "dram")[:6]] == [(0, 2), (2, 2), (4, 2), (6, 2), (8, 2), (10, 2)]


def test_a_tile_that_stays_is_not_filled_again() -> None:
    made = evaluate(
        parse("Z[m, k] = A[m] * B[k]", name="outer", dtype="int8", m=2, k=3),
        read("keep A, B, Z in dram\nfor m tile 1\n  keep A, B in buffer\n  for k tile 1\n    Z on mul\n"),
        Device(**{**{f: getattr(CHIP, f) for f in CHIP.__dataclass_fields__}, "computes": (
            Compute("mul", under="buffer", rates=(("mul", "int8", 1.0),)),)}),
    )  # fmt: skip
    fills = [e for e in timeline(made).events if e.kind == "fill"]
    assert [e.name for e in fills if e.lane == "dram"] == ["A", "B", "A"]  # all of B stays


def test_only_the_first_runs_are_drawn() -> None:
    assert sum(e.kind == "run" for e in timeline(run(), runs=2).events) == 2
    for runs in (0, 10**9):
        with pytest.raises(WeirError, match=f"runs={runs}: must be from 1"):
            timeline(run(), runs=runs)


@pytest.mark.parametrize("how", ["interleaved", "staged"])
def test_a_whole_drawing_lasts_as_long_as_the_estimate(how: str) -> None:
    cascade = attention.one_pass(heads=2, query=1024, context=4096, head_dim=64)
    made = evaluate(cascade, getattr(attention_arrays, how)(block=512), device("fusemax_cloud"))
    line = timeline(made, runs=100_000)
    assert line.seconds == pytest.approx(float(made.seconds), rel=0.02)
    for unit in ("array", "vector"):
        busy = sum(e.seconds for e in line.events if e.lane == unit)
        assert busy == pytest.approx(float(sum(b.seconds for b in made.leaves if b.unit == unit)))
    moved = sum(e.seconds for e in line.events if e.lane == "dram")
    assert moved == pytest.approx(float(made.level_seconds["dram"]))


@pytest.mark.parametrize("lane", ["array", "vector", "dram"])
def test_nothing_is_in_two_places_at_once(lane: str) -> None:
    cascade = attention.one_pass(heads=2, query=512, context=1024, head_dim=64)
    made = evaluate(cascade, attention_arrays.staged(block=512), device("fusemax_cloud"))
    spans = sorted((e.start, e.start + e.seconds) for e in timeline(made).events if e.lane == lane)
    assert all(end <= start + 1e-15 for (_, end), (start, _) in itertools.pairwise(spans))


def test_the_file_opens_in_a_viewer(tmp_path: Path) -> None:
    line = Timeline("toy", (Event("alu", "Z", "run", 1e-6, 2e-6), Event("dram", "A", "fill", 0.0, 1e-6)))
    for name in ("out.json", "out.json.gz"):
        line.save(tmp_path / name)
    text = (tmp_path / "out.json").read_bytes()
    assert gzip.decompress((tmp_path / "out.json.gz").read_bytes()) == text
    events = json.loads(text)["traceEvents"]
    assert {e["args"]["name"] for e in events if e["ph"] == "M"} == {"toy", "alu", "dram"}
    [first, _] = [e for e in events if e["ph"] == "X"]
    assert (first["name"], first["cat"], first["ts"], first["dur"], first["tid"]) == ("Z", "run", 1.0, 2.0, 1)


def test_files_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeirError, match=r"must end \.json or \.json\.gz"):
        timeline(run()).save(tmp_path / "out.txt")
    with pytest.raises(WeirError, match="cannot write the trace"):
        timeline(run()).save(tmp_path / "none" / "out.json")
