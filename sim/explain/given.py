"""What the model is given, as traced numbers: every number of a device, network, tier or price with its source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

from sim.arch import Cluster, Device, Tier
from sim.arch.architecture import ENERGY, RATE
from sim.arch.components import Compute, Power
from sim.arch.prices import Price, Prices
from sim.explain.traced import leaf
from sim.model.actions import Counts
from sim.model.products import Product
from sim.model.step import Work
from sim.model.task import Task

UNVERIFIED, YOURS = "unverified", "set by you"
AMOUNTS = ("copies", "rows", "cols", "depth")  # of a product
COUNTED = "counted from the cascade as it is laid out"


def cluster(where: Cluster, changed: Iterable[str] = ()) -> Cluster:
    """The cluster, each of its numbers a traced one; those ``changed`` by the user (dotted paths) say so."""
    own = dict.fromkeys(changed, YOURS)
    network = _link(where.network, "network", where.source, own)
    pools = []
    for pool in where.pools:
        mine = {path.removeprefix(f"{pool.name}."): text for path, text in own.items() if path.startswith(pool.name)}
        link = (
            network if pool.network == where.network else _link(pool.network, f"{pool.name} network", where.source, own)
        )
        pools.append(replace(pool, device=device(pool.device, mine), network=link))
    return replace(where, pools=tuple(pools), network=network)


def _link(link: Any, name: str, source: str, own: Mapping[str, str]) -> Any:
    found = {}
    for key in ("bandwidth", "latency"):
        origin = own.get(f"{name}.{key}", source)
        found[key] = leaf(getattr(link, key), f"{name}.{key}", link.QUANTITIES[key].unit, origin)
    return replace(link, **found)


def device(one: Device, own: Mapping[str, str] | None = None) -> Device:
    """The device, each of its numbers a traced one; ``own`` are sources, by path, of those not from its file."""
    known = _Known(one, own or {})
    fields: dict[str, Any] = {
        "memories": tuple(known.part(m) for m in one.memories),
        "fanouts": tuple(known.part(f) for f in one.fanouts),
        "links": tuple(known.part(link) for link in one.links),
        "computes": tuple(known.unit(u) for u in one.computes),
        "power": None if one.power is None else known.part(one.power, "power"),
    }
    return replace(one, **fields)


class _Known:
    """A device's numbers by dotted path, with what its file says of where they come from."""

    def __init__(self, one: Device, own: Mapping[str, str]) -> None:
        self.one, self.own = one, own

    def source(self, path: str) -> str:
        """The file's source, and whether anybody has checked this number of it."""
        alias = path.replace(self.one.memory.name, "memory", 1)
        if found := self.own.get(path, self.own.get(alias)):
            return found
        doubtful = any(path == name or path.startswith(f"{name}.") for name in self.one.unverified)
        return f"{self.one.name}.toml: {self.one.source}{f' ({UNVERIFIED})' if doubtful else ''}"

    def number(self, path: str, value: float, unit: str) -> Any:
        """One number as a traced one; what a file leaves out (nothing, or without limit) stays plain."""
        if not isfinite(value) or value == 0:
            return value
        return leaf(value, f"{self.one.name} {path}", "" if unit == "1" else unit, self.source(path))

    def part(self, part: Any, name: str = "") -> Any:
        """A memory, fan-out, link or the power with traced numbers; counts that arrays are shaped by stay plain."""
        plain = {"partitions", "banks", "peers", *(() if isinstance(part, Power) else ("count",))}
        values = {key: (getattr(part, key), kind) for key, kind in part.QUANTITIES.items() if key not in plain}
        title = name or part.name
        given = {
            key: self.number(f"{title}.{key}", value, kind.unit)
            for key, (value, kind) in values.items()
            if value is not None
        }
        return replace(part, **given)

    def unit(self, unit: Compute) -> Compute:
        """A unit with traced rates and energies."""
        rows = {"rates": ("rate", RATE.unit), "energies": ("energy", ENERGY.unit)}
        given: dict[str, Any] = {}
        for field, (table, text) in rows.items():
            given[field] = tuple(
                (op, dtype, self.number(f"{unit.name}.{table}.{op}.{dtype}", value, text))
                for op, dtype, value in getattr(unit, field)
            )
        return replace(unit, **given)


def actions(found: Counts) -> Counts:
    """The counts of a mapped cascade as traced numbers."""
    rows = tuple(replace(a, count=_count(a.count, f"{a.kind} of {a.tensor} at {a.level}", "")) for a in found.actions)
    return replace(found, actions=rows)


def work(found: Work, of: str = "") -> Work:
    """The tasks of a program, their amounts traced numbers: what the cascade and the layout come to.

    ``of`` ends their names, where several programs make one figure.
    """
    parts = tuple((part, tuple(_task(task, of) for task in tasks)) for part, tasks in found.parts)
    return replace(found, parts=parts, passed=_count(found.passed, "bytes between stages", "B"))


def _task(task: Task, of: str) -> Task:
    amount = {"kernel": "bytes of", "transfer": "bytes received of"}.get(task.kind, "bytes in")
    ops = tuple((op, kind, _count(n, f"{op} {kind} of {task.name}{of}", "op")) for op, kind, n in task.ops)
    products = tuple(_product(one, of) for one in task.products)
    return replace(task, size=_count(task.size, f"{amount} {task.name}{of}", "B"), ops=ops, products=products)


def _product(one: Product, of: str) -> Product:
    whose = f"of the product with {one.kept}{of}"
    return replace(one, **{key: _count(getattr(one, key), f"{key} {whose}", "") for key in AMOUNTS})


def _count(value: Any, name: str, unit: str) -> Any:
    return leaf(value, name, unit, COUNTED)


UNITS = {"cache": "B", "copy": "B"}  # a clock, which is counted by a rate in Hz


class Constants:
    """The constants of a tier, traced; it stands where the tier's own do."""

    def __init__(self, tier: Tier, source: str) -> None:
        found = tier.constants.table() if tier.constants else {}
        self._table = {
            kind: {name: leaf(value, f"{kind}.{name}", UNITS.get(name, ""), source) for name, value in numbers.items()}
            for kind, numbers in found.items()
        }

    def table(self) -> dict[str, dict[str, Any]]:
        """The constants by class of kernel."""
        return self._table


def tier(level: Tier) -> Tier:
    """The tier, each of its constants a traced one."""
    units = {"launch": "s", "compute": "", "memory": "", "collective": "s"}
    source = f"tiers.toml: {level.source}"
    given: dict[str, Any] = {
        name: leaf(getattr(level, name), f"tier {level.name}.{name}", unit, source)
        for name, unit in units.items()
        if getattr(level, name)
    }
    if level.constants is not None:
        given["constants"] = Constants(
            level, f"physical.toml: {_fitted()}" if level.name == "physical" else level.source
        )
    return replace(level, **given)


def _fitted() -> str:
    """What the physical constants were fitted to, as their file says."""
    from sim.arch.files import DATA, read

    return str(read(DATA / "physical.toml", "constants").get("source", ""))


def prices(book: Prices) -> Prices:
    """The prices, each a traced number."""
    return replace(
        book,
        prices=tuple(
            replace(p, usd_per_hour=leaf(p.usd_per_hour, f"price of {p.device}", "USD/h", _dated(p)))
            for p in book.prices
        ),
    )


def _dated(price: Price) -> str:
    """The source of a price, with its date unless the source states it."""
    return price.source if price.date in price.source else f"{price.source}, {price.date}"
