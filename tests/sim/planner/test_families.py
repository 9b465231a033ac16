"""Every family of constraints alone: its rows hold at an assignment exactly where what its docstring says is so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.planner
from tests.families import flows, graphs, layouts
from tests.families.harness import check

FAMILIES = {**graphs.FAMILIES, **layouts.FAMILIES, **flows.FAMILIES}


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=4, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**30))
def test_rows_hold_exactly_where_their_meaning_does(name: str, data: st.DataObject, seed: int) -> None:
    check(FAMILIES[name](data.draw), seed)


def generators() -> dict[str, str]:
    """Every function of the planner that yields rows, with its docstring."""
    found = {}
    for path in Path(sim.planner.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.returns and "Row]" in ast.unparse(node.returns):
                found[f"{path.stem}.{node.name}"] = ast.get_docstring(node) or ""
    return found


def test_every_family_is_in_the_table_and_states_its_inequality() -> None:
    assert set(generators()) == set(FAMILIES)
    assert all(any(sign in text for sign in ("<=", ">=", " = ")) for text in generators().values())


def added() -> Iterator[ast.expr]:
    """What is given to a model's ``add`` anywhere in the planner."""
    for path in Path(sim.planner.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr="add"), args=[_, rows]):
                    yield rows


def test_rows_are_added_by_families_alone() -> None:
    names = {name.partition(".")[2] for name in FAMILIES} | {"family", "more"}  # the last two loop over families
    for rows in added():
        assert isinstance(rows, ast.Call), ast.unparse(rows)
        assert (getattr(rows.func, "id", None) or getattr(rows.func, "attr", None)) in names
