"""``weir measure``: a short set of kernels timed on the GPU at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from einsum.errors import WeirError, hint
from sim.cli.patience import patience
from sim.cli.text import Sheet, show

if TYPE_CHECKING:
    from sim.silicon.bench import Kept, Kernel, Timed


def measure(device: str, out: str, only: list[str], repeats: int) -> None:
    """Time the kernels that are not there yet; each row is in its operation's CSV file as soon as it is known."""
    from sim.silicon.bench import Kept, folder, pytorch, source
    from sim.silicon.bench import measure as rows
    from sim.silicon.measured import known

    chosen = _chosen(only)
    if repeats < 1:
        raise WeirError(f"--repeats {repeats}: at least 1")
    name, torch, home = known(device).name, pytorch(), folder(Path(out))
    kept = Kept.at(home, chosen)
    left: list[Timed] = []
    ahead = tuple(kernel for kernel in chosen if not kept.has(kernel, name, source(torch)))
    with patience("measuring") as step:
        for done, one in enumerate(rows(torch, name, ahead, repeats), start=1):
            kept = kept.with_(one) if one.row else kept
            left += [] if one.row else [one]
            step(done, len(ahead), str(one.kernel))
    if not any(kept.rows.values()):
        raise WeirError("\n".join(("nothing was measured:", *_reasons(left))))
    title = f"{name} ({torch.cuda.get_device_name(0)}): written to {out}; weir calibrate {out} --device {name}"
    before, now = len(chosen) - len(ahead), len(ahead) - len(left)
    notes = (f"{before} kernels were measured by an earlier run; {now} now",) if before else ()
    show(_sheet(title, kept, (*notes, *_reasons(left))))


def _chosen(only: list[str]) -> tuple[Kernel, ...]:
    """The kernels of the operations asked for, all if none is."""
    from sim.silicon.bench import kernels

    every = tuple(kernels())
    operations = tuple(dict.fromkeys(kernel.operation for kernel in every))
    for name in only:
        if name not in operations:
            raise WeirError(f"--only {name}: one of {', '.join(operations)}{hint(name, operations)}")
    return tuple(kernel for kernel in every if not only or kernel.operation in only)


def _reasons(left: list[Timed]) -> Iterator[str]:
    """A line for each kernel that was not measured."""
    return (f"left out: {one.kernel}: {one.reason}" for one in left)


def _sheet(title: str, kept: Kept, notes: tuple[str, ...]) -> Sheet:
    lines = tuple((f"{operation}.csv", str(len(rows))) for operation, rows in kept.rows.items() if rows)
    return Sheet(title, ("file", "kernels"), lines, right=(1,), notes=notes)
