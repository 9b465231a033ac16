"""The schemas take every file that comes with weir, and take a changed one exactly where the reader does."""

from __future__ import annotations

import copy
import random
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import sim
from einsum.errors import WeirError
from sim.arch import device
from sim.arch.clusters import load as cluster
from sim.arch.prices import book
from sim.interop.schemas import KINDS, schema

DATA = Path(sim.__file__).parent
FILES = {
    "device": [*DATA.glob("arch/data/devices/*.toml"), *DATA.glob("arch/data/accelerators/*.toml")],
    "cluster": [*DATA.glob("arch/data/clusters/*.toml")],
    "prices": [*DATA.glob("arch/data/prices/*.toml")],
    "trace": [*DATA.glob("serving/data/*.toml")],
}
READERS: dict[str, Callable[[Path], object]] = {
    "device": device, "cluster": cluster, "prices": lambda path: book(str(path)), "trace": sim.trace,
}  # fmt: skip


def test_every_kind_has_files_and_a_reader() -> None:
    assert set(KINDS) == set(FILES) == set(READERS)
    assert all(FILES.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_one_and_takes_every_file_of_ours(kind: str) -> None:
    made = schema(kind)
    Draft202012Validator.check_schema(made)
    valid = Draft202012Validator(made)
    for path in FILES[kind]:
        assert not list(valid.iter_errors(tomllib.loads(path.read_text(encoding="utf-8")))), path.name


def spots(raw: Any) -> Iterator[dict[str, Any]]:
    """Every table of a file but those of free keys."""
    if isinstance(raw, dict):
        yield raw
        for key, inner in raw.items():
            if key not in ("rate", "device_rate", "energy", "set"):
                yield from spots(inner)
    elif isinstance(raw, list):
        for inner in raw:
            yield from spots(inner)


def changed(raw: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The file with one key unknown, one value of a wrong type or unit, or one key of the top missing."""
    new = copy.deepcopy(raw)
    table = draw.choice(list(spots(new)))
    key = draw.choice(list(table))
    what = draw.randrange(4)
    if what == 0:
        table["nonesuch"] = 1
    elif what == 1:
        table[key] = draw.choice([True, -1, "3 parsecs", {"a": 1}, [[1]], "", "7 GB/s", 4])
    elif what == 2:
        new.pop(draw.choice(list(new)))
    return new


@pytest.mark.parametrize("kind", KINDS)
def test_schema_and_reader_agree_on_the_shape(kind: str, tmp_path: Path) -> None:
    """What the reader takes the schema takes; what the schema refuses the reader refuses."""
    draw, valid = random.Random(kind), Draft202012Validator(schema(kind))  # noqa: S311
    path, taken = tmp_path / "changed.toml", [0, 0]
    for _ in range(200):
        raw = changed(tomllib.loads(draw.choice(FILES[kind]).read_text(encoding="utf-8")), draw)
        path.write_text(toml(raw), encoding="utf-8")
        shaped = valid.is_valid(raw)
        taken[shaped] += 1
        try:
            READERS[kind](path)
        except WeirError:
            continue
        assert shaped, (raw, [e.message for e in valid.iter_errors(raw)])
    assert min(taken) > 20  # both happen


def toml(raw: dict[str, Any]) -> str:
    """The tables as TOML, one inline value a line."""
    return "\n".join(f"{_key(key)} = {_inline(value)}" for key, value in raw.items())


def _key(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        import json

        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value) if isinstance(value, int | float) else f'"{value}"'


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(WeirError, match="no file format 'devcie'; did you mean 'device'"):
        schema("devcie")
