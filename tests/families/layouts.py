"""Families of offsets, of placement over memories and of purchase."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import strategies as st

from sim.planner import orders, placement, purchase
from sim.planner.affine import Convex
from sim.planner.milp import Model
from sim.planner.packing import pack
from sim.planner.problem import Buffer, Problem, Tier
from tests.families.harness import BIT, At, Case, named


def programme(draw: st.DrawFn) -> orders.Programme:
    rows = [(draw(st.integers(1, 3)), draw(st.integers(0, 2)), draw(st.integers(1, 2))) for _ in range(3)]
    buffers = tuple(Buffer(str(i), 2 * size + 1, ((a, a + n),)) for i, (size, a, n) in enumerate(rows))
    packing = pack(Problem("drawn", buffers, (Tier("m"),)))
    live = [{t for a, b in o.live for t in range(int(a), int(b))} for o in packing.buffers]
    pairs = [(i, j) for i, j in itertools.combinations(range(len(live)), 2) if live[i] & live[j]]
    return orders.programme(packing, int(packing.shape.size.sum()), pairs, least=packing.bound)


def placed(made: orders.Programme) -> dict[str, tuple[float, ...]]:
    size = made.packing.shape.size
    where = {
        v.name: tuple(float(x) for x in range(made.most - int(s) + 1))
        for v, s in zip(made.low, size, strict=True)
    }  # fmt: skip
    heights = tuple(float(h) for h in range(made.packing.bound, made.most + 1))
    return where | named(made.below.values(), BIT) | {made.height.name: heights}


def ends(draw: st.DrawFn) -> Case:
    made = programme(draw)
    size = made.packing.shape.size

    def meaning(at: At) -> bool:
        return max(at(low) + s for low, s in zip(made.low, size, strict=True)) <= at(made.height)

    return Case(orders.ends(made), placed(made), meaning)


def apart(draw: st.DrawFn) -> Case:
    made = programme(draw)
    size = made.packing.shape.size

    def meaning(at: At) -> bool:
        pairs = (((i, j) if at(z) else (j, i)) for (i, j), z in made.below.items())
        return all(at(made.low[i]) + size[i] <= at(made.low[j]) for i, j in pairs)

    return Case(orders.apart(made), placed(made), meaning)


def stacked(draw: st.DrawFn) -> Case:
    made = programme(draw)
    size, sets = made.packing.shape.size, orders.live_sets(made.packing)

    def meaning(at: At) -> bool:
        for members in sets:
            for j in members:
                lower = [i for i in members if i != j and at(made.below[min(i, j), max(i, j)]) == (i < j)]
                upper = [i for i in members if i != j and i not in lower]
                low = at(made.low[j])
                if low < sum(size[i] for i in lower) or low + size[j] + sum(size[i] for i in upper) > at(made.height):
                    return False
        return True

    return Case(orders.stacked(made, sets), placed(made), meaning)


def transitive(draw: st.DrawFn) -> Case:
    made = programme(draw)
    sets = orders.live_sets(made.packing)

    def meaning(at: At) -> bool:
        def lower(i: int, j: int) -> bool:
            return at(made.below[min(i, j), max(i, j)]) == (i < j)

        triples = (three for members in sets for three in itertools.combinations(map(int, members), 3))
        return not any(lower(i, j) == lower(j, k) == lower(k, i) for i, j, k in triples)

    return Case(orders.transitive(made, sets), placed(made), meaning)


METHOD = placement.Method(
    "drawn", "", "", "", (("w", ("gpu", "host")), ("c", ("gpu", "host"))), (), (),
    (placement.Stage("decode", "1", "w.host"),),
    (placement.Store("gpu", "10", ("8 * w.gpu + 4 * max(c.gpu, w.host)", "12 * c.gpu")),
     placement.Store("host", "6", ("6 * w.host + 6 * c.host",))),
)  # fmt: skip
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def shares(draw: st.DrawFn) -> tuple[placement.Placement, dict[str, Any], placement.Peaks]:
    fixed = {"c.gpu": draw(st.sampled_from(QUARTERS))} if draw(st.booleans()) else {}
    made, model = placement.Placement(METHOD, {}, {}, fixed), Model("shares")
    unknown = {n: model.number(n, 0, 1) for n in METHOD.fractions if n not in fixed}
    return made, unknown, placement.Peaks(model, unknown)


def filled(made: placement.Placement, at: At) -> dict[str, float]:
    """The fractions of an assignment."""
    return {n: made.fixed[n] if n in made.fixed else at.values[n] for n in METHOD.fractions}


def whole(draw: st.DrawFn) -> Case:
    made, unknown, _ = shares(draw)

    def meaning(at: At) -> bool:
        f = filled(made, at)
        return f["w.gpu"] + f["w.host"] == 1 == f["c.gpu"] + f["c.host"]

    return Case(made.whole(unknown), named(unknown.values(), QUARTERS), meaning)


def memories(draw: st.DrawFn) -> Case:
    made, unknown, peaks = shares(draw)
    rows = list(made.within(made.names(made.sought), peaks))

    def meaning(at: At) -> bool:
        f, peak = filled(made, at), at.values["peak0"]
        return 8 * f["w.gpu"] + 4 * peak <= 10 >= 12 * f["c.gpu"] and 6 * f["w.host"] + 6 * f["c.host"] <= 6

    return Case(rows, named(unknown.values(), QUARTERS) | {"peak0": QUARTERS}, meaning)


def above(draw: st.DrawFn) -> Case:
    made, unknown, peaks = shares(draw)
    peak = peaks.model.number("peak", None)
    arms = (Convex.unknown("w.gpu") + 0.25, Convex.unknown("w.host") * 2.0)

    def meaning(at: At) -> bool:
        f = filled(made, at)
        return at(peak) >= max(f["w.gpu"] + 0.25, 2 * f["w.host"])

    return Case(peaks.above(peak, arms), named(unknown.values(), QUARTERS) | {"peak": (*QUARTERS, 1.25, 2.0)}, meaning)


def topped(draw: st.DrawFn) -> Case:
    made, unknown, peaks = shares(draw)
    store = METHOD.stores[1]
    top = peaks.model.number("top")

    def meaning(at: At) -> bool:
        return at(top) * 2 >= 6 * at(unknown["w.host"]) + 6 * at(unknown["c.host"])

    rows = made.topped(store, made.names(made.sought), peaks, top, 2.0)
    return Case(rows, named(unknown.values(), QUARTERS) | {"top": (0.0, 1.5, 3.0, 4.5)}, meaning)


THREE = tuple(purchase.Template(f"t{n}", 1.0, (("gpu", n),)) for n in (1, 2, 0))


def bought(draw: st.DrawFn) -> tuple[np.ndarray, list[Any], dict[tuple[int, int], Any]]:
    model = Model("purchase")
    count = [model.integer(f"n{t}") for t in range(3)]
    share = {(b, t): model.integer(f"x{b}_{t}", 0, 2) for b in range(2) for t in range(3) if draw(st.booleans())}
    load = np.array([[draw(st.sampled_from([0.5, 1.0, 1.5])) for _ in range(3)] for _ in range(2)])
    return load, count, share


def served(draw: st.DrawFn) -> Case:
    _, _, share = bought(draw)

    def meaning(at: At) -> bool:
        return all(sum(at(x) for (c, _), x in share.items() if c == b) == 2 for b in range(2))

    return Case(purchase.served(2, share, 2), named(share.values(), (0.0, 1.0, 2.0)), meaning)


def borne(draw: st.DrawFn) -> Case:
    load, count, share = bought(draw)

    def meaning(at: At) -> bool:
        taken = np.zeros(3)
        for (b, t), x in share.items():
            taken[t] += load[b, t] * at(x) / 2
        return all(taken[t] <= at(n) for t, n in enumerate(count))

    choices = named(share.values(), (0.0, 1.0, 2.0)) | named(count, (0.0, 1.0, 2.0))
    return Case(purchase.borne(3, share, load, count, 2), choices, meaning)


def stocked(draw: st.DrawFn) -> Case:
    _, count, _ = bought(draw)
    most = draw(st.integers(0, 6))

    def meaning(at: At) -> bool:
        return at(count[0]) + 2 * at(count[1]) <= most

    return Case(purchase.stocked(THREE, count, {"gpu": most, "tpu": 0}), named(count, (0.0, 1.0, 2.0, 3.0)), meaning)


FAMILIES = {
    "orders.ends": ends,
    "orders.apart": apart,
    "orders.stacked": stacked,
    "orders.transitive": transitive,
    "placement.whole": whole,
    "placement.within": memories,
    "placement.above": above,
    "placement.topped": topped,
    "purchase.served": served,
    "purchase.borne": borne,
    "purchase.stocked": stocked,
}
