"""Families of recomputation and paging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from sim.planner import checkmate, cuts, paging, transfers
from sim.planner.graph import Graph, graph, within
from sim.planner.milp import Model
from sim.planner.problem import Buffer, Problem, Task, Tier
from tests.families.harness import BIT, At, Case, named


def drawn(draw: st.DrawFn, tiers: tuple[Tier, ...] = (Tier("hbm"),)) -> Graph:
    """Three tasks and perhaps a given buffer; each task reads some of what is there."""
    there, tasks = ["in"] if draw(st.booleans()) else [], []
    begun = tuple(there)
    for i in range(3):
        reads = tuple(n for n in there if draw(st.booleans()))
        tasks.append(Task(f"t{i}", float(draw(st.integers(1, 3))), reads, (f"x{i}",)))
        there.append(f"x{i}")
    kept = tuple(n for n in there if draw(st.booleans()))
    buffers = tuple(Buffer(n, draw(st.integers(1, 4))) for n in there)
    made = graph(Problem("drawn", buffers, tiers, tuple(tasks), begun, kept))
    return within(made, 16.0)


def staged(draw: st.DrawFn) -> checkmate.Stages:
    return checkmate.Stages(drawn(draw), Model("stages"))


def bits(s: checkmate.Stages) -> dict[str, tuple[float, ...]]:
    held = (h for chain in s.hold.values() for h in chain)
    return named([*s.run.values(), *s.keep.values(), *held], BIT)


def written(draw: st.DrawFn) -> Case:
    s = staged(draw)
    own = [(t, b, h[0], s.graph.writer[b]) for (t, b), h in s.hold.items() if s.graph.writer[b] >= 0]

    def meaning(at: At) -> bool:
        return all(
            not at(h) or at(s.keep.get((t, b), 0.0)) or t == w or at(s.run.get((t, w), 0.0)) for t, b, h, w in own
        )

    return Case(checkmate.written(s), bits(s), meaning)


def continued(draw: st.DrawFn) -> Case:
    s = staged(draw)

    def meaning(at: At) -> bool:
        chains = (([s.keep[t, b]] if s.graph.writer[b] < 0 else []) + h for (t, b), h in s.hold.items())
        return all(list(map(at, chain)) == sorted(map(at, chain), reverse=True) for chain in chains)

    return Case(checkmate.continued(s), bits(s), meaning)


def needed(draw: st.DrawFn) -> Case:
    s = staged(draw)
    reads, writes = s.graph.reads, s.graph.writes

    def meaning(at: At) -> bool:
        for t in range(3):
            for k in [k for k in range(t + 1) if k == t or at(s.run.get((t, k), 0.0))]:
                turns = {b: s.events(t, b).index(k) for b in (*reads[k], *writes[k])}
                if not all(at(s.hold[t, b][j]) for b, j in turns.items()):
                    return False
        return True

    return Case(checkmate.needed(s), bits(s), meaning)


def accounted(draw: st.DrawFn) -> Case:
    s = staged(draw)
    resident = {v.name: float(draw(st.booleans())) for chain in s.hold.values() for v in chain if hasattr(v, "name")}
    resident |= {v.name: float(draw(st.booleans())) for v in s.keep.values() if hasattr(v, "name")}
    known = At(resident)
    used = {}
    for t, k in s.used:
        bytes_ = 0.0
        for b, size in enumerate(s.graph.sizes):
            early = (t, b) not in s.hold or k < s.graph.writer[b]
            where = s.before(t, b) if early else s.hold[t, b][sum(e < k for e in s.events(t, b))]
            bytes_ += size * known(where)
        used[t, k] = bytes_ / s.graph.budget

    def meaning(at: At) -> bool:
        return all(abs(at(v) - used[tk]) < 1e-9 for tk, v in s.used.items())

    choices = {v.name: (used[tk],) * 8 + (used[tk] + 0.25,) for tk, v in s.used.items()}
    return Case(checkmate.accounted(s), choices | {n: (v,) for n, v in resident.items()}, meaning)


# Paging


def cut(draw: st.DrawFn) -> cuts.Cuts:
    at = draw(st.sampled_from([(0,), (1,), (0, 1)]))
    return cuts.Cuts(within(drawn(draw), float(draw(st.integers(3, 9)))), at, Model("cuts"))


def choices(c: cuts.Cuts) -> dict[str, tuple[float, ...]]:
    return named([*c.keep.values(), *(v for again in c.again.values() for v in again.values())], BIT)


def found(c: cuts.Cuts, at: At, s: int, e: int, b: int) -> bool:
    """Whether a reader in a window finds a buffer that was there before it."""
    return bool(at(c.keep.get((s, b), 0.0)) or at(c.again[s, e].get(c.graph.writer[b], 0.0)))


def gathered(draw: st.DrawFn) -> Case:
    c = cut(draw)

    def meaning(at: At) -> bool:
        windows = [(c.again[s, s].get(i), c.again.get((s + 1, s + 1), {}).get(i), v)
                   for (s, e), again in c.again.items() if e > s for i, v in again.items()]  # fmt: skip
        return all(at(v) == max(at(one), at(other)) for one, other, v in windows if other is not None)

    return Case(cuts.gathered(c), choices(c), meaning)


def supplied(draw: st.DrawFn) -> Case:
    c = cut(draw)

    def meaning(at: At) -> bool:
        for (s, e), again in c.again.items():
            stop = c.at[e + 1] if e + 1 < len(c.at) else 2
            running = {*range(c.at[s] + 1, stop + 1), *(i for i, v in again.items() if at(v))}
            old = {b for i in running for b in c.graph.reads[i] if c.graph.writer[b] <= c.at[s]}
            if not all(found(c, at, s, e, b) for b in old):
                return False
        return True

    return Case(cuts.supplied(c), choices(c), meaning)


def carried(draw: st.DrawFn) -> Case:
    c = cut(draw)

    def meaning(at: At) -> bool:
        later = [b for (s, b), v in c.keep.items() if s and at(v) and c.graph.writer[b] <= c.at[0]]
        return all(found(c, at, 0, 0, b) for b in later)

    return Case(cuts.carried(c), choices(c), meaning)


def finished(draw: st.DrawFn) -> Case:
    c = cut(draw)
    last = len(c.at) - 1

    def meaning(at: At) -> bool:
        old = [(s, b) for s, first in enumerate(c.at) for b in c.graph.kept if c.graph.writer[b] <= first]
        return all(found(c, at, s, last, b) for s, b in old)

    return Case(cuts.finished(c), choices(c), meaning)


def fitting(draw: st.DrawFn) -> Case:
    c = cut(draw)

    def meaning(at: At) -> bool:
        held = [sum(c.graph.sizes[b] * at(v) for (u, b), v in c.keep.items() if u == s) for s in range(len(c.at))]
        return max(held) <= c.graph.budget

    return Case(cuts.fitting(c), choices(c), meaning)


def copied(draw: st.DrawFn) -> transfers.Transfers:
    at = draw(st.sampled_from([(1,), (0, 1)]))
    made = within(drawn(draw, (Tier("hbm"), Tier("host", 9e9, 2.0, 1.0))), float(draw(st.integers(3, 9))))
    return transfers.Transfers(made, at, Model("copies"))


def copies(c: transfers.Transfers) -> dict[str, tuple[float, ...]]:
    return choices(c) | named([*c.fetch.values(), *c.away.values()], BIT)


def left(draw: st.DrawFn) -> Case:
    c = copied(draw)

    def meaning(at: At) -> bool:
        for s, e in c.again:
            for (u, b), fetch in c.fetch.items():
                writer = c.graph.writer[b]
                back = u == e and (s, b) in c.keep and at(fetch) and not at(c.away[s, b])
                if back and not at(c.keep[s, b]) and not at(c.again[s, e].get(writer, 0.0)):
                    return False
        return True

    return Case(transfers.left(c), copies(c), meaning)


def lasting_copies(draw: st.DrawFn) -> Case:
    c = copied(draw)
    seconds, sizes = c.graph.seconds, c.graph.sizes

    def meaning(at: At) -> bool:
        spans = []
        for s, first in enumerate(c.at):
            again = [[seconds[i] for i, v in c.again[u, u].items() if at(v)] for u in range(len(c.at))]
            before = sum(seconds[:first]) + sum(map(sum, again[:s]))
            after = sum(seconds[first:]) + sum(map(sum, again[s:]))
            out = sum(sizes[b] for (u, b), v in c.away.items() if u == s and at(v)) / 2.0
            back = sum(sizes[b] for (u, b), v in c.fetch.items() if u >= s and at(v)) / 1.0
            spans.append(max(before + after, out + back, before + back, out + after))
        return at(c.span) * c.graph.once >= max(spans) - 1e-9

    times = tuple(n / c.graph.once for n in range(3, 24, 4))
    return Case(transfers.lasting(c), copies(c) | named([c.span], times), meaning)


def paged(draw: st.DrawFn) -> paging.Paged:
    return paging.Paged(drawn(draw, (Tier("hbm"), Tier("host", 4.0, 2.0, 1.0))), Model("paged"))


def parts(s: paging.Paged) -> dict[str, tuple[float, ...]]:
    mostly = (0.0, 0.0, 0.0, 0.5, 1.0)
    moved = named([*s.out.values(), *s.fetch.values(), *s.arrive.values()], mostly)
    return moved | named(s.room.values(), (0.0, 0.0, 0.5, 1.0))


def series(what: Mapping[tuple[int, int], Any], b: int, at: At) -> np.ndarray:
    """A buffer's variables by stage, zero where there is none."""
    return np.array([at(what[t, b]) if (t, b) in what else 0.0 for t in range(3)])


