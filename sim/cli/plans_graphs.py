"""``weir plan`` for graphs of tasks in JSON files."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum import WeirError
from sim.cli import ask
from sim.cli.data import Form, emit, save
from sim.cli.patience import patience
from sim.cli.plan_asked import Asked
from sim.cli.plans_curves import curved, draw, files
from sim.cli.text import Sheet, folded, show
from sim.manifest import Made
from sim.units import fmt, si

if TYPE_CHECKING:
    from sim.planner.answers import Scheduled


def graphed(asked: Asked, form: Form) -> None:
    """Print the schedule of a JSON file's graph, or what budgets cost."""
    from sim.planner.memory_advice import scheduled as advice

    files(asked)
    if asked.curve:
        curved(_problem(asked), asked, form)
        return
    answer = scheduled(asked)
    found = answer.plan
    made = Made(asked.solver, found.gap, ("solve_seconds", "seconds"))
    helps = list(advice(answer))
    if form is Form.JSON:
        emit(form, {**answer.summary(), "helps": helps}, [], replace(made, times=("solve_seconds",)))
    else:
        head, *rest = _scheduled(answer)
        show(head, "\n".join(map(folded, helps)), *rest)
    if asked.save is not None:
        save(asked.save, "save", {"schema": "weir.plan/1", **asdict(found)}, made)
    draw(asked.plot, answer.problem, found, asked.seconds)


def _problem(asked: Asked) -> Any:
    """The graph of a JSON file, in the memory that was asked for."""
    from sim.planner.graphs import load

    if asked.objective not in (None, "time"):
        raise WeirError(f"--objective {asked.objective!r:.40}: a graph is scheduled for time within its budget")
    problem = load(Path(asked.what))
    return replace(problem, tiers=_tiers(asked, problem.tiers))


def scheduled(asked: Asked) -> Scheduled:
    """The graph of a JSON file, scheduled: what is computed again, and copied where there is a second tier."""
    from sim.planner.answers import Scheduled
    from sim.planner.curves import said
    from sim.planner.paging import page
    from sim.planner.rematerialise import rematerialise

    problem = _problem(asked)
    make = page if len(problem.tiers) > 1 else rematerialise
    with patience(f"planning {asked.what}") as told:
        return Scheduled(problem, make(
            problem, seconds=asked.seconds, solver=asked.solver,
            heard=lambda doing, best, least: told(0, 1, said(doing, best, least)),
        ))  # fmt: skip


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
        if asked.host is not None:
            rate = _rate(one.name, link, asked.link)
            own = (*own, Tier("host", si(asked.host, "B", "--host"), rate, rate))
    if asked.capacity is not None:
        own = (replace(own[0], capacity=ask.bytes_of(asked.capacity, "--budget")), *own[1:])
    return own


def _rate(name: str, link: Any, given: str | None) -> float:
    """Bytes a second to the host: those given, else the device's own."""
    if given is not None:
        return si(given, "B/s", "--link")
    if link is None:
        raise WeirError(f"{name} states no link to a host; give --link, as 12GB/s")
    return float(link.bandwidth)


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
        return ("\n".join((head, "nothing is computed twice", *map(folded, found.notes))),)
    left = (f"and {len(again) - 20} more: --json or --save has all",) if len(again) > 20 else ()
    return f"{head}\n", Sheet("", ("computed again", "runs"), rows, right=(1,), notes=(*found.notes, *left))
