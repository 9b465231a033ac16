"""Devices from data files, by name, by alias, or by the path of a file of the user's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from einsum.errors import WeirError, hint
from einsum.files import parse_toml
from sim.arch.architecture import ENERGY, RATE, Device, bits, quantity
from sim.arch.boards import board
from sim.arch.components import OPERATIONS, Compute, Fanout, Link, Memory, Power, Process, Quantity
from sim.arch.files import DATA, Table, read

FOLDER = DATA / "devices"
ACCELERATORS = DATA / "accelerators"  # spatial arrays, for mapped cascades: no whole model runs on them as they are
_KEYS = ("title", "vendor", "architecture", "year", "source", "aliases", "notes", "unverified")
_PARTS = ("memory", "fanout", "compute", "link", "power", "technology")
FILE_KEYS = (*_KEYS, *_PARTS)
_COMPUTE = (
    "name", "under", "chained", "asynchronous", "apart", "area", "contexts", "rate", "device_rate", "energy",
)  # fmt: skip
_MEMORY = ("replacement", "interleaved")
Rows = tuple[tuple[str, str, float], ...]
Part = TypeVar("Part", Memory, Fanout)


@cache
def device_names() -> tuple[str, ...]:
    """The canonical names of the devices in the catalogue."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@cache
def accelerator_names() -> tuple[str, ...]:
    """The names of the spatial arrays in the catalogue, which ``device`` takes as well."""
    return tuple(sorted(path.stem for path in ACCELERATORS.glob("*.toml")))


@cache
def device_aliases() -> dict[str, str]:
    """Every short name and the canonical name it stands for."""
    files = {name: read(FOLDER / f"{name}.toml", "device") for name in device_names()}
    return {alias: name for name, raw in files.items() for alias in raw.get("aliases", [])}


@lru_cache(maxsize=1024)
def canonical(name: str) -> str | None:
    """The catalogue's name for a name or an alias, or None."""
    if name in device_names():
        return name
    for known in device_names():
        # Only a file that mentions the alias is parsed: the whole catalogue would cost a command its start-up time.
        text = (FOLDER / f"{known}.toml").read_text(encoding="utf-8")
        if f'"{name}"' in text and name in parse_toml(text, known).get("aliases", []):
            return known
    return None


def device(name: str | Path) -> Device:
    """The device of that name or alias (``weir list devices``), or described by the ``.toml`` file at that path.

    Its numbers are in SI units: bytes, bytes a second, operations a second, seconds, joules, watts;
    ``device.with_("hbm.bandwidth", "4 TB/s")`` is another device. Raises :class:`WeirError` for a name that is not
    known, with the nearest that is, and for a file with mistakes, all of them at once.
    """
    if isinstance(name, Path) or name.endswith(".toml"):
        return load(Path(name))
    return _catalogued(name)


@lru_cache(maxsize=256)
def _catalogued(name: str) -> Device:
    if name in accelerator_names():
        return load(ACCELERATORS / f"{name}.toml")
    known = canonical(name)
    if known is None:
        near = hint(name, {*device_names(), *device_aliases(), *accelerator_names()})
        raise WeirError(
            f"unknown device {name!r:.80}{near or '; a file of your own is given by its path, ending .toml'}"
        )
    return load(FOLDER / f"{known}.toml")


def load(path: Path) -> Device:
    """The device a file describes; all of the file's problems are reported together."""
    top = Table.read(path, "device", FILE_KEYS)
    memories = top.tables("memory", (*_known(Memory.QUANTITIES), *_MEMORY))
    fanouts = top.tables("fanout", (*_known(Fanout.QUANTITIES), "network", "topology"))
    computes = top.tables("compute", _COMPUTE)
    links = top.tables("link", ("name", "scope", "reduces", *Link.QUANTITIES))
    texts = {name: top.text(name) for name in ("title", "vendor", "architecture", "source")} | {
        "notes": top.text("notes", "")
    }
    made = Device(
        name=path.stem,
        **texts,
        year=int(top.number("year", Quantity("1", positive=True, whole=True))),
        memories=tuple(map(_memory, memories)),
        fanouts=tuple(map(_fanout, fanouts)),
        computes=tuple(map(_compute, computes)),
        links=tuple(map(_link, links)),
        power=board(top.table("power", Power.QUANTITIES)) if "power" in top.raw else None,
        unverified=top.texts("unverified"),
        technology=_process(top.table("technology", ("node", "dram", "clock"))) if "technology" in top.raw else None,
    )
    top.texts("aliases")
    _check_names([*memories, *fanouts, *computes, *links])
    _check_tree(made, top, [*memories, *fanouts, *computes])
    top.finish()
    return _per_instance(made, {entry.raw["name"] for entry in computes if "device_rate" in entry.raw})


def _known(quantities: dict[str, Quantity]) -> tuple[str, ...]:
    return ("name", "under", *quantities)


def _part(kind: type[Part], entry: Table) -> Part:
    return kind(name=entry.text("name"), under=entry.text("under", ""), **entry.numbers(kind.QUANTITIES))


def _memory(entry: Table) -> Memory:
    replacement = entry.one_of("replacement", Memory.REPLACEMENTS) if "replacement" in entry.raw else ""
    return replace(_part(Memory, entry), replacement=replacement, interleaved=entry.flag("interleaved"))


