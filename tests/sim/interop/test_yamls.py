"""YAML by the rules of 1.2, with lines; what libraries are known to get wrong, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.interop.yamls import load, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="ascii", categories=("L", "N", "P", "Zs")), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
def test_json_is_yaml(value: object) -> None:
    read = parse(json.dumps(value), "x").plain
    assert read == value or (isinstance(value, float) and math.isclose(read, value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e9", 1e9), ("3.35e12", 3.35e12), ("2e-3", 2e-3), ("010", 10), ("1:30", "1:30"), ("NO", "NO"), ("off", "off"),
        ("~", None), ("'1e9'", "1e9"), (".5", 0.5), ("-7", -7), ("true", True), ("0x10", "0x10"), ("1_000", "1_000"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    read = parse(f"a: {text}", "x").plain["a"]
    assert read == value
    assert type(read) is type(value)


def test_items_know_their_line_and_tag() -> None:
    top = parse("a:\n- !Component\n  name: x\n", "x").get("a")
    assert top is not None
    [node] = top.value
    assert (node.tag, node.line, node.plain) == ("!Component", 2, {"name": "x"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "x: line 2: key 'a' is given twice"),
        ("a: &b 1\nc: *b", "x: line 1: anchors and aliases are not read"),
        ("a: 1\n---\nb: 2", "x: line 3: a second document"),
        ("[" * 65, "x: line 1: nested more than 64 deep"),
        ("[" * 100_000, "x: line 1: "),
        ("{a: " * 100_000, "x: line 1: nested more than 64 deep"),
        ("? [1]\n: 2", "x: line 1: a key must be a word"),
        ("a: [1, 2", "not valid YAML: did not find expected"),
        ("a:\n\t- b", "x: line 2: not valid YAML: found character that cannot start any token"),
        ("", "x: no YAML document"),
    ],
)
def test_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        parse(text, "x")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bomb_of_aliases_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n")
    with pytest.raises(WeirError, match=r"bomb\.yaml: line 1: anchors"):
        load(bomb)
