"""``weir map``: a cascade on one device's levels and units, loop by loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from einsum import Cascade, WeirError
from einsum.files import write
from mappings.text import pointed
from mappings.text import read as read_nest
from mappings.tree import Nest
from sim.arch import Device, device
from sim.cli import ask
from sim.cli.ask import writable
from sim.cli.data import Form, emit
from sim.cli.text import Sheet, folded, show
from sim.model.nudged import nudged
from sim.model.spatial import MappedEstimate, evaluate
from sim.serving.advice import helps
from sim.serving.sensitivity import Sensitivity
from sim.units import fmt
from workloads.catalogue import build

SCHEMA = "weir.map/1"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the command line puts it."""

    what: str
    sizes: tuple[str, ...]
    on: str
    mapping: str | None
    technology: str | None = None
    trace: str | None = None
    objective: str | None = None
    save: str | None = None
    plot: str | None = None
    nests: str | None = None


def mapped(asked: Asked, form: Form, everything: bool) -> None:
    """Print what one run of a cascade under a nest costs, the best one if none is given; what passes forbid is refused
    with what is legal instead."""
    writable(asked.plot, (".png", ".svg", ".pdf"), "--plot")
    writable(asked.save, (), "--save")
    cascade = workload(asked.what, ask.pairs(asked.sizes, "SIZE", "context=4096"))
    found, proof = _given(cascade, asked, everything) if asked.mapping else _searched(cascade, asked)
    if asked.trace is not None:
        from sim.model.trace import timeline

        timeline(found).save(asked.trace)
    if asked.plot is not None:
        _drawn(found, Path(asked.plot))
    if form is Form.TEXT:
        show(*_text(found, everything, proof))
    else:
        whole = summary(found) | ({"proof": proof} if proof else {})
        emit(form, whole, [whole])


def answered(asked: Asked) -> MappedEstimate:
    """What one run costs, under the nest of a file or the best one."""
    cascade = workload(asked.what, ask.pairs(asked.sizes, "SIZE", "context=4096"))
    return (_given(cascade, asked, False) if asked.mapping else _searched(cascade, asked))[0]


def _drawn(found: MappedEstimate, path: Path) -> None:
    """All pictures of the run in one file."""
    import matplotlib as mpl  # heavy

    mpl.use("agg")
    from sim.plot import sheet

    sheet(found).savefig(path)


def _given(cascade: Cascade, asked: Asked, everything: bool) -> tuple[MappedEstimate, str]:
    """What the nest of a file costs."""
    if asked.objective or asked.save or asked.nests:
        raise WeirError("--objective, --nests and --save are for a search: leave --mapping out")
    path, where = Path(asked.mapping or ""), device(asked.on)
    nest = read_nest(path)
    try:
        return evaluate(cascade, nest, where, technology=asked.technology), ""
    except WeirError as error:
        raise WeirError(f"{pointed(str(error), path)}{_instead(cascade, nest, where, everything)}") from None


def _searched(cascade: Cascade, asked: Asked) -> tuple[MappedEstimate, str]:
    """The best nest, and what shows that it is; written to a file if one is named."""
    from sim.cli.patience import patience
    from sim.mapper import Space, search

    where, objective = device(asked.on), asked.objective or "time"
    space = Space(nests=ask.whole(asked.nests, "--nests")) if asked.nests else Space()
    with patience("mapping") as advance:
        found = search(cascade, where, objective=objective, space=space, technology=asked.technology, advance=advance)
    if asked.save is not None:
        write(Path(asked.save), f"{found.nest}\n".encode(), "nest")
    return found.estimate, found.proof


def workload(what: str, sizes: dict[str, str]) -> Cascade:
    """A cascade from the catalogue (``attention.one_pass``) or from a text file, at the given sizes."""
    return build(what, {name: ask.whole(value, name) for name, value in sizes.items()})


def _instead(cascade: Cascade, nest: Nest, where: Device, everything: bool) -> str:
    """What could be run in place of a refused nest, in a line each, or whole."""
    from sim.mapper import alternatives

    try:
        found = alternatives(cascade, nest, where)
    except WeirError:
        return ""  # refused for another reason than its passes
    lines = []
    for one in found:
        moved = fmt(_last(one.estimate.traffic(where.memory.name)), "B")
        lines.append(
            f"legal instead: {one.how}: {moved} of {where.memory.name}, {fmt(_last(one.estimate.seconds), 's')}"
        )
        lines += [f"  {line}" for line in str(one.nest).splitlines()] if everything else []
    return "".join(f"\n{line}" for line in lines)


