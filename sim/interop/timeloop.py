"""Architectures of Timeloop and Accelergy (v0.4 YAML) as device files of ours, and what of them was not understood.

A node of their list stands inside all containers before it and under all storage before it; ``spatial`` copies a node
and whatever follows. Capacities come from ``depth`` and ``width``, bandwidths (words a cycle) from ``datawidth`` and
the cycle's length. Energies and areas are in other files of theirs; the device's ``technology`` models them instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from einsum.errors import WeirError
from einsum.files import quoted
from sim.interop.yamls import Item, load, parse

_SIZES = ("depth", "width", "block-size", "block_size", "cluster-size", "n_banks", "sizeKB", "entries", "memory_depth",
          "memory_width", "word-bits", "datawidth", "word_bits")  # fmt: skip
_RATES = ("read_bandwidth", "write_bandwidth", "shared_bandwidth")
_INHERITED = ("technology", "global_cycle_seconds")
_READ = frozenset((*_SIZES, *_RATES, *_INHERITED, "exponent", "mantissa", "bits"))
_COMPUTE = re.compile(r"mac|mult|alu|compute", re.I)
_DRAM = re.compile(r"dram|hbm|lpddr|ddr", re.I)


@dataclass(frozen=True, slots=True)
class Imported:
    """A device file's text, and one line for each thing of the original that has no place in it."""

    toml: str
    missed: tuple[str, ...]


@dataclass
class _Made:
    """The file so far: what stands above the next node, and what was left out."""

    where: str
    parts: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    above: str = ""
    names: dict[str, int] = field(default_factory=dict)
    inherited: dict[str, Any] = field(default_factory=dict)
    memories: int = 0
    computes: int = 0

    def miss(self, item: Item, what: str) -> None:
        self.missed.append(f"{self.where}: line {item.line}: {what}")

    def name(self, given: Any) -> str:
        """The node's name as ours may be written, different from all before it."""
        base = re.sub(r"\W", "_", str(given), flags=re.ASCII).strip("_") or "part"
        base = f"n{base}" if base[0].isdigit() else base + "_" * (base in ("memory", "power"))
        self.names[base] = self.names.get(base, 0) + 1
        return base if self.names[base] == 1 else f"{base}_{self.names[base]}"


def read(path: str | Path) -> Imported:
    """The device file that an architecture file (``.yaml``) stands for.

    Raises :class:`WeirError` for what is not an architecture of v0.4 with a storage and a compute node.
    """
    return _converted(load(Path(path)), Path(path).name)


def convert(text: str, where: str = "architecture") -> Imported:
    """As :func:`read`, from the file's text."""
    return _converted(parse(text, where), where)


def _converted(document: Item, where: str) -> Imported:
    top = document.get("architecture") or document
    nodes = top.get("nodes")
    if nodes is None or not isinstance(nodes.value, list):
        raise WeirError(f"{where}: no list 'architecture: nodes:', as Timeloop's and Accelergy's v0.4 files have")
    made = _Made(where)
    version = top.get("version")
    if version is None or str(version.value) not in ("0.4", "0.5"):
        made.miss(top, f"version {version.value if version else 'not given'}: read as if it were 0.4")
    for key, item in [*document.value.items(), *top.value.items()]:
        if key not in ("architecture", "nodes", "version"):
            made.miss(item, f"{key!r} is not read")
    for node in nodes.value:
        _node(node, made)
    if not (made.memories and made.computes):
        raise WeirError(f"{where}: needs at least one storage and one compute node")
    return Imported(_text(made), tuple(made.missed))


def _node(node: Item, made: _Made) -> None:
    """One entry of the list of nodes."""
    kind = node.tag.removeprefix("!")
    if kind not in ("Container", "Component") or not isinstance(node.value, dict):
        made.miss(node, f"a node {node.tag or 'without a tag'} is not read; !Container and !Component are")
        return
    given = node.get("name")
    name = made.name(given.value if given else "part")
    attributes = node.get("attributes")
    stated = attributes.value if attributes and isinstance(attributes.value, dict) else {}
    made.inherited |= {key: stated[key].value for key in _INHERITED if key in stated}
    _spatial(node, name, stated, made)
    known = {"name", "class", "attributes", "spatial"}
    for key in node.value.keys() - known:
        made.miss(node.value[key], f"{name}: {key!r} is not read")
    if kind == "Component":
        for key in sorted(stated.keys() - _READ - {"meshX", "meshY"}):
            made.miss(stated[key], f"{name}: attribute {key!r} is not read")
        _component(node, name, {key: item.value for key, item in stated.items()}, made)


