"""``weir plan`` for models in training."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import inf
from time import monotonic
from typing import Any

from einsum import Infeasible, WeirError, hint
from sim.cli import ask
from sim.cli.data import Form, emit, save
from sim.cli.plan_asked import Asked
from sim.cli.plans_curves import curved, draw, files
from sim.cli.text import Sheet, folded, show
from sim.manifest import Made
from sim.units import fmt, si

OBJECTIVES = ("time", "peak", "dollars")


def trained(asked: Asked, form: Form) -> None:
    """Plan a model's training step on a cluster: what each layer's activations do, what fits, how fast."""
    from sim.planner.advice import trained as advice

    files(asked)
    if asked.curve:
        _curve(_settings(asked), asked, form)
        return
    found = best(asked)
    priced = _prices(_settings(asked), asked)  # one book for all clusters that were tried
    cost, made = _cost(found, priced), Made(asked.solver, found.plan.gap)
    if form is Form.JSON:
        whole = {"schema": "weir.plan/1", **found.summary(), **cost, "helps": list(advice(found))}
        emit(form, whole, [], made)
    else:
        head, sheet = _step(found, cost, priced)
        show(head, "\n".join(map(folded, advice(found))), sheet)
    if asked.save is not None:
        held = {**asdict(found.plan), "schema": "weir.plan/1", **found.summary(), **cost}
        save(asked.save, "save", held, made)
    draw(asked.plot, found.problem, found.plan, asked.seconds)


def best(asked: Asked) -> Any:
    """The best plan of a model's training step."""
    from sim.cli.patience import patience

    settings = _settings(asked)
    priced = _prices(settings, asked)
    with patience(f"planning {asked.what}") as advance:
        return _best(asked, settings, priced, advance)


def _prices(settings: list[Any], asked: Asked) -> Any:
    """Prices of all clusters from one book; None where nothing asks for any and none are known."""
    from sim.arch.prices import prices

    own = ask.pairs(asked.price, "--price", "h20=1.5")
    try:
        return prices([pool.device for s in settings for pool in s.cluster.pools], asked.prices, own)
    except WeirError:
        if asked.objective == "dollars" or asked.prices is not None or own:
            raise
        return None


def _cost(found: Any, priced: Any) -> dict[str, float | None]:
    """USD an hour, and of a step."""
    rate = priced.usd_per_hour(found.setting.cluster) if priced else None
    return {"usd_per_hour": rate, "usd": None if rate is None else rate * found.seconds / 3600}


def _curve(settings: list[Any], asked: Asked, form: Form) -> None:
    """The step of some layers, kernel by kernel, under one budget after another."""
    from sim.planner.problem import Tier
    from sim.planner.steps import step

    if len(settings) > 1:
        raise WeirError("--curve is of one --on")
    [setting] = settings
    count = setting.layers if asked.layers is None else min(ask.whole(asked.layers, "--layers"), setting.layers)
    problem = step(setting, count)
    if asked.host is not None:
        host = Tier("host", setting.host / setting.ways, setting.rate, setting.rate)
        problem = replace(problem, tiers=(*problem.tiers, host))
    where = f"{setting.batch} x {setting.sequence:,} tokens on {setting.cluster.name}, divided by {setting.split}"
    notes = (
        f"{count} of {setting.layers} layers and the loss, {where}; bytes are a device's, beside weights, gradients "
        f"and Adam ({setting.state_bytes:g} bytes a weight)",
        f"assumed: tier {setting.tier}",
        *(f"unverified: {setting.spec.unverified}" for _ in range(bool(setting.spec.unverified))),
    )
    curved(problem, asked, form, notes)


def _best(asked: Asked, settings: list[Any], priced: Any, advance: Any) -> Any:
    """Of the strategy asked for, or of all, on every cluster, the plan that fits with the least of the objective."""
    from sim.planner.training import STRATEGIES

    tried = [(s, strategy) for s in settings for strategy in ([asked.strategy] if asked.strategy else STRATEGIES)]
    plans, refusals = _planned(tried, asked.seconds, advance)
    untried = _untried(tried[len(plans) + len(refusals) :], asked.seconds)
    if not plans:
        nearest = min(refusals, key=lambda why: why.miss)
        raise Infeasible("; ".join((str(nearest), *untried)), nearest.miss)

    def size(found: Any) -> float:
        if asked.objective == "dollars":
            return float(_cost(found, priced)["usd"] or 0.0)
        return float(found.bytes if asked.objective == "peak" else found.seconds)

    found = min(plans, key=size)
    return replace(found, plan=replace(found.plan, notes=untried))