def helped(found: MappedEstimate) -> Iterator[str]:
    """What a tenth more of the device's numbers would give, the nest left as it is."""
    return helps((Sensitivity(path, gain, gain) for path, gain in nudged(found)), "runs/s")


def summary(found: MappedEstimate) -> dict[str, Any]:
    """The figures of one run under stable names (the JSON schema ``weir.map/1``)."""
    return {
        "schema": SCHEMA,
        "cascade": found.mapped.cascade.name,
        "device": found.device.name,
        "seconds": _last(found.seconds),
        "joules": _last(found.joules),
        "bound": found.bound,
        "helps": list(helped(found)),
        "utilisation": {b.unit: _last(found.utilisation(b.unit)) for b in found.leaves},
        "bytes": {m.name: _last(found.traffic(m.name)) for m in found.device.memories},
        "joules_by": {name: _last(value) for name, value in found.joules_by.items()},
        "area": [{"name": a.name, "mm2": a.total, "how": a.how, "model": a.model} for a in found.areas],
        "notes": list(found.notes),
        **_wired(found),
        "counts": [
            {"level": level, "tensor": tensor, "kind": kind, "elements": _last(count)}
            for level, tensor, kind, count in found.counts.rows()
        ],
    }


def _wired(found: MappedEstimate) -> dict[str, Any]:
    """What moves on the wires of each fan-out, if any states its topology."""
    wires = found.wires
    rows = [
        {
            "fanout": name,
            "bytes": _last(wires.moved(name)),
            "hops": _last(wires.hops(name)),
            "seconds": _last(wires.seconds[name]),
            "joules": _last(wires.joules.get(name, 0.0)),
        }
        for name in wires.names
    ]
    return {"wires": rows} if rows else {}


def _wires(found: MappedEstimate) -> Iterator[Sheet]:
    """The same as a table."""
    rows = tuple(
        (
            row["fanout"],
            fmt(row["bytes"], "B"),
            f"{row['hops']:,.0f}",
            fmt(row["seconds"], "s"),
            fmt(row["joules"], "J"),
        )
        for row in _wired(found).get("wires", ())
    )
    if rows:
        yield Sheet("", ("wires", "bytes", "hops", "time", "energy"), rows, right=(1, 2, 3, 4))


def _text(found: MappedEstimate, everything: bool, proof: str) -> tuple[Sheet | str, ...]:
    cost = f"{fmt(_last(found.seconds), 's')}, {fmt(_last(found.joules), 'J')}, bound by {found.bound}"
    parts: list[Sheet | str] = [
        f"{found.mapped.cascade.name} on {found.device.name}: {cost}",
        "\n".join(helped(found)),
        _levels(found),
        *_wires(found),
        _units(found),
    ]
    if everything:
        parts += [str(found.mapped.cascade)]
    if everything or proof:
        parts.append(str(found.mapped.nest))
    if proof:
        parts.append(folded(proof))
    if everything:
        parts += [_counts(found), _areas(found)]
    if found.notes:
        parts.append("\n".join(folded(note) for note in found.notes))
    return tuple(parts)


def _levels(found: MappedEstimate) -> Sheet:
    kinds = ("reads", "fills", "updates", "drains")
    rows = tuple(
        (
            m.name,
            *(fmt(_last(found.traffic(m.name, kind)), "B") for kind in kinds),
            fmt(_last(found.level_seconds[m.name]), "s"),
            fmt(_last(found.joules_by[m.name]), "J"),
        )
        for m in found.device.memories
    )
    return Sheet("", ("level", *kinds, "time", "energy"), rows, right=tuple(range(1, 7)))


def _units(found: MappedEstimate) -> Sheet:
    units = dict.fromkeys(b.unit for b in found.leaves)
    rows = tuple((u, f"{_last(found.utilisation(u)):.1%}", fmt(_last(found.joules_by[u]), "J")) for u in units)
    return Sheet("", ("unit", "used", "energy"), rows, right=(1, 2))


def _areas(found: MappedEstimate) -> Sheet:
    """Area by component, whether given or modelled, and the sum of what is known."""
    rows = [
        (a.name, str(a.instances), "" if a.how == "unknown" else f"{a.total:.4g}", a.how, a.model) for a in found.areas
    ]
    columns = ("area", "instances", "mm^2", "", "model")
    return Sheet("", columns, (*rows, ("all that is known", "", f"{found.area:.4g}", "", "")), right=(1, 2))


def _counts(found: MappedEstimate) -> Sheet:
    rows = tuple((*key, f"{_last(count):,.0f}") for *key, count in found.counts.rows())
    return Sheet("", ("level", "tensor", "kind", "elements"), rows, right=(3,))


def _last(value: Any) -> float:
    return float(np.ravel(value)[-1])
