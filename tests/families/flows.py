"""Families of layers over unlike devices and of pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from sim.planner import ranges, ranges_mip, repeating
from sim.planner.milp import Model
from sim.planner.pipeline import Flow, Hold, Node
from sim.planner.pipeline_mip import Program
from tests.families.harness import BIT, At, Case, named


def helix(draw: st.DrawFn) -> ranges_mip.Helix:
    rates = [tuple(draw(st.sampled_from([4.0, 2.0, 1.0])) for _ in range(draw(st.integers(1, 2)))) for _ in range(2)]
    network = ranges.Network(
        2, tuple(ranges.Holder(str(n), r) for n, r in enumerate(rates)), {(0, 1): 1.0, (-1, 1): 2.0}
    )
    made = ranges_mip.Helix(network, Model("ranges"))
    made.most = 4.0
    return made


def held(h: ranges_mip.Helix, at: At, n: int) -> tuple[int, int]:
    first = round(at(h.first[n]))
    return first, first + round(sum((j + 1) * at(y) for j, y in enumerate(h.length[n])))


def inside(h: ranges_mip.Helix, at: At) -> bool:
    """Whether each node holds one range within the model."""
    return all(sum(map(at, h.length[n])) <= 1 and held(h, at, n)[1] <= 2 for n in range(2))


def layered(h: ranges_mip.Helix) -> dict[str, tuple[float, ...]]:
    return named(h.first, (0.0, 1.0, 2.0)) | named([y for ys in h.length for y in ys], BIT)


def flowing(h: ranges_mip.Helix) -> dict[str, tuple[float, ...]]:
    return named(h.flows.values(), (0.0, 0.0, 0.25, 0.5, 1.0))


def one_range(draw: st.DrawFn) -> Case:
    h = helix(draw)
    return Case(h.within(), layered(h), lambda at: inside(h, at))


def order(draw: st.DrawFn) -> Case:
    h = helix(draw)

    def meaning(at: At) -> bool:
        for (a, b), is_open in h.open.items():
            if at(is_open) and a < 0 and held(h, at, b)[0] > 0:
                return False
            if at(is_open) and b < 0 and held(h, at, a)[1] < 2:
                return False
            if at(is_open) and min(a, b) >= 0 and not held(h, at, b)[0] <= held(h, at, a)[1] < held(h, at, b)[1]:
                return False
        return True

    return Case(
        h.order(), layered(h) | named(h.open.values(), (0.0, 0.0, 1.0)), meaning, possible=lambda at: inside(h, at)
    )


def carried(draw: st.DrawFn) -> Case:
    h = helix(draw)
    top = {n: max(node.rates) for n, node in enumerate(h.network.nodes)} | {-1: np.inf}

    def meaning(at: At) -> bool:
        room = {(a, b): min(h.network.link(a, b), top[a], top[b]) for a, b in h.edges}
        return all(4.0 * at(f) <= room[e] * at(h.open[e]) + 1e-9 for e, f in h.flows.items())

    return Case(h.carried(), flowing(h) | named(h.open.values(), (0.0, 1.0, 1.0)), meaning)


def through(h: ranges_mip.Helix, at: At, n: int) -> tuple[float, float]:
    """What enters a node, and what leaves it."""
    return sum(at(f) for (_, b), f in h.flows.items() if b == n), sum(at(f) for (a, _), f in h.flows.items() if a == n)


def conserved(draw: st.DrawFn) -> Case:
    h = helix(draw)
    return Case(h.kept(), flowing(h), lambda at: all(np.isclose(*through(h, at, n)) for n in range(2)))


def computed(draw: st.DrawFn) -> Case:
    h = helix(draw)

    def meaning(at: At) -> bool:
        rates = [sum(r * at(y) for r, y in zip(node.rates, h.length[n], strict=True))
                 for n, node in enumerate(h.network.nodes)]  # fmt: skip
        return all(4.0 * through(h, at, n)[0] <= rates[n] + 1e-9 for n in range(2))

    return Case(h.computed(), flowing(h) | layered(h), meaning)


def passed(draw: st.DrawFn) -> Case:
    h = helix(draw)

    def meaning(at: At) -> bool:
        work = sum((j + 1) * node.rates[j] * at(y) for n, node in enumerate(h.network.nodes)
                   for j, y in enumerate(h.length[n]))  # fmt: skip
        return 2 * 4.0 * sum(at(h.flows[-1, n]) for n in range(2)) <= work + 1e-9

    return Case(h.passed(), flowing(h) | layered(h), meaning)


FLOW = Flow(
    (Node("F0", 0, 1.0), Node("F1", 1, 2.0, ("F0",), 1.0), Node("B1", 1, 1.0, ("F1",)), Node("B0", 0, 2.0, ("B1",))),
    (Hold("F0", "B0"), Hold("F1", "B1")),
)
EVERY, LENGTH = 4.0, [0.25, 0.5, 0.25, 0.5]  # F1 waits a quarter of an interval for F0's result
STEPS = tuple(n / 4 for n in range(8))


def pattern() -> tuple[list[Any], Any, dict[tuple[int, int], Any]]:
    model = Model("pattern")
    start = [model.number(f"t{n}") for n in range(4)]
    return start, model.number("most"), {pair: model.integer("q{}_{}".format(*pair), None) for pair in ((0, 3), (1, 2))}


def after(draw: st.DrawFn) -> Case:
    start, _, _ = pattern()

    def meaning(at: At) -> bool:
        t = [at(s) for s in start]
        return t[1] >= t[0] + 0.5 and t[2] >= t[1] + 0.5 and t[3] >= t[2] + 0.25

    return Case(repeating.dependences(FLOW, start, LENGTH, EVERY), named(start, (*STEPS, 2.0, 2.5)), meaning)


def side_by_side(draw: st.DrawFn) -> Case:
    start, _, turns = pattern()

    def places(at: At, n: int) -> set[int]:
        """Quarters of the interval in which a node runs."""
        return {round(4 * at(start[n]) + i) % 4 for i in range(round(4 * LENGTH[n]))}

    def meaning(at: At) -> bool:
        return all(not places(at, a) & places(at, b) for a, b in turns)

    free = named(turns.values(), tuple(float(q) for q in range(-3, 3)))
    return Case(repeating.apart(turns, start, LENGTH), named(start, STEPS), meaning, free)


def averaged(draw: st.DrawFn) -> Case:
    start, most, _ = pattern()

    def count(at: At, first: int, last: int) -> float:
        """How many microbatches are between two nodes, on average over eighths of an interval."""
        begin, end = at(start[first]), at(start[last]) + LENGTH[last]
        times = [i / 8 + 1 / 16 for i in range(8)]
        return sum(begin <= t + k < end for t in times for k in range(-4, 8)) / 8

    def meaning(at: At) -> bool:
        return max(count(at, 0, 3), count(at, 1, 2)) <= at(most) + 1e-9

    def possible(at: At) -> bool:
        return all(at(start[b]) >= at(start[a]) for a, b in ((0, 3), (1, 2)))

    choices = named(start, STEPS) | {most.name: (0.5, 1.0, 1.5)}
    return Case(repeating.held(FLOW, start, LENGTH, most), choices, meaning, possible=possible)


def timetable(limits: list[float] | None = None, batches: int = 2) -> tuple[Program, dict[tuple[int, int], Any]]:
    model = Model("times")
    begins = {(n, k): model.number(f"s{n}_{k}") for n in range(4) for k in range(batches)}
    return Program(FLOW, batches, limits, 20.0), begins


TIMES = tuple(float(t) for t in range(9))


def first_then(draw: st.DrawFn) -> Case:
    program, begins = timetable(batches=1)

    def meaning(at: At) -> bool:
        ready = {1: at(begins[0, 0]) + 2, 2: at(begins[1, 0]) + 2, 3: at(begins[2, 0]) + 1}
        return all(at(begins[n, 0]) >= t for n, t in ready.items())

    return Case(program.dependences(begins), named(begins.values(), TIMES), meaning)


def in_turn(draw: st.DrawFn) -> Case:
    program, begins = timetable()

    def meaning(at: At) -> bool:
        return all(at(begins[n, 1]) >= at(begins[n, 0]) + node.seconds for n, node in enumerate(FLOW.nodes))

    return Case(program.turns(begins), named(begins.values(), TIMES), meaning)


def alone(draw: st.DrawFn) -> Case:
    program, begins = timetable()
    model = Model("orders")
    first = {p: model.binary("o" + "_".join(map(str, (*p[0], *p[1])))) for p in program.pairs if p[0][0] == 0}

    def meaning(at: At) -> bool:
        """No quarter of a second is shared, on device 0 between forward and backward passes."""
        runs = {n: [(at(begins[n, k]), at(begins[n, k]) + FLOW.nodes[n].seconds) for k in range(2)] for n in (0, 3)}
        return all(a[1] <= b[0] or b[1] <= a[0] for a in runs[0] for b in runs[3])

    return Case(program.apart(begins, first), named(begins.values(), TIMES), meaning, named(first.values(), BIT))


def limited(draw: st.DrawFn) -> Case:
    most = draw(st.integers(1, 3))
    program, begins = timetable([float(most), 9.0], batches=3)

    def spans(at: At) -> list[tuple[float, float]]:
        return [(at(begins[0, k]), at(begins[3, k]) + 2.0) for k in range(3)]

    def meaning(at: At) -> bool:
        return all(sum(begin <= t < end for begin, end in spans(at)) <= most for t, _ in spans(at))

    def possible(at: At) -> bool:
        begun, over = zip(*spans(at), strict=True)
        return list(begun) == sorted(begun) and list(over) == sorted(over) and all(a < b for a, b in spans(at))

    last = {begins[3, k].name: tuple(2.0 * k + t for t in range(4)) for k in range(3)}
    firsts = {begins[0, k].name: tuple(2.0 * k + t for t in range(3)) for k in range(3)}
    others = named([begins[n, k] for n in (1, 2) for k in range(3)], (0.0,))
    return Case(program.limits(begins), firsts | last | others, meaning, possible=possible)


def until(draw: st.DrawFn) -> Case:
    program, begins = timetable(batches=1)
    last = Model("last").number("last")

    def meaning(at: At) -> bool:
        return at(last) >= max(at(b) + FLOW.nodes[n].seconds for (n, _), b in begins.items())

    return Case(program.ended(begins, last), named(begins.values(), TIMES) | {"last": (*TIMES, 10.0)}, meaning)


FAMILIES = {
    "ranges_mip.within": one_range,
    "ranges_mip.order": order,
    "ranges_mip.carried": carried,
    "ranges_mip.kept": conserved,
    "ranges_mip.computed": computed,
    "ranges_mip.passed": passed,
    "repeating.dependences": after,
    "repeating.apart": side_by_side,
    "repeating.held": averaged,
    "pipeline_mip.dependences": first_then,
    "pipeline_mip.turns": in_turn,
    "pipeline_mip.apart": alone,
    "pipeline_mip.limits": limited,
    "pipeline_mip.ended": until,
}