def joined(draw: st.DrawFn) -> Case:
    s = paged(draw)

    def meaning(at: At) -> bool:
        return all(
            not at(s.keep[t + 1, b]) or at(s.hold[t, b][-1]) or at(s.arrive.get((t, b), 0.0)) for t, b in s.out
        )  # fmt: skip

    return Case(paging.joined(s), bits(s) | named(s.arrive.values(), BIT), meaning)


def sent(draw: st.DrawFn) -> Case:
    s = paged(draw)

    def meaning(at: At) -> bool:
        there = all(not at(v) or (at(s.before(t, b)) and at(s.keep[t + 1, b])) for (t, b), v in s.out.items())
        return there and all(series(s.out, b, at).sum() <= 1 for _, b in s.out)

    return Case(paging.sent(s), parts(s) | named(s.keep.values(), (0.0, 1.0, 1.0)), meaning)


def brought(draw: st.DrawFn) -> Case:
    s = paged(draw)

    def meaning(at: At) -> bool:
        for b in {b for _, b in s.out}:
            out, fetch, arrive, room = (series(x, b, at) for x in (s.out, s.fetch, s.arrive, s.room))
            gone = np.concatenate([[0.0], out.cumsum()[:-1]])  # before each stage
            keeps = all(room[t + 1] >= room[t] - arrive[t] for t in range(2) if (t + 1, b) in s.room)
            if not keeps or (fetch > room).any() or (room > gone).any() or (arrive > room).any():
                return False
            if (arrive.cumsum() > np.minimum(fetch.cumsum(), 1)).any():
                return False
        return True

    return Case(paging.brought(s), parts(s), meaning)


