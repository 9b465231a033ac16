from __future__ import annotations

import math

import pytest

from einsum.errors import WeirError
from sim.arch import book, books, choose_book, cluster, device, price, price_range
from sim.arch.prices import prices


@pytest.mark.parametrize("name", books())
def test_every_shipped_book_loads_and_dates_every_price(name: str) -> None:
    found = book(name)
    assert found.prices
    assert len({p.device for p in found.prices}) == len(found.prices)
    for each in found.prices:
        assert each.date[:2] == "20"
        assert each.source
        assert 0.1 < each.low <= each.usd_per_hour <= each.high < 20


@pytest.mark.parametrize(
    ("text", "usd"), [("lamina_1_2", 20.32), ("lamina_2_4", 40.64), ("lamina_vllm_2", 22.12), ("4xh100", 44.24)]
)
def test_laminas_clusters_cost_what_lamina_says(text: str, usd: float) -> None:
    found = cluster(text)
    assert prices((p.device for p in found.pools), "lamina_2024").usd_per_hour(found) == pytest.approx(usd)


@pytest.mark.parametrize(
    ("name", "per_flop", "per_byte"),
    [("h800", 2.8e-19, 1.66e-16), ("h20", 7.51e-19, 5.56e-17), ("910b", 6.65e-19, 1.16e-16)],
)
def test_step3_unit_costs_by_hand(name: str, per_flop: float, per_byte: float) -> None:
    usd = price(name, "step3_2025").usd_per_hour / 3600
    found = device(name)
    assert usd / max(found.rate("mac", "fp8"), found.rate("mac", "bf16")) == pytest.approx(per_flop, rel=3e-3)
    assert usd / found.memory.rate == pytest.approx(per_byte, rel=3e-3)


def test_prices_disagree_and_the_range_says_by_how_much() -> None:
    assert price_range("h100") == (1.99, 11.06)
    assert price_range("h20") == (0.80, 4.63)
    assert price_range("xeon_8380") is None


@pytest.mark.parametrize(
    ("devices", "name"),
    [
        (["h100", "h20"], "lamina_2024"),
        (["h800", "h20", "a800", "910b"], "step3_2025"),
        (["h100", "l40s", "tpu_v5e"], "market_2026"),
        (["h100", "h100_sxm", "a40", "a100"], "market_2026"),
        (["h100"], "aimultiple_2026"),
    ],
)
def test_the_newest_book_that_prices_all_of_them(devices: list[str], name: str) -> None:
    assert choose_book(devices) == name


def test_an_override_leaves_the_rest_to_a_book() -> None:
    found = prices(["h100", "h20"], overrides={"h20": "1.5 USD/h"})
    assert found.book == prices(["h100", "h20"]).book  # overriding one price moves no other
    assert found.overridden == ("h20",)
    assert found.of("h20").usd_per_hour == 1.5
    assert found.usd_per_hour(cluster("2xh100_4xh20")) == pytest.approx(2 * 11.06 + 4 * 1.5)


def test_an_override_fills_what_no_book_has() -> None:
    found = prices(["a40", "xeon_8380"], overrides={"xeon_8380": "0.4"})
    assert found.usd_per_hour(cluster("moe_lens")) == pytest.approx(1.28 + 0.4)
    assert found.book == "market_2026"


def test_a_stated_book_is_used() -> None:
    assert prices(["h100"], book="coreweave_2024").of("h100").usd_per_hour == 4.25


@pytest.mark.parametrize("value", ["1.50", 1.5, "1.5 USD/h", "1.5 $/h"])
def test_a_bare_number_is_usd_an_hour(value: str | float) -> None:
    assert prices(["xeon_8380"], overrides={"xeon_8380": value}).of("xeon_8380").usd_per_hour == 1.5


def test_all_prices_may_be_the_users() -> None:
    found = prices(["h100"], overrides={"h100_sxm": 2})
    assert found.book == ""
    assert found.describe() == ("prices: given by the user: h100_sxm 2.00 USD/h [now; override; books 1.99-11.06]")


def test_the_description_is_one_line_with_book_date_and_range() -> None:
    text = prices(["h100", "h20"]).describe()
    assert text.startswith(
        "prices: lamina_2024 (2024-05), the newest book with all of h100_sxm, h20; newer ones lack h100_sxm or h20;"
        " --prices BOOK takes another: h100_sxm 11.06 USD/h [2024-05; "
    )
    stated = prices(["h100", "h20"], "lamina_2024").describe()
    assert stated.startswith("prices: lamina_2024 (2024-05): h100_sxm 11.06 USD/h [2024-05; ")
    assert "h20 4.63 USD/h" in text
    assert "not a market price; books 0.80-4.63]" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("devices", "name", "overrides", "message"),
    [
        (["xeon_8380"], None, {}, "no book has a price for xeon_8380: add --price xeon_8380=1.50"),
        (["xeon_8380"], None, {}, "(in Python: price={'xeon_8380': 1.5})"),
        (["h100", "h800"], None, {}, "no one book prices all of h100_sxm, h800: add --price h800=1.50"),
        (
            ["a100"],
            "lamina_2024",
            {},
            "price book 'lamina_2024' has no price for a100_sxm_80gb: add --price a100_sxm_80gb",
        ),
        (["h100"], "lamina", {}, "unknown price book 'lamina'; did you mean 'lamina_2024'?"),
        (["h100"], None, {"h20": "1"}, "--price h20: h20 is not among the devices: h100_sxm"),
        (["h100"], None, {"h100": "-1"}, "--price h100: -1.0 is negative"),
        (["h100"], None, {"h100": "nan"}, "--price h100: nan is not a finite number"),
        (["h100"], None, {"h100": math.inf}, "--price h100: inf is not a finite number"),
        (["h100"], None, {"h100": "0"}, "--price h100: 0.0 is zero; it must be more"),
        (["h100"], None, {"h100": "2 USD"}, "--price h100: '2 USD' has the wrong unit"),
        (["h100"], None, {"h100": "cheap"}, "--price h100: 'cheap' does not begin with a number"),
        (
            ["h100_pcie"],
            None,
            {"h100_pci": "2"},
            "h100_pci is not among the devices: h100_pcie; did you mean 'h100_pcie'?",
        ),
    ],
)
def test_a_price_that_is_missing_or_means_nothing_is_refused(
    devices: list[str], name: str | None, overrides: dict[str, str | float], message: str
) -> None:
    with pytest.raises(WeirError) as caught:
        prices(devices, name, overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_device_outside_the_comparison_has_no_price() -> None:
    with pytest.raises(WeirError, match=r"no price for h800: add --price h800=1\.50"):
        prices(["h100"]).of("h800")
