"""What an hour of a device costs: dated books of prices, one book per comparison, any price overridden by the user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from einsum.errors import WeirError, hint
from sim.arch.architecture import Device, quantity
from sim.arch.clusters import Cluster
from sim.arch.components import Quantity
from sim.arch.devices import canonical, device_names
from sim.arch.files import DATA, Table

FOLDER = DATA / "prices"
HOURLY = Quantity("USD/h", positive=True)
FILE_KEYS = ("title", "date", "source", "notes", "price")
PRICE_KEYS = ("device", "usd_per_hour", "date", "source", "note", "low", "high")


@dataclass(frozen=True, slots=True)
class Price:
    """USD an hour for one device, as of a date, and the range its source gives."""

    device: str
    usd_per_hour: float
    date: str
    source: str
    note: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Book:
    """Prices of one origin, which may be compared with each other."""

    name: str
    title: str
    date: str
    source: str
    prices: tuple[Price, ...]
    notes: str = ""

    def find(self, device: str) -> Price | None:
        """The price of a device by its catalogue name, if the book has one."""
        return next((price for price in self.prices if price.device == device), None)


@cache
def books() -> tuple[str, ...]:
    """The names of the books of prices."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def book(name: str) -> Book:
    """The book of that name, or in the user's own ``.toml`` file at that path, read afresh."""
    if name.endswith(".toml"):
        return _read(Path(name), name)
    if name not in books():
        raise WeirError(f"unknown price book {name!r:.80}{hint(name, books())}")
    return _catalogued(name)


@cache
def _catalogued(name: str) -> Book:
    return _read(FOLDER / f"{name}.toml", name)


def _read(path: Path, name: str) -> Book:
    top = Table.read(path, "price", FILE_KEYS)
    date, source = top.text("date"), top.text("source")
    found = tuple(_price(entry, date, source, path.parent != FOLDER) for entry in top.tables("price", PRICE_KEYS))
    made = Book(name, top.text("title"), date, source, found, top.text("notes", ""))
    top.finish()
    return made


def _price(entry: Table, date: str, source: str, own: bool) -> Price:
    """One [[price]]; its date and source are the book's unless it has its own.

    A user's own book may use aliases and price the user's own devices.
    """
    name = _name(entry.text("device")) if own else entry.text("device")
    if not own and name not in device_names():
        entry.refuse(f"unknown device {name!r:.60}{hint(name, device_names())}", "device")
    usd = entry.number("usd_per_hour", HOURLY)
    low, high = entry.number("low", HOURLY, usd), entry.number("high", HOURLY, usd)
    if not low <= usd <= high:
        entry.refuse(f"{usd} USD/h lies outside its own range {low} to {high}", "usd_per_hour")
    return Price(name, usd, entry.text("date", date), entry.text("source", source), entry.text("note", ""), low, high)


def price(device: str | Device, book: str) -> Price:
    """The price of one device in one book."""
    return _find(_name(device), book)


def _find(name: str, book_name: str) -> Price:
    found = book(book_name).find(name)
    if found is None:
        raise _missing(name, book_name)
    return found


def _missing(name: str, book_name: str) -> WeirError:
    having = [other for other in books() if book(other).find(name)]
    other = f", or take one of the books that have it: {', '.join(having)}" if having else ""
    return WeirError(f"price book {book_name!r} has no price for {name}: add {_own([name])}{other}")


def _own(names: Iterable[str]) -> str:
    """How a user prices devices: on the command line, and in Python."""
    every = list(names)
    given = ", ".join(f"'{name}': 1.5" for name in every)
    return " ".join(f"--price {name}=1.50" for name in every) + f" (in Python: price={{{given}}})"


def _name(device: str | Device) -> str:
    """The catalogue's name of a device, or the name of a user's own."""
    if isinstance(device, Device):
        return device.name
    return canonical(device) or device


def price_range(device: str | Device) -> tuple[float, float] | None:
    """The lowest and the highest USD an hour of a device in any book; None where no book has it."""
    found = [p for p in (book(name).find(_name(device)) for name in books()) if p is not None]
    return (min(p.low for p in found), max(p.high for p in found)) if found else None


