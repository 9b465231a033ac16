"""Loop nests read from text: one node a line, what stands under a loop or a branch indented below it.

::

    keep A, B, Z in dram
    for m tile 16
      keep A in buffer double
      spatial n tile 1 over columns
        sequence
          Z on mac
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from einsum import WeirError, hint
from einsum.files import read_text
from mappings.tree import BRANCHES, Branch, Keep, Nest, Node, Run, Spatial, Temporal

LIMIT = 1 << 18  # characters of text
LINES = 4000  # that are not blank
DEPTH = 64  # nesting of loops and branches
SHOWN = 60  # characters of a line in an error
_NAME = r"[A-Za-z_][\w.#-]*"
_NAMES = rf"{_NAME}(?:\s*,\s*{_NAME})*"


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    indent: int
    text: str


def parse(text: str, where: str = "mapping") -> Nest:
    """The nest that ``text`` describes; ``parse(str(nest)) == nest``.

    Raises :class:`WeirError` naming the line for what is not a node, for bad indentation, and for chains without end.
    """
    if len(text) > LIMIT:
        raise WeirError(f"{where}: {len(text)} characters of mapping; at most {LIMIT} are read")
    lines = deque(_line(n, raw, where) for n, raw in enumerate(text.split("\n"), 1) if raw.split("#")[0].strip())
    if not lines:
        raise WeirError(f"{where}: no loop nest in the text")
    if len(lines) > LINES:
        _fail(lines[LINES], where, f"is one line too many; at most {LINES} are read")
    nests = _block(lines, lines[0].indent, where, 0)
    if lines:
        _fail(lines[0], where, "is indented less than the first line")
    return nests[0] if len(nests) == 1 else Nest((Branch("sequence", nests),))


def read(source: str | Path) -> Nest:
    """The nest in a file, if ``source`` is the path of one (ending ``.txt``), else the one that it spells out."""
    where, text = _text(source)
    return parse(text, where)


def pointed(problems: str, source: str | Path) -> str:
    """Problems with a nest, a line each, every one with the line of the text that it is about, where that is known.

    ``source`` is the text that the nest was read from, or the path of its file.
    """
    where, text = _text(source)
    places = _places(text, where)
    return "\n".join(_pointed(problem, where, places) for problem in problems.split("\n"))


def _pointed(problem: str, where: str, places: Mapping[str, list[int]]) -> str:
    """One problem: the first thing that it quotes, or else names, and that stands in the text, says where."""
    head, _, rest = problem.partition(": ")
    named = (*re.findall(r"'([^']+)'", rest), *re.findall(_NAME, rest))
    lines = next((places[name] for name in named if name in places), [])
    if head != "mapping" or not lines:
        return problem
    numbers = f"line {lines[0]}" if len(lines) == 1 else f"lines {', '.join(map(str, lines))}"
    return f"{where}: {numbers}: {rest}"


def _places(text: str, where: str) -> dict[str, list[int]]:
    """Lines on which each node stands, each Einsum runs, each level keeps and each fan-out is used."""
    found: dict[str, list[int]] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = _line(number, raw, where)
        if line.text:
            node = _node(line, where)
            name = {Run: "einsum", Keep: "level", Spatial: "over"}.get(type(node), "")
            for key in dict.fromkeys((str(node), getattr(node, name, ""))):
                found.setdefault(key, []).append(number)
    return found


def _text(source: str | Path) -> tuple[str, str]:
    """The name of a nest's text, and the text: of a file, if ``source`` is the path of one (ending ``.txt``)."""
    if isinstance(source, str) and not source.strip().endswith(".txt"):
        return "mapping", source
    path = Path(source)
    return path.name, read_text(path, "mapping", LIMIT)


def _line(number: int, raw: str, where: str) -> _Line:
    body = re.sub(r"#(?!\d).*", "", raw).rstrip()  # X#2 is an Einsum's name, not a comment
    if "\t" in body:
        raise WeirError(f"{where}: line {number}: a tab; indent with spaces")
    return _Line(number, len(body) - len(body.lstrip()), body.strip())


