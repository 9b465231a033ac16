"""A window of blocks slides over a model too large for memory: while some are computed, the next are loaded.

TPI-LLM (arXiv 2410.00531), section 3.3: attention and feed-forward blocks alternate, an all-reduce follows each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from einsum.errors import WeirError, hint
from sim.planner.shape import Shape

TOPOLOGIES = ("star", "tree", "ring")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds to compute and to load an attention and a feed-forward block, and of the all-reduce after each."""

    attention: float
    network: float
    all_reduce: float
    load_attention: float
    load_network: float
    kept: int = 0  # every so many feed-forward blocks one stays in memory; none at zero

    def __post_init__(self) -> None:
        """Refuse negative times."""
        times = (self.attention, self.network, self.all_reduce, self.load_attention, self.load_network)
        if min(times) < 0 or self.kept < 0:
            raise WeirError(f"negative times or periods: {self}")

    def work(self, block: int) -> float:
        """Seconds that block number ``block`` is computed, its all-reduce with it; even ones are attention."""
        return (self.network if block % 2 else self.attention) + self.all_reduce

    def load(self, block: int) -> float:
        """Seconds to load it; of ``kept`` feed-forward blocks the first is there already."""
        if block % 2 == 0:
            return self.load_attention
        return 0.0 if self.kept and (block // 2) % self.kept == 0 else self.load_network


def blocks(model: Shape, ways: int) -> tuple[float, ...]:
    """Bytes of every block on one of ``ways`` devices: embedding, attention and network by turns, head.

    Matrices are divided, norms are not; the embedding and the head lie whole on the first device.
    """
    if ways < 1:
        raise WeirError(f"{ways} devices; at least one is needed")
    norms = (model.weight - model.projections - model.network) / 2
    layer = (model.projections / ways + norms, model.network / ways + norms)
    return (model.tables / 2, *(layer * model.layers), model.tables / 2)


def peak(sizes: tuple[float, ...], window: int) -> float:
    """The most bytes of ``window`` consecutive blocks, the first following the last as the next token begins."""
    if not 1 <= window <= len(sizes):
        raise WeirError(f"a window of {window} blocks; the model has {len(sizes)}")
    around = sizes + sizes[: window - 1]
    held = most = sum(around[:window])
    for new, old in zip(around[window:], around, strict=False):
        held += new - old
        most = max(most, held)
    return most


def stalls(pace: Pace, count: int, *, window: int | None = None, first: int = 0) -> float:
    """Seconds that computing waits for loading over ``count`` blocks, block by block; the first is there already.

    One block is loaded at a time, and no more than ``window`` are in memory at once (None: as many as one likes).
    """
    loaded, waited, done = 0.0, 0.0, [0.0] * count
    for n in range(count):
        if n:
            room = done[n - window] if window is not None and n >= window else 0.0
            loaded = max(loaded, room) + pace.load(first + n)
        ready = done[n - 1] if n else 0.0
        start = max(ready, loaded)
        waited += start - ready
        done[n] = start + pace.work(first + n)
    return waited


def steady(pace: Pace, layers: int) -> bool:
    """Whether blocks are always there in time, however far ahead they may be loaded (equations 5 to 7).

    A cycle must take no less to compute than to load, and so must every stretch from the first attention block on, or
    every stretch from the first feed-forward block on.
    """
    if pace.work(0) + pace.work(1) < pace.load_attention + pace.load_network and not pace.kept:
        return False
    return any(all(_slack(pace, first, n) >= 0 for n in range(1, 2 * layers)) for first in (0, 1))


def _slack(pace: Pace, first: int, blocks: int) -> float:
    """Seconds by which so many blocks take longer to compute than those after the first to load."""
    computed = sum(pace.work(first + n) for n in range(blocks))
    return computed - sum(pace.load(first + n) for n in range(1, blocks + 1))


def tight(pace: Pace) -> bool:
    """Whether each block hides the loading of the next: enough for a window of two (equation 8)."""
    return all(pace.work(n) >= pace.load(n + 1) for n, _ in pairwise(range(3)))


def hops(topology: str, devices: int, depth: int = 2) -> int:
    """Messages one after the other in an all-reduce over a star, a tree of some ``depth``, or a ring."""
    if topology not in TOPOLOGIES:
        raise WeirError(f"unknown topology {topology!r}{hint(topology, TOPOLOGIES)}")
    return {"star": 2, "tree": 2 * depth, "ring": 2 * (devices - 1)}[topology]
