"""Sweeps: every row is what the model says of that point alone; axes, units, and what is refused."""

from __future__ import annotations

import io
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Infeasible, Part, Program, WeirError, parse
from sim.arch import cluster, tier
from sim.model.estimate import estimate
from sim.serving.answer import serve
from sim.serving.deploy import Deployment, deployments
from sim.space import progress
from sim.space import steps as steps_module
from sim.space.axes import Axis, axis, size
from sim.space.sweep import sweep

TEXT = """
WQ[d, g, r, e]: weight
WK[d, g, e]: weight
WO[g, r, e, d]: weight
K[b, g, m, e]: state
QK[b, g, r, p, m]: causal(p, m, C)
Q[b, g, r, p, e]  = X[b, p, d] * WQ[d, g, r, e]
KN[b, g, p, e]    = X[b, p, d] * WK[d, g, e]
K[b, g, C + p, e] = KN[b, g, p, e]
QK[b, g, r, p, m] = Q[b, g, r, p, e] * K[b, g, m, e]
S[b, g, r, p, m]  = exp(QK[b, g, r, p, m])
O[b, g, r, p, e]  = S[b, g, r, p, m] * K[b, g, m, e]
Y[b, p, d]        = O[b, g, r, p, e] * WO[g, r, e, d]
"""
LAYER = parse(TEXT, name="layer", b=1, p=1, c=100, m="C + P", d=4096, g=8, r=8, e=128)
PROGRAM = Program("toy", (Part(LAYER, 40),))
TOY = SimpleNamespace(name="toy", notes=(), decode=PROGRAM, prefill=PROGRAM)
BOTH = ["2xh100", "1xh100_2xh20"]


def alone(on: str, layout: str | None = None) -> Deployment:
    """The toy's deployment, built without a sweep."""
    return next(iter(deployments(TOY, cluster(on), tier("physical"), 1.0, layout=layout)))


def test_rows_are_the_product_with_the_last_axis_fastest() -> None:
    frame = sweep(TOY, on=BOTH, batch=[1, 2], context=range(100, 400, 100))
    assert len(frame) == 2 * 2 * 3
    assert frame["on"].tolist() == [name for name in BOTH for _ in range(6)]
    assert frame["batch"].tolist()[:6] == [1, 1, 1, 2, 2, 2]
    assert frame["context"].tolist()[:4] == [100, 200, 300, 100]
    assert frame["model"].unique().tolist() == ["toy"]


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([("2xh100", "tp=2"), ("2xh100", "tp=1,pp=2"), ("2xh100", "tp=1"), ("1xh100_2xh20", "tp=1")]),
    st.integers(1, 2000), st.integers(1, 20_000),
)  # fmt: skip
def test_decode_rows_equal_the_step_of_that_point(place: tuple[str, str], batch: int, context: int) -> None:
    on, layout = place
    frame = sweep(TOY, on=on, layout=layout, batch=[1, batch], context=[10, context])
    row = frame.iloc[-1]
    found = alone(on, layout)
    copies = found.layout.replicas
    step = found.decoding(np.array([batch / copies]), np.array([float(context)]))
    assert row["fits"] == (batch / copies * found.service().state(np.array([context])) <= found.service().capacity)[0]
    if row["fits"]:
        assert row["seconds"] == pytest.approx(float(step.period[0]), rel=1e-12)
        assert row["tokens_per_second"] == pytest.approx(batch / float(step.period[0]), rel=1e-12)
        assert row["joules_per_token"] == pytest.approx(copies * float(step.joules[0]) / batch, rel=1e-12)
        assert row["bound"] == step.bound


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40_000), st.integers(1, 20_000))
def test_what_does_not_fit_says_how_many_would(context: int, more: int) -> None:
    lone = sweep(TOY, on="2xh100", layout="tp=2", batch=[10**9], context=[context])["reason"][0]
    most = int(lone.removeprefix("memory has room for ").partition(" ")[0].replace(",", ""))
    frame = sweep(TOY, on="2xh100", layout="tp=2", batch=[most, most + 1, most + more], context=[context])
    assert frame["fits"].tolist() == [True, False, False]
    assert frame["reason"].tolist() == ["", lone, lone]


def test_a_prefill_counts_the_tokens_of_its_prompts() -> None:
    frame = sweep(TOY, on="2xh100", batch=4, prompt=[1000])
    seconds = float(alone("2xh100").service().prefill(np.array([4.0]), np.array([1000.0]))[0])
    assert frame["seconds"].tolist() == pytest.approx([seconds])
    assert frame["tokens_per_second"].tolist() == pytest.approx([4000 / seconds])


