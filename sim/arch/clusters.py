"""Clusters: pools of devices and the network between them, from ``2xh100_4xh20``, a catalogue name or a file."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from einsum.errors import WeirError, hint
from sim.arch.architecture import Device, quantity
from sim.arch.components import Link, Quantity
from sim.arch.devices import canonical, device, device_aliases, device_names
from sim.arch.files import DATA, Table

FOLDER = DATA / "clusters"
FILE_KEYS = ("title", "source", "notes", "node_size", "pool", "network")
POOL_KEYS = ("name", "device", "count", "set")
LARGEST = 100_000  # devices in one pool
ROLES = ("model", "attention")  # what the first and the second pool of a cluster are for

_POOL = re.compile(r"(\d+)x(\w+)", re.ASCII)
_BETWEEN = re.compile(r"\+|_(?=\d+x)", re.ASCII)
_COUNT = Quantity("1", positive=True, whole=True)


@dataclass(frozen=True, slots=True)
class Pool:
    """``count`` like devices, in nodes of ``node_size``, each device with its share of the network."""

    name: str
    device: Device
    count: int
    network: Link
    node_size: int

    def link(self, span: int, groups: int = 1) -> Link:
        """The link over which groups of devices talk that are among ``span`` neighbours: inside one node if they are
        and nodes have room for all ``groups`` of such neighbours, else the network."""
        # A node without a fabric of its own (or with bridges of pairs) goes over its PCI Express.
        for link in (self.device.link("node"), self.device.link("host")):
            if link is not None and groups <= self._room(span, min(link.peers or self.node_size, self.node_size)):
                return link
        return self.network

    def _room(self, span: int, size: int) -> int:
        """Groups of ``span`` devices that all fit into parts of ``size``, none cut in two."""
        return self.count // size * (size // span) + self.count % size // span


@dataclass(frozen=True, slots=True)
class Cluster:
    """Pools of devices; ``network`` joins the pools (and the nodes), with its bandwidth given per device."""

    name: str
    title: str
    pools: tuple[Pool, ...]
    network: Link
    node_size: int
    source: str
    notes: str = ""

    def pool(self, name: str) -> Pool:
        """The pool of that name."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise WeirError(f"{self.name}: unknown pool {name!r}{hint(name, [p.name for p in self.pools])}")

    @property
    def devices(self) -> int:
        """Devices in all pools together."""
        return sum(pool.count for pool in self.pools)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every number of the cluster by dotted path, as ``get`` and ``with_`` take it."""
        pools = [f"{p.name}.{path}" for p in self.pools for path in ("count", "node_size", *p.device.paths)]
        return (*(f"network.{attribute}" for attribute in Link.QUANTITIES), *pools)

    def _split(self, path: str) -> tuple[str, str]:
        """The pool (or ``network``) and the rest of a path that must be known."""
        paths = self.paths
        if path not in paths:
            raise WeirError(f"{self.name}: unknown path {path!r}{hint(path, paths) or f'; for example {paths[0]!r}'}")
        name, _, rest = path.partition(".")
        return name, rest

    def get(self, path: str) -> float:
        """The number at a dotted path, in SI units: ``model.hbm.bandwidth``, ``network.latency``, ``model.count``."""
        name, rest = self._split(path)
        if name == "network":
            return float(getattr(self.network, rest))
        pool = self.pool(name)
        return float(getattr(pool, rest)) if rest in {"count", "node_size"} else pool.device.get(rest)

    def with_(self, path: str, value: str | float) -> Cluster:
        """The cluster with one number changed, given as text with units or in SI units."""
        name, rest = self._split(path)
        where = f"{self.name} {path}"
        if name == "network":
            return self._with_network(rest, value, where)
        pool = self.pool(name)
        if rest in {"count", "node_size"}:
            change: dict[str, Any] = {rest: _count(value, where)}
            new = replace(pool, **change)
        else:
            new = replace(pool, device=pool.device.with_(rest, value))
        return replace(self, pools=tuple(new if p is pool else p for p in self.pools))

    def _with_network(self, attribute: str, value: str | float, where: str) -> Cluster:
        """The cluster with its network changed, also for the pools that have no network of their own."""
        kind = Link.QUANTITIES[attribute]
        number = quantity(value, kind, where)
        change: dict[str, Any] = {attribute: int(number) if kind.whole else number}
        network = replace(self.network, **change)
        pools = tuple(replace(p, network=network) if p.network == self.network else p for p in self.pools)
        return replace(self, pools=pools, network=network)


def _count(value: str | float, where: str) -> int:
    count = int(quantity(value, _COUNT, where))
    if count > LARGEST:
        raise WeirError(f"{where}: {count} devices; a pool has at most {LARGEST}")
    return count


@cache
def cluster_names() -> tuple[str, ...]:
    """The clusters in the catalogue; any ``<n>x<device>`` is a cluster as well."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@cache
def default_network() -> tuple[Link, int, str]:
    """The network assumed where none is given: its link, the devices of a node, and its source."""
    path = DATA / "network.toml"
    top = Table.read(path, "network", (*Link.QUANTITIES, "node_size", "source"))
    link = Link(name="network", scope="network", **top.numbers(Link.QUANTITIES))
    size = int(top.number("node_size", _COUNT))
    source = top.text("source")
    top.finish()
    return link, size, source


