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
from typing import Any

from einsum import Cascade, WeirError, hint, parse
from einsum.errors import raise_all, refuse_unknown
from einsum.files import parse_toml, read_text
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
_TABLE = ("slot", "load", "hash", "clear", "tag", "drain")
TAGS = ("row column", "column row")
DRAINS = ("entries", "table")


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
    return made(path.stem, parse_toml(read_text(path, "mapping"), path.name), path.name)


def made(name: str, raw: Mapping[str, Any], where: str) -> SparseMapping:
    """The mapping that a file's tables describe."""
    problems = refuse_unknown(raw, (*_KEYS, "instructions"), where)
    problems += [f"{where}: {key!r} is missing" for key in ("title", "source", "cascade", "nest") if key not in raw]
    problems += [
        f"{where}: {key!r} must be text" for key in ("title", "source", "workload", "cascade", "nest", "share", "notes")
        if not isinstance(raw.get(key, ""), str)
    ]  # fmt: skip
    for key in ("format", "work", "via", "table", "instructions"):
        if not isinstance(raw.get(key, {}), dict):
            problems.append(f"{where}: {key!r} must be a table")
    raise_all(problems)
    cascade = _cascade(name, raw["cascade"])
    nest = parse_nest(raw["nest"], f"{where} nest")
    share = _one_of(raw.get("share", "dynamic"), SHARES, f"{where}: share")
    return SparseMapping(
        name, raw["title"], raw["source"], cascade, nest, _formats(cascade, raw.get("format", {}), where), share,
        _works(cascade, raw.get("work", {}), where), _via(raw.get("via", {}), where),
        _instructions(cascade, raw.get("instructions", {}), where), _table(raw.get("table"), where),
        raw.get("notes", ""), tuple(raw.get("unverified", ())), raw.get("workload", "spgemm"),
    )  # fmt: skip


def _cascade(name: str, text: str) -> Cascade:
    """The cascade, at sizes of two: those of the matrices take their place when it is counted."""
    subscripts = re.findall(r"\[([^\]]*)\]", text)
    ranks = {rank for one in subscripts for rank in re.findall(r"[a-z]\w*", one)}
    return parse(text, name=name, dtype="fp64", **dict.fromkeys(sorted(ranks), 2))


def _one_of(value: Any, known: tuple[str, ...], where: str) -> str:
    if value not in known:
        raise WeirError(f"{where} is {value!r:.40}{hint(str(value), known)}")
    return str(value)


def _formats(cascade: Cascade, raw: Mapping[str, Any], where: str) -> tuple[Format, ...]:
    """A format of every tensor; entries of 12 bytes where the file says nothing."""
    raise_all(refuse_unknown(raw, [t.name for t in cascade.tensors], f"{where} [format]"))
    found = []
    for tensor in cascade.tensors:
        texts = raw.get(tensor.name, ["12"])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise WeirError(f"{where} [format]: {tensor.name!r} must be a list of texts")
        found.append(parse_format(tensor.name, texts, [r for r in tensor.ranks if r], where))
    return tuple(found)


def _works(cascade: Cascade, raw: Mapping[str, Any], where: str) -> dict[str, tuple[str, int]]:
    """How the products of each Einsum meet: ``"merge 64"`` through mergers of that radix, ``"hash"``, ..."""
    raise_all(refuse_unknown(raw, [e.name for e in cascade.einsums], f"{where} [work]"))
    found = {}
    for einsum, text in raw.items():
        words = str(text).split()
        kind = _one_of(words[0] if words else "", WORKS, f"{where} [work]: {einsum}")
        if len(words) > 2 or (len(words) == 2) != (kind == "merge") or (kind == "merge" and not words[1].isdigit()):
            raise WeirError(f"{where} [work]: {einsum}: {text!r:.40} is not {', '.join(WORKS[:-1])} or 'merge RADIX'")
        radix = int(words[1]) if kind == "merge" else 0
        if kind == "merge" and radix < 2:
            raise WeirError(f"{where} [work]: {einsum}: a merger's radix is at least 2")
        found[einsum] = (kind, radix)
    return found


def _via(raw: Mapping[str, Any], where: str) -> dict[str, tuple[str, ...]]:
    for unit, tensors in raw.items():
        if not isinstance(tensors, list) or not all(isinstance(t, str) for t in tensors):
            raise WeirError(f"{where} [via]: {unit!r} must be a list of tensors")
    return {unit: tuple(tensors) for unit, tensors in raw.items()}


def _instructions(cascade: Cascade, raw: Mapping[str, Any], where: str) -> dict[str, dict[str, float]]:
    raise_all(refuse_unknown(raw, [e.name for e in cascade.einsums], f"{where} [instructions]"))
    for einsum, table in raw.items():
        if not isinstance(table, dict):
            raise WeirError(f"{where} [instructions]: {einsum!r} must be a table, written [instructions.{einsum}]")
    return {e: _numbers(table, INSTRUCTIONS, f"{where} [instructions.{e}]") for e, table in raw.items()}


def _numbers(raw: Mapping[str, Any], known: tuple[str, ...], where: str) -> dict[str, float]:
    raise_all(refuse_unknown(raw, known, where))
    for key, value in raw.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e9:
            raise WeirError(f"{where}: {key!r} must be a number from 0 to 1e9")
    return {key: float(value) for key, value in raw.items()}


def _table(raw: Mapping[str, Any] | None, where: str) -> Table | None:
    if raw is None:
        return None
    where = f"{where} [table]"
    raise_all(refuse_unknown(raw, _TABLE, where))
    found = _numbers({k: v for k, v in raw.items() if k not in ("hash", "tag", "drain")}, _TABLE, where)
    hash_ = _one_of(raw.get("hash", "multiplicative"), HASHES, f"{where} hash")
    tag = _one_of(raw.get("tag", TAGS[0]), TAGS, f"{where} tag")
    drain = _one_of(raw.get("drain", DRAINS[0]), DRAINS, f"{where} drain")
    made = Table(**found, hash=hash_, tag=tag, drain=drain)
    if not 0 < made.load < 1 or made.slot <= 0:
        raise WeirError(f"{where}: load must lie between 0 and 1, slot above 0")
    return made
