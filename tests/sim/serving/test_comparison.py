"""Clusters side by side: one book, ratios to the first, a row each."""

from __future__ import annotations

import pytest

import sim
from einsum import WeirError


def test_ratios_are_to_the_first_and_prices_of_one_book() -> None:
    both = sim.compare("llama-3-8b", ["1xh100", "1xl40s"], prompt=512, output=64, sensitive=False)
    first, second = both.answers
    assert both.ratios == (1.0, second.tokens_per_dollar / first.tokens_per_dollar)
    assert first.prices == second.prices
    assert {price.device for price in first.prices.prices} == {"h100_sxm", "l40s"}
    table = both.frame()
    assert table["ratio"].tolist() == list(both.ratios)
    assert both.summary()["tokens_per_dollar_ratio"] == list(both.ratios)
    assert str(both).count("x the first's tokens per dollar") == 2


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(WeirError, match="nothing to compare: name at least one cluster"):
        sim.compare("llama-3-8b", [])
