"""``weir show``: everything known about one name, each number with its unit, its source, and whether it was checked."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from einsum.errors import WeirError, hint
from sim.arch import (
    Cluster,
    Compute,
    Device,
    Fanout,
    Link,
    Memory,
    accelerator_names,
    books,
    cluster,
    cluster_names,
    device,
    device_aliases,
    device_names,
)
from sim.arch.clusters import FOLDER as CLUSTERS
from sim.arch.devices import ACCELERATORS, canonical
from sim.arch.devices import FOLDER as DEVICES
from sim.arch.files import read
from sim.arch.prices import FOLDER as BOOKS
from sim.cli.text import Sheet, folded
from sim.units import fmt
from workloads.catalogue import builders

Parts = tuple[Sheet | str, ...]
SIZE = 128  # extent given to a rank that a workload leaves to the user
MARKS = {
    "unverified": "from memory, checked against no document",
    "assumed": "the device's file does not say; a default share of the board's limit, as H200's (docs/accuracy.md)",
}


def describe(name: str) -> Parts:
    """What the name stands for, whatever kind of thing that is."""
    for known, tell in _kinds():
        if known(name):
            return tell(name)
    raise WeirError(f"nothing is called {name!r:.80}{hint(name, everything()) or '; see weir list'}")


def everything() -> list[str]:
    """Every name of the catalogue."""
    from sim.arch import tier_names
    from sim.serving.trace import trace_names
    from workloads.transformer import names

    return [
        *names(), *device_names(), *device_aliases(), *accelerator_names(), *cluster_names(), *trace_names(), *books(),
        *tier_names(), *builders(),
    ]  # fmt: skip


def file(name: str) -> str:
    """The data file behind a name, with the source of each number beside it."""
    files = {path.stem: path for folder in _folders() for path in folder.glob("*.toml")}
    path = files.get(canonical(name) or name)
    if path is None:
        raise WeirError(f"no data file is called {name!r:.80}{hint(name, files)}")
    return path.read_text(encoding="utf-8")


def _folders() -> tuple[Path, ...]:
    from sim.serving.trace import DATA as TRACES
    from workloads.config import FOLDER as MODELS

    return DEVICES, ACCELERATORS, CLUSTERS, BOOKS, TRACES, MODELS


def _kinds() -> Iterator[tuple[Callable[[str], bool], Callable[[str], Parts]]]:
    """How each kind of name is recognised, and told."""
    from sim.arch import tier_names
    from sim.serving.trace import trace_names

    yield (
        lambda name: canonical(name) is not None,
        lambda name: _device(device(name), DEVICES / f"{canonical(name)}.toml"),
    )
    yield lambda name: name in accelerator_names(), lambda name: _device(device(name), ACCELERATORS / f"{name}.toml")
    yield lambda name: name in trace_names() or name.endswith((".csv", ".jsonl")), _trace
    yield lambda name: name in books(), _book
    yield lambda name: name in tier_names(), _tier
    yield lambda name: name in cluster_names() or (name[:1].isdigit() and "x" in name), lambda n: _cluster(cluster(n))
    yield lambda name: name in builders(), _workload
    yield lambda name: name.endswith(".toml"), _own
    yield _is_model, _model


def _is_model(name: str) -> bool:
    from workloads.config import resolve

    if name.endswith(".json"):
        return True
    try:
        return bool(resolve(name))
    except WeirError:
        return False


def _own(name: str) -> Parts:
    """A file of the user's own: a cluster if it has pools, a price book if it has prices, else a device."""
    path = Path(name)
    tables = read(path, "device, cluster or price")
    if "price" in tables:
        return _book(name)
    return _cluster(cluster(path)) if "pool" in tables else _device(device(path), path)


def _device(one: Device, path: Path) -> Parts:
    power = read(path, "device").get("power", {})
    rows = tuple(_number(one, number, unit, power) for number, unit in _numbers(one))
    about = f"{one.title} ({one.vendor}, {one.architecture}, {one.year})"
    sheet = Sheet(f"{one.name}: {about}", ("number", "value", ""), rows, right=(1,))
    marks = [f"{mark}: {meaning}" for mark, meaning in MARKS.items() if any(row[2] == mark for row in rows)]
    notes = [f"source: {one.source}", one.notes, *marks]
    return sheet, _paragraphs([*notes, f"'weir show {one.name} --file' prints the source beside each number"])


def _numbers(one: Device) -> Iterator[tuple[str, str]]:
    """Paths of the numbers a device states, once each, with their SI units."""
    nodes: tuple[Memory | Fanout | Compute | Link, ...]
    nodes = (*one.memories, *one.fanouts, *one.computes, *one.links)
    parts = {part.name: part for part in nodes}
    for path in one.paths:
        name, attribute, *row = path.split(".")
        part = one.power if name == "power" else parts.get(name)
        if part is None or (row and attribute == "rate"):
            continue  # the outermost memory's other name; one instance's share of a device's rate
        unit = (
            {"energy": "J/op", "contexts": "1"}.get(attribute, "op/s")
            if isinstance(part, Compute)
            else part.QUANTITIES[attribute].unit
        )
        stated = isinstance(part, Compute) or getattr(part, attribute) not in (0, math.inf)
        if stated:
            yield path, unit