def _fanout(entry: Table) -> Fanout:
    network = entry.one_of("network", Fanout.NETWORKS) if "network" in entry.raw else ""
    topology = entry.one_of("topology", Fanout.TOPOLOGIES) if "topology" in entry.raw else ""
    for name in ("pitch", "bandwidth"):
        if name in entry.raw and not topology:
            entry.refuse(f"needs a 'topology': {', '.join(Fanout.TOPOLOGIES[1:])}", name)
    return replace(_part(Fanout, entry), network=network, topology=topology)


def _link(entry: Table) -> Link:
    stated: dict[str, Any] = {"bandwidth": entry.number("bandwidth", Link.QUANTITIES["bandwidth"])}
    stated |= entry.numbers({name: kind for name, kind in Link.QUANTITIES.items() if name != "bandwidth"})
    scope, adds = entry.one_of("scope", Link.SCOPES), entry.flag("reduces")
    return Link(name=entry.text("name"), scope=scope, reduces=adds, **stated)


def _compute(entry: Table) -> Compute:
    if ("rate" in entry.raw) == ("device_rate" in entry.raw):
        entry.refuse("give either 'rate' (one instance) or 'device_rate' (the whole device)")
    rates = _rows(entry, "rate", RATE) or _rows(entry, "device_rate", RATE)
    name, under, energies = entry.text("name"), entry.text("under", ""), _rows(entry, "energy", ENERGY)
    area = entry.number("area", Memory.QUANTITIES["area"], 0.0)
    contexts = entry.number("contexts", Compute.CONTEXTS, math.inf)
    return Compute(
        name, under, rates, energies, entry.flag("chained"), area, asynchronous=entry.flag("asynchronous"),
        apart=entry.flag("apart"), contexts=contexts,
    )  # fmt: skip


def _rows(entry: Table, key: str, kind: Quantity) -> Rows:
    """Rows of a table of tables: operation class, then data type, then a quantity."""
    table = entry.table(key, OPERATIONS)
    inner = {op: table.table(op) for op in table.raw if op in OPERATIONS}
    return tuple((op, dtype, _cell(row, dtype, kind)) for op, row in inner.items() for dtype in row.raw)


def _cell(table: Table, dtype: str, kind: Quantity) -> float:
    """One rate or energy, its data type checked as well."""
    try:
        bits(dtype)
        return quantity(table.raw[dtype], kind)
    except WeirError as problem:
        table.refuse(str(problem), dtype)
        return 1.0


def _process(table: Table) -> Process:
    """What the device is made in; the models must know its node and its kind of memory."""
    from sim.arch.technology import dram, technology  # few files ask for models

    node, kind = 0.0, table.text("dram", "")
    try:
        node = technology(table.raw.get("node", "")).node
    except WeirError as problem:
        table.refuse(str(problem), "node")
    try:
        kind = dram(kind).name if kind else ""
    except WeirError as problem:
        table.refuse(str(problem), "dram")
    return Process(node, kind, table.number("clock", Quantity("Hz", positive=True), 0.0))


def _check_tree(made: Device, top: Table, nodes: Sequence[Table]) -> None:
    """Every ``under`` leads to one outermost memory, and there is something to run on."""
    parts: tuple[Memory | Fanout | Compute, ...] = (*made.memories, *made.fanouts, *made.computes)
    parents = {part.name: part.under for part in parts}
    stores = {memory.name for memory in made.memories} | {fanout.name for fanout in made.fanouts}
    for part, node in zip(parts, nodes, strict=True):
        if part.under and part.under not in stores:
            node.refuse(f"unknown {part.under!r:.60}{hint(part.under, stores)}", "under")
        elif _circular(part.name, parents):
            node.refuse("is under itself", "under")
    outermost = [memory.name for memory in made.memories if not memory.under]
    if len(outermost) != 1:
        top.refuse(f"exactly one [[memory]] without 'under' is needed; there are {len(outermost)}", "memory")
    if not made.computes:
        top.refuse("at least one [[compute]] is needed", "compute")


def _check_names(entries: Iterable[Table]) -> None:
    """Every component has a name of its own that can begin a dotted path."""
    seen = set[str]()
    for entry in entries:
        name = entry.raw.get("name")
        if not isinstance(name, str) or not name:
            continue
        if name in seen:
            entry.refuse(f"two components are called {name!r:.60}", "name")
        if not _plain(name):
            entry.refuse(f"a component's name cannot be {name!r:.60}", "name")
        seen.add(name)


def _plain(name: str) -> bool:
    """Whether a name can begin a dotted path; ``memory`` and ``power`` already mean something there."""
    return name.isidentifier() and name not in {"memory", "power"}


def _circular(name: str, parents: dict[str, str]) -> bool:
    above = parents.get(name, "")
    for _ in parents:
        above = parents.get(above, "")
    return bool(above)


def _per_instance(made: Device, whole: set[str]) -> Device:
    """The device with the rates that its file gives for the whole device divided among the instances."""
    parts = []
    for unit in made.computes:
        share = made.instances(unit.name) if unit.name in whole else 1
        rates = tuple((op, dtype, rate / share) for op, dtype, rate in unit.rates)
        parts.append(replace(unit, rates=rates))
    return replace(made, computes=tuple(parts))
