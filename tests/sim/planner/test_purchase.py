"""Purchases against all counts there are; degrees of attention offloading against exhaustive search."""

from __future__ import annotations

import itertools
from math import ceil, inf

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from einsum import Infeasible, WeirError
from sim.planner.offers import bearing, degrees, templates
from sim.planner.purchase import Array, Bucket, Purchase, Template, buckets, check, loads, rent
from sim.serving.trace import trace
from workloads.transformer import model

PRICES = (1.0, 1.7, 3.1)
TEMPLATES = tuple(Template(f"t{n}", usd, (("gpu", n + 1),)) for n, usd in enumerate(PRICES))
LOADS = st.lists(st.lists(st.sampled_from([0.2, 0.55, 0.9, 1.4, inf]), min_size=3, max_size=3), min_size=1, max_size=3)


def wanted(count: int) -> tuple[Bucket, ...]:
    return tuple(Bucket(100.0, 10.0, 1.0) for _ in range(count))


def bears(counts: tuple[int, ...], load: Array) -> bool:
    """Whether shares exist with which so many copies bear the load (a linear programme of scipy's)."""
    rows, columns = load.shape
    finite = np.where(np.isfinite(load), load, 1e6)
    overload = np.zeros((columns, rows * columns))
    whole = np.zeros((rows, rows * columns))
    for b, t in itertools.product(range(rows), range(columns)):
        overload[t, b * columns + t] = finite[b, t]
        whole[b, b * columns + t] = 1
    return bool(linprog(np.zeros(rows * columns), overload, counts, whole, np.ones(rows), (0, 1)).success)


def cheapest(load: Array, gpus: int | None = None) -> float:
    """The least price of all counts up to four of each."""
    best = inf
    for counts in itertools.product(range(5), repeat=3):
        price = float(np.dot(counts, PRICES))
        if price < best and (gpus is None or np.dot(counts, (1, 2, 3)) <= gpus) and bears(counts, load):
            best = price
    return best


@given(LOADS, st.sampled_from([None, 2, 5]))
@settings(max_examples=20, deadline=None)
def test_no_counts_are_cheaper(rows: list[list[float]], gpus: int | None) -> None:
    load = np.array(rows)
    assume(np.isfinite(load).any(axis=1).all())
    stock = None if gpus is None else {"gpu": gpus}
    least = cheapest(load, gpus)
    if least == inf:
        enough = next(n for n in range(100) if cheapest(load, n) < inf)
        with pytest.raises(Infeasible, match=f"{enough} of gpu instead of {gpus} would do"):
            rent(wanted(len(load)), TEMPLATES, load, stock=stock)
        return
    found = rent(wanted(len(load)), TEMPLATES, load, stock=stock)
    assert found.proven
    assert found.usd_per_hour == pytest.approx(least)
    assert found.gap == 0
    table = found.frame()
    assert table.requests_per_second.sum() == pytest.approx(len(load))


def test_whole_slices_cost_no_less() -> None:
    load = np.array([[0.6, 1.0, 0.3], [0.7, 0.3, 0.9]])
    divided, whole, halves = (rent(wanted(2), TEMPLATES, load, slices=s) for s in (None, 1, 2))
    assert divided.usd_per_hour <= halves.usd_per_hour <= whole.usd_per_hour
    assert set(np.unique(whole.shares)) <= {0.0, 1.0}
    assert set(np.unique(halves.shares)) <= {0.0, 0.5, 1.0}


def test_a_trace_falls_into_buckets_that_keep_its_means() -> None:
    load = trace("azure_conv")
    found = buckets(load, 8.0)
    assert sum(b.rate for b in found) == pytest.approx(8.0)
    assert sum(b.rate * b.prompt for b in found) / 8 == pytest.approx(load.mean_prompt)
    assert sum(b.rate * b.output for b in found) / 8 == pytest.approx(load.mean_output)


def test_degrees_of_attention_offloading_agree_with_exhaustive_search() -> None:
    offers = templates(degrees("h100", "h20", (2, 2)), "lamina_2024")
    asked = (Bucket(1155.0, 211.0, 30.0),)
    load = loads(asked, offers, bearing(model("llama-3-8b"), prefill="elsewhere"))
    found = rent(asked, offers, load)
    borne = 1 / load[0]  # copies of one kind that bear the whole load, upside down
    alone = min(ceil(each) * t.usd_per_hour for each, t in zip(load[0], offers, strict=True))
    prices = np.array([t.usd_per_hour for t in offers])
    counts = (np.array(n) for n in itertools.product(range(4), repeat=len(offers)) if np.dot(n, borne) >= 1)
    assert found.usd_per_hour == pytest.approx(min(float(n @ prices) for n in counts))
    assert found.usd_per_hour <= alone
    assert {t.name for t in offers} == {"1xh100", "2xh100", *(f"{a}xh100_{b}xh20" for a in (1, 2) for b in (1, 2))}


def test_a_limit_on_latency_costs() -> None:
    asked = (Bucket(1000.0, 200.0, 20.0),)
    offers = templates(("1xh100", "2xh100"), "lamina_2024")
    prices = []
    for tpot in (None, 0.02):
        load = loads(asked, offers, bearing(model("llama-3-8b"), tpot=tpot))
        prices.append(rent(asked, offers, load).usd_per_hour)
    assert prices[0] < prices[1]
    load = loads(asked, offers, bearing(model("llama-3-8b"), tpot=1e-6))
    with pytest.raises(Infeasible, match=r"no template serves requests of 1000 \+ 200 tokens"):
        rent(asked, offers, load)


def test_mistakes_are_named() -> None:
    load = np.array([[0.5, 0.5, 0.5]])
    with pytest.raises(WeirError, match=r"shape \(1, 3\); 2 buckets"):
        rent(wanted(2), TEMPLATES, load)
    with pytest.raises(WeirError, match="negative or not a number"):
        rent(wanted(1), TEMPLATES, -load)
    with pytest.raises(WeirError, match="must be finite and not negative"):
        Template("t", -1.0)
    with pytest.raises(WeirError, match="it must be positive"):
        buckets(trace("azure_conv"), 0)
    wrong = Purchase(TEMPLATES, wanted(1), (0, 0, 0), np.array([[1.0, 0, 0]]), 0, True, 0)
    with pytest.raises(WeirError, match="bears more than its copies"):
        check(wrong, load, {})
    unserved = Purchase(TEMPLATES, wanted(1), (1, 0, 0), np.array([[0.5, 0, 0]]), 0, True, 0)
    with pytest.raises(WeirError, match="not wholly served"):
        check(unserved, load, {})
    with pytest.raises(WeirError, match="more gpu are used"):
        check(Purchase(TEMPLATES, wanted(1), (1, 0, 0), np.array([[1.0, 0, 0]]), 0, True, 0), load, {"gpu": 0})
