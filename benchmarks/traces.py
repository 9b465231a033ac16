"""Problems of offsets like those that compilers pose, made from a seed: tight packings and training steps."""

from __future__ import annotations

import random

from sim.planner.problem import Buffer, Problem, Tier

Rectangle = tuple[int, int, int, int]  # from, to (moments), bottom, top (units)


def tight(
    count: int, *, seed: int, moments: int = 400, height: int = 1024, unit: int = 1024, loss: float = 0.03
) -> Problem:
    """A rectangle of time by address cut into ``count`` buffers, a few of which are then left out (``loss``).

    A placement within ``height`` is known to exist, and next to nothing is wasted in it, as in MiniMalloc's instances.
    Cuts prefer long thin pieces: most buffers are small and long, or large and short.
    """
    draw = random.Random(seed)  # noqa: S311
    pieces: list[Rectangle] = [(0, moments, 0, height)]
    while len(pieces) < count:
        place = max(range(len(pieces)), key=lambda i: _area(pieces[i]) * draw.random())
        pieces[place : place + 1] = _cut(pieces[place], draw)
    kept = [piece for piece in pieces if draw.random() >= loss]
    draw.shuffle(kept)
    buffers = tuple(
        Buffer(str(i), (high - low) * unit, ((start, stop),)) for i, (start, stop, low, high) in enumerate(kept)
    )
    return Problem(f"tight_{count}_{seed}", buffers, (Tier("memory", height * unit),))


def _area(piece: Rectangle) -> int:
    start, stop, low, high = piece
    return (stop - start) * (high - low) - (stop - start == 1 and high - low == 1)


def _cut(piece: Rectangle, draw: random.Random) -> list[Rectangle]:
    """Two pieces, cut across time or across addresses, or a pinwheel of five, which no straight cut undoes."""
    start, stop, low, high = piece
    wide, tall = stop - start, high - low
    if wide >= 6 and tall >= 6 and draw.random() < 0.3:
        a, b = sorted(draw.sample(range(start + 1, stop), 2))
        c, d = sorted(draw.sample(range(low + 1, high), 2))
        return [(start, b, low, c), (b, stop, low, d), (a, stop, d, high), (start, a, c, high), (a, b, c, d)]
    if wide > 1 and (tall < 2 or draw.random() < 0.5):
        cut = draw.randrange(start + 1, stop)
        return [(start, cut, low, high), (cut, stop, low, high)]
    if tall < 2:
        return [piece]
    cut = draw.randrange(low + 1, high)
    return [(start, stop, low, cut), (start, stop, cut, high)]


def training(layers: int, *, seed: int, kernels: int = 24) -> Problem:
    """Buffers of a training step: weights and their moments throughout, activations kept from forward to backward in
    sizes that repeat from layer to layer, gradients until the optimiser, and the temporaries of every kernel."""
    draw = random.Random(seed)  # noqa: S311
    buffers: list[Buffer] = []
    unit, time = 512, 0
    saved = [draw.randint(1, 4000) * unit for _ in range(kernels)]
    scratch = [draw.randint(1, 6000) * unit for _ in range(kernels)]
    weights = [draw.randint(1, 20000) * unit for _ in range(6)]
    end = 4 * layers * kernels + 4 * layers + 8

    def add(name: str, size: int, start: int, stop: int) -> None:
        buffers.append(Buffer(f"{name}_{len(buffers)}", size, ((start, stop),)))

    for layer in range(layers):
        for weight in weights:
            add("weight", weight, 0, end)
        for kernel in range(kernels):
            back = end - layers - 4 - 2 * (layer * kernels + kernel) - layer
            if kernel % 3:
                add("saved", saved[kernel], time, back + draw.randint(0, 3))
            for _ in range(2):
                add("scratch", scratch[draw.randrange(kernels)], time, time + draw.randint(1, 4))
            add("gradient", saved[kernel], back, back + draw.randint(1, 5))
            time += 1
        for weight in weights:
            add("weight_gradient", weight, end - layers - 4 - 2 * layer * kernels - layer, end - layers + layer)
    return Problem(f"training_{len(buffers)}_{seed}", tuple(buffers), (Tier("memory"),))
