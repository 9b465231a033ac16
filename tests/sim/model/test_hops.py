"""Hops on the wires of fan-outs: every word that the exact simulator moves, followed link by link."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numba.extending import is_jitted

import sim
from einsum import Cascade, WeirError, parse
from mappings import text
from mappings.tree import Nest
from sim.arch import Compute, Device, Fanout, Memory
from sim.arch.components import Process
from sim.arch.technology import Technology
from sim.model import visits
from sim.model.flat import Flat, Slot, flatten
from sim.model.hops import carried
from sim.model.legal import check
from sim.model.nests import Mapped
from sim.model.sites import Port, Site
from sim.model.sized import Sized
from sim.model.spatial import evaluate
from sim.model.tables import _Builder
from tests import machines
from tests.machines import drawn

Totals = dict[tuple[str, str, bool], tuple[float, float]]
Event = tuple[int, int, int, int, bool]  # tick, port, instance, thing, whether it was met before


def events(flat: Flat) -> list[Event]:
    """Everything that asks a port of the simulator's machine, its functions run as plain Python."""
    seen: list[Event] = []
    plain = {name: f.py_func for name, f in vars(visits).items() if is_jitted(f)}
    plain = plain or {name: getattr(visits, name) for name in ("moved", "touched")}  # numba turned off

    def moved(m: visits.Machine, port: int, instance: int, thing: int) -> bool:
        seen.append((int(m.memory[0]), port, instance, int(thing), False))
        return bool(plain["moved"](m, port, instance, thing))

    def touched(m: visits.Machine, port: int, instance: int, cell: int) -> bool:
        before = bool(plain["touched"](m, port, instance, cell))
        seen.append((int(m.memory[0]), port, instance, int(cell), True)) if before else None
        return before

    with patch.multiple(visits, **(plain | {"moved": moved, "touched": touched})):
        visits.execute(_Builder(flat).build())
    return seen


def above(device: Device, name: str) -> tuple[Fanout, ...]:
    parents = {p.name: p.under for p in (*device.memories, *device.fanouts, *device.computes)}
    fans = {f.name: f for f in device.fanouts}
    way = []
    while name := parents[name]:
        way.append(name)
    return tuple(fans[n] for n in reversed(way) if n in fans)


