"""Answers as a person reads them, as JSON and as CSV."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from einsum.errors import WeirError
from sim.cli import ask, data
from sim.cli.data import Form
from sim.cli.patience import patience
from sim.cli.text import Sheet, folded, show
from sim.serving.answer import Answer, flat
from sim.serving.comparison import Comparison
from sim.serving.comparison import compare as serve_all
from sim.serving.served import percentiles
from sim.serving.steady import lengths, steady
from sim.units import fmt

TERMS = ("trace", "prompt", "output", "batch", "slo_tpot", "slo_ttft", "rate", "layout", "tier", "prefill", "host")
LATENCIES = (("ttft", "to first token"), ("tpot", "per output token"), ("e2e", "whole request"))


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the command line puts it; ``terms`` are keywords of :func:`sim.serve`."""

    model: str
    on: tuple[str, ...]
    terms: dict[str, Any]
    book: str | None = None
    price: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """The question that a command's arguments, by name, put."""
        terms = ask.terms(**{name: given[name] for name in TERMS}, engine=given.get("engine"))
        price, settings = tuple(given["price"] or ()), tuple(given["setting"] or ())
        return cls(ask.model(given["model"]), tuple(given["on"]), terms, given["prices"], price, settings)

    @property
    def changed(self) -> dict[str, str]:
        """What the user sets of the clusters' own numbers, by dotted path."""
        return ask.pairs(self.settings, "--set", "PATH=VALUE, as in network.latency=5us")

    def answers(self, sensitive: bool = True) -> Comparison:
        """The model served on each cluster, all priced from one book."""
        clusters = ask.clusters(self.on, self.changed)
        with patience(f"serving {self.model} on {self.on[0] if len(self.on) == 1 else f'{len(self.on)} clusters'}"):
            prices = ask.pairs(self.price, "--price", "DEVICE=USD, as in h20=1.5")
            made = serve_all(self.model, clusters, prices=self.book, price=prices, sensitive=sensitive, **self.terms)
        return Comparison(tuple(_noted(answer, self.changed) for answer in made.answers))


def estimate(asked: Asked, form: Form) -> None:
    """Serve one model on one cluster and print what comes of it."""
    [answer] = asked.answers().answers
    if form is Form.TEXT:
        show(*text(answer))
    else:
        data.emit(form, answer.summary(), [flat(answer.summary())])


def compare(asked: Asked, form: Form) -> None:
    """Serve one model on several clusters on the same terms and print them side by side."""
    if len(asked.on) < 2:
        raise WeirError("compare needs --on twice or more; one cluster alone is what weir estimate answers")
    comparison = asked.answers()
    if form is Form.TEXT:
        show(*side_by_side(comparison))
    else:
        pairs = zip(comparison.answers, comparison.ratios, strict=True)
        rows = [flat(answer.summary()) | {"tokens_per_dollar_ratio": ratio} for answer, ratio in pairs]
        data.emit(form, comparison.summary(), rows)


def _noted(answer: Answer, changed: dict[str, str]) -> Answer:
    """The answer, its notes saying what the user changed of the cluster's own numbers."""
    own = [f"set: {path} = {value}" for path, value in changed.items() if path in answer.cluster.paths]
    return replace(answer, notes=(*own, *answer.notes))


def text(answer: Answer) -> tuple[Sheet | str, ...]:
    """An answer for a terminal: the figures, the latencies, what they rest on."""
    s = answer.summary()
    share = answer.tokens_per_second / answer.limit_tokens_per_second
    lines = [
        f"{answer.model} on {answer.cluster.name}, {answer.load.name}, prefill {answer.prefill}",
        f"  throughput  {answer.tokens_per_second:,.0f} tokens/s,"
        f" {share:.0%} of the {answer.limit_tokens_per_second:,.0f} at the hardware's limits",
        f"  cost        {_figure(answer.tokens_per_dollar)} tokens/USD, {answer.usd_per_million_tokens:.3g}"
        f" USD/Mtoken, {answer.usd_per_hour:.2f} USD/h",
        f"  prices      {answer.prices.book or 'your own'}",
        f"  energy      {_energy(answer)}",
        f"  batch       {answer.batch} requests in flight",
        f"  layout      {s['layout']}",
        f"  bound by    {answer.bound}",
        folded(f"  in words    {answer.binding}", indent=" " * 14),
        *(f"  {'helps' if n == 0 else '':11} {line}" for n, line in enumerate(answer.helps)),
    ]
    return "\n".join(lines), _latencies(answer), _notes(answer.notes)


def _latencies(answer: Answer) -> Sheet:
    """Mean and percentiles of the three latencies."""
    found = [(label, percentiles(getattr(answer.served, name))) for name, label in LATENCIES]
    rows = tuple((label, *(_seconds(v) for v in values.values())) for label, values in found)
    return Sheet("", ("latency", *found[0][1]), rows, right=tuple(range(1, 6)))