def test_money_is_rate_and_price() -> None:
    frame = sweep(TOY, on="2xh100", batch=8, context=1000, **{"price.h100": ["2 USD/h", 3]})
    assert frame["usd_per_hour"].tolist() == [4.0, 6.0]
    assert frame["price.h100"].tolist() == [2.0, 3.0]
    [rate, again] = frame["tokens_per_second"]
    assert rate == again
    assert frame["tokens_per_dollar"].tolist() == pytest.approx([rate * 3600 / 4, rate * 3600 / 6])
    assert frame["usd_per_million_tokens"].tolist() == pytest.approx([4e6 / rate / 3600, 6e6 / rate / 3600])


def test_a_dotted_axis_changes_the_hardware_and_is_kept_in_si() -> None:
    frame = sweep(TOY, on="2xh100", batch=64, context=10_000, **{"model.hbm.bandwidth": ["1 TB/s", "2 TB/s"]})
    assert frame["model.hbm.bandwidth"].tolist() == [1e12, 2e12]
    slow, fast = frame["seconds"]
    assert 1.5 < slow / fast < 2
    assert frame.attrs["units"]["model.hbm.bandwidth"] == "B/s"


def test_the_number_of_devices_is_an_axis() -> None:
    frame = sweep(TOY, on="2xh100", batch=64, context=10_000, **{"model.count": [2, 4]})
    assert frame["layout"].tolist() == ["tp=2", "tp=4"]
    assert frame["usd_per_hour"][1] == 2 * frame["usd_per_hour"][0]


def test_what_does_not_fit_is_a_row() -> None:
    frame = sweep(TOY, on="1xh100", batch=[1, 10_000], context=[100_000])
    assert frame["fits"].tolist() == [True, False]
    assert frame["bound"].tolist()[1] == ""
    assert frame.loc[1, ["seconds", "tokens_per_dollar", "joules_per_token"]].isna().all()
    assert frame["usd_per_hour"][1] == frame["usd_per_hour"][0]


def test_weights_that_do_not_fit_are_rows_too() -> None:
    frame = sweep(TOY, on="1xh100", batch=1, context=10, **{"model.hbm.capacity": ["1 GB", "80 GB"]})
    assert frame["fits"].tolist() == [False, True]


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    terms: dict[str, Any] = {"on": BOTH, "batch": [1, 5, 9], "context": [10, 20, 30, 40], "tier": ["limit", "physical"]}
    whole = sweep(TOY, **terms)
    monkeypatch.setattr(steps_module, "CHUNK", 5)
    assert sweep(TOY, **terms).equals(whole)


def test_units_of_every_figure() -> None:
    units = sweep(TOY, on="2xh100", batch=1, context=10).attrs["units"]
    assert units == {
        "batch": "requests", "context": "tokens", "seconds": "s", "tokens_per_second": "tokens/s",
        "joules_per_token": "J/token", "usd_per_hour": "USD/h", "usd_per_million_tokens": "USD/Mtoken",
        "tokens_per_dollar": "tokens/USD",
    }  # fmt: skip


def test_any_function_point_by_point() -> None:
    frame = sweep(lambda x, y: x * y, x=[1, 2], y=np.array([3, 4]))
    assert frame.to_dict("list") == {"x": [1, 1, 2, 2], "y": [3, 4, 3, 4], "fits": [True] * 4, "value": [3, 4, 6, 8]}


def test_a_functions_infeasible_points_are_rows_with_a_reason() -> None:
    def root(x: float) -> dict[str, float]:
        if x < 0:
            raise Infeasible("no root")
        return {"root": x**0.5}

    frame = sweep(root, x=[-1, 4])
    assert frame["fits"].tolist() == [False, True]
    assert frame["reason"].tolist()[0] == "no root"
    assert frame["root"].tolist()[1] == 2


def test_serve_over_clusters_is_priced_from_one_book() -> None:
    def books(on: str, prices: Any = None) -> dict[str, Any]:
        return {"book": prices.book, "usd": prices.usd_per_hour(cluster(on))}

    frame = sweep(books, on=["4xh100", "2xh100_4xh20"], **{"price.h20": [1.5]})
    assert frame["book"].nunique() == 1
    assert frame["usd"][1] == frame["usd"][0] / 2 + 6


def test_only_what_asks_for_a_price_is_refused_where_no_book_has_all_devices() -> None:
    def idle(on: str, prices: Any = None) -> float:
        return 0.0

    def paid(on: str, prices: Any = None) -> float:
        return float(prices.usd_per_hour(cluster(on)))

    places = ["1xrtx_pro_6000", "1xa100"]
    assert sweep(idle, on=places)["fits"].all()
    with pytest.raises(WeirError, match="no book has a price for rtx_pro_6000: add --price"):
        sweep(paid, on=places)
    with pytest.raises(WeirError, match="'lamina_2024' has no price for rtx_pro_6000"):
        sweep(idle, on=places, prices="lamina_2024")


