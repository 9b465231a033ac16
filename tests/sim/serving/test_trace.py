from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.make_trace_summaries import cells, summary
from einsum.errors import WeirError
from sim.serving import Trace, constant, trace, trace_names


def of(prompt: list[float], output: list[float], weight: list[float] | None = None) -> Trace:
    """A trace without arrivals."""
    return Trace(
        "t", np.empty(0), np.array(prompt), np.array(output), np.array(weight or [1.0] * len(prompt)), "", True
    )


@pytest.mark.parametrize(
    ("name", "requests", "prompt", "output"),
    [  # Azure's files, counted, and Lamina's table 4
        ("azure_conv", 19366, 1154.70, 211.13),
        ("azure_code", 8819, 2047.85, 27.88),
        ("kimi_conv", 12031, 12035.06, 342.62),
    ],
)
def test_shipped_summaries_have_the_published_means(name: str, requests: int, prompt: float, output: float) -> None:
    t = trace(name)
    assert (len(t), round(t.mean_prompt, 2), round(t.mean_output, 2)) == (requests, prompt, output)
    assert len(t.prompt) <= 256
    assert not t.exact


def test_shipped_summaries_keep_what_the_means_do_not_say() -> None:
    conv, code, kimi = trace("azure_conv"), trace("azure_code"), trace("kimi_conv")
    assert conv.mean_context == pytest.approx(1226.98, rel=0.005)  # of the whole file
    assert code.mean_context == pytest.approx(2130.93, rel=0.015)
    assert conv.percentile(50) == pytest.approx(1020, rel=0.06)  # of the whole file
    assert conv.percentile(95, "output") == pytest.approx(451, rel=0.1)
    assert conv.rate == pytest.approx(5.530, abs=1e-3)
    assert conv.burstiness == pytest.approx(1.197, abs=1e-3)
    assert "means only" in kimi.source
    assert kimi.rate is None
    assert set(trace_names()) == {"azure_conv", "azure_code", "kimi_conv"}


def test_statistics_by_hand() -> None:
    t = of([10, 100], [30, 10], [1, 3])
    assert (len(t), t.mean_prompt, t.mean_output) == (4, 77.5, 15)
    assert t.mean_context == pytest.approx((30 * 25 + 3 * 10 * 105) / 60)
    assert [t.percentile(q) for q in (0, 25, 26, 100)] == [10, 10, 100, 100]
    assert str(t) == "t: 4 requests, mean prompt 77.50, mean output 15.00 tokens"


def test_arrays_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        of([1], [1]).prompt[0] = 2


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(1, 1e4), st.floats(1, 1e3), st.integers(1, 50)), min_size=1, max_size=12),
    seed=st.integers(0, 99),
)
def test_samples_are_whole_repeatable_and_unbiased(rows: list[tuple[float, float, int]], seed: int) -> None:
    t = of(*([float(x) for x in column] for column in zip(*rows, strict=True)))
    drawn, again = t.sample(4000, seed), t.sample(4000, seed)
    assert np.array_equal(drawn.prompt, again.prompt)
    assert np.array_equal(drawn.output, np.floor(drawn.output))
    assert drawn.output.min() >= 1
    spread = t.prompt.max() - t.prompt.min()
    assert abs(drawn.mean_prompt - t.mean_prompt) < 0.1 + len(rows) * spread / 4000


def test_sampled_arrivals_have_the_rate_and_burstiness() -> None:
    drawn = trace("azure_conv").sample(20_000, seed=3)
    gaps = np.diff(drawn.arrival)
    assert 1 / gaps.mean() == pytest.approx(5.53, rel=0.03)
    assert gaps.var() / gaps.mean() ** 2 == pytest.approx(1.197, rel=0.1)


def test_a_summary_of_a_trace_has_its_totals_and_reads_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    prompt, output = rng.integers(1, 5000, 1000), rng.integers(1, 400, 1000)
    whole = Trace("w", np.arange(1000.0), prompt, output, np.ones(1000), "", True, 1.0, 1.0)
    assert np.array(cells(whole)).sum(axis=0).tolist() == [1000, prompt.sum(), output.sum()]
    (tmp_path / "w.toml").write_text(summary(whole, "a test"))
    back = trace(tmp_path / "w.toml")
    assert (back.mean_prompt, back.mean_output) == pytest.approx((prompt.mean(), output.mean()), rel=1e-12)
    assert (len(back), back.rate) == (1000, 1.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "azure_cnv",
            "unknown trace 'azure_cnv', neither shipped nor a .csv or .jsonl path; did you mean 'azure_conv'?",
        ),
        ("nowhere/t.csv", "no such trace file"),
        ("nowhere/t.toml", "no such trace summary"),
    ],
)
def test_unknown_traces(name: str, message: str) -> None:
    with pytest.raises(WeirError) as error:
        trace(name)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("requests = 2\nmean_promt = 3", "t.toml:2:1: mean_promt: unknown key; did you mean 'mean_prompt'?"),
        ("mean_prompt = 3", "t.toml:1:1: requests: is missing; a positive number is needed"),
        ("requests = 2\nmean_prompt = nan", "t.toml:2:1: mean_prompt: is nan; a positive number is needed"),
        ("requests = 2\ncells = [[1, 2, 3]]", "requests: is 2, but the cells hold 1"),
        ("requests = 2\ncells = [[1, 2]]", "cells: must be rows of [requests, prompt tokens, output tokens]"),
        ("requests = 2\ncells = [[2, 'x', 3]]", "cells: must be rows of"),
        ("requests = ", "t.toml:1:12: not valid TOML:"),
    ],
)
def test_malformed_summaries(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(WeirError) as error:
        trace(tmp_path / "t.toml")
    assert message in str(error.value)


def test_lengths_and_counts_out_of_range() -> None:
    with pytest.raises(WeirError, match=r"prompt is 0 tokens; give a whole number from 1 to 10,000,000"):
        constant(0, 5)
    with pytest.raises(WeirError, match=r"output is nan tokens"):
        constant(5, float("nan"))  # type: ignore[arg-type]
    with pytest.raises(WeirError, match=r"0 requests asked for; give 1 to 5,000,000"):
        constant(5, 5, 0)
    with pytest.raises(WeirError, match="percentile 101 of 'prompt': give 0 to 100"):
        constant(5, 5).percentile(101)
