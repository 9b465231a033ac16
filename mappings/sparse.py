"""Mappings of sparse products as data: a cascade, a loop nest, and what dense nests need not say.

That is how tensors are stored (``[format]``), how rows are shared among the instances of a loop in space (``share``),
what bringing together the products of one place costs (``[work]``), and who moves which tensor (``[via]``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from einsum import Cascade, WeirError, hint, parse, tables
from einsum.errors import raise_all
from mappings.formats import Format, parse_format
from mappings.text import parse as parse_nest
from mappings.tree import Branch, Nest, Node, Spatial, Temporal

FOLDER = Path(__file__).with_name("data")
SHARES = ("contiguous", "cyclic", "dynamic")
WORKS = ("add", "hash", "intersect", "skip", "merge")
HASHES = ("low", "high", "multiplicative")
INSTRUCTIONS = ("product", "probe", "compared", "entry", "row", "slot", "written", "copied")
_KEYS = (
    "title",
    "source",
    "notes",
    "unverified",
    "workload",
    "cascade",
    "nest",
    "format",
    "share",
    "work",
    "via",
    "table",
)
TAGS = ("row column", "column row")
DRAINS = ("entries", "table")
_TABLE = ("slot", "load", "hash", "clear", "tag", "drain")
_CHOICES = {"hash": HASHES, "tag": TAGS, "drain": DRAINS}
_RADIX = re.compile(r"[2-9]|[1-9]\d{1,5}", re.ASCII)  # of a merger


@dataclass(frozen=True, slots=True)
class Table:
    """A hash table for one window of the result.

    Bytes of a slot, the load it is filled to, the hash of a tag, bytes cleared for each slot before a window, what of a
    tag stands in its high bits, and whether entries or the whole table, empty slots too, are written back.
    """

    slot: float = 16.0
    load: float = 0.5
    hash: str = "multiplicative"
    clear: float = 8.0
    tag: str = "row column"
    drain: str = "entries"


@dataclass(frozen=True)
class SparseMapping:
    """One way of computing a sparse product, or what uses one (``workload``), on some machine.

    ``unverified`` names what nobody has checked.
    """

    name: str
    title: str
    source: str
    cascade: Cascade
    nest: Nest
    formats: tuple[Format, ...]
    share: str = "dynamic"
    work: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # Einsum -> how products meet, and a radix
    via: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # unit -> tensors whose traffic it requests
    instructions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # of a program, by Einsum
    table: Table | None = None
    notes: str = ""
    unverified: tuple[str, ...] = ()
    workload: str = "spgemm"

    def with_tiles(self, tiles: Mapping[str, int]) -> SparseMapping:
        """The mapping with other tile sizes, by loop."""
        return replace(self, nest=retiled(self.nest, tiles))

    def format(self, tensor: str) -> Format:
        """How a tensor is stored."""
        return next(f for f in self.formats if f.tensor == tensor)


def retiled(nest: Nest, tiles: Mapping[str, int]) -> Nest:
    """The nest with other tile sizes, by loop: ``{"m.0": 1536}`` for the outermost over m."""
    seen: dict[str, int] = {}
    used: set[str] = set()

    def node(one: Node) -> Node:
        if isinstance(one, Branch):
            return replace(one, children=tuple(walk(child) for child in one.children))
        if not isinstance(one, Temporal | Spatial):
            return one
        seen[one.rank] = seen.get(one.rank, -1) + 1
        key = f"{one.rank}.{seen[one.rank]}"
        used.add(key)
        return replace(one, tile=tiles[key]) if key in tiles else one

    def walk(part: Nest) -> Nest:
        return Nest(tuple(node(one) for one in part.nodes))

    made = walk(nest)
    raise_all([f"no loop {key!r} in the nest{hint(key, used)}" for key in tiles if key not in used])
    raise_all([f"loop {key!r}: a tile is 1 or more, not {tile}" for key, tile in tiles.items() if tile < 1])
    return made


@cache
def names() -> tuple[str, ...]:
    """The mappings that come with weir."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read(name: str | Path) -> SparseMapping:
    """The mapping of that name, or in the ``.toml`` file at that path; all of the file's problems reported together."""
    path = Path(name)
    if path.suffix != ".toml":
        if str(name) not in names():
            raise WeirError(f"unknown sparse mapping {str(name)!r:.60}{hint(str(name), names())}")
        path = FOLDER / f"{name}.toml"
    return _made(path.stem, tables.Table.read(path, "mapping", (*_KEYS, "instructions")))