def side_by_side(comparison: Comparison) -> tuple[Sheet | str, ...]:
    """Several answers: a column each, and each one's ratio to the first."""
    first, *others = comparison.answers
    columns = ["", first.cluster.name]
    for other in others:
        columns += [other.cluster.name, "ratio"]
    figures = [_figures(answer) for answer in comparison.answers]
    rows = tuple(_row(name, [f[name] for f in figures]) for name in figures[0])
    title = f"{first.model}, {first.load.name}, prefill {first.prefill}, prices {first.prices.book or 'your own'}"
    sheet = Sheet(title, tuple(columns), rows, right=tuple(range(1, len(columns))))
    return (
        sheet,
        "\n".join(map(folded, (*_equal_cost(comparison), *_choices(comparison)))),
        _notes(_shared(comparison.answers)),
    )


def _figures(answer: Answer) -> dict[str, float]:
    """The rows of a comparison: what is asked for, then decode alone for context."""
    ttft, tpot = (percentiles(getattr(answer.served, name)) for name in ("ttft", "tpot"))
    alone = _decode_alone(answer)
    return {
        "tokens/s": answer.tokens_per_second,
        "USD/h": answer.usd_per_hour,
        "tokens/USD": answer.tokens_per_dollar,
        "USD/Mtoken": answer.usd_per_million_tokens,
        "J/token": answer.served.joules_per_token,
        "batch": answer.batch,
        "TTFT p50, s": ttft["p50"],
        "TTFT p95, s": ttft["p95"],
        "TPOT p50, s": tpot["p50"],
        "TPOT p95, s": tpot["p95"],
        "decode alone, tokens/s": alone,
        "decode alone, tokens/USD": alone * 3600 / answer.usd_per_hour,
    }


def _decode_alone(answer: Answer) -> float:
    """Tokens a second of the same deployment and batch if prompts were worked on elsewhere."""
    load = lengths(answer.load.prompt, answer.load.output, answer.load.weight)
    service = answer.choice.deployment.service()
    at = steady(service, load.mean_prompt, load.mean_output, answer.choice.batch, prefill="elsewhere")
    return float(np.ravel(at.tokens_per_second)[0]) * answer.replicas


def _row(name: str, values: list[float]) -> tuple[str, ...]:
    cells = [name, _figure(values[0])]
    for value in values[1:]:
        cells += [
            _figure(value),
            f"{value / values[0]:.2f} x" if values[0] and math.isfinite(value / values[0]) else "",
        ]
    return tuple(cells)


def _figure(value: float) -> str:
    """Three digits, thousands in groups; a latency nobody had is a dash."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _energy(answer: Answer) -> str:
    """Joules of a token; which devices state no power, where it is unknown."""
    if math.isfinite(answer.served.joules_per_token):
        return f"{fmt(answer.served.joules_per_token, 'J')} per token"
    unstated = dict.fromkeys(p.device.name for p in answer.cluster.pools if p.device.power is None)
    return f"unknown: no power is stated of {', '.join(unstated)}"


def _seconds(value: float) -> str:
    return fmt(value, "s") if math.isfinite(value) else "-"


def _equal_cost(comparison: Comparison) -> list[str]:
    """What each costs an hour beside the first: tokens per dollar compare them at equal cost."""
    first, *others = comparison.answers
    lines = []
    for other in others:
        more = other.usd_per_hour - first.usd_per_hour
        beside = f"{abs(more):.2f} USD/h {'more' if more > 0 else 'less'}" if abs(more) >= 0.005 else "the same"
        lines.append(
            f"{other.cluster.name} costs {other.usd_per_hour:.2f} USD/h, {beside} than"
            f" {first.cluster.name} ({other.usd_per_hour / first.usd_per_hour:.2f} x)."
        )
    return [*lines, "At equal cost, compare tokens/USD."]


def _choices(comparison: Comparison) -> Iterable[str]:
    """How each cluster was used, what binds there and would help, and what prices decide."""
    for answer in comparison.answers:
        yield f"{answer.cluster.name}: {answer.choice.deployment.layout.name}; bound by {answer.bound}"
        yield f"{answer.cluster.name}: {'; '.join((str(answer.binding), *answer.helps[:1]))}"
    yield from map(str, comparison.break_evens)


def _shared(answers: Sequence[Answer]) -> tuple[str, ...]:
    """Notes that all answers share, once, then each cluster's own behind its name."""
    common = [note for note in answers[0].notes if all(note in answer.notes for answer in answers)]
    own = [f"{a.cluster.name}: {note}" for a in answers for note in a.notes if note not in common]
    return (*common, *own)


def _notes(notes: Iterable[str]) -> str:
    return "\n".join(folded(note) for note in ("Rests on:", *notes))
