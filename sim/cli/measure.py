"""``weir measure``: a short set of kernels timed on the GPU at hand."""

from __future__ import annotations

from pathlib import Path

from einsum.errors import WeirError, hint
from sim.cli.patience import patience
from sim.cli.text import Sheet, show


def measure(device: str, out: str, only: list[str], repeats: int) -> None:
    """Time the kernels and write one CSV file for each operation."""
    from sim.silicon.bench import folder, kernels, pytorch, write
    from sim.silicon.bench import measure as rows
    from sim.silicon.measured import known

    every = tuple(kernels())
    operations = tuple(dict.fromkeys(kernel.operation for kernel in every))
    for name in only:
        if name not in operations:
            raise WeirError(f"--only {name}: one of {', '.join(operations)}{hint(name, operations)}")
    if repeats < 1:
        raise WeirError(f"--repeats {repeats}: at least 1")
    name, torch, home = known(device).name, pytorch(), folder(Path(out))
    chosen = tuple(kernel for kernel in every if not only or kernel.operation in only)
    found: dict[str, list[dict[str, object]]] = {}
    large = 0
    with patience("measuring") as step:
        for done, (kernel, row) in enumerate(rows(torch, name, chosen, repeats), start=1):
            large += row is None
            if row is not None:
                found.setdefault(kernel.operation, []).append(row)
            step(done, len(chosen))
    if not found:
        raise WeirError(f"{torch.cuda.get_device_name(0)} has too little free memory for any of {large} kernels")
    lines = tuple((path.name, str(len(found[path.stem]))) for path in write(home, found))
    title = f"{name} ({torch.cuda.get_device_name(0)}): written to {out}; weir calibrate {out} --device {name}"
    notes = (f"{large} kernels are left out: they need more memory than is free",) if large else ()
    show(Sheet(title, ("file", "kernels"), lines, right=(1,), notes=notes))