def _made(name: str, top: tables.Table) -> SparseMapping:
    """The mapping that a file's tables describe."""
    cascade, nest = _cascade(name, top), _nest(top)
    einsums = None if cascade is None else [e.name for e in cascade.einsums]
    share = top.one_of("share", SHARES) if "share" in top.raw else "dynamic"
    formats = _formats(cascade, top)
    works, instructions = _works(top.table("work", einsums)), top.table("instructions", einsums)
    counted = {e: _numbers(instructions.table(e, INSTRUCTIONS)) for e in instructions.raw}
    table = _table(top.table("table", _TABLE)) if "table" in top.raw else None
    via = top.table("via")
    units = {unit: via.texts(unit) for unit in via.raw}
    title, source, notes = top.text("title"), top.text("source"), top.text("notes", "")
    unverified, workload = top.texts("unverified"), top.text("workload", "spgemm")
    top.finish()
    assert cascade is not None and nest is not None  # noqa: S101, PT018 - else there was a problem
    return SparseMapping(
        name, title, source, cascade, nest, formats, share, works, units, counted, table, notes, unverified, workload
    )


def _cascade(name: str, top: tables.Table) -> Cascade | None:
    """The cascade, at sizes of two: those of the matrices take their place when it is counted."""
    text = top.text("cascade")
    subscripts = re.findall(r"\[([^\]]*)\]", text)
    ranks = {rank for one in subscripts for rank in re.findall(r"[a-z]\w*", one)}
    try:
        return parse(text, name=name, dtype="fp64", **dict.fromkeys(sorted(ranks), 2)) if text else None
    except WeirError as problem:
        top.refuse_text("cascade", str(problem), name)
        return None


def _nest(top: tables.Table) -> Nest | None:
    text = top.text("nest")
    try:
        return parse_nest(text, "nest") if text else None
    except WeirError as problem:
        top.refuse_text("nest", str(problem), "nest")
        return None


def _formats(cascade: Cascade | None, top: tables.Table) -> tuple[Format, ...]:
    """A format of every tensor; entries of 12 bytes where the file says nothing."""
    tensors = {} if cascade is None else {t.name: [r for r in t.ranks if r] for t in cascade.tensors}
    table = top.table("format", None if cascade is None else tensors)
    found = []
    for tensor, ranks in tensors.items():
        texts = table.texts(tensor) if tensor in table.raw else ("12",)
        try:
            found.append(parse_format(tensor, texts, ranks))
        except WeirError as problem:
            table.refuse(str(problem), tensor)
    return tuple(found)


def _works(table: tables.Table) -> dict[str, tuple[str, int]]:
    """How the products of each Einsum meet: ``"merge 64"`` through mergers of that radix, ``"hash"``, ..."""
    return {einsum: _work(table, einsum) for einsum in table.raw}


def _work(table: tables.Table, einsum: str) -> tuple[str, int]:
    kind, *rest = table.text(einsum).split() or [""]
    if kind and kind not in WORKS:
        table.refuse(f"unknown {kind!r:.40}{hint(kind, WORKS)}", einsum)
    elif kind and (len(rest) != (kind == "merge") or not all(_RADIX.fullmatch(word) for word in rest)):
        table.refuse(f"is not {', '.join(WORKS[:-1])} or 'merge RADIX', of a radix from 2 to 999,999", einsum)
    else:
        return kind, int(rest[0]) if rest else 0
    return kind, 0


def _numbers(table: tables.Table, besides: tuple[str, ...] = ()) -> dict[str, float]:
    """The numbers of a table by key, all but ``besides``."""
    found = {}
    for key, value in ((key, value) for key, value in table.raw.items() if key not in besides):
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e9:
            table.refuse("must be a number from 0 to 1e9", key)
        else:
            found[key] = float(value)
    return found


def _table(table: tables.Table) -> Table:
    chosen = {key: table.one_of(key, known) for key, known in _CHOICES.items() if key in table.raw}
    found = _numbers(table, tuple(_CHOICES))
    load, slot = found.get("load", 0.5), found.get("slot", 1.0)
    if not 0 < load < 1:
        table.refuse("must lie between 0 and 1", "load")
    if slot <= 0:
        table.refuse("must be above 0", "slot")
    return Table(**{key: value for key, value in (*found.items(), *chosen.items()) if key in _TABLE})  # type: ignore[arg-type]
