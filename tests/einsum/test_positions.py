"""Every key and element that tomllib reads has a place, and it is where the key is written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sim
from einsum.positions import KeyPath, line_and_column, places

FILES = sorted(Path(sim.__file__).parents[1].glob("*/**/data/**/*.toml"))
ODD = """a.b."c d" = 1 # a comment = 3
[x] # [y]
y.z = { q = [1, { r = 2 }], "s\\u0041" = [] }
[[p]]
a = "# [no] = 'table'"
[p.q]
b = [ # one
  'two', 3e5,
]
[[p]]
[[p.k]]
z = 1979-05-27 07:32:00Z
[[p.k]]
z = \"\"\"a = 1
[b] \\\"\"\"\"\"\"
'' = '''
[c]''''
"""


def paths(raw: Any, at: KeyPath = ()) -> Iterator[KeyPath]:
    yield at
    inner = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for key, value in inner:
        yield from paths(value, (*at, key))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shipped_files(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = places(text)
    assert set(found) == set(paths(tomllib.loads(text)))
    for key, at in found.items():
        assert not key or isinstance(key[-1], int) or key[-1] in text[at:].split("\n", 1)[0]


def test_every_way_to_write_a_key() -> None:
    found = places(ODD)
    assert set(found) == set(paths(tomllib.loads(ODD)))
    assert line_and_column(ODD, found["x", "y", "z", "q", 1, "r"]) == (3, 19)
    assert line_and_column(ODD, found["p", 0, "q", "b", 1]) == (8, 10)
    assert line_and_column(ODD, found["p", 1, "k", 1]) == (13, 1)
    assert line_and_column(ODD, found["p", 1, "k", 1, ""]) == (16, 1)


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from("\"\\\n#=[]{}.'"), max_size=8
)
VALUES = st.recursive(
    st.integers(-9, 9) | TEXTS | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{inline(key)} = {inline(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_any_values(raw: dict[str, Any]) -> None:
    text = "\n".join(f"{inline(key)}\t= {inline(value)}" for key, value in raw.items())
    assert tomllib.loads(text) == raw
    assert set(places(text)) == set(paths(raw))
