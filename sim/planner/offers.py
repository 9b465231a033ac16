"""Templates from the price books, and what each bears by weir's own serving model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from einsum.errors import Infeasible
from sim.arch import cluster, tier
from sim.arch.prices import prices
from sim.planner.purchase import Bucket, Template
from sim.serving.deploy import Deployment, Model, best, deployments
from sim.serving.steady import Prefill, check_choice, lengths


def templates(names: Sequence[str], book: str | None = None) -> tuple[Template, ...]:
    """Clusters as templates, all priced from one book (the newest that has all of their devices unless named)."""
    made = [cluster(name) for name in names]
    priced = prices([pool.device for one in made for pool in one.pools], book)
    return tuple(
        Template(one.name, priced.usd_per_hour(one), tuple((p.device.name, p.count) for p in one.pools)) for one in made
    )


def degrees(model_device: str, attention_device: str, most: tuple[int, int]) -> tuple[str, ...]:
    """Every degree (a, b) of attention offloading up to the ``most`` of each: a devices alone, or b others beside."""
    plain = [f"{a}x{model_device}" for a in range(1, most[0] + 1)]
    split = [f"{a}x{model_device}_{b}x{attention_device}" for a in range(1, most[0] + 1) for b in range(1, most[1] + 1)]
    return (*plain, *split)


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
