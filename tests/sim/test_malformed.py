"""Over three hundred malformed files: each mistake is one line with its file, line, column and field.

Every line of good files is broken in turn: its value made a table, its key misspelt, the line given twice, its sign
of equality left out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import sim
from einsum.errors import WeirError
from mappings import sparse
from sim.arch import cluster, device, tier
from sim.arch.prices import book
from sim.cli import main
from sim.planner.placement import method
from sim.published import paper
from sim.serving.trace import trace

DATA = Path(sim.__file__).parent
TRACE = 'title = "a"\nsource = "b"\nrequests = 2\nseconds = 3.5\nburstiness = 1.5\nmean_prompt = 3\nmean_output = 4\n'
TIER = (DATA / "arch/data/physical.toml").read_text().partition("[prefill]")[0]
LINE = re.compile(r"""([\w-]+|"[^"]+") = (?!.*\"{3})(.*)""")
HEADER = re.compile(r"\[(\[?)([^\]]*)\]")
LABELS = ("name", "device", "id")
LABEL = r"(\.[\w-]+|\[\d+\])"


@dataclass(frozen=True)
class Kind:
    """One kind of file: a good one, its reader, a command that reads it, and tables whose keys are free."""

    text: str
    read: Callable[[Path], object]
    argv: tuple[str, ...]
    free: tuple[str, ...] = ()


def shipped(path: str) -> str:
    return (DATA / path).read_text(encoding="utf-8")


KINDS = {
    "device": Kind(shipped("arch/data/devices/h100_sxm.toml"), device, ("show",), ("rate", "device_rate", "energy")),
    "array": Kind(shipped("arch/data/accelerators/eyeriss.toml"), device, ("show",), ("rate", "device_rate", "energy")),
    "cluster": Kind(shipped("arch/data/clusters/lamina_2_4.toml"), cluster, ("estimate", "gpt2-xl", "--on"), ("set",)),
    "prices": Kind(
        shipped("arch/data/prices/lamina_2024.toml"), lambda path: book(str(path)),
        ("estimate", "gpt2-xl", "--on", "1xh100", "--prices"),
    ),
    "method": Kind(
        shipped("planner/methods/flexgen.toml"), method, ("offload", "gpt2-xl", "--on", "h100", "--method"),
        ("classes", "settings", "quantities", "stages", "memory"),
    ),
    "mapping": Kind(
        (sparse.FOLDER / "piuma_row.toml").read_text(encoding="utf-8"), sparse.read,
        ("spgemm", "uniform:20x20,density=0.2", "--on", "piuma_die", "--dataflow"), ("via",),
    ),
    "trace": Kind(TRACE, trace, ("estimate", "gpt2-xl", "--on", "1xh100", "--trace")),
    "tier": Kind(TIER, lambda path: tier(str(path)), ("estimate", "gpt2-xl", "--on", "1xh100", "--tier"), ("",)),
    "figures": Kind(shipped("published/data/traces.toml"), paper, ("validate",), ("given",)),
}  # fmt: skip


@dataclass(frozen=True)
class Mistake:
    """A broken file, and the line that its message must be."""

    text: str
    expected: str  # a pattern of what follows the file's name


def mistakes(kind: Kind) -> Iterator[Mistake]:
    """Every line of the kind's file, broken in every way."""
    lines, section = kind.text.split("\n"), ""
    raw, counts = tomllib.loads(kind.text), dict[str, int]()
    for at, line in enumerate(lines):
        header, found = HEADER.match(line), LINE.fullmatch(line)
        if header:
            section = field_of(header, raw, counts)
        if found and whole(line):
            for new, place, said in broken(found[1], found[2], section, kind.free):
                text = "\n".join([*lines[:at], *new, *lines[at + 1 :]])
                yield Mistake(text, f":{at + place}:{said}")


def whole(line: str) -> bool:
    """Whether a line is not the first of several that belong together."""
    try:
        return bool(tomllib.loads(line))
    except tomllib.TOMLDecodeError:
        return False


def field_of(header: re.Match[str], raw: Any, counts: dict[str, int]) -> str:
    """A pattern of how messages name the table that a header begins."""
    text, at = "", raw
    for place, key in enumerate(header[2].split("."), start=1):
        at, text = at[key], f"{text}.{key}"
        if isinstance(at, list):
            last = header[1] and place == header[2].count(".") + 1
            counts[text] = counts.get(text, -1) + (1 if last else 0)
            at, text = at[counts[text]], text + LABEL
    return text.removeprefix(".") + r"\."


def broken(key: str, value: str, section: str, free: tuple[str, ...]) -> Iterator[tuple[list[str], int, str]]:
    """New lines for one, the place of the mistake among them, and a pattern of what is said."""
    name = f"{section}{re.escape(key)}"
    yield [f"{key} = {value}", f"{key} = {value}"], 2, r"\d+: not valid TOML: Cannot overwrite a value"
    yield [f"{key} {value}"], 1, r"\d+: not valid TOML: Expected '=' after a key.*"
    if key.startswith('"'):
        return
    if not value.startswith(("{", "[[")):
        yield [f"{key} = {{ odd = [1] }}"], 1, rf"1: {name}: .+"
    if not any(section.rstrip(".\\").split(".")[-1].startswith(one) if one else section for one in free):
        yield [f"{key}_x = {value}"], 1, rf"1: {name}_x: .+"


@pytest.mark.parametrize("name", KINDS)
def test_a_mistake_is_a_line_with_its_place_and_field(name: str, tmp_path: Path) -> None:
    kind, path, tried = KINDS[name], tmp_path / "bad.toml", 0
    path.write_text(kind.text, encoding="utf-8")
    kind.read(path)
    for one in mistakes(kind):
        path.write_text(one.text, encoding="utf-8")
        with pytest.raises(WeirError) as error:
            kind.read(path)
        said = str(error.value).split("\n")
        assert any(re.fullmatch(r"bad\.toml" + one.expected, line) for line in said), (one, said)
        assert all(re.match(r"bad\.toml:\d+:\d+: \S.*\S$", line) for line in said), said
        tried += 1
    assert tried > 15


def test_there_are_over_three_hundred() -> None:
    assert sum(1 for kind in KINDS.values() for _ in mistakes(kind)) > 300


@pytest.mark.parametrize("name", KINDS)
def test_a_command_says_each_on_a_line_and_ends_with_2(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, path = KINDS[name], tmp_path / "bad.toml"
    path.write_text(next(m.text for m in mistakes(kind) if "not valid" not in m.expected), encoding="utf-8")
    assert main([*kind.argv, str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(line.startswith("weir: bad.toml:") for line in err.splitlines())
    assert "Traceback" not in err
