"""Problems of offsets like those that compilers pose, made from a seed: tight packings, such as are joined or were
disturbed, of all of which a placement within the capacity is known; training steps; and small ones with alignments and
gaps."""

from __future__ import annotations

import random
from math import gcd

from sim.planner.problem import Buffer, Plan, Problem, Tier

Rectangle = tuple[int, int, int, int]  # from, to (moments), bottom, top (units)


def tight(
    count: int, *, seed: int, moments: int = 400, height: int = 1024, unit: int = 1024, loss: float = 0.03
) -> Problem:
    """A rectangle of time by address cut into ``count`` buffers, a few of which are then left out (``loss``).

    A placement within ``height`` is known to exist, and next to nothing is wasted in it, as in MiniMalloc's instances.
    Cuts prefer long thin pieces: most buffers are small and long, or large and short.
    """
    draw = random.Random(seed)  # noqa: S311
    kept = [piece for piece in _pieces(count, moments, height, draw) if draw.random() >= loss]
    return _problem(f"tight_{count}_{seed}", kept, height, unit, draw)


def joined(count: int, *, seed: int, moments: int = 100, height: int = 1024, unit: int = 1024) -> Problem:
    """Two tight packings, the second after the first in time; what meets at much the same addresses is one buffer."""
    draw = random.Random(seed)  # noqa: S311
    before = _pieces(count // 2, moments, height, draw)
    after = [(a + moments, b + moments, c, d) for a, b, c, d in _pieces(count // 2, moments, height, draw)]
    for one in [p for p in before if p[1] == moments]:
        for other in [p for p in after if p[0] == moments]:
            low, high = max(one[2], other[2]), min(one[3], other[3])
            if 2 * (high - low) > max(one[3] - one[2], other[3] - other[2]):
                before.remove(one)
                after.remove(other)
                before.append((one[0], other[1], low, high))
                before += [(*one[:2], c, d) for c, d in ((one[2], low), (high, one[3])) if d > c]
                after += [(*other[:2], c, d) for c, d in ((other[2], low), (high, other[3])) if d > c]
                break
    return _problem(f"joined_{count}_{seed}", before + after, height, unit, draw)


def disturbed(problem: Problem, plan: Plan, *, seed: int, share: float = 0.2) -> Problem:
    """The buffers of a placement in another order, maybe backward in time; for a ``share`` of them a piece is cut
    in two or the border between two is moved: the places of all are still known."""
    draw, size = random.Random(seed), {b.name: b.size for b in problem.buffers}  # noqa: S311
    pieces = [(int(s.start), int(s.stop), int(s.offset or 0), int(s.offset or 0) + size[s.buffer]) for s in plan.stays]
    unit = gcd(*size.values())
    pieces = [(a, b, c // unit, d // unit) for a, b, c, d in pieces]
    if draw.random() < 0.5:
        pieces = [(-b, -a, c, d) for a, b, c, d in pieces]
    for _ in range(int(share * len(pieces))):
        one = pieces[draw.randrange(len(pieces))]
        upon = [p for p in pieces if p[:2] == one[:2] and p[2] == one[3]]
        pieces.remove(one)
        if draw.random() < 0.5 and upon:
            pieces.remove(upon[0])
            border = draw.randrange(one[2] + 1, upon[0][3])
            pieces += [(*one[:2], one[2], border), (*one[:2], border, upon[0][3])]
        else:
            pieces += _halves(one, draw)
    return _problem(f"{problem.name}_{seed}", pieces, int(problem.tiers[0].capacity // unit), unit, draw)


def _problem(name: str, pieces: list[Rectangle], height: int, unit: int, draw: random.Random) -> Problem:
    """Pieces as buffers in any order."""
    draw.shuffle(pieces)
    buffers = tuple(Buffer(str(i), (d - c) * unit, ((a, b),)) for i, (a, b, c, d) in enumerate(pieces))
    return Problem(name, buffers, (Tier("memory", height * unit),))


def _pieces(count: int, moments: int, height: int, draw: random.Random) -> list[Rectangle]:
    """A rectangle cut into ``count`` pieces or a few more."""
    pieces: list[Rectangle] = [(0, moments, 0, height)]
    while len(pieces) < count:
        place = max(range(len(pieces)), key=lambda i: _area(pieces[i]) * draw.random())
        pieces[place : place + 1] = _cut(pieces[place], draw)
    return pieces


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
    return _halves(piece, draw)


def _halves(piece: Rectangle, draw: random.Random) -> list[Rectangle]:
    """Two pieces, cut across time or across addresses; one that is too small stays whole."""
    start, stop, low, high = piece
    wide, tall = stop - start, high - low
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


def mixed(*, seed: int, aligns: tuple[int, ...] = (1, 1, 4, 8)) -> Problem:
    """20 to 60 buffers over 12 to 48 moments, aligned, some with two live intervals, sizes of one of four kinds."""
    draw = random.Random(seed)  # noqa: S311
    count, moments = draw.randint(20, 60), draw.choice((12, 24, 48))
    few, longest = [draw.randint(1, 300) for _ in range(4)], draw.choice((moments // 4, moments // 2, moments - 1))
    kind = draw.choice(("uniform", "powers", "lognormal", "few"))
    sizes = {
        "uniform": lambda: draw.randint(1, 100), "powers": lambda: 1 << draw.randint(0, 9),
        "lognormal": lambda: max(1, int(draw.lognormvariate(4, 1.2))), "few": lambda: draw.choice(few),
    }  # fmt: skip
    buffers = []
    for i in range(count):
        a, b, c, d = sorted(draw.sample(range(moments + 1), 4))
        start, width = draw.randint(0, moments - longest), draw.randint(1, longest)
        live = ((a, b), (c, d)) if draw.random() < 0.15 else ((start, start + width),)
        buffers.append(Buffer(str(i), sizes[kind](), live, draw.choice(aligns)))
    return Problem(f"mixed_{kind}_{count}_{seed}", tuple(buffers), (Tier("memory"),))
