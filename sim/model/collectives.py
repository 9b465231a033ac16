"""Collectives over one link: the textbook algorithms with their latency and bandwidth terms, the cheapest taken.

``size`` is bytes held by each of ``ways`` devices: before reducing (all-reduce, reduce-scatter), after gathering
(all-gather) or exchanging (all-to-all). Sources: Thakur, Rabenseifner, Gropp, "Optimization of Collective
Communication Operations in MPICH" (2005); one-shot and two-shot as in the custom all-reduce of serving engines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, log2
from typing import Any

import numpy as np

from sim.arch.components import Link

# How NCCL estimates its own protocols on NVLink to choose one, of words with a flag (LL), of lines (LL128), and simple:
# src/graph/tuning.cc and topo.h (2.27).  Bandwidths are what they state over the link's, alike from Ampere on.
BEGIN, STEP = (6.6, 14.0, 8.4), (0.6, 1.9, 3.4)  # us: baseLatencies and hwLatencies of a ring
RATED = 0.81  # SM80_NVLINK_BW: 240 of 300 GB/s; SM90: 371 of 450, SM100: 722 of 900
WORDS = 0.3  # llMaxBws in one node: 87.7 of 300 GB/s, 141 of 450, 282 of 900
LINES = 0.92 * RATED  # 120 of 128 bytes are data
CHANNELS = 24  # of a ring over NVSwitch ("24 coll channels" in NCCL's own logs of A100 and H100 nodes)
SHARE = 512 * 8  # bytes, times the devices, that NCCL gives a channel before it opens another: threads, 8 bytes each
PAIRED = 16384  # bytes to one peer up to which NCCL sends flags in every word (NCCL_P2P_LL_THRESHOLD)

Algorithm = Callable[[Any, int, float, float], Any]  # (size, ways, bandwidth, latency) -> seconds


def ring_all_reduce(size: Any, ways: int, bandwidth: float, latency: float) -> Any:
    """A ring reduce-scatter, then a ring all-gather: 2(n-1) steps of one n-th each."""
    return 2 * (ways - 1) * (size / ways / bandwidth + latency)


def tree_all_reduce(size: Any, ways: int, bandwidth: float, latency: float) -> Any:
    """Up a binary tree and down again, all of it at every level, pipelined so that bytes count twice."""
    return 2 * ceil(log2(ways)) * latency + 2 * size / bandwidth


def one_shot_all_reduce(size: Any, ways: int, bandwidth: float, latency: float) -> Any:
    """Everyone sends everything to everyone in one step and adds up: one latency, n-1 times the bytes."""
    return latency + (ways - 1) * size / bandwidth


def two_shot_all_reduce(size: Any, ways: int, bandwidth: float, latency: float) -> Any:
    """A direct reduce-scatter and a direct all-gather through the switch: two steps of (n-1)/n of the bytes."""
    return 2 * (latency + size * (ways - 1) / ways / bandwidth)


def star_all_reduce(size: Any, ways: int, bandwidth: float, latency: float) -> Any:
    """All to one hub and back: two latencies, n-1 times the bytes over the hub's link each way."""
    return 2 * (latency + (ways - 1) * size / bandwidth)


def ring_half(size: Any, ways: int, bandwidth: float, latency: float) -> Any:
    """A reduce-scatter or an all-gather around a ring: n-1 steps of one n-th each."""
    return (ways - 1) * (size / ways / bandwidth + latency)


def direct(size: Any, ways: int, bandwidth: float, latency: float) -> Any:
    """Everyone exchanges one n-th with everyone at once: one latency, (n-1)/n of the bytes."""
    return latency + size * (ways - 1) / ways / bandwidth


ALGORITHMS: dict[str, dict[str, Algorithm]] = {
    "all-reduce": {
        "one-shot": one_shot_all_reduce,
        "two-shot": two_shot_all_reduce,
        "ring": ring_all_reduce,
        "tree": tree_all_reduce,
        "star": star_all_reduce,
    },
    "reduce-scatter": {"direct": direct, "ring": ring_half},
    "all-gather": {"direct": direct, "ring": ring_half},
    "all-to-all": {"direct": direct},
}


