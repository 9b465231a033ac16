"""Attention on other devices than the rest of the model: batches, throughput at a price, and the network between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from einsum.errors import WeirError, hint
from mappings.parallel import layout as parallel
from sim.arch import cluster as clustered
from sim.arch import tier as tiers
from sim.arch.prices import prices
from sim.model.step import Work
from sim.model.task import Task
from sim.published.calls import table, text, texts
from sim.serving.deploy import Choice, best, deployments
from sim.serving.steady import lengths
from sim.serving.trace import trace as shipped
from sim.units import si
from workloads.transformer import model as bundled

__all__ = ["batch", "batch_ratio", "gain", "needed_bandwidth", "overlap", "round_trip", "usd_per_hour"]

SYSTEMS = ("lamina", "baseline")
EXTREMES = ("least", "largest")
UNLIMITED = 1e18  # B/s, a network that takes no time


def usd_per_hour(inputs: Mapping[str, Any], *, cluster: str, book: str) -> float:
    """USD an hour for all devices of a cluster."""
    made = clustered(cluster)
    return prices([pool.device for pool in made.pools], book).usd_per_hour(made)


def round_trip(inputs: Mapping[str, Any], *, cluster: str) -> float:
    """Microseconds for a small message there and back."""
    return 2 * clustered(cluster).network.latency * 1e6


@lru_cache(maxsize=128)
def _served(
    book: str, model: str, cluster: str, trace: str, tier: str, efficiency: float = 1.0, host: float = 0.0
) -> Choice:
    """The best deployment for a trace's mean request, prefill done elsewhere; ``efficiency`` scales its peak rates."""
    made, load = clustered(cluster), shipped(trace)
    at = tiers(tier)
    at = replace(at, compute=at.compute * efficiency)
    usd = prices([pool.device for pool in made.pools], book).usd_per_hour(made)
    options = deployments(bundled(model), made, at, usd, host=host)
    return best(options, lengths(load.mean_prompt, load.mean_output), prefill="elsewhere")


def _batch(book: str, model: str, cluster: str, trace: str) -> float:
    """Requests in flight on the whole cluster, all replicas together."""
    choice = _served(book, model, cluster, trace, "limit")
    return choice.batch * choice.deployment.layout.replicas