def housed(draw: st.DrawFn) -> Case:
    s = paged(draw)

    def meaning(at: At) -> bool:
        held = np.zeros(3)
        for b, size in enumerate(s.graph.sizes):
            back = np.concatenate([[0.0], series(s.arrive, b, at).cumsum()[:-1]])
            held += size * (series(s.out, b, at).cumsum() - back)
        return bool((held <= 4 + 1e-9).all())

    return Case(paging.housed(s), parts(s), meaning)


def lasting(draw: st.DrawFn) -> Case:
    s = paged(draw)

    def meaning(at: At) -> bool:
        for t, span in enumerate(s.span):
            ran = s.graph.seconds[t] + sum(s.graph.seconds[i] * at(v) for (u, i), v in s.run.items() if u == t)
            out, back = (
                sum(s.graph.sizes[b] * at(v) for (u, b), v in x.items() if u == t) for x in (s.out, s.fetch)
            )  # fmt: skip
            if at(span) * s.graph.once < max(ran, out / 2.0, back / 1.0) - 1e-9:
                return False
        return True

    times = tuple(n / s.graph.once for n in (2, 4, 6, 8))
    return Case(paging.lasting(s), parts(s) | bits(s) | named(s.span, times), meaning)


FAMILIES = {
    "cuts.gathered": gathered,
    "cuts.supplied": supplied,
    "cuts.carried": carried,
    "cuts.finished": finished,
    "cuts.fitting": fitting,
    "checkmate.written": written,
    "checkmate.continued": continued,
    "checkmate.needed": needed,
    "checkmate.accounted": accounted,
    "transfers.left": left,
    "transfers.lasting": lasting_copies,
    "paging.joined": joined,
    "paging.sent": sent,
    "paging.brought": brought,
    "paging.housed": housed,
    "paging.lasting": lasting,
}