def test_serve_is_a_function_like_any_other() -> None:
    frame = sweep(serve, model=TOY, on="1xh100", prompt=8000, output=20, batch=[4, None], sensitive=False)
    assert frame["model"].tolist() == ["toy", "toy"]
    assert frame["batch"][1] > 4  # None: the largest, as the answer says
    assert frame.attrs["units"]["ttft_p95"] == "s"


def test_estimate_takes_ranks_as_axes() -> None:
    frame = sweep(estimate, what=LAYER, on=["h100", "h20"], layout="tp=1", b=[1, 1000])
    assert frame["what"].unique().tolist() == ["layer"]
    assert (frame["seconds"].to_numpy()[[1, 3]] > frame["seconds"].to_numpy()[[0, 2]]).all()


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"batch": 1, "contxt": 2}, "no axis 'contxt'; did you mean 'context'?"),
        ({"batch": 1}, "a decode step needs 'context'"),
        ({"prompt": 1}, "a prefill step needs 'batch'"),
        ({"batch": 1, "context": 1, "prompt": 1}, "context .* or prompt .*, not both"),
        ({"batch": [], "context": 1}, "axis 'batch' has no values"),
        ({"batch": [0], "context": 1}, "axis 'batch' has 0; its values are at least 1"),
        ({"batch": [float("nan")], "context": 1}, "axis 'batch' has nan"),
        ({"batch": ["many"], "context": 1}, "axis 'batch' must hold numbers, not 'many'"),
        ({"batch": 1, "context": 1, "tier": "fast"}, "unknown tier 'fast'"),
        ({"batch": 1, "context": 1, "layout": "tp=3"}, "has 2 devices; the layout needs 3"),
        ({"batch": 1, "context": 1, "host": "1 parsec"}, "axis 'host': unknown unit 'parsec'"),
        ({"batch": 1, "context": 1, "model.hbm.bandwith": [1]}, "did you mean 'model.hbm.bandwidth'"),
        ({"batch": 1, "context": 1, "model.hbm.bandwidth": ["1 GB"]}, "wrong unit"),
        ({"batch": 1, "context": 1, "price.h20": [1]}, "h20 is not among the devices"),
        ({"batch": range(1, 100_001), "context": range(1, 1002)}, "100,100,000 points .* at most 100,000,000"),
        ({"batch": range(10**12), "context": 1}, "axis 'batch' has 1,000,000,000,000 values"),
        ({"batch": 1, "context": 1, "on": ["2xh10"]}, "unknown device 'h10'"),
        ({"batch": 1, "context": 1, "on": []}, "axis 'on' has no values"),
        ({"batch": 1, "context": 1, "on": None}, "no cluster; give at least one"),
        ({"batch": 1, "context": 1, "on": 4}, "axis 'on' has 4; its values are str or Path or Cluster"),
        ({"batch": 1, "context": 1, "tier": 4}, "axis 'tier' has 4; its values are str or Tier"),
        ({"batch": 1, "context": 1, "layout": 4}, "axis 'layout' has 4; its values are str or Layout"),
        ({"batch": 1, "context": 1, "prices": 4}, "axis 'prices' has 4; its values are str"),
    ],
)
def test_refused(terms: dict[str, Any], message: str) -> None:
    with pytest.raises(WeirError, match=message):
        sweep(TOY, **{"on": "2xh100", **terms})


@pytest.mark.parametrize(
    ("what", "terms", "message"),
    [
        (serve, {"bach": [1]}, "serve takes no 'bach'; did you mean 'batch'?"),
        (serve, {"model.hbm.bandwidth": [1]}, "changes a cluster; give at least one"),
        (lambda x: x, {"price.h100": [1], "x": 1}, "takes no 'price'"),
        (lambda x: [x], {"x": 1}, "returned a list; a number, a mapping or a result"),
        (serve, {"on": [4]}, "axis 'on' has 4; its values are str or Path or Cluster or Device"),
        (3, {"on": "1xh100"}, "a int is neither a model nor a function"),
        ([], {"on": "1xh100"}, "no model"),
        ("llama-3-7b", {"on": "1xh100"}, "llama-3-7b"),
    ],
)
def test_refused_for_functions(what: Any, terms: dict[str, Any], message: str) -> None:
    with pytest.raises(WeirError, match=message):
        sweep(what, **terms)


def test_a_single_value_is_an_axis_of_one() -> None:
    assert axis("trace", "azure_conv") == Axis("trace", ("azure_conv",))
    assert size([axis("a", [1, 2]), axis("b", 3)]) == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_appears_on_a_terminal_once_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(progress.tracked(range(3), 3)) == [0, 1, 2]
    assert terminal.getvalue() == ""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    assert list(progress.tracked(range(3), 3)) == [0, 1, 2]
    assert "points" in terminal.getvalue()


def test_no_bar_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    quiet = io.StringIO()
    monkeypatch.setattr("sys.stderr", quiet)
    assert list(islice(progress.tracked(range(9), 9), 3)) == [0, 1, 2]
    assert quiet.getvalue() == ""