def crossed(fan: Fanout, at: int) -> Iterator[tuple[object, ...]]:
    """Links on the way to one copy, walked step by step."""
    if fan.topology == "bus":
        yield ("bus",)
    elif fan.topology == "tree":
        size = 1
        while size < fan.count or size == 1:
            yield (size, at // size)
            size *= 2
    else:
        high = max(n for n in range(1, fan.count + 1) if fan.count % n == 0 and n * n <= fan.count)
        wide = fan.count // high if fan.topology == "mesh" else fan.count
        here = (0, 0)
        yield ("in", here)
        while here != divmod(at, wide):
            down = here[0] < at // wide
            after = (here[0] + down, here[1] + (not down))
            yield (here, after)
            here = after


def brute(cascade: Cascade, nest: Nest, device: Device) -> Totals:
    """Words and hops by fan-out, tensor and direction: links that each event crosses, those of a group told once."""
    flat = flatten(cascade, nest, {r: int(s) for r, s in cascade.bind().items()}, None)
    over = dict(zip((p.number for p in flat.loops if p.space), nest_spaces(nest), strict=True))
    builder = _Builder(flat)
    owners = [(s.tensor, s.level) for s in flat.slots]
    owners += [(a.tensor, p.unit) for p in flat.points for a, _ in p.served]
    last = {len(flat.slots) + sum(len(q.served) for q in flat.points[: n + 1]) - 1 for n in range(len(flat.points))}
    links: dict[tuple[str, str, bool], set[object]] = defaultdict(set)
    words: dict[tuple[str, str, bool], set[object]] = defaultdict(set)
    for tick, number, instance, thing, again in events(flat):
        port, (tensor, inner) = builder.ports[number], owners[number]
        slot: Slot | None = flat.slots[number] if number < len(flat.slots) else None
        outer = slot.parent.level if slot and slot.parent else port.keep.level
        reduces = bool({p.rank for p in port.inside if p.space} & set(port.merged))
        if again and (slot is None or not slot.writers or reduces):
            continue  # a sum that is read where it is added up
        if slot and slot.writers and not again and thing < builder.cells(slot):
            continue  # a sum that is begun where it is added up
        outwards = not again and (number in last or bool(slot and slot.writers))
        fans = [f for f in above(device, inner) if f not in above(device, outer)]
        for place, fan in enumerate(fans):
            outside = {f.name for f in fans[:place]}
            stream, at = path(port, instance, over, outside, fan, outwards, again)
            key = fan.name, tensor, outwards
            what = (tick, number, thing, again, stream)
            words[key].add(what)
            links[key].update((*what, link) for link in crossed(fan, at))
    return {key: (len(words[key]), len(links[key])) for key in words}


def nest_spaces(nest: Nest) -> Iterator[str]:
    for node in nest.nodes:
        if hasattr(node, "over"):
            yield node.over
        for child in getattr(node, "children", ()):
            yield from nest_spaces(child)


def path(
    port: Port, instance: int, over: dict[int, str], outside: set[str], fan: Fanout, outwards: bool, again: bool
) -> tuple[object, int]:
    """The words that an event goes along with, and its copy of the fan-out."""
    site: Site = port.site
    stream, at = [], 0
    for loop in (p for p in site.loops if p.space):
        where = int(site.at(loop)[instance])
        name, inside = over[loop.number], loop in port.inside
        if inside and name == fan.name:
            at = at * loop.trips + where
        shared = inside and loop.rank in port.merged and not again and name not in outside
        if not shared or (outwards and fan.topology == "bus" and name == fan.name):
            stream.append((loop.number, where))
    return tuple(stream), at


def formula(cascade: Cascade, nest: Nest, device: Device) -> tuple[Totals, bool]:
    found: Totals = {}
    moves = carried(Sized.of(Mapped(cascade, nest)), device)
    for one in moves:
        key = one.fanout, one.tensor, one.outwards
        words, hops = found.get(key, (0, 0))
        found[key] = words + one.words, hops + one.hops
    return {key: pair for key, pair in found.items() if pair[0]}, all(one.exact for one in moves)


def wired(device: Device, topologies: tuple[str, ...]) -> Device:
    fans = zip(device.fanouts, topologies * len(device.fanouts), strict=False)
    return replace(device, fanouts=tuple(replace(f, topology=t) for f, t in fans))


WIRES = st.permutations(("chain", "mesh", "tree", "bus")).map(tuple)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(drawn(machines.single) | drawn(machines.fused), WIRES)
def test_every_word_is_followed(mapped: tuple[Cascade, Nest, Device], topologies: tuple[str, ...]) -> None:
    cascade, nest, device = mapped
    assume(device.fanouts)
    device = wired(device, topologies)
    try:
        check(cascade, nest, device)
    except WeirError:
        assume(False)
    found, exact = formula(cascade, nest, device)
    if exact:
        assert found == brute(cascade, nest, device)


def test_unfinished_sums_travel_back_by_their_own_way() -> None:
    cascade = parse("Z[m] = A[m, k]", m=5, k=4)
    nest = text.parse("""
    keep A, Z in dram
    for k tile 2
      for m tile 4
        spatial m tile 2 over columns
          keep A, Z in registers
          Z on mac
    """)
    device = replace(
        chip(topology="chain"),
        memories=(Memory("dram"), Memory("registers", "columns")),
        computes=(Compute("mac", "registers", (("mac", "bf16", 2e12),)),),
    )
    found, exact = formula(cascade, nest, device)
    assert exact
    assert found == brute(cascade, nest, device)
    # sums 0, 1 and 4 leave the first column twice; the second holds 2 and 3, its only piece, throughout
    assert found["columns", "Z", True] == (2 * 3 + 2, 2 * 3 * 1 + 2 * 2)
    assert found["columns", "Z", False] == (3, 3 * 1)


def test_what_shares_words_over_two_ragged_ranks_is_said_to_be_approximate() -> None:
    cascade = parse("Z[n, p] = A[k] * B[k, n, p]", n=6, p=6, k=5)
    nest = text.parse("""
    keep A, B, Z in dram
    for n tile 4
      for p tile 4
        spatial n tile 2 over columns
          spatial p tile 2 over columns
            Z on mac
    """)
    device = chip(topology="chain")
    found, exact = formula(cascade, nest, device)
    walked = brute(cascade, nest, device)
    assert not exact
    key = "columns", "A", False
    assert found[key][1] < walked[key][1]
    assert {k: pair for k, pair in found.items() if k != key} == {k: pair for k, pair in walked.items() if k != key}


def chip(process: Process | None = None, **wires: object) -> Device:
    return Device(
        "chip", "A chip", "nobody", "toy", 2026,
        memories=(Memory("dram"),),
        fanouts=(Fanout("columns", "dram", 4, **wires),),  # type: ignore[arg-type]
        computes=(Compute("mac", "columns", (("mac", "bf16", 2e12),)),),
        links=(), power=None, source="made up for a test", technology=process,
    )  # fmt: skip


GEMV = parse("Z[n] = A[k] * B[k, n]", name="gemv", n=6, k=5)
NEST = text.parse("keep A, B, Z in dram\nspatial n tile 2 over columns\n  Z on mac")  # three columns of two


@pytest.mark.parametrize(
    ("topology", "shared", "apart", "ways"),
    [
        ("bus", 10, 30, (4 * 10, 4 * 30)),  # A passes once for each point of a column
        ("chain", 3 * 10, 10 * (1 + 2 + 3), (30, 60)),
        ("mesh", (2 + 1) * 10, 10 * (1 + 2 + 2), (30, 50)),  # two rows of two: in, along, down
        ("tree", (2 + 3) * 10, 2 * 30, (10 * (2 * 1 + 3 * 0.5), 30 * 1.5)),
    ],
)
def test_hops_by_hand(topology: str, shared: float, apart: float, ways: tuple[float, float]) -> None:
    made = evaluate(GEMV, NEST, chip(topology=topology))
    hops = made.counts.hops()
    assert (hops["columns", "A"], hops["columns", "B"], hops["columns", "Z"]) == (shared, apart, apart)
    assert {c.tensor: c.pitches for c in made.counts.carried} == {"A": ways[0], "B": ways[1], "Z": ways[1]}


def test_sums_are_added_on_the_way_but_not_on_a_bus() -> None:
    nest = text.parse("keep A, B, Z in dram\nspatial k tile 2 over columns\n  Z on mac")  # columns of 2, 2 and 1 of k
    along = evaluate(GEMV, nest, chip(topology="chain")).counts.hops()
    bus = evaluate(GEMV, nest, chip(topology="bus")).counts.hops()
    assert along["columns", "Z"] == 6 * (2 + 2 + 1)
    assert bus["columns", "Z"] == 6 * 5


def test_without_a_topology_all_is_as_before() -> None:
    plain, wired_ = evaluate(GEMV, NEST, chip()), evaluate(GEMV, NEST, chip(topology="bus"))
    assert plain.counts.carried == ()
    assert plain.counts.rows() == tuple(row for row in wired_.counts.rows() if row[2] != "hops")
    assert (plain.seconds, plain.joules, plain.bound) == (wired_.seconds, wired_.joules, wired_.bound)


def test_the_busier_direction_sets_the_time() -> None:
    made = evaluate(GEMV, NEST, chip(topology="chain", bandwidth=8.0))
    assert made.wires.seconds == {"columns": 2 * (10 + 30) / 8}
    assert made.seconds == 2 * (10 + 30) / 8
    assert made.bound == "columns"
    assert "columns" in str(made)


def test_wires_cost_by_length() -> None:
    process = Process(45.0)
    made = evaluate(GEMV, NEST, chip(process, topology="chain", pitch=1e-4))
    assert made.joules_by["columns"] == pytest.approx(16 * (30 + 60 + 60) * Technology(45).wire(1e-4))
    assert "energy of columns is modelled: wires at 45 nm, 100 um to a neighbour" in made.notes
    silent = evaluate(GEMV, NEST, chip(topology="chain", pitch=1e-4))
    assert "columns" not in silent.joules_by
    assert any("no energy is known for the wires of columns" in note for note in silent.notes)


def test_many_design_points_are_counted_one_by_one() -> None:
    tiles = np.array([2, 3, 6])
    device = chip(topology="chain", bandwidth=8.0)
    made = evaluate(GEMV, NEST, device, tiles={"n.0": tiles})
    alone = [evaluate(GEMV, NEST, device, tiles={"n.0": int(t)}) for t in tiles]
    assert made.counts.hops()["columns", "B"].tolist() == [one.counts.hops()["columns", "B"] for one in alone]
    assert made.seconds.tolist() == [one.seconds for one in alone]


def test_sparse_operands_are_said_to_be_approximate() -> None:
    sparse = parse("B[k, n]: uniform(0.5)\nZ[n] = A[k] * B[k, n]", n=6, k=5)
    assert any("are approximate" in note for note in evaluate(sparse, NEST, chip(topology="chain")).notes)


def test_too_many_instances_are_refused() -> None:
    wide = replace(chip(), fanouts=(Fanout("columns", "dram", 1 << 21, topology="chain"),))
    big = parse("Z[n] = A[k] * B[k, n]", n=1 << 21, k=5)
    nest = text.parse("keep A, B, Z in dram\nspatial n tile 1 over columns\n  Z on mac")
    with pytest.raises(WeirError, match="leave the topology of their fan-outs out"):
        evaluate(big, nest, wide)
    assert sim.estimate(big, replace(wide, fanouts=(Fanout("columns", "dram", 1 << 21),)), mapping=nest).seconds > 0
