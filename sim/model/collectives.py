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

CHANNELS = 24  # of a ring over NVSwitch: from memory of NCCL's logs of A100 and H100 nodes, not re-checked
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
    """Seconds of the cheapest algorithm as libraries run them, and its name; ``k`` are the physical tier's constants.

    A serving engine's own all-reduce is open to it where ``shot`` is true.
    """
    if ways < 2:
        return size * 0.0, "none"
    options = _nccl(kind, size, ways, link, k, clock)
    if kind == "all-reduce" and shot and link.scope == "node":
        rate = link.bandwidth * link.payload * k["direct"]
        options["one-shot"] = k["shot"] / clock + link.latency + (ways - 1) * size / rate
    stack = np.stack(np.broadcast_arrays(*options.values()))
    return stack.min(axis=0), list(options)[int(np.ravel(stack.argmin(axis=0))[-1])]


def _nccl(kind: str, size: Any, ways: int, link: Link, k: Mapping[str, float], clock: float) -> dict[str, Any]:
    """Seconds of each of NCCL's algorithms.

    Rings start in a protocol for small messages (a flag in every word) and change to one with all channels and longer
    steps for large ones; what a device keeps of the result, its few channels copy besides. A link to the host is a tree
    of bridges: a ring over it crosses half as many as there are devices, each of them shared by as many flows.
    """
    rounds, paired, node = 2 if kind == "all-reduce" else 1, kind == "all-to-all", link.scope == "node"
    wire, steps = rounds * size * (ways - 1) / ways, (1 if paired else rounds * (ways - 1)) * link.latency
    carried = link.bandwidth * link.payload
    rate = carried * k["peak"] if node else link.bandwidth * k["host"] / (ways / 2) ** 2
    flagged = carried * k["words"] if node else rate / 2  # half of each word is a flag
    start = k["start"] / clock
    more = (k["pairs"] if paired else k["ramp"] + k["step"] * rounds * (ways - 1)) / clock
    words = start + steps + wire * (1.0 if paired or not node else filled(size, ways)) / flagged
    options = {
        "ring, small": np.where(size / ways <= PAIRED, words, np.inf) if paired else words,
        "ring": start + more + steps + wire / rate + size / ways / (clock * k["copy"]),
    }
    if kind == "all-reduce" and link.reduces:
        options["switch"] = start + k["ramp"] / clock + size * (ways + 1) / ways / (carried * k["switch"])
    return options


def filled(size: Any, ways: int) -> Any:
    """Times as long as with all channels takes a small message, which opens as few as give each its share.

    NCCL's ``ncclGetAlgoInfo``: channels are taken away while there are fewer bytes than threads times their threshold,
    which is of every device in this protocol.
    """
    share = SHARE * ways
    return np.maximum(CHANNELS * np.minimum(size, share) / np.maximum(size, 1.0), 1.0)
