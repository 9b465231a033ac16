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
from sim.model.counts import counts
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
    plain = {name: f.py_func for name, f in vars(visits).items() if is_jitted(f)} or dict(vars(visits))

    def moved(m: visits.Machine, port: int, instance: int, thing: int) -> bool:
        seen.append((int(m.memory[0]), port, instance, int(thing), False))
        return bool(plain["moved"](m, port, instance, thing))

    def touched(m: visits.Machine, port: int, instance: int, cell: int) -> bool:
        before = bool(plain["touched"](m, port, instance, cell))
        seen.append((int(m.memory[0]), port, instance, int(cell), True)) if before else None
        return before

    with patch.multiple(visits, **{k: plain[k] for k in plain if is_jitted(getattr(visits, k))}):
        with patch.multiple(visits, moved=moved, touched=touched):
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
    spaces = [n for n in nest_spaces(nest)]
    over = dict(zip((p.number for p in flat.loops if p.space), spaces, strict=True))
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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
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
