"""``weir plan`` for graphs of tasks in JSON files, and for models in training."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum import Infeasible, WeirError, hint
from sim.cli.data import Form, emit, save
from sim.cli.plans import Asked, bytes_of, progressing, writable
from sim.cli.text import Sheet, folded, show
from sim.manifest import Made
from sim.units import fmt, si

if TYPE_CHECKING:
    from sim.planner.answers import Scheduled

POINTS = 7  # budgets of a curve
K = 1024
OBJECTIVES = ("time", "peak", "dollars")


def tokens(text: str) -> int:
    """Tokens of a sequence: a number, with K or M for 1024 or 1024 times 1024 of them.

    >>> tokens("1M"), tokens("640K"), tokens("4096")
    (1048576, 655360, 4096)
    """
    number, factor = text.strip().replace("_", ""), 1
    if number[-1:].upper() in ("K", "M"):
        factor, number = {"K": K, "M": K * K}[number[-1].upper()], number[:-1]
    if not (number.isascii() and number.isdigit() and 0 < int(number[:9]) * factor <= 2**30):
        raise WeirError(f"--sequence must be tokens such as 65536, 640K or 1M, at most 1024M, not {text!r:.40}")
    return int(number) * factor


def graphed(asked: Asked, form: Form) -> None:
    """Schedule the graph of a JSON file: recompute, and page where there is a second tier."""
    _files(asked)
    answer = scheduled(asked)
    problem, found = answer.problem, answer.plan
    made = Made(asked.solver, found.gap, ("solve_seconds", "seconds"))
    if asked.save is not None:
        save(asked.save, "save", {"schema": "weir.plan/1", **asdict(found)}, made)
    _draw(asked.plot, problem, found, asked.seconds)
    if form is Form.JSON:
        emit(form, answer.summary(), [], replace(made, times=("solve_seconds",)))
    else:
        show(*_scheduled(answer))


def scheduled(asked: Asked) -> Scheduled:
    """The graph of a JSON file, scheduled."""
    from sim.planner.answers import Scheduled
    from sim.planner.graphs import load
    from sim.planner.paging import page
    from sim.planner.rematerialise import rematerialise

    if asked.objective not in (None, "time"):
        raise WeirError(f"--objective {asked.objective!r:.40}: a graph is scheduled for time within its budget")
    problem = load(Path(asked.what))
    problem = replace(problem, tiers=_tiers(asked, problem.tiers))
    make = page if len(problem.tiers) > 1 else rematerialise
    with progressing("length", "plain passes") as heard:
        return Scheduled(problem, make(problem, seconds=asked.seconds, solver=asked.solver, progress=heard))


def _tiers(asked: Asked, own: tuple[Any, ...]) -> tuple[Any, ...]:
    """The file's tiers, a device's in their place, and a budget in place of the first one's capacity."""
    from sim.arch import device
    from sim.planner.problem import Tier

    if len(asked.on) > 1:
        raise WeirError("a graph runs on one --on; several are for a model")
    if asked.on:
        one = device(asked.on[0])
        link = one.link("host")
        own = (Tier("device", one.memory.capacity),)
        if link is not None and asked.host is not None:
            rate = si(asked.link, "B/s", "--link") if asked.link else link.bandwidth
            own = (*own, Tier("host", si(asked.host, "B", "--host"), rate, rate))
    if asked.capacity is not None:
        own = (replace(own[0], capacity=bytes_of(asked.capacity, "--budget")), *own[1:])
    return own


def _scheduled(answer: Scheduled) -> tuple[Sheet | str, ...]:
    problem, found, figures = answer.problem, answer.plan, answer.summary()
    proof = "optimal" if found.proven else f"at most {found.gap:.2%} above the bound"
    count = {name: figures["runs"].count(name) for name in dict.fromkeys(figures["runs"])}
    again = sorted(((n, c) for n, c in count.items() if c > 1), key=lambda item: -item[1])
    budget = fmt(problem.tiers[0].capacity, "B") if isfinite(problem.tiers[0].capacity) else "unlimited memory"
    head = (
        f"{problem.name}: {len(problem.tasks)} tasks in {budget} ({fmt(figures['everything_kept'], 'B')} would keep "
        f"everything)\n{fmt(found.value, 's')}, {figures['overhead']:.2%} over one plain pass, {proof}; "
        f"{len(found.moves)} copies between tiers\nfound by {found.method} in {found.seconds:.1f} s"
    )
    rows = tuple((name, str(times)) for name, times in again[:20])
    if not rows:
        return (f"{head}\nnothing is computed twice",)
    left = (f"and {len(again) - 20} more: --json or --save has all",) if len(again) > 20 else ()
    return f"{head}\n", Sheet("", ("computed again", "runs"), rows, right=(1,), notes=left)