def collective(kind: str, size: Any, ways: int, bandwidth: float, latency: float) -> tuple[Any, str]:
    """Seconds of the cheapest algorithm at every point, and its name (that of the largest size, over arrays)."""
    if ways < 2:
        return size * 0.0, "none"
    options = {name: run(size, ways, bandwidth, latency) for name, run in ALGORITHMS[kind].items()}
    best = options[next(iter(options))]
    for seconds in options.values():
        best = np.minimum(best, seconds)
    last = [float(np.ravel(seconds)[-1]) for seconds in options.values()]
    return best, list(options)[int(np.argmin(last))]


def achieved(
    kind: str, size: Any, ways: int, link: Link, k: Mapping[str, float], clock: float, shot: bool = True
) -> tuple[Any, str]:
    """Seconds of what libraries run, and its name; ``k`` are the physical tier's constants.

    Over NVLink NCCL takes its protocol for small messages (a flag in every word), or one with all channels, by its own
    estimate of both (``tuned``), right or wrong. A serving engine's own all-reduce (``shot``) runs where it is faster.
    """
    if ways < 2:
        return size * 0.0, "none"
    options = _nccl(kind, size, ways, link, k, clock)
    if kind == "all-reduce" and shot and link.scope == "node":
        options["one-shot"] = k["shot"] / clock + link.latency + (ways - 1) * size / (link.bandwidth * k["direct"])
    stack = np.stack(np.broadcast_arrays(*options.values()))
    return stack.min(axis=0), list(options)[int(np.ravel(stack.argmin(axis=0))[-1])]


def _nccl(kind: str, size: Any, ways: int, link: Link, k: Mapping[str, float], clock: float) -> dict[str, Any]:
    """Seconds of each of NCCL's algorithms and protocols; those that it would not take are infinite.

    A link to the host is a tree of bridges: a ring over it crosses half as many bridges as there are devices, each of
    them shared by as many flows. What a device keeps of the result its few channels copy besides.
    """
    rounds, paired, node = 2 if kind == "all-reduce" else 1, kind == "all-to-all", link.scope == "node"
    wire, hops = rounds * size * (ways - 1) / ways, rounds * (ways - 1)  # bytes out of each device
    rate = link.bandwidth * (k["peak"] if node else k["host"] / (ways / 2) ** 2)
    flagged = link.bandwidth * k["words"] if node else rate / 2  # half of each word is a flag
    begun = k["start"] / clock + (1 if paired else hops) * link.latency
    more = k["pairs" if paired else "ramp"] / clock
    few = filled(size, ways) if node and not paired else 1.0
    options = {
        "ring, small": begun + wire * few / flagged,
        "ring": begun + more + wire / rate + size / ways / (clock * k["copy"]),
    }
    if kind == "all-reduce" and link.reduces:
        summed = size * (ways + 1) / ways / (link.bandwidth * k["switch"])
        options["switch"] = (k["start"] + k["ramp"]) / clock + summed
    if not paired and not node:
        return options
    small = size / ways <= PAIRED if paired else tuned(wire, hops, link)
    return {name: np.where(small == (name == "ring, small"), took, np.inf) for name, took in options.items()}


def tuned(wire: Any, hops: int, link: Link) -> Any:
    """Whether NCCL takes its protocol for small messages, of ``wire`` bytes out of each device in so many steps."""
    rates = WORDS * link.bandwidth, LINES * link.bandwidth, RATED * link.bandwidth
    words, lines, simple = (
        (begin + step * hops) * 1e-6 + wire / rate for begin, step, rate in zip(BEGIN, STEP, rates, strict=True)
    )
    return words <= np.minimum(lines, simple)


def filled(size: Any, ways: int) -> Any:
    """Times as long as with all channels takes a small message, which opens as few as give each its share."""
    share = SHARE * ways
    return np.maximum(CHANNELS * np.minimum(size, share) / size, 1.0)
