"""The mapper against every nest of a small space written out, and against nests written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, permutations, product
from typing import Any

import numpy as np
import pytest

import sim
from einsum import Cascade, WeirError, parse
from mappings.attention_arrays import interleaved
from mappings.text import parse as read
from mappings.tree import Keep
from sim.arch import Compute, Device, Fanout, Memory
from sim.mapper import Space, parts, search
from sim.mapper.hunt import OBJECTIVES, _Hunt
from sim.mapper.shapes import Tile, families
from sim.mapper.tiles import value
from sim.model.spatial import busiest, evaluate, measured
from workloads import attention

RATES = (("mac", "bf16", 2e9), ("map", "bf16", 1e9), ("exp", "bf16", 1e9))
JOULES = (("mac", "bf16", 1e-12), ("map", "bf16", 1e-12), ("exp", "bf16", 1e-12))
GEMM = parse("Z[m, n] = A[m, k] * B[k, n]", m=3, n=2, k=3)


def device(buffer: float, lanes: int = 0) -> Device:
    """A slow memory, a small buffer, and one unit or a row of units."""
    dram = Memory("dram", capacity=1e9, bandwidth=1e9, energy=1e-10)
    memories = (dram, Memory("buffer", "dram", capacity=buffer, bandwidth=8e9, energy=1e-11))
    fans = (Fanout("row", "buffer", lanes, skew=1e-9),) if lanes else ()
    unit = Compute("alu", "row" if lanes else "buffer", RATES, JOULES)
    return Device("toy", "Toy", "none", "none", 2026, memories, fans, (unit,), (), None, "made up")


def every_nest(cascade: Cascade) -> Iterator[str]:
    """All nests of one product with one block of loops: any order, tiles, tensors in the buffer, second pieces."""
    sizes = cascade.bind()
    for order, tiles in product(permutations("mnk"), product(*(range(1, sizes[r] + 1) for r in "mnk"))):
        loops = [f"for {rank} tile {dict(zip('mnk', tiles, strict=True))[rank]}" for rank in order]
        for kept, double in product(("", "A", "B", "Z", "A, B", "A, Z", "B, Z", "A, B, Z"), (False, True)):
            reads = ", ".join(t for t in kept.split(", ") if t in ("A", "B"))
            sums = ["keep Z in buffer"] if "Z" in kept else []
            keeps = [f"keep {reads} in buffer{' double' * double}"] * bool(reads) + sums
            lines = [*(" " * n + loop for n, loop in enumerate(loops)), *("   " + k for k in keeps), "   Z on alu"]
            yield "\n".join(["keep A, B, Z in dram", *lines])


@pytest.mark.parametrize("buffer", [16.0, 30.0])
def test_nothing_in_the_whole_space_is_better(buffer: float) -> None:
    on = device(buffer)
    costs = []
    for text in every_nest(GEMM):
        try:
            one = evaluate(GEMM, read(text), on)
        except WeirError:
            continue
        costs.append((float(one.seconds), float(one.joules)))
    for objective in OBJECTIVES:
        least = min(float(value(objective, *cost)) for cost in costs)
        found = search(GEMM, on, objective=objective)
        assert found.value == pytest.approx(least, rel=1e-12)
        assert found.bound <= found.value


def test_what_is_found_is_what_it_says() -> None:
    found = sim.search(GEMM, device(30.0), m=5)
    again = evaluate(GEMM.with_sizes(m=5), read(str(found.nest)), device(30.0))
    assert float(again.seconds) == found.value
    assert str(found.nest) in str(found)
    assert "no mapping can go below" in found.proof


def test_imperfect_tiles_over_lanes() -> None:
    wide = parse("Z[m, n] = A[m, k] * B[k, n]", m=7, n=3, k=5)
    slow = replace(device(120.0, lanes=4), computes=(Compute("alu", "row", (("mac", "bf16", 2e6),)),))
    found = search(wide, slow)
    busiest = 2 * 3 * 5  # points of the first lane: of seven rows, four go by and then three
    assert float(found.estimate.compute_seconds) == pytest.approx(busiest * 1e-6, rel=1e-2)
    assert found.estimate.utilisation("alu") == pytest.approx(7 / 8, rel=1e-2)


CONVOLUTION = parse("O[k, p] = I[c, p + r] * W[k, c, r]", k=6, p=9, c=2, r=3)


@pytest.mark.parametrize("cascade", [GEMM, CONVOLUTION], ids=["product", "convolution"])
def test_shapes_that_share_what_is_known_of_ranks_cost_what_each_costs_alone(cascade: Cascade) -> None:
    on, sizes = device(60.0, lanes=4), cascade.bind()
    hunt = _Hunt(cascade, on, sizes, "time", Space(), lambda done, of: None)
    [*every] = chain(*families(parts.group(cascade, tuple(e.name for e in cascade.einsums)), on, sizes))
    for shape in every[::7]:
        for grid in hunt.space.grids(shape, sizes, 100):
            at = hunt.sized(shape, grid)
            made = measured(at, on)
            seconds, joules = (np.broadcast_to(one, grid.place.shape) for one in (made.seconds, made.joules))
            assert np.all(busiest(at, on) <= seconds)
            for number in (0, grid.place.size // 2, grid.place.size - 1):
                widths = grid.at(number)
                tiles = {key: widths[t.rank, t.stage] * t.lanes for key, t in shape.keys.items()}
                alone = evaluate(cascade, shape.mapped, on, sizes, tiles, checked=False)
                assert seconds.flat[number] == pytest.approx(float(alone.seconds), rel=1e-12)
                assert joules.flat[number] == pytest.approx(float(alone.joules), rel=1e-12)


def test_grids_hold_each_combination_that_does_not_grow_inwards_once() -> None:
    on, sizes = device(60.0, lanes=4), GEMM.bind()
    [shape, *_] = families(parts.group(GEMM, ("Z",)), on, sizes)[0]
    [grid] = Space().grids(shape, sizes, 1000)
    found = [tuple(grid.at(n).items()) for n in range(grid.place.size)]
    assert len(set(found)) == len(found)
    assert len(set(grid.place.ravel())) == grid.place.size  # an order without equals
    for one in map(dict, found):
        assert all(
            one[rank, inner] <= one[rank, outer]
            for rank, outer in one
            for r, inner in one
            if r == rank and inner > outer
        )


def layered(levels: int, capacity: float = 1e6, inner: float = 1e6) -> Device:
    """A unit under so many memories, of which the outermost has another capacity than the others."""
    deep = [
        Memory(f"level{n}", f"level{n - 1}" if n else "", capacity=inner if n else capacity, bandwidth=1e9)
        for n in range(levels)
    ]
    return replace(device(30.0), memories=tuple(deep), computes=(Compute("alu", f"level{levels - 1}", RATES),))


EIGHT = parse(
    "Z[a, b, c, d, e] = A[a, b, c, f, g, h] * B[f, g, h, c, d, e]",
    a=1 << 20, b=7, c=2, d=720_720, e=5, f=4, g=3, h=3,
)  # fmt: skip


def test_grids_of_many_loops_stay_small_and_hold_the_shortest_and_the_longest_tiles() -> None:
    [family] = families(parts.group(EIGHT, ("Z",)), layered(20, capacity=1e15), EIGHT.bind())
    shape = family.made((0,) * len(family.axes))
    grids = list(Space().grids(shape, EIGHT.bind(), 100))
    found = [grid.at(n) for grid in grids for n in range(grid.place.size)]
    assert len(shape.lanes) == 7 * 19  # what every tensor has is gone through one by one
    assert 256 <= len(found) <= 400_000 / len(shape.lanes)
    assert any(set(one.values()) == {1} for one in found)
    assert any(all(one[rank, stage] == EIGHT.bind()[rank] for rank, stage in one) for one in found)
    assert sum(grid.place.size for grid in grids) == len({int(p) for grid in grids for p in grid.place.ravel()})


def test_of_more_ranks_than_may_be_cut_the_longest_are() -> None:
    ranks = "abcdefghijklmnopqrstuvw"
    wide = parse(f"Z[{', '.join(ranks)}] = A[{', '.join(ranks)}]", **{rank: 2 + (rank < "d") for rank in ranks})  # type: ignore[arg-type]
    [shape, *_] = families(parts.group(wide, ("Z",)), layered(3, capacity=1e15), wide.bind())[0]
    named = dict.fromkeys((rank, stage) for rank in ranks for stage in (1, 2))
    lanes = replace(shape, made=lambda: (shape.nest, tuple(Tile(*key) for key in named)))
    cut = {
        rank
        for grid in Space().grids(lanes, wide.bind(), 100)
        for (rank, _), w in grid.widths.items()
        if np.size(w) > 1
    }
    assert {"a", "b", "c"} <= cut
    assert len(cut) == 13  # two to the thirteenth are within 400,000 tiles of 46 loops


def test_an_order_of_tiles_that_64_bits_do_not_hold_is_one_by_ranks() -> None:
    [family] = families(parts.group(GEMM, ("Z",)), layered(26), GEMM.bind())
    shape = family.made((0,) * len(family.axes))
    grids = list(Space().grids(shape, GEMM.bind(), 100))
    places = np.concatenate([grid.place.ravel() for grid in grids])
    assert len(set(places.tolist())) == places.size
    assert places.min() >= 0


def test_many_levels_and_ranks_are_searched_with_as_much_work_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.mapper.hunt.WORK", 500_000)
    small = EIGHT.with_sizes(a=16, d=12)
    found = search(small, layered(20, capacity=1e9, inner=64.0))
    assert found.shapes < 100
    assert found.bound <= found.value < np.inf
    assert f"{found.shapes} of {found.nests:,} nests" in found.proof


def test_levels_that_hold_next_to_nothing_are_passed_by() -> None:
    found = search(GEMM, layered(12, inner=1.0))
    assert {node.level for node in found.nest.nodes if isinstance(node, Keep)} == {"level0"}


def test_what_is_too_deep_to_be_searched_is_said_at_once() -> None:
    with pytest.raises(WeirError, match="toy has 40 memories above alu; nests are searched for under at most 32"):
        search(GEMM, layered(40))


def test_a_search_that_found_nothing_says_how_much_it_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.mapper.hunt._fits", lambda at, device: False)
    with pytest.raises(WeirError, match=r"^none of 12 nests of cascade that were tried, of [\d,]+, fits toy: "):
        search(GEMM, layered(9), space=Space(nests=12))


def test_more_nests_are_counted_than_an_index_of_64_bits_holds() -> None:
    [family] = families(parts.group(GEMM, ("Z",)), layered(20), GEMM.bind())
    assert family.size > 1 << 63


def test_of_many_levels_some_nests_are_tried() -> None:
    on = layered(9)
    told: list[tuple[int, int]] = []
    found = search(GEMM, on, space=Space(nests=2), advance=lambda done, of: told.append((done, of)))
    assert found.shapes <= 2
    assert found.nests > 10**9  # nobody goes through so many
    assert f"{found.shapes} of {found.nests:,} nests, chosen by descent" in found.proof
    assert told == [(n + 1, 2) for n in range(found.shapes)]


@pytest.mark.parametrize("what", ["tiles", "mappings", "nests"])
def test_a_space_of_nothing_is_refused(what: str) -> None:
    with pytest.raises(WeirError, match=f"{what} 0: at least 1"):
        Space(**{what: 0})


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_descent_comes_near_the_best_of_all_nests(objective: str) -> None:
    on = device(60.0, lanes=4)
    best = search(CONVOLUTION, on, objective=objective)
    near = search(CONVOLUTION, on, objective=objective, space=Space(nests=best.nests // 2))
    assert near.shapes < best.shapes == best.nests
    assert best.value <= near.value <= 1.1 * best.value


def test_a_unit_that_would_only_wait_for_another_is_not_looked_at() -> None:
    on = device(60.0)
    sums = Compute("sums", "buffer", (("mac", "bf16", 2e9),))
    powers = Compute("powers", "buffer", (("exp", "bf16", 1e9),))
    both = replace(on, computes=(sums, powers))
    found = search(GEMM, both)
    assert found.nests == search(GEMM, replace(on, computes=(sums,))).nests
    assert found.bound == search(GEMM, replace(on, computes=(sums,))).bound


def test_what_no_unit_runs_is_said() -> None:
    with pytest.raises(WeirError, match=r"no unit that can run Z.*: toy: no unit runs 'exp' on 'bf16'"):
        search(parse("Z[m] = log(A[m])", m=4), replace(device(30.0), computes=(Compute("alu", "buffer", RATES[:1]),)))


MLP = parse("U[b, f] = X[b, d] * W[d, f]\nH[b, f] = relu(U[b, f])\nZ[b, g] = H[b, f] * V[f, g]", b=16, d=8, f=32, g=8)


def test_neighbours_are_fused_where_that_saves_traffic() -> None:
    found = search(MLP, device(5000.0))
    ends = 2 * (16 * 8 + 8 * 32 + 32 * 8 + 16 * 8)
    assert float(found.estimate.traffic("dram")) == ends  # what must be moved, once
    assert not any("U" in node.tensors and node.level == "dram" for node in found.nest.nodes if isinstance(node, Keep))


def test_neighbours_are_run_apart_where_nothing_else_fits() -> None:
    found = search(MLP, device(8.0))
    assert float(found.estimate.traffic("dram", "updates")) > 2 * 16 * 8  # U and H pass by memory


def test_passes_part_what_shares_a_loop() -> None:
    cascade = attention.three_pass(query=8, context=16, head_dim=4)
    found = search(cascade, device(4000.0))
    assert float(found.estimate.traffic("dram")) == 2 * (8 * 4 * 2 + 16 * 4 * 2)


def test_fusemax_is_not_the_last_word() -> None:
    cascade = attention.one_pass(batch=8, heads=2, query=4096, context=4096, head_dim=64)
    on = sim.device("fusemax_cloud")
    published = evaluate(cascade, interleaved(block=4096), on)
    found = search(cascade, on, space=Space(mappings=60_000))
    assert found.bound <= found.value < float(published.seconds)  # some of its lanes' work goes to the idle array


def test_what_fits_nowhere_is_refused() -> None:
    tiny = replace(device(1.0), memories=(Memory("dram", capacity=10.0, bandwidth=1e9),), fanouts=())
    alone = replace(tiny, computes=(Compute("alu", "dram", RATES),))
    with pytest.raises(
        WeirError, match="cascade needs 42 B at least for what goes in and comes out; dram of toy has 10"
    ):
        search(GEMM, alone)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": "speed"}, "unknown objective 'speed'; known: edp, energy, time"),
        ({"m": 0}, "rank 'm' is empty"),
        ({"q": 3}, "no rank 'q'"),
    ],
)
def test_mistakes(given: dict[str, Any], message: str) -> None:
    with pytest.raises(WeirError, match=message):
        search(GEMM, device(30.0), **given)


def test_widths_are_the_shortest_for_their_number_of_pieces() -> None:
    widths = Space().widths(1000, 1, 30)
    assert list(widths) == sorted(
        {int(np.ceil(1000 / p)) for p in [2**n for n in range(10)] + [3 * 2**n for n in range(9)]} | {1}
    )


def test_who_asks_for_more_nests_is_given_work_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.mapper.hunt.WORK", 60_000)
    few, more = (search(GEMM, layered(6), space=Space(nests=n)).shapes for n in (5_000, 50_000))
    assert 8 <= few < more
