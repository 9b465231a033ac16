"""``weir spgemm``: ways to compute a sparse product on one device, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einsum import WeirError
from sim.arch import Device, device
from sim.cli import ask
from sim.cli.data import Form, emit
from sim.cli.patience import patience
from sim.cli.text import Sheet, folded, show
from sim.units import fmt

SCHEMA = "weir.spgemm/1"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the command line puts it."""

    matrix: str
    other: str | None
    on: str
    dataflow: tuple[str, ...]
    count: str
    settings: tuple[str, ...]
    plot: str | None
    workload: str = "spgemm"
    sizes: tuple[str, ...] = ()
    source: int = 0

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """The question that a command's arguments, by name, put."""
        many = {name: tuple(given[name] or ()) for name in ("dataflow", "setting", "size")}
        return cls(given["matrix"], given["other"], given["on"], many["dataflow"], given["count"], many["setting"],
                   given["plot"], given["workload"], many["size"], given["source"])  # fmt: skip


def spgemm(asked: Asked, form: Form) -> None:
    """Print each mapping's traffic, time, energy, utilisation, balance and bottleneck, and the best."""
    if asked.plot is not None and Path(asked.plot).suffix not in (".png", ".pdf", ".svg"):
        raise WeirError(f"--plot: {asked.plot!r:.60} must end in .png, .pdf or .svg")
    found = answered(asked)
    if asked.plot is not None:
        from sim.plot.sparse import save

        save(found, asked.plot)
    if form is Form.TEXT:
        return show(*_text(found))
    rows = [e.summary() for e in found.estimates]
    summary = {
        "schema": SCHEMA, "workload": asked.workload, "matrix": found.matrix, "device": found.device.name,
        "best": found.best.mapping.name, "helps": list(found.helps),
        "unverified": list(found.device.unverified), "rows": rows,
    }  # fmt: skip
    return emit(form, summary, [{k: v for k, v in row.items() if not isinstance(v, dict)} for row in rows])


def answered(asked: Asked) -> Any:
    """The product under every mapping that was asked for."""
    where = _changed(device(asked.on), asked.settings)
    from sim.sparse import chosen
    from sim.sparse import spgemm as compare
    from workloads.matrices import named

    dataflow: str | Sequence[str] = "all" if asked.dataflow in ((), ("all",)) else asked.dataflow
    chosen(where, dataflow, asked.workload)  # refused before a large matrix is read
    sizes = {rank: _extent(rank, text) for rank, text in ask.pairs(asked.sizes, "--size", "n=64").items()}
    with patience(
        f"{'multiplying' if asked.workload == 'spgemm' else asked.workload + ' of'} {asked.matrix}"
    ) as advance:
        a = named(asked.matrix)
        b = None if asked.other is None else named(asked.other)
        name = Path(asked.matrix).name
        return compare(
            a, b, on=where, dataflow=dataflow, workload=asked.workload, sizes=sizes, source=asked.source,
            count=asked.count, name=name, progress=advance,
        )  # fmt: skip


def _extent(rank: str, text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 2**31:
        raise WeirError(f"--size: {rank} is {text!r:.40}, expected a whole number from 1 to 2147483647")
    return int(text)


def _changed(where: Device, settings: Sequence[str]) -> Device:
    for path, value in ask.pairs(settings, "--set", "dram.bandwidth=10GB/s").items():
        where = where.with_(path, value)
    return where


def _text(found: Any) -> tuple[Sheet | str, ...]:
    first, last = found.estimates[0].product, found.estimates[0].products[-1]
    spread = last.entries
    known = "" if spread.how == "exact" else f" ({spread.how}"
    known += f", within {spread.spread:.1%} at {spread.confidence:.0%})" if spread.spread else ")" if known else ""
    a, b, number = first.a, first.b, found.estimates[0].multiplies
    head = (
        f"{found.matrix} on {found.device.name}: {a.shape[0]} x {b.shape[1]}, {a.entries} and {b.entries} entries, "
        f"{number} multiplications, {found.estimates[0].made:.0f} entries in the result{known}"
    )
    if (levels := len(getattr(found.estimates[0], "runs", ()))) > 1:
        head += f", {levels} runs in turn"
    best = found.best
    closing = f"best: {best.mapping.name} ({best.mapping.title}), {fmt(best.seconds, 's')}, bound by {best.bound}"
    words = "\n".join(map(folded, (closing, *found.helps)))
    return (folded(head), _rows(found), _tensors(found), words, *_notes(found))


def _rows(found: Any) -> Sheet:
    rows = tuple(_row(e) for e in found.estimates)
    columns = ("mapping", "time", "energy", "traffic", "x least", "used", "balance", "probes", "bound by")
    return Sheet("", columns, rows, right=tuple(range(1, 8)))


def _row(e: Any) -> tuple[str, ...]:
    least, probes = f"{e.traffic / e.compulsory:.2f}", f"{e.probed.mean:.2f}" if e.probed else "-"
    amounts = (fmt(e.seconds, "s"), fmt(e.joules, "J"), fmt(e.traffic, "B"))
    return (e.mapping.name, *amounts, least, f"{e.utilisation:.1%}", f"{e.balance:.2f}", probes, e.bound)


def _tensors(found: Any) -> Sheet:
    """Bytes of each tensor at the outermost level."""
    names = list(dict.fromkeys(t for e in found.estimates for t in e.tensors))
    rows = tuple(
        (e.mapping.name, *(fmt(e.counted.moved(e.outer.name, t), "B") if t in e.tensors else "-" for t in names))
        for e in found.estimates
    )
    return Sheet("", ("traffic of", *names), rows, right=tuple(range(1, len(names) + 1)))


def _notes(found: Any) -> list[str]:
    """What nobody has checked, of the device and of the mappings."""
    notes = []
    if found.device.unverified:
        notes.append(folded(f"unverified of {found.device.name}: {', '.join(found.device.unverified)}"))
    doubtful: dict[str, list[str]] = {}
    for e in found.estimates:
        if e.mapping.unverified:
            doubtful.setdefault(", ".join(e.mapping.unverified), []).append(e.mapping.name)
    notes += [folded(f"assumed in {', '.join(which)}: {what}") for what, which in doubtful.items()]
    silent = [name for name, joules in found.estimates[0].joules_by.items() if joules == 0]
    if found.estimates[0].joules == 0:
        notes.append(f"no energy is known for {', '.join(silent)}: counted as 0 J")
    return notes