def choose_book(devices: Iterable[str | Device]) -> str:
    """The newest book that prices all the devices."""
    names = sorted({_name(device) for device in devices})
    for found in sorted((book(name) for name in books()), key=lambda b: (b.date, b.name), reverse=True):
        if all(found.find(name) for name in names):
            return found.name
    alone = [name for name in names if price_range(name) is None]
    reason = f"no book has a price for {', '.join(alone)}" if alone else f"no one book prices all of {', '.join(names)}"
    raise WeirError(f"{reason}: add {_own(alone or names[1:])}")


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of one comparison: those of one book, and those the user has overridden."""

    book: str  # "" where the user gave every price
    prices: tuple[Price, ...]
    overridden: tuple[str, ...] = ()
    stated: bool = False  # whether the user named the book
    lacking: str = ""  # why there are none

    def of(self, device: str | Device) -> Price:
        """The price of one of the devices."""
        name = _name(device)
        for found in self.prices:
            if found.device == name:
                return found
        raise WeirError(self.lacking or f"no price for {name}: add {_own([name])}")

    def usd_per_hour(self, cluster: Cluster) -> float:
        """USD an hour for all devices of a cluster."""
        return sum(pool.count * self.of(pool.device).usd_per_hour for pool in cluster.pools)

    def describe(self) -> str:
        """One line: the book and its date, each price, what was overridden, and how far the books differ."""
        origin = f"{self.book} ({book(self.book).date}){self._reason()}" if self.book else "given by the user"
        return f"prices: {origin}: " + ", ".join(self._item(found) for found in self.prices)

    def _reason(self) -> str:
        """Why this book: another set of devices may be priced from another one."""
        if self.stated:
            return ""
        names = [found.device for found in self.prices]
        newer = [found for found in map(book, books()) if found.date > book(self.book).date]
        lacking = [name for name in names if any(not found.find(name) for found in newer)]
        without = f"; newer ones lack {' or '.join(lacking)}" if lacking else ""
        return f", the newest book with all of {', '.join(names)}{without}; --prices BOOK takes another"

    def _item(self, found: Price) -> str:
        bounds = price_range(found.device)
        spread = f"; books {bounds[0]:.2f}-{bounds[1]:.2f}" if bounds else ""
        own = "; override" if found.device in self.overridden else ""
        note = f"; {found.note}" if found.note else ""
        return f"{found.device} {found.usd_per_hour:.2f} USD/h [{found.date}{own}{note}{spread}]"


def prices(
    devices: Iterable[str | Device],
    book: str | None = None,
    overrides: Mapping[str, str | float] | None = None,
) -> Prices:
    """The prices of all ``devices``: the user's, and the rest from one book (the newest that has them all)."""
    names = list(dict.fromkeys(_name(device) for device in devices))
    given = _overrides(overrides or {}, names)
    rest = [name for name in names if name not in given]
    chosen = _chosen(names, rest, book)
    return Prices(
        chosen, tuple(given.get(name) or _find(name, chosen) for name in names), tuple(given), book is not None
    )


def prices_if_any(
    devices: Iterable[str | Device],
    book: str | Prices | None = None,
    overrides: Mapping[str, str | float] | None = None,
) -> Prices | None:
    """As :func:`prices`, or those given as such; None where none were asked for and no book has all the devices."""
    every = list(devices)
    made = book if isinstance(book, Prices) else prices_or_why(every, book, overrides)
    return made if {_name(one) for one in every} <= {found.device for found in made.prices} else None


def prices_or_why(
    devices: Iterable[str | Device], book: str | None = None, overrides: Mapping[str, str | float] | None = None
) -> Prices:  # fmt: skip
    """As :func:`prices`; none, and why, where none were asked for and no book has all the devices."""
    try:
        return prices(devices, book, overrides)
    except WeirError as why:
        if book is not None or overrides:
            raise
        return Prices("", (), lacking=str(why))


def _chosen(names: list[str], rest: list[str], stated: str | None) -> str:
    """The book for ``rest``: as stated, or the one that would price all, so that overriding one moves no other."""
    if stated is not None:
        book(stated)
    if stated is not None or not rest:
        return stated if stated and rest else ""
    try:
        return choose_book(names)
    except WeirError:
        return choose_book(rest)


def _overrides(overrides: Mapping[str, str | float], names: list[str]) -> dict[str, Price]:
    """The user's prices by the device's name; a price for a device that takes no part is refused."""
    given = {}
    for key, value in overrides.items():
        name = _name(key)
        if name not in names:
            raise WeirError(f"--price {key}: {name} is not among the devices: {', '.join(names)}{_near(key, names)}")
        usd = quantity(_hourly(value), HOURLY, f"--price {key}")
        given[name] = Price(name, usd, "now", "given by the user", "", usd, usd)
    return given


def _near(key: str, names: list[str]) -> str:
    near = hint(key, names)
    return near if near.startswith("; did") else ""


def _hourly(value: str | float) -> str | float:
    """A bare number is USD an hour, since that is how a price is typed on a command line."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value
