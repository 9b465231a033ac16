"""``weir plan`` for buffers in a CSV: where each lies in memory."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum import WeirError
from einsum.files import write
from sim.cli import ask
from sim.cli.data import Form, emit, save
from sim.cli.patience import progressing
from sim.cli.plan_asked import Asked
from sim.cli.text import Sheet, folded, show
from sim.manifest import Made
from sim.units import fmt

if TYPE_CHECKING:
    from sim.planner.packing import Laid

SHOWN = 20  # buffers that are listed on a terminal


def placed(asked: Asked, form: Form) -> None:
    """Print the placement of a CSV's buffers, and write and draw it where files are named."""
    ask.writable(asked.save, (".json", ".csv"), "--save")
    ask.writable(asked.plot, (".png", ".svg", ".pdf"), "--plot")
    made = laid(asked)
    found = made.plan
    if form is Form.JSON:
        from sim.planner.memory_advice import laid as laid_out

        emit(form, {**made.summary(), "helps": list(laid_out(made))}, [], Made(asked.solver, found.gap, ("seconds",)))
    else:
        show(*_text(made))
    if asked.save is not None:
        _save(asked, made)
    if asked.plot is not None:
        _plot(asked.plot, made.problem, found)


def laid(asked: Asked) -> Laid:
    """The buffers of a CSV at their offsets."""
    if asked.objective not in (None, "peak"):
        raise WeirError(
            f"--objective {asked.objective!r:.40}: only peak can be asked of a CSV, which says nothing of time"
        )
    from sim.planner.offsets import lay
    from sim.planner.tables import read

    problem = read(Path(asked.what), _capacity(asked.capacity))
    minimise = None if asked.objective is None else True
    with progressing() as progress:
        return lay(problem, seconds=asked.seconds, minimise=minimise, solver=asked.solver, progress=progress)


def _capacity(text: str | None) -> float:
    if text is None:
        return inf
    return ask.bytes_of(text, "--capacity")


def _text(made: Laid) -> tuple[Sheet | str, ...]:
    from sim.planner.memory_advice import laid as laid_out

    problem, found = made.problem, made.plan
    proof = "optimal" if found.proven else f"at most {found.gap:.2%} above the best possible"
    head = (
        f"{problem.name}: {len(problem.buffers)} buffers in {int(found.value)} bytes ({fmt(found.value, 'B')}), {proof}"
    )
    bound = f"no placement is below {int(found.bound)} bytes; found by {found.method} in {found.seconds:.2f} s"
    where = made.offsets
    largest = sorted(problem.buffers, key=lambda b: -b.size)[:SHOWN]
    rows = tuple((b.name, str(where[b.name]), str(b.size), f"{b.live[0][0]:g} to {b.live[-1][1]:g}") for b in largest)
    left = len(problem.buffers) - len(rows)
    notes = (*found.notes, *(f"and {left} smaller ones: --json or --save has all" for _ in range(bool(left))))
    words = "".join(f"\n{folded(line)}" for line in laid_out(made))
    return f"{head}\n{bound}{words}", Sheet("", ("buffer", "offset", "bytes", "live"), rows, right=(1, 2), notes=notes)


def _save(asked: Asked, made: Laid) -> None:
    from dataclasses import asdict

    from sim.planner.tables import written

    path = Path(str(asked.save))
    if path.suffix == ".csv":
        write(path, written(made.problem, made.offsets).encode(), "--save")
    else:
        save(str(path), "save", asdict(made.plan), Made(asked.solver, made.plan.gap, ("seconds",)))


def _plot(path: str, problem: Any, found: Any) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    from sim.plot.memory import memory_map

    sizes = {b.name: b.size for b in problem.buffers}
    stays = found.stays
    figure, axes = plt.subplots(figsize=(10, 6), layout="constrained")
    capacity = problem.tiers[0].capacity
    memory_map(
        [s.start for s in stays], [s.stop for s in stays], [s.offset for s in stays], [sizes[s.buffer] for s in stays],
        [s.buffer for s in stays], axes, capacity=None if capacity == inf else capacity,
    )  # fmt: skip
    axes.set_title(f"{problem.name}: {fmt(found.value, 'B')}")
    figure.savefig(path)
    plt.close(figure)
