"""Why two answers differ: factors that multiply to the whole, inputs named."""

from __future__ import annotations

from math import exp, log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum import WeirError
from sim.serving.difference import Difference, Term, difference, differences


def answer(**changed: Any) -> dict[str, Any]:
    """An answer of round figures: 100 tokens a second of 10 requests, on two devices of 3 dollars."""
    base = {
        "schema": "weir.estimate/1", "model": "m", "cluster": "2xa", "layout": "tp=2", "tier": "physical",
        "load": "constant 8/8", "prefill": "here", "batch": 10, "tokens_per_second": 100.0, "usd_per_hour": 6.0,
        "tpot": {"mean": 0.08}, "ttft": {"mean": 1.0}, "joules_per_token": 2.0, "devices": {"a": 2},
        "prices": {"a": 3.0}, "price_book": "book", "bound": "memory", "notes": ["same"],
    }  # fmt: skip
    return base | changed


def term(found: Difference, name: str) -> Term:
    [one] = [t for t in found.terms if t.name == name]
    return one


def sums(terms: tuple[Term, ...]) -> list[tuple[float, float]]:
    """Each term that has parts, and the sum of its parts."""
    found = []
    for at, one in enumerate(terms):
        below: list[float] = []
        for other in terms[at + 1 :]:
            if other.depth <= one.depth:
                break
            if other.depth == one.depth + 1:
                below.append(other.log)
        if below:
            found.append((one.log, sum(below)))
    return found


def test_by_hand() -> None:
    b = answer(tokens_per_second=400.0, batch=20, tpot={"mean": 0.03}, usd_per_hour=12.0, prices={"a": 6.0})
    found = difference(answer(), b)
    assert exp(term(found, "tokens per dollar").log) == pytest.approx(2)
    assert exp(term(found, "tokens a second").log) == pytest.approx(4)
    assert exp(term(found, "requests in flight").log) == pytest.approx(2)
    assert exp(term(found, "seconds a token of each").log) == pytest.approx(2)
    assert exp(term(found, "price of a").log) == pytest.approx(0.5)
    assert term(found, "number of a").log == 0
    mean = (0.1 - 0.05) / log(2)  # of 10 / 100 and 20 / 400 s, of which 0.08 and 0.03 s are steps
    assert term(found, "time per output token").log == pytest.approx(0.05 / mean)
    assert term(found, "first tokens, waiting, idle places").log == pytest.approx(0, abs=1e-12)


positive = st.floats(1e-3, 1e6)


@given(
    st.lists(positive, min_size=8, max_size=8),
    st.tuples(*[st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(1, 64), positive), min_size=1)] * 2),
)
def test_parts_sum_to_their_wholes(figures: list[float], bills: tuple[dict[str, tuple[int, float]], ...]) -> None:
    rate, batch, step = figures[:2], figures[2:4], figures[4:6]
    both = [
        answer(
            tokens_per_second=rate[i], batch=batch[i], tpot={"mean": step[i]},
            usd_per_hour=sum(n * p for n, p in bills[i].values()), devices={k: n for k, (n, _) in bills[i].items()},
            prices={k: p for k, (_, p) in bills[i].items()},
        )
        for i in (0, 1)
    ]  # fmt: skip
    found = difference(*both)
    whole = found.terms[0]
    assert exp(whole.log) == pytest.approx(whole.after / whole.before, rel=1e-9)
    pairs = sums(found.terms)
    assert len(pairs) >= 4
    for value, parts in pairs:
        assert value == pytest.approx(parts, rel=1e-6, abs=1e-6 * max(1, *(abs(t.log) for t in found.terms)))


def test_a_device_on_one_side_alone_is_one_term() -> None:
    b = answer(usd_per_hour=7.0, devices={"a": 2, "h": 1}, prices={"a": 3.0, "h": 1.0})
    found = difference(answer(), b)
    assert (term(found, "h").before, term(found, "h").after) == (0, 1)
    assert exp(term(found, "h").log) == pytest.approx(6 / 7)
    assert not [t for t in found.terms if t.name == "price of h"]


@pytest.mark.parametrize("missing", [{"devices": None}, {"devices": {"a": 3}}, {"prices": {}}])
def test_a_bill_that_does_not_add_up_is_not_divided(missing: dict[str, Any]) -> None:
    found = difference(answer(**missing), answer(usd_per_hour=7.0))
    assert found.terms[-1].name == "dollars an hour"


def test_what_differs_is_named_and_what_does_not_is_not() -> None:
    b = answer(cluster="3xa", devices={"a": 3}, usd_per_hour=9.0, notes=["same", "new"], price_book="", bound="link")
    found = difference(answer(notes=["same", "old"]), b)
    assert found.inputs == (
        ("cluster", "2xa", "3xa"), ("price_book", "book", "none"), ("bound", "memory", "link"),
        ("number of a", "2", "3"),
    )  # fmt: skip
    assert found.notes == (("A", "old"), ("B", "new"))
    same = difference(answer(), answer())
    assert (same.inputs, same.notes, {t.log for t in same.terms}) == ((), (), {0.0})


def test_answers_are_paired_by_cluster_else_in_order() -> None:
    def both(*names: str) -> dict[str, Any]:
        return {"schema": "weir.compare/1", "answers": [answer(cluster=name) for name in names]}

    assert [(d.before, d.after) for d in differences(both("x", "y"), both("y", "z"))] == [("y", "y")]
    assert [(d.before, d.after) for d in differences(both("x", "y"), both("p", "q"))] == [("x", "p"), ("y", "q")]
    assert [(d.before, d.after) for d in differences(both("x", "y"), answer(cluster="y"))] == [("y", "y")]
    with pytest.raises(WeirError, match="A has 2 answers and B 1, and no cluster is in both"):
        differences(both("x", "y"), answer())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "B: not what 'weir estimate --json'"),
        ({"schema": "weir.map/1"}, r"schema 'weir.map/1'"),
        ({"schema": "weir.compare/1", "answers": []}, "B: no answers"),
        ({"schema": "weir.compare/1", "answers": [3]}, "B: no answers"),
        (answer(cluster=3), "B: cluster is not a name"),
        (answer(batch=True), "B: batch is not a positive number"),
        (answer(usd_per_hour=0), "B: usd_per_hour is not a positive number"),
        (answer(tokens_per_second=None), "B: tokens_per_second is not a positive number"),
        (answer(tokens_per_second=10**400), "B: tokens_per_second is not a positive number"),
    ],
)
def test_what_is_no_answer_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(WeirError, match=message):
        differences(answer(), wrong)


@pytest.mark.parametrize("wrong", [{"tpot": 3}, {"tpot": {"mean": None}}, {"notes": 3}, {"prices": []}, {"ttft": []}])
def test_figures_that_are_not_there_are_left_out(wrong: dict[str, Any]) -> None:
    assert difference(answer(), answer(**wrong)).terms[0].log == 0