def _pairs(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Every model on every trace, with the names of the two clusters compared."""
    for model in table(inputs, "models"):
        for trace in texts(inputs, "traces"):
            yield model, trace, text(inputs, "models", model, "lamina"), text(inputs, "models", model, "baseline")


def batch(inputs: Mapping[str, Any], *, model: str, trace: str, system: str) -> float:
    """The largest batch that fits, requests at the mean length they have while in flight."""
    if system not in SYSTEMS:
        raise WeirError(f"unknown system {system!r}{hint(system, SYSTEMS)}")
    return _batch(text(inputs, "book"), model, text(inputs, "models", model, system), trace)


def batch_ratio(inputs: Mapping[str, Any]) -> float:
    """Mean over models and traces of the largest batch with attention elsewhere over the baseline's."""
    book = text(inputs, "book")
    ratios = [_batch(book, m, ours, t) / _batch(book, m, theirs, t) for m, t, ours, theirs in _pairs(inputs)]
    return float(np.mean(ratios))


def gain(
    inputs: Mapping[str, Any], *, which: str, tier: str = "limit", efficiency: float = 1.0, host: str = "0 s"
) -> float:
    """Percent more tokens/s than the baseline, the ``least`` or ``largest`` over models and traces.

    ``efficiency`` and ``host`` handicap the baseline alone: a fraction of its peak rates, and seconds in each step.
    """
    if which not in EXTREMES:
        raise WeirError(f"unknown choice {which!r}{hint(which, EXTREMES)}")
    book, seconds = text(inputs, "book"), si(host, "s", "host")
    gains = []
    for model, trace, ours, theirs in _pairs(inputs):
        lamina = _served(book, model, ours, trace, tier).tokens_per_second
        baseline = _served(book, model, theirs, trace, tier, float(efficiency), seconds).tokens_per_second
        gains.append(100 * (lamina / baseline - 1))
    return min(gains) if which == "least" else max(gains)


def needed_bandwidth(
    inputs: Mapping[str, Any], *, model: str, cluster: str, tier: str, batch: int, context: int, slack: float
) -> float:
    """GB/s between the pools with which no batch up to ``batch`` decodes more than ``slack`` slower than without limit.

    One batch at a time, queries, keys and values sent together; found by bisection. Whether weights fit is not asked.
    """
    made = clustered(cluster).with_("network.latency", 0.0)
    program = bundled(model).decode
    laid = parallel(program, {pool.name: pool.count for pool in made.pools}, batches=1)
    sizes = {"b": np.arange(1.0, batch + 1), "c": float(context), "p": 1}
    work = _ordered(Work.of(program, laid, **sizes), sent_together)

    def latency(bandwidth: float) -> Any:
        return work.on(made.with_("network.bandwidth", bandwidth), tiers(tier)).latency

    allowed = (1 + slack) * latency(UNLIMITED)
    low, high = 1e6, 1e13
    while high / low > 1 + 1e-4:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if np.all(latency(middle) <= allowed) else (middle, high)
    return high / 1e9


def overlap(inputs: Mapping[str, Any], *, model: str, tier: str) -> float:
    """Percent of a decode step saved, where it is most, by attending to the cached keys as soon as queries come.

    Compared with sending queries, keys and values together once all are made; one batch at a time, over the traces at
    their mean contexts and over every batch up to the largest.
    """
    book, cluster = text(inputs, "book"), text(inputs, "models", model, "lamina")
    return max(float(np.max(_saved(book, model, cluster, trace, tier))) for trace in texts(inputs, "traces"))


def _saved(book: str, model: str, cluster: str, trace: str, tier: str) -> Any:
    """Percent of a decode step saved at each batch up to the largest."""
    choice = _served(book, model, cluster, trace, tier)
    made, laid = choice.deployment.cluster, replace(choice.deployment.layout, batches=1)
    sizes = {"b": np.arange(1.0, choice.batch + 1), "c": shipped(trace).mean_context, "p": 1}
    work = Work.of(bundled(model).decode, laid, **sizes)
    early, late = (_ordered(work, order) for order in (sent_early, sent_together))
    at = tiers(tier)
    return 100 * (1 - early.on(made, at).latency / late.on(made, at).latency)


def _ordered(work: Work, order: Callable[[tuple[Task, ...], str], tuple[Task, ...]]) -> Work:
    """The work with the tasks of every part ordered for the pool that attention runs on."""
    pool = work.layout.places[-1].pool
    return replace(work, parts=tuple((part, order(found, pool)) for part, found in work.parts))


def sent_early(found: tuple[Task, ...], pool: str) -> tuple[Task, ...]:
    """Attention waits for the queries alone; a last kernel adds the new keys' share (such sums combine exactly)."""
    sent = _sent(found, pool)
    if not sent:
        return found
    first, merge = sent[0], len(found)  # queries are made, and sent, before keys and values
    core = max(n for n, task in enumerate(found) if task.kind == "kernel" and task.pool == pool)
    order = [*range(first + 1), core, *range(first + 1, core), merge, *range(core + 1, merge)]
    waits = {n: tuple(merge if b == core else b for b in task.after) for n, task in enumerate(found)}
    waits |= {core: (first,), merge: (core, *found[core].after)}
    return _arranged((*found, Task("merge", "kernel", pool, 0.0)), order, waits)


def sent_together(found: tuple[Task, ...], pool: str) -> tuple[Task, ...]:
    """All that a pool is sent leaves together, once the last of it is made."""
    sent = _sent(found, pool)
    if not sent:
        return found
    there = [n for n, task in enumerate(found) if task.pool == pool and n not in sent]
    before = [n for n in range(sent[-1]) if n not in sent and n not in there]
    order = [*before, *sent, *(n for n in range(len(found)) if n not in sent and n not in before)]
    ready = tuple({b for n in sent for b in found[n].after})
    waits = {n: ready if n in sent else task.after for n, task in enumerate(found)}
    return _arranged(found, order, waits)


def _sent(found: tuple[Task, ...], pool: str) -> list[int]:
    """The tasks that send something to a pool, in program order."""
    return [n for n, task in enumerate(found) if task.kind == "transfer" and task.pool == pool]


def _arranged(found: tuple[Task, ...], order: list[int], waits: Mapping[int, tuple[int, ...]]) -> tuple[Task, ...]:
    """The tasks in another order, each waiting for what ``waits`` says (numbers of the order before)."""
    now = {old: new for new, old in enumerate(order)}
    return tuple(replace(found[n], after=tuple(sorted({now[b] for b in waits[n]}))) for n in order)
