"""Terms sum to the change of their total; what two results do not share is said."""

from __future__ import annotations

from math import fsum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum import WeirError
from sim.explain.changes import Changes, changes

NAMES = ("a.json", "b.json")
AMOUNT = st.floats(1e-6, 1e6)
GROUP = st.dictionaries(st.sampled_from("pqrs"), AMOUNT, min_size=1)


def result(command: str, arguments: dict[str, Any] | None = None, **figures: Any) -> dict[str, Any]:
    return {**figures, "manifest": {"command": command, "arguments": arguments or {}, "times": []}}


def terms(found: Changes, total: str) -> tuple[float, list[float]]:
    """The change of a total and those of its terms."""
    names = [part.name for part in found.terms]
    first = next(n for n, part in enumerate(found.terms) if part.name == total and part.depth == 0)
    after = next((n for n in range(first + 1, len(names)) if found.terms[n].depth == 0), len(names))
    return found.terms[first].change, [part.change for part in found.terms[first + 1 : after]]


@given(GROUP, GROUP, AMOUNT, AMOUNT)
def test_terms_of_a_sum_are_its_change_whatever_they_leave_over(
    a: dict[str, float], b: dict[str, float], more: float, less: float
) -> None:
    before, after = fsum(a.values()) + more, fsum(b.values()) + less
    [found] = changes(result("map", joules=before, joules_by=a), result("map", joules=after, joules_by=b), NAMES)
    if found.terms:
        whole, parts = terms(found, "joules")
        assert whole == after - before
        assert fsum(parts) == pytest.approx(whole, abs=1e-8 * max(before, after))


@given(st.lists(AMOUNT, min_size=8, max_size=8))
def test_factors_of_a_product_are_its_change(x: list[float]) -> None:
    first, second = (
        {"micro": m, "batches": n, "output": t, "block_seconds": s, "tokens_per_second": m * n * t / s}
        for m, n, t, s in (x[:4], x[4:])
    )
    [found] = changes(result("offload", **first), result("offload", **second), NAMES)
    if found.terms:
        whole, parts = terms(found, "tokens_per_second")
        rates = [one["tokens_per_second"] for one in (first, second)]
        assert whole == rates[1] - rates[0]
        assert fsum(parts) == pytest.approx(whole, rel=1e-6, abs=1e-8 * max(rates))


def test_rows_are_paired_by_what_they_are_called() -> None:
    rows = [{"mapping": name, "joules": j, "joules_by": {"dram": j}} for name, j in (("one", 1.0), ("two", 2.0))]
    other = [{"mapping": "two", "joules": 5.0, "joules_by": {"dram": 5.0}}]
    [found] = changes(result("spgemm", rows=rows), result("spgemm", rows=other), NAMES)
    assert (found.before, terms(found, "joules")) == ("mapping two", (3.0, [3.0]))


def test_rows_of_a_sweep_are_paired_by_the_axes_that_move() -> None:
    asked = {"axis": ["batch=1,2", "context=9"]}
    rows = [{"on": "x", "batch": n, "context": 9, "tokens_per_second": 10.0 * n} for n in (1, 2)]
    faster = [row | {"on": "y", "tokens_per_second": row["tokens_per_second"] * 2} for row in rows[::-1]]
    found = changes(result("sweep", asked, data=rows), result("sweep", asked, data=faster), NAMES)
    assert [one.before for one in found] == ["batch 1", "batch 2"]
    assert [one.figures[0][2:] for one in found] == [(10.0, 20.0), (20.0, 40.0)]


def test_what_was_asked_differently_is_named() -> None:
    asked = ({"link": "8GB/s", "batch": 1}, {"link": "9GB/s", "batch": 1})
    [found] = changes(*(result("plan", one, seconds=1.0) for one in asked), NAMES)
    assert found.inputs == (("link", "8GB/s", "9GB/s"),)


def test_files_of_anybodys_are_read_without_trust() -> None:
    deep: Any = 1.0
    for _ in range(500):
        deep = {"x": deep}
    odd = {"joules": 10**400, "joules_by": [3, None, {}], "seconds": True, "deep": deep, "bytes": "many"}
    one, other = result("map", {"axis": 5}, **odd), result("map", {"axis": "text"}, **odd)
    one["manifest"]["times"] = 7
    [found] = changes(one, other, NAMES)
    assert (found.terms, found.figures) == ((), ())


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ({}, {}, "a.json: no manifest in it"),
        ([], [], "a.json: no manifest in it"),
        (result("map"), result("plan"), "a.json is of 'weir map', b.json of 'weir plan'"),
        (result("list"), result("list"), "results of 'weir list' are not compared"),
        (result("spgemm", rows=3), result("spgemm", rows=[1]), "no row in common"),
    ],
)
def test_mistakes(a: Any, b: Any, message: str) -> None:
    with pytest.raises(WeirError, match=message):
        changes(a, b, NAMES)