def trained(asked: Asked, form: Form) -> None:
    """Plan a model's training step on a cluster: what each layer's activations do, what fits, how fast."""
    from sim.planner.advice import trained as advice

    _files(asked)
    found = best(asked)
    priced = _prices(_settings(asked), asked)  # one book for all clusters that were tried
    cost, made = _cost(found, priced), Made(asked.solver, found.plan.gap)
    if asked.save is not None:
        held = {**asdict(found.plan), "schema": "weir.plan/1", **found.summary(), **cost}
        save(asked.save, "save", held, made)
    _draw(asked.plot, found.problem, found.plan, asked.seconds)
    if form is Form.JSON:
        whole = {"schema": "weir.plan/1", **found.summary(), **cost, "helps": list(advice(found))}
        emit(form, whole, [], made)
    else:
        head, sheet = _step(found, cost, priced)
        show(head, "\n".join(map(folded, advice(found))), sheet)


def best(asked: Asked) -> Any:
    """The best plan of a model's training step."""
    from sim.cli.patience import patience
    from sim.planner.training import STRATEGIES

    if not asked.on or asked.sequence is None:
        missing = "--sequence N" if asked.on else "--on CLUSTER"
        raise WeirError(f"{asked.what!r:.80} is no file, so it names a model in training: give {missing} too")
    if asked.strategy is not None and asked.strategy not in STRATEGIES:
        raise WeirError(f"--strategy {asked.strategy!r:.40}{hint(asked.strategy, STRATEGIES)}")
    if asked.objective not in (None, *OBJECTIVES):
        raise WeirError(f"--objective {asked.objective!r:.40}{hint(asked.objective, OBJECTIVES)}")
    settings = _settings(asked)
    priced = _prices(settings, asked)
    with patience(f"planning {asked.what}") as advance:
        return _best(asked, settings, priced, advance)


def _prices(settings: list[Any], asked: Asked) -> Any:
    """Prices of all clusters from one book; None where nothing asks for any and none are known."""
    from sim.arch.prices import prices
    from sim.cli import ask

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


def _files(asked: Asked) -> None:
    writable(asked.save, (".json",), "--save")
    writable(asked.plot, (".png", ".svg", ".pdf"), "--plot")


def _best(asked: Asked, settings: list[Any], priced: Any, advance: Any) -> Any:
    """Of the strategy asked for, or of all, on every cluster, the plan that fits with the least of the objective."""
    from sim.planner.training import STRATEGIES, plan

    plans, refusals = [], []
    tried = [(s, strategy) for s in settings for strategy in ([asked.strategy] if asked.strategy else STRATEGIES)]
    for place, (setting, strategy) in enumerate(tried):
        advance(place, len(tried))
        try:
            plans.append(plan(setting, strategy, seconds=asked.seconds))
        except Infeasible as why:
            refusals.append(why)
    if not plans:
        raise min(refusals, key=lambda why: why.miss)

    def size(found: Any) -> float:
        if asked.objective == "dollars":
            return float(_cost(found, priced)["usd"] or 0.0)
        return float(found.bytes if asked.objective == "peak" else found.seconds)

    return min(plans, key=size)


def _settings(asked: Asked) -> list[Any]:
    from sim.model.estimate import placed
    from sim.planner.passes import Setting
    from workloads.transformer import from_config

    spec, length = from_config(asked.what).spec, tokens(str(asked.sequence))
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
        most = min(bytes_of(budget, "--budget"), float(pool.device.memory.capacity))
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
        "what is kept comes from the live ranges of the derived backward pass; weights, gradients and Adam take "
        f"{s.state_bytes:g} bytes a weight",
        f"assumed: tier {s.tier}; host memory {'unlimited' if s.host == inf else fmt(s.host, 'B')}, "
        f"{fmt(s.rate, 'B/s')} a device",
        *([priced.describe()] if priced else ()),
        *(f"unverified: {s.spec.unverified}" for _ in range(bool(s.spec.unverified))),
    )
    return head, Sheet("", ("on one device", ""), tuple(rows), right=(1,), notes=notes)


def _draw(path: str | None, problem: Any, found: Any, seconds: float) -> None:
    """Draw the plan: streams and bytes over time, and overhead against budget where there is no second tier."""
    if path is None:
        return
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    from sim.planner.graph import graph
    from sim.planner.rematerialise import curve
    from sim.plot import plans

    count = 2 if len(problem.tiers) > 1 else 3
    figure, axes = plt.subplots(count, 1, figsize=(9, 3 * count), layout="constrained")
    plans.streams(problem, found, axes[0])
    plans.resident(problem, found, axes[1])
    if count == 3:
        made = graph(problem)
        budgets = [made.least + i * (made.full - made.least) / (POINTS - 1) for i in range(POINTS)]
        plans.overhead(curve(problem, budgets, seconds=seconds), axes[2])
    figure.savefig(path)
    plt.close(figure)