def cluster(text: str | Path) -> Cluster:
    """The cluster written as ``<n>x<device>`` joined by ``_`` or ``+``, catalogued by name, or in a ``.toml`` file.

    A device's bare name is one of it. Of two pools (``2xh100_4xh20``) the first runs the model, the second attention.
    Prices are not part of it. Raises :class:`WeirError` for what is not understood, with the nearest name.
    """
    if isinstance(text, Path) or text.endswith(".toml"):
        return load(Path(text))
    return _named(text)


@lru_cache(maxsize=256)
def _named(text: str) -> Cluster:
    if text in cluster_names():
        return load(FOLDER / f"{text}.toml")
    return _written(text)


def _written(text: str) -> Cluster:
    """The cluster that a text such as ``2xh100_4xh20`` describes, on the default network."""
    parts = [_pair(part, text) for part in _BETWEEN.split(text[:200])]
    if len(parts) > len(ROLES):
        raise WeirError(
            f"cluster {text!r:.80} has {len(parts)} pools; write at most two, or describe it in a .toml file"
        )
    network, node_size, source = default_network()
    pools = tuple(
        _pool(role, made, count, network, node_size) for role, (count, made) in zip(ROLES, parts, strict=False)
    )
    title = " + ".join(f"{pool.count} x {pool.device.title}" for pool in pools)
    return Cluster(text, title, pools, network, node_size, source=f"network assumed: {source}")


def _pair(part: str, text: str) -> tuple[int, Device]:
    """The count and the device of one pool; a device's bare name is one of it."""
    match = _POOL.fullmatch(part)
    if match is None and canonical(part) is not None:
        return 1, device(part)
    if match is None:
        near = hint(text, cluster_names())
        example = near if near.startswith("; did") else "; write <n>x<device>, for example 2xh100_4xh20"
        raise WeirError(f"unknown cluster {text!r:.80}{example}")
    digits, name = match.groups()
    if not 1 <= int(digits) <= LARGEST:
        raise WeirError(f"cluster {text!r:.80}: {digits} x {name}: a pool has 1 to {LARGEST} devices")
    if canonical(name) is None:
        near = hint(name, {*device_names(), *device_aliases()})
        raise WeirError(f"cluster {text!r:.80}: unknown device {name!r}{near}")
    return int(digits), device(name)


def _pool(name: str, made: Device, count: int, network: Link, node_size: int) -> Pool:
    """A pool whose nodes are as large as its device's own fabric, where that is larger; its own network comes first."""
    fabric = made.link("node")
    size = max(node_size, fabric.peers) if fabric is not None else node_size
    return Pool(name, made, count, made.link("network") or network, size)


def load(path: Path) -> Cluster:
    """The cluster a file describes; all of the file's problems are reported together."""
    top = Table.read(path, "cluster", FILE_KEYS)
    assumed, default_size, origin = default_network()
    network = _network(top.table("network", Link.QUANTITIES)) if "network" in top.raw else assumed
    stated = int(top.number("node_size", _COUNT, default_size))
    made = [_filed(entry, network, stated, "node_size" in top.raw) for entry in top.tables("pool", POOL_KEYS)]
    pools = tuple(pool for pool in made if pool is not None)
    names = [pool.name for pool in pools]
    if not made:
        top.refuse("at least one [[pool]] is needed", "pool")
    if len(set(names)) < len(names) or "network" in names:
        top.refuse("pool names must differ from each other and from 'network'", "pool")
    title, source, notes = top.text("title"), top.text("source"), top.text("notes", "")
    if "network" not in top.raw:
        source += f"; network assumed: {origin}"
    top.finish()
    return Cluster(path.stem, title, pools, network, stated, source, notes)


def _filed(entry: Table, network: Link, node_size: int, stated: bool) -> Pool | None:
    """One [[pool]], its device changed as its ``set`` table says; None after a problem."""
    before = len(entry.source.problems)
    name, made = entry.text("name"), _filed_device(entry)
    count = int(entry.number("count", _COUNT))
    if count > LARGEST:
        entry.refuse(f"{count} devices; a pool has at most {LARGEST}", "count")
    if len(entry.source.problems) > before or made is None:
        return None
    own = made.link("network") or network
    return Pool(name, made, count, own, node_size) if stated else _pool(name, made, count, network, node_size)


def _filed_device(entry: Table) -> Device | None:
    """A pool's device, changed as its ``set`` table says; None after a problem."""
    text, changes = entry.text("device"), entry.table("set")
    try:
        made = device(text) if text else None
    except WeirError as problem:
        entry.refuse(str(problem), "device")
        return None
    for path, value in changes.raw.items() if made else ():
        try:
            made = made.with_(path, value) if made else None
        except WeirError as problem:
            changes.refuse(str(problem), path)
    return made


def _network(table: Table) -> Link:
    bandwidth = table.number("bandwidth", Link.QUANTITIES["bandwidth"])
    rest: dict[str, Any] = table.numbers({k: q for k, q in Link.QUANTITIES.items() if k != "bandwidth"})
    return Link(name="network", scope="network", bandwidth=bandwidth, **rest)