def _number(one: Device, path: str, unit: str, power: dict[str, Any]) -> tuple[str, str, str]:
    """One number, and what is to be held against it; ``power`` is what the file itself says of it."""
    doubtful = any(path == field or path.startswith(f"{field}.") for field in one.unverified)
    assumed = path.startswith("power.") and path.removeprefix("power.") not in power
    value = one.get(path)
    text = f"{value:,.0f}" if unit == "1" and float(value).is_integer() else fmt(value, unit)  # a count is exact
    return path, text, "unverified" if doubtful else "assumed" if assumed else ""


def _cluster(one: Cluster) -> Parts:
    pools = tuple(
        (p.name, str(p.count), p.device.name, str(p.node_size), _link(p.link(p.count)), _link(p.network))
        for p in one.pools
    )
    columns = ("pool", "count", "device", "node", "among themselves", "to others")
    sheet = Sheet(f"{one.name}: {one.title}", columns, pools, right=(1, 3))
    notes = [f"between pools: {_link(one.network)}", f"source: {one.source}", one.notes]
    return sheet, _paragraphs([*notes, *_hourly(one), "'weir show DEVICE' for each device"])


def _link(link: Link) -> str:
    return f"{link.name} {fmt(link.bandwidth, 'B/s')} {fmt(link.latency, 's')}"


def _hourly(one: Cluster) -> list[str]:
    """What the cluster costs an hour, if a book has all its devices."""
    from sim.arch.prices import prices

    try:
        found = prices([pool.device for pool in one.pools])
    except WeirError as problem:
        return [f"price: {problem}"]
    return [f"price: {found.usd_per_hour(one):.2f} USD/h; {found.describe()}"]


def _trace(name: str) -> Parts:
    from sim.serving.trace import trace

    one = trace(name)
    percents = (1, 25, 50, 75, 90, 99)
    rows = tuple(
        (of, f"{mean:,.2f}", *(f"{one.percentile(q, of):,.0f}" for q in percents))
        for of, mean in (("prompt", one.mean_prompt), ("output", one.mean_output))
    )
    columns = ("tokens", "mean", *(f"p{q}" for q in percents))
    pace = (
        [f"{one.rate:.4g} requests/s, burstiness {one.burstiness:.3g} (Poisson: 1)"]
        if one.rate and one.burstiness
        else []
    )
    return Sheet(str(one), columns, rows, right=tuple(range(1, 8))), _paragraphs([*pace, f"source: {one.source}"])


def _book(name: str) -> Parts:
    from sim.arch import book

    one = book(name)
    rows = tuple(
        (
            p.device,
            f"{p.usd_per_hour:.2f}",
            f"{p.low:.2f}-{p.high:.2f}",
            p.date,
            "; ".join(filter(None, (p.source, p.note))),
        )
        for p in one.prices
    )
    sheet = Sheet(f"{one.name}: {one.title}", ("device", "USD/h", "range", "date", "source"), rows, right=(1, 2))
    return sheet, _paragraphs([f"source: {one.source}", one.notes])


def _tier(name: str) -> Parts:
    from sim.arch import tier

    one = tier(name)
    rows = (
        ("compute", f"{one.compute:.0%}", "of the peak operation rate"),
        ("memory", f"{one.memory:.0%}", "of the peak bandwidth"),
        ("launch", fmt(one.launch, "s"), "added to each kernel"),
        ("collective", fmt(one.collective, "s"), "added to each collective, beside its links' latency"),
    )
    return Sheet(f"tier {one.name}", ("number", "value", ""), rows, right=(1,)), _paragraphs([f"source: {one.source}"])


def _model(name: str) -> Parts:
    from workloads.transformer import from_config

    one = from_config(name)
    state = one.state_bytes(2) - one.state_bytes(1)
    rows = (
        ("parameters", f"{one.parameters:,}"),
        ("active parameters", f"{one.active_parameters:,}"),
        ("layers", str(one.layers)),
        ("width", str(one.model)),
        ("query heads", str(one.heads)),
        ("key-value heads", str(one.kv_heads)),
        ("longest context", f"{one.longest:,} tokens"),
        ("weights' type", one.dtype),
        ("state per token", f"{float(state):,.0f} B"),
        ("state of 4096 tokens", fmt(float(one.state_bytes(4096)), "B")),
    )
    parts = [f"# {part.times} times\n{part.cascade}" for part in one.decode.parts]
    source = f"source: {one.spec.source}" if one.spec.source else ""
    notes = _paragraphs([source, *one.notes])
    return Sheet(one.name, ("number", "value"), rows, right=(1,)), notes, "\n\n".join(parts)


def _workload(name: str) -> Parts:
    build = builders()[name]
    needed = [p.name for p in inspect.signature(build).parameters.values() if p.default is p.empty]
    signature = str(inspect.signature(build)).replace("'", "")
    said = (inspect.getdoc(build) or "").partition("\n\n>>>")[0].replace("``", "")
    about = _paragraphs([f"{name}{signature}", *said.split("\n\n")])
    sizes = f"shown with {', '.join(needed)} = {SIZE}" if needed else ""
    return about, str(build(**dict.fromkeys(needed, SIZE))), sizes


def _paragraphs(notes: list[str]) -> str:
    return "\n".join(folded(note) for note in notes if note)
