"""Templates from the price books and nodes from device files, with what each bears by weir's own models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from einsum import Cascade
from einsum.errors import Infeasible
from mappings.layout import Layout, Place
from sim.arch import cluster, tier
from sim.arch.prices import Prices, prices
from sim.model.step import Work
from sim.model.timing import schedule
from sim.planner.purchase import Array, Bucket, Purchase, Template
from sim.planner.ranges import Holder
from sim.planner.shape import shape
from sim.serving.deploy import RESERVE, Deployment, Model, best, deployments
from sim.serving.steady import Prefill, check_choice, lengths
from workloads.transformer import Transformer


@dataclass(frozen=True)
class Rented:
    """What is rented for a model, the prices that it was chosen at, the part of a copy that each bucket takes (buckets
    by templates), and the devices there are."""

    model: str
    purchase: Purchase
    prices: Prices
    load: Array
    stock: Mapping[str, int]


def priced(
    names: Sequence[str], book: str | None = None, overrides: Mapping[str, str | float] | None = None
) -> Prices:  # fmt: skip
    """One book that has all devices of some clusters."""
    return prices([pool.device for name in names for pool in cluster(name).pools], book, overrides)


def templates(
    names: Sequence[str], book: str | None = None, overrides: Mapping[str, str | float] | None = None
) -> tuple[Template, ...]:  # fmt: skip
    """Clusters as templates, all priced from one book (the newest that has all of their devices unless named), but for
    devices whose USD an hour is given."""
    made = [cluster(name) for name in names]
    held = priced(names, book, overrides)
    return tuple(
        Template(one.name, held.usd_per_hour(one), tuple((p.device.name, p.count) for p in one.pools)) for one in made
    )


def degrees(model_device: str, attention_device: str, most: tuple[int, int]) -> tuple[str, ...]:
    """Every degree (a, b) of attention offloading up to the ``most`` of each: a devices alone, or b others beside."""
    plain = [f"{a}x{model_device}" for a in range(1, most[0] + 1)]
    split = [f"{a}x{model_device}_{b}x{attention_device}" for a in range(1, most[0] + 1) for b in range(1, most[1] + 1)]
    return (*plain, *split)


def holder(model: Transformer, name: str, *, batch: int, context: int, at: str = "physical") -> Holder:
    """A device as a holder of layers: tokens a second through each number of them that fits beside their states.

    ``batch`` requests of ``context`` tokens decode at once; layers count at their mean. A tenth of memory stays free.
    """
    made = cluster(f"1x{name}")
    [pool] = made.pools
    laid = Layout((Place(pool.name, 1),))
    step = Work.of(model.decode, laid, b=batch, c=context - 1, p=1).on(made, tier(at))
    rows = [(p.times, float(np.ravel(schedule(timed))[-1])) for p, timed in step.rows if _cached(p.cascade)]
    layers = sum(times for times, _ in rows)
    each = sum(times * seconds for times, seconds in rows) / layers
    held = shape(model, context)
    room = int(pool.device.capacity * (1 - RESERVE) / (held.weight + batch * context * held.kv))
    if not room:
        raise Infeasible(f"{name} does not hold one layer of {model.name} and {batch} states of {context} tokens")
    return Holder(name, tuple(batch / (each * n) for n in range(1, min(room, layers) + 1)))


def _cached(cascade: Cascade) -> bool:
    """Whether a part is a layer, which keeps a state, and not the embedding or the head."""
    return any(t.kind == "state" for t in cascade.tensors)


def steadily(prefill: str) -> Prefill:
    """Whether prompts are worked on ``here`` or ``elsewhere``, as the closed forms take it."""
    check_choice("prefill", prefill, ("here", "elsewhere"))
    return "elsewhere" if prefill == "elsewhere" else "here"


def bearing(
    model: Model, *, tpot: float | None = None, ttft: float | None = None, at: str = "physical",
    prefill: str = "here",
) -> Callable[[Bucket, Template], float]:  # fmt: skip
    """Requests a second of a bucket that a template bears within limits on latency (seconds); none where it cannot.

    Its best layout, at the largest batch that fits and meets the limits, in the steady state.
    """
    limits = {"tpot": tpot, "ttft": ttft}
    where = steadily(prefill)

    @lru_cache(maxsize=256)
    def options(name: str) -> tuple[Deployment, ...]:
        return tuple(deployments(model, cluster(name), tier(at), 0.0))

    @lru_cache(maxsize=4096)
    def most(prompt: float, output: float, name: str) -> float:
        load = lengths(max(1.0, prompt), max(1.0, output))
        try:
            return best(options(name), load, prefill=where, limits=limits).tokens_per_second / load.mean_output
        except Infeasible:
            return 0.0

    return lambda bucket, template: most(bucket.prompt, bucket.output, template.name)
