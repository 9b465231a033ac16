"""Tokens to their experts and back: queues of limited length, one matrix product for many experts, either order.

Expert by expert each expert's matrices are read once (M3ViT); token by token they are read once a visit.
"""

from __future__ import annotations

import numpy as np

from workloads.kernels.core.checks import Array, arrays, bounds, indices, whole
from workloads.kernels.core.jit import jit, run
from workloads.kernels.core.tiles import multiply

__all__ = ["by_expert", "by_token", "combine", "dispatch", "grouped"]

PANEL = 64  # columns of a matrix packed at a time, whole vectors in either precision
ROWS = 64  # rows multiplied with a panel at a time


def dispatch(
    x: Array, experts: Array, *, count: int, capacity: int, threads: int = 1
) -> tuple[Array, Array]:  # (b, p, d), int (b, p, k) -> (b, x, q, d), int (b, p, k)
    """Each expert's slots, filled by the tokens that chose it in their order, and the slot of each choice.

    A token that finds all slots of an expert taken is dropped there: its slot is -1.
    """
    size = arrays("dispatch", x=(x, "b p d"))
    whole("dispatch", least=0, count=count, capacity=capacity)
    whole("dispatch", least=1, threads=threads)
    indices("dispatch", below=count, experts=(experts, (size["b"], size["p"], ...)))
    taken = np.zeros((size["b"], count, capacity, size["d"]), x.dtype)
    slots = np.full(experts.shape, -1, np.int64)
    run(_dispatch, size["b"], threads, *_writable(x, experts), taken, slots)
    return taken, slots


def combine(
    y: Array, experts: Array, slots: Array, weights: Array, *, threads: int = 1
) -> Array:  # (b, x, q, d), int (b, p, k), int (b, p, k), (b, p, k) -> (b, p, d)
    """What each token's experts made of it, weighted and summed; nothing from where it was dropped."""
    size = arrays("combine", y=(y, "b x q d"), weights=(weights, "b p k"))
    whole("combine", least=1, threads=threads)
    indices("combine", below=size["x"], experts=(experts, weights.shape))
    indices("combine", slots=(slots, weights.shape))
    if slots.size and not -1 <= slots.min() <= slots.max() < size["q"]:
        reach = f"{slots.min()} to {slots.max()}"
        raise ValueError(f"combine: slots reaches from {reach}, expected -1 (dropped) to {size['q'] - 1}")
    z = np.zeros((size["b"], size["p"], size["d"]), y.dtype)
    run(_combine, size["b"], threads, *_writable(y, experts, slots, weights), z)
    return z


def grouped(
    x: Array, w: Array, starts: Array, *, threads: int = 1
) -> Array:  # (n, d), (x, d, f), int (x + 1) -> (n, f)
    """Rows ``starts[g]`` up to ``starts[g + 1]`` of ``x`` times matrix ``g``, every matrix read once."""
    size = arrays("grouped", x=(x, "n d"), w=(w, "x d f"))
    whole("grouped", least=1, threads=threads)
    bounds("grouped", size["n"], "x", size["x"], starts=starts)
    x, w, starts = _writable(x, w, starts)
    return _grouped(x, w, starts, threads)