def _spatial(node: Item, name: str, stated: dict[str, Item], made: _Made) -> None:
    """The copies of a node: a fan-out for each direction of its mesh."""
    spatial = node.get("spatial")
    mesh = spatial.value if spatial and isinstance(spatial.value, dict) else stated
    for axis in ("meshX", "meshY"):
        count = mesh[axis].value if axis in mesh else 1
        if not isinstance(count, int) or count < 1:
            made.miss(mesh[axis], f"{name}: {axis} {count!r} is not a number of copies")
        elif count > 1 and not made.above:
            made.miss(node, f"{name}: {count} copies above the first storage are not read")
        elif count > 1:
            fanout = made.name(f"{name}_{axis[-1]}")
            made.parts.append(f'[[fanout]]\nname = "{fanout}"\nunder = "{made.above}"\ncount = {count}\n')
            made.above = fanout


def _component(node: Item, name: str, stated: dict[str, Any], made: _Made) -> None:
    kind = node.get("class")
    if kind is None:
        made.miss(node, f"{name}: has no class")
    elif _COMPUTE.search(str(kind.value)):
        _compute(name, str(kind.value), stated, made)
    elif any(key in stated for key in _SIZES) or _DRAM.search(str(kind.value)):
        _memory(name, str(kind.value), stated, made)
    else:
        made.miss(kind, f"{name}: class {str(kind.value)!r:.60} is neither storage nor compute")


def _memory(name: str, kind: str, stated: dict[str, Any], made: _Made) -> None:
    width = _number(stated, "width", "memory_width") or _number(stated, "word-bits", "word_bits", "datawidth")
    depth = _number(stated, "depth", "memory_depth", "entries")
    kib = _number(stated, "sizeKB")
    size = kib * 1024 if kib else width * depth / 8
    word = _number(stated, "datawidth", "word-bits", "word_bits") or width
    rows = [f'name = "{name}"']
    rows += [f'under = "{made.above}"'] if made.above else []
    rows += [f'capacity = "{size:.0f} B"'] if size else []
    rows += [f'line = "{width / 8:g} B"'] if width and not _DRAM.search(kind) else []
    rows += _bandwidths(stated, word, made)
    made.parts.append(f"[[memory]]  # class {quoted(kind[:60])}\n" + "\n".join(rows) + "\n")
    made.above, made.memories = name, made.memories + 1


def _bandwidths(stated: dict[str, Any], word: float, made: _Made) -> list[str]:
    """Words a cycle as bytes a second."""
    each = word / 8 / _cycle(made)
    read, write, both = (_number(stated, key) * each for key in _RATES)
    return [
        f'{key} = "{rate:.12g} B/s"' for key, rate in (("bandwidth", both or read), ("write_bandwidth", write)) if rate
    ]


def _compute(name: str, kind: str, stated: dict[str, Any], made: _Made) -> None:
    floating = "fp" in kind.lower() or "float" in kind.lower()
    parts = _number(stated, "exponent") + _number(stated, "mantissa")
    width = _number(stated, "width", "datawidth", "bits", "word-bits", "word_bits") or (parts + 1 if parts else 0)
    if not width:
        made.missed.append(f"{made.where}: {name}: no width is given; 16 bits are assumed")
    dtype = f"{'fp' if floating else 'int'}{int(width or 16)}"
    made.parts.append(
        f'[[compute]]  # class {quoted(kind[:60])}\nname = "{name}"\nunder = "{made.above}"\n'
        f'[compute.rate.mac]\n{dtype} = "{2 / _cycle(made):.12g} op/s"  # one multiply-accumulate a cycle\n'
    )
    made.computes += 1


def _cycle(made: _Made) -> float:
    """Seconds of a cycle; a nanosecond where the file does not say."""
    seconds = made.inherited.get("global_cycle_seconds")
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < 1:
        return float(seconds)
    line = f"{made.where}: no global_cycle_seconds above; a cycle of 1 ns is assumed"
    if line not in made.missed:
        made.missed.append(line)
    return 1e-9


def _number(stated: dict[str, Any], *keys: str) -> float:
    """The first of the attributes that is a number above zero; 0 where none is."""
    for key in keys:
        value = stated.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e15:
            return float(value)
    return 0.0


def _text(made: _Made) -> str:
    """The whole device file."""
    node = re.match(r"\s*(\d+(?:\.\d+)?)\s*nm", str(made.inherited.get("technology", "")))
    head = [
        f"title = {quoted(made.where)}", 'vendor = "imported"', 'architecture = "Timeloop v0.4"', "year = 2023",
        f"source = {quoted(f'read from {made.where}; what it does not say is not known')}\n",
    ]  # fmt: skip
    tail = [f'[technology]\nnode = "{node[1]} nm"\n'] if node else []
    if not node:
        made.missed.append(f"{made.where}: no technology in nm above; energies are 0 unless --technology is given")
    return "\n".join([*head, *made.parts, *tail])