def _planned(
    tried: list[tuple[Any, str]], seconds: float, advance: Any
) -> tuple[list[Any], list[Infeasible]]:  # fmt: skip
    """Plans, and why there are no others: one strategy after another, as long as there is time."""
    from sim.planner.training import plan

    plans, refusals, ends = [], list[Infeasible](), monotonic() + seconds
    for place, (setting, strategy) in enumerate(tried):
        advance(place, len(tried), f"{strategy} on {setting.cluster.name}")
        left = ends - monotonic()
        if place and left <= 0:
            break
        try:
            plans.append(plan(setting, strategy, seconds=max(left, 0.01) / (len(tried) - place)))
        except Infeasible as why:
            refusals.append(why)
    return plans, refusals


def _untried(left: list[tuple[Any, str]], seconds: float) -> tuple[str, ...]:
    """What the time was too short for, in words."""
    if not left:
        return ()
    names = ", ".join(f"{strategy} on {setting.cluster.name}" for setting, strategy in left)
    return (f"not tried in {seconds:g} s: {names}; give --seconds more",)


def _known(asked: Asked) -> None:
    """Refuse a question of a model that lacks something, or names what is not there."""
    from sim.planner.training import STRATEGIES

    if not asked.on or asked.sequence is None:
        missing = "--sequence N" if asked.on else "--on CLUSTER"
        raise WeirError(f"{asked.what!r:.80} is no file, so it names a model in training: give {missing} too")
    if asked.strategy is not None and asked.strategy not in STRATEGIES:
        raise WeirError(f"--strategy {asked.strategy!r:.40}{hint(asked.strategy, STRATEGIES)}")
    if asked.objective not in (None, *OBJECTIVES):
        raise WeirError(f"--objective {asked.objective!r:.40}{hint(asked.objective, OBJECTIVES)}")


def _settings(asked: Asked) -> list[Any]:
    from sim.model.estimate import placed
    from sim.planner.passes import Setting
    from workloads.transformer import from_config

    _known(asked)
    spec, length = from_config(asked.what).spec, ask.tokens(str(asked.sequence))
    host = si(asked.host, "B", "--host") if asked.host else inf
    link = si(asked.link, "B/s", "--link") if asked.link else None
    if link == 0 or host == 0:
        raise WeirError("--host and --link must be more than nothing; leave them out where nothing is swapped")
    where = [_limited(placed(name), asked.capacity) for name in dict.fromkeys(asked.on)]
    return [
        Setting(spec, made, length, batch=asked.batch, split=asked.split, host=host, link=link or 0.0) for made in where
    ]


def _limited(made: Any, budget: str | None) -> Any:
    """A cluster whose devices have no more memory than the budget."""
    if budget is None:
        return made
    for pool in made.pools:
        most = min(ask.bytes_of(budget, "--budget"), float(pool.device.memory.capacity))
        made = made.with_(f"{pool.name}.{pool.device.memory.name}.capacity", most)
    return made


def _step(found: Any, cost: dict[str, float | None], priced: Any) -> tuple[Sheet | str, ...]:
    s = found.setting
    how = f"{found.strategy}, alpha {found.alpha:.4f}" if found.strategy == "memo" else found.strategy
    head = (
        f"{s.spec.name} on {s.cluster.name}, {s.batch} x {s.sequence:,} tokens, {how}, divided by {s.split}\n"
        f"{fmt(found.seconds, 's')} a step, {fmt(found.stalled, 's')} of it waiting for copies; "
        f"{found.mfu:.1%} of the peak, {found.tokens:.1f} tokens/s a device"
    )
    if cost["usd"] is not None:
        head += f"\n{cost['usd']:.4g} USD a step at {cost['usd_per_hour']:.2f} USD/h"
    rows = [(name, fmt(size, "B")) for name, size in found.memory if size]
    rows += [("all together", fmt(found.bytes, "B")), ("device has", fmt(found.capacity, "B"))]
    notes = (
        *found.plan.notes,
        "what is kept comes from the live ranges of the derived backward pass; weights, gradients and Adam take "
        f"{s.state_bytes:g} bytes a weight",
        f"assumed: tier {s.tier}; host memory {'unlimited' if s.host == inf else fmt(s.host, 'B')}, "
        f"{fmt(s.rate, 'B/s')} a device",
        *([priced.describe()] if priced else ()),
        *(f"unverified: {s.spec.unverified}" for _ in range(bool(s.spec.unverified))),
    )
    return head, Sheet("", ("on one device", ""), tuple(rows), right=(1,), notes=notes)