def _fail(line: _Line, where: str, problem: str) -> NoReturn:
    shown = line.text if len(line.text) <= SHOWN else line.text[:SHOWN] + "..."
    raise WeirError(f"{where}: line {line.number}: {shown!r} {problem}")


def _block(lines: deque[_Line], indent: int, where: str, depth: int) -> tuple[Nest, ...]:
    """The nests of one indentation, their lines taken away."""
    if depth > DEPTH:
        _fail(lines[0], where, f"is nested more than {DEPTH} deep")
    nests: list[Nest] = []
    chain: list[Node] = []
    while lines and lines[0].indent >= indent:
        line = lines.popleft()
        if line.indent > indent:
            _fail(line, where, "is indented without a loop or branch above it")
        node = _node(line, where)
        if isinstance(node, Keep):
            if len(set(node.tensors)) < len(node.tensors):
                _fail(line, where, "names a tensor twice")
            chain.append(node)
            continue
        nests.append(Nest((*chain, *_below(node, line, lines, where, depth))))
        chain = []
    if chain:
        _fail(line, where, "keeps tensors for nothing: no loop or Einsum follows")
    return tuple(nests)


def _below(node: Node, line: _Line, lines: deque[_Line], where: str, depth: int) -> tuple[Node, ...]:
    """A loop or branch together with what is indented under it."""
    if isinstance(node, Run):
        return (node,)
    if not lines or lines[0].indent <= line.indent:
        _fail(line, where, "has nothing indented under it")
    inner = _block(lines, lines[0].indent, where, depth + 1)
    if isinstance(node, Branch):
        return (Branch(node.how, inner),)
    body = inner[0].nodes if len(inner) == 1 else (Branch("sequence", inner),)
    return (node, *body)


def _node(line: _Line, where: str) -> Node:
    """One line as a node, the children of a branch still missing."""
    for pattern, build in _FORMS:
        if match := re.fullmatch(pattern, line.text):
            return build(match)
    word = line.text.split()[0]
    known = ("for", "spatial", "keep", *BRANCHES)
    usage = next((text for name, text in _USAGE.items() if name == word), "")
    _fail(line, where, f"is not a node{hint(word, known)}" if not usage else f"is not understood; write {usage}")


def _split(names: str | None) -> tuple[str, ...]:
    return tuple(n.strip() for n in names.split(",")) if names else ()


def _spatial(m: re.Match[str]) -> Spatial:
    amount = int(m["amount"])
    ways, tile = (amount, 0) if m["kind"] == "ways" else (0, amount)
    return Spatial(m["rank"], ways, _split(m["only"]), tile, m["over"] or "")


_FORMS: tuple[tuple[str, Callable[[re.Match[str]], Node]], ...] = (
    (r"for\s+(?P<rank>[a-z]\w*)\s+tile\s+(?P<tile>[1-9]\d{0,17})", lambda m: Temporal(m["rank"], int(m["tile"]))),
    (
        r"spatial\s+(?P<rank>[a-z]\w*)\s+(?P<kind>tile|ways)\s+(?P<amount>[1-9]\d{0,17})"
        rf"(?:\s+over\s+(?P<over>{_NAME}))?(?:\s+only\s+(?P<only>{_NAMES}))?",
        _spatial,
    ),
    (
        rf"keep\s+(?P<tensors>{_NAMES})\s+in\s+(?P<level>{_NAME})(?P<double>\s+double)?",
        lambda m: Keep(_split(m["tensors"]), m["level"], bool(m["double"])),
    ),
    (r"(?P<how>sequence|pipeline|interleave)", lambda m: Branch(m["how"], ())),
    (rf"(?P<einsum>[A-Z][\w.#]*)\s+on\s+(?P<unit>{_NAME})", lambda m: Run(m["einsum"], m["unit"])),
)

_USAGE = {
    "for": "for RANK tile N",
    "spatial": "spatial RANK tile N over FANOUT (or ways N)",
    "keep": "keep T1, T2 in LEVEL [double]",
}