def by_expert(
    x: Array, experts: Array, weights: Array, gate: Array, up: Array, down: Array, *, threads: int = 1
) -> Array:  # (b, p, d), int (b, p, k), (b, p, k), (x, d, f), (x, d, f), (x, f, d) -> (b, p, d)
    """``down(silu(gate(x)) * up(x))`` of each token's experts, weighted: the tokens of one expert, then of the next."""
    size = _layer("by_expert", x, experts, weights, gate, up, down, threads)
    tokens, chosen = size["b"] * size["p"], experts.reshape(-1)
    order = np.argsort(chosen, kind="stable")
    starts = np.searchsorted(chosen[order], np.arange(size["x"] + 1))
    queued = x.reshape(tokens, size["d"])[order // max(size["k"], 1)]
    gate, up, down = _writable(gate, up, down)
    hidden = _grouped(queued, gate, starts, threads)
    run(_activate, len(hidden), threads, hidden, _grouped(queued, up, starts, threads))
    made = np.empty_like(queued)
    made[order] = _grouped(hidden, down, starts, threads)
    places = np.arange(len(made)).reshape(1, tokens, size["k"])
    z = np.zeros((1, tokens, size["d"]), x.dtype)
    flat = made[None, None], np.zeros_like(places), places, np.require(weights.reshape(places.shape), requirements="W")
    run(_combine, 1, 1, *flat, z)
    return z.reshape(x.shape)


def by_token(
    x: Array, experts: Array, weights: Array, gate: Array, up: Array, down: Array, *, threads: int = 1
) -> Array:  # (b, p, d), int (b, p, k), (b, p, k), (x, d, f), (x, d, f), (x, f, d) -> (b, p, d)
    """The same, one token after another."""
    size = _layer("by_token", x, experts, weights, gate, up, down, threads)
    tokens = size["b"] * size["p"]
    z = np.zeros((tokens, size["d"]), x.dtype)
    flat = (a.reshape(tokens, a.shape[2]) for a in (x, experts, weights))
    run(_visit, tokens, threads, *_writable(*flat, gate, up, down), z)
    return z.reshape(x.shape)


def _layer(
    kernel: str, x: Array, experts: Array, weights: Array, gate: Array, up: Array, down: Array, threads: int
) -> dict[str, int]:
    """The sizes of a layer, its arguments checked."""
    matrices = {"gate": (gate, "x d f"), "up": (up, "x d f"), "down": (down, "x f d")}
    size = arrays(kernel, x=(x, "b p d"), weights=(weights, "b p k"), **matrices)
    whole(kernel, least=1, threads=threads)
    indices(kernel, below=size["x"], experts=(experts, weights.shape))
    return size


def _writable(*given: Array) -> list[Array]:
    """One type, compiled once."""
    return [np.require(a, requirements="W") for a in given]


def _grouped(x: Array, w: Array, starts: Array, threads: int) -> Array:
    out = np.zeros((len(x), w.shape[2]), x.dtype)
    panels = -(-w.shape[2] // PANEL)
    run(_panels, len(w) * panels, threads, x, w, starts, panels, out)
    return out


@jit
def _dispatch(
    first: int, stop: int, x: Array, experts: Array, taken: Array, slots: Array
) -> None:  # (b, p, d), (b, p, k) -> (b, x, q, d), (b, p, k)
    for b in range(first, stop):
        filled = np.zeros(taken.shape[1], np.int64)
        for p in range(experts.shape[1]):
            for k in range(experts.shape[2]):
                expert = experts[b, p, k]
                slot = filled[expert]
                if slot < taken.shape[2]:
                    filled[expert] += 1
                    slots[b, p, k] = slot
                    for d in range(x.shape[2]):
                        taken[b, expert, slot, d] = x[b, p, d]


@jit
def _combine(
    first: int, stop: int, y: Array, experts: Array, slots: Array, weights: Array, z: Array
) -> None:  # (b, x, q, d), (b, p, k) three times -> (b, p, d)
    for b in range(first, stop):
        for p in range(experts.shape[1]):
            for k in range(experts.shape[2]):
                if slots[b, p, k] >= 0:
                    source, weight = y[b, experts[b, p, k], slots[b, p, k]], weights[b, p, k]
                    for d in range(len(source)):
                        z[b, p, d] += weight * source[d]


@jit
def _panels(
    first: int, stop: int, x: Array, w: Array, starts: Array, panels: int, out: Array
) -> None:  # (n, d), (x, d, f), (x + 1) -> (n, f)
    """Panels of columns of the groups' matrices, counted group by group."""
    panel, sums = np.zeros((w.shape[1], PANEL), w.dtype), np.zeros((ROWS, PANEL), w.dtype)
    for item in range(first, stop):
        group, column = item // panels, item % panels * PANEL
        width = min(PANEL, w.shape[2] - column)
        if starts[group] < starts[group + 1]:
            for d in range(w.shape[1]):
                for f in range(width):
                    panel[d, f] = w[group, d, column + f]
        for row in range(starts[group], starts[group + 1], ROWS):
            count = min(ROWS, starts[group + 1] - row)
            sums[:] = 0
            multiply(x[row : row + count], panel, sums[:count])
            for n in range(count):
                for f in range(width):
                    out[row + n, column + f] = sums[n, f]


@jit
def _activate(first: int, stop: int, hidden: Array, up: Array) -> None:  # (n, f), (n, f) -> (n, f)
    """``silu(hidden) * up`` in place."""
    one = hidden.dtype.type(1)
    for n in range(first, stop):
        for f in range(hidden.shape[1]):
            hidden[n, f] = hidden[n, f] / (one + np.exp(-hidden[n, f])) * up[n, f]


@jit
def _visit(
    first: int, stop: int, x: Array, experts: Array, weights: Array, gate: Array, up: Array, down: Array, z: Array
) -> None:  # (n, d), (n, k), (n, k), (x, d, f), (x, d, f), (x, f, d) -> (n, d)
    hidden, other = np.empty((1, gate.shape[2]), x.dtype), np.empty((1, gate.shape[2]), x.dtype)
    total = np.empty(z.shape[1], np.float64)
    for n in range(first, stop):
        total[:] = 0
        for k in range(experts.shape[1]):
            expert = experts[n, k]
            hidden[:], other[:] = 0, 0
            for d in range(x.shape[1]):
                for f in range(hidden.shape[1]):
                    hidden[0, f] += x[n, d] * gate[expert, d, f]
                    other[0, f] += x[n, d] * up[expert, d, f]
            _activate(0, 1, hidden, other)
            for f in range(hidden.shape[1]):
                weight = weights[n, k] * hidden[0, f]
                for d in range(x.shape[1]):
                    total[d] += weight * down[expert, f, d]
        z[n] = total
