"""Unfolded figures are the figures, and their influences are what changing the model's inputs does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import sim
from einsum import WeirError
from sim.explain.figures import explained, found, numbers_of
from sim.explain.papers import used
from sim.serving.answer import Answer
from workloads import attention

TERMS: dict[str, Any] = {"prompt": 300, "output": 40, "batch": 16, "sensitive": False}


@pytest.fixture(scope="module")
def answer() -> Answer:
    return sim.serve("llama-3-8b", "1xh100_2xh20", **TERMS)


def test_every_figure_is_the_one_that_is_answered(answer: Answer) -> None:
    summary = answer.summary()
    for name in dict(numbers_of({k: v for k, v in summary.items() if k != "sensitivities"})):
        got = explained(answer, name, slight=1.0, depth=1)
        assert got.value == found(summary, name), name
        assert got.terms[0].name == name


def test_a_comparison_is_unfolded_answer_by_answer() -> None:
    both = sim.compare("llama-3-8b", ["1xh100", "2xh20"], **TERMS)
    ratio = explained(both, "tokens_per_dollar_ratio[1]", slight=0.01, depth=9)
    assert ratio.value == both.ratios[1]
    assert ratio.terms[0].formula == "tokens per dollar / tokens per dollar #2"
    assert {"price of h100_sxm", "price of h20"} <= {term.name for term in ratio.rests}
    there = explained(both, "answers[1].tokens_per_second", slight=0.01, depth=9)
    assert there.closed[0].value == pytest.approx(there.value, rel=0.05)


def test_influences_are_what_a_changed_device_does(answer: Answer) -> None:
    """Numbers of the hardware raised by 0.01 % and the model run again, against one reverse differentiation."""
    deployed = answer.choice.deployment
    whole = {term.name: term for term in explained(answer, "tokens_per_second", slight=1.0, depth=1).rests}
    base = rate(answer)
    for path in ("model.hbm.bandwidth", "attention.hbm.bandwidth", "model.tensor.rate.mac.bf16", "model.sm.clock",
                 "network.bandwidth", "network.latency"):  # fmt: skip
        more = deployed.cluster.with_(path, deployed.cluster.get(path) * 1.0001)
        choice = replace(answer.choice, deployment=deployed.on(more))
        slope = (rate(replace(answer, choice=choice)) / base - 1) / 0.0001
        pool, _, rest = path.partition(".")
        name = path if pool == "network" else f"{deployed.cluster.pool(pool).device.name} {rest}"
        assert (whole[name].influence if name in whole else 0.0) == pytest.approx(slope, abs=0.01), path


def rate(answer: Answer) -> float:
    """Tokens a second in closed form."""
    from sim.serving.steady import lengths, steady

    span = lengths(answer.load.prompt, answer.load.output)
    service = answer.choice.deployment.service()
    return float(steady(service, span.mean_prompt, span.mean_output, answer.choice.batch).tokens_per_second[0])


def test_sources_say_what_a_file_says_and_what_nobody_checked(answer: Answer) -> None:
    moved = replace(answer, choice=replace(answer.choice, deployment=answer.choice.deployment.on(
        answer.cluster.with_("model.hbm.bandwidth", "4 TB/s"))))  # fmt: skip
    rests = explained(moved, "tokens_per_second", slight=1.0, depth=1, changed=("model.hbm.bandwidth",)).rests
    by_name = {term.name: term.source for term in rests}
    assert by_name["h100_sxm hbm.bandwidth"] == "set by you"
    assert by_name["h20 hbm.bandwidth"].startswith("h20.toml: two public specification pages")
    assert by_name["h100_sxm sm.clock"].endswith("(unverified)")
    assert by_name["product.memory"].startswith("physical.toml: measured kernels on A100")
    assert "counted from the cascade as it is laid out" in by_name.values()


def test_a_price_states_its_date_once(answer: Answer) -> None:
    dates = {price.device: price.date for price in answer.prices.prices}
    rests = explained(answer, "usd_per_hour", slight=0.0, depth=9).rests
    shown = {term.name.removeprefix("price of "): term.source for term in rests if term.name.startswith("price of ")}
    assert set(shown) <= set(dates)
    assert len(shown) == 2
    assert [source for device, source in shown.items() if source.count(dates[device]) != 1] == []


def test_what_a_blend_blends_are_seconds(answer: Answer) -> None:
    terms = explained(answer, "ttft.mean", slight=0.0, depth=99)
    blends = {term.unit for term in (*terms.terms, *terms.closed) if term.name.startswith("blend")}
    assert blends == {"s"}


def test_a_mapped_cascade_is_unfolded_too() -> None:
    from sim.cli.nests import summary

    cascade = attention.one_pass(query=128, context=128, head_dim=64)
    best = sim.search(cascade, sim.device("fusemax_cloud")).estimate
    figures = summary(best)
    for name in ("seconds", "joules", "bytes.dram", "joules_by.dram", "utilisation.array"):
        got = explained(best, name, slight=0.0, depth=99)
        assert got.value == pytest.approx(found(figures, name), rel=1e-15)
        assert got.rests
    joules = explained(best, "joules", slight=0.0, depth=99)
    assert {"energy of dram", "energy of QK on array"} <= {t.name for t in joules.terms if t.unit == "J"}
    assert "bytes of an element of Q" in {t.name for t in joules.rests}
    seconds = explained(best, "seconds", slight=0.0, depth=99)
    assert {t.name for t in seconds.terms if t.unit == "s"} & {"moving at dram", "QK on array"}
    assert [p.key for p in used(seconds.rests)] == ["fusemax2024"]


def test_papers_are_those_that_are_named(answer: Answer) -> None:
    got = explained(answer, "tokens_per_second", slight=0.0, depth=99)
    keys = {paper.key for paper in used((*got.terms, *got.closed, *got.rests))}
    assert {"denning1978", "vidur2024", "aiconfigurator", "lamina2024"} <= keys
    assert "fusemax2024" not in keys
    for paper in used(got.rests):
        assert paper.bibtex.startswith(f"@{paper.kind}{{{paper.key},\n  title = {{")
        assert paper.bibtex.count("{") == paper.bibtex.count("}")


def test_names_that_are_no_figures(answer: Answer) -> None:
    with pytest.raises(WeirError, match="no figure 'tokens_per_secnd'; did you mean 'tokens_per_second'"):
        explained(answer, "tokens_per_secnd", slight=1.0, depth=1)
    with pytest.raises(WeirError, match="no figure 'bound'; there are batch, tokens_per_second"):
        explained(answer, "bound", slight=1.0, depth=1)
    with pytest.raises(WeirError, match="a float has no figures"):
        explained(3.0, "value", slight=1.0, depth=1)
