"""Why two answers differ: the change of tokens per dollar divided among its factors, and the inputs that changed.

The division is the logarithmic mean Divisia index (Ang, "Decomposition analysis for policymaking in energy", Energy
Policy 32, 2004): ln(b/a) of a product is the sum of its factors' own; of a sum s it is the sum of (b_i - a_i) / L(s),
where L is the logarithmic mean of s before and after. Nothing is left over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite, log, log1p
from typing import Any

from einsum.errors import WeirError
from sim.serving.answer import SCHEMA

COMPARED = "weir.compare/1"
INPUTS = ("model", "cluster", "layout", "tier", "load", "prefill", "price_book")
LATENCIES = ("ttft", "tpot", "e2e")
NEEDED = ("tokens_per_second", "usd_per_hour", "batch")


@dataclass(frozen=True, slots=True)
class Term:
    """One factor before and after, and ``log``, the part of ln(tokens per dollar, after / before) that it explains.

    Those of depth ``d + 1`` that follow one of depth ``d`` sum to it; the first is the whole.
    """

    name: str
    unit: str
    before: float
    after: float
    log: float
    depth: int


@dataclass(frozen=True)
class Difference:
    """Two answers' figures side by side: terms of tokens per dollar, other figures, inputs and notes that differ."""

    before: str
    after: str
    terms: tuple[Term, ...]
    figures: tuple[tuple[str, str, float, float], ...]  # name, unit, before, after
    inputs: tuple[tuple[str, str, str], ...]  # name, before, after
    notes: tuple[tuple[str, str], ...]  # "A" or "B", a note of it alone

    def summary(self) -> dict[str, Any]:
        """The whole under stable names (the JSON schema ``weir.diff/1``, ``differences`` one of these)."""
        return {
            "before": self.before,
            "after": self.after,
            "terms": [
                {"name": t.name, "unit": t.unit, "before": t.before, "after": t.after, "log": t.log, "depth": t.depth}
                for t in self.terms
            ],
            "figures": [{"name": n, "unit": u, "before": a, "after": b} for n, u, a, b in self.figures],
            "inputs": [{"name": n, "before": a, "after": b} for n, a, b in self.inputs],
            "notes": [{"of": of, "note": note} for of, note in self.notes],
        }


def differences(a: Any, b: Any, names: tuple[str, str] = ("A", "B")) -> tuple[Difference, ...]:
    """Each answer of ``b`` beside its like of ``a``; both are what ``weir estimate`` or ``compare --json`` printed.

    Answers are paired by cluster, or in order if no cluster is in both. Raises :class:`WeirError` for anything else.
    """
    first, second = _answers(a, names[0]), _answers(b, names[1])
    pairs = [(x, y) for x in first for y in second if x["cluster"] == y["cluster"]]
    if len(first) == len(second) and (len(first) == 1 or not pairs):
        pairs = list(zip(first, second, strict=True))
    if not pairs:
        raise WeirError(f"{names[0]} has {len(first)} answers and {names[1]} {len(second)}, and no cluster is in both")
    return tuple(difference(x, y) for x, y in pairs)


def _answers(found: Any, name: str) -> list[dict[str, Any]]:
    """The answers in a parsed file, each with the figures that are compared."""
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema not in (SCHEMA, COMPARED):
        raise WeirError(
            f"{name}: not what 'weir estimate --json' or 'weir compare --json' prints (schema {schema!r:.60})"
        )
    answers = found.get("answers") if schema != SCHEMA else [found]
    if not isinstance(answers, list) or not answers or not all(isinstance(one, dict) for one in answers):
        raise WeirError(f"{name}: no answers in it")
    for one in answers:
        if not isinstance(one.get("cluster"), str):
            raise WeirError(f"{name}: cluster is not a name")
        if wrong := [key for key in NEEDED if not 0 < _number(one.get(key)) < inf]:
            raise WeirError(f"{name}: {wrong[0]} is not a positive number")
    return answers


def _number(value: Any) -> float:
    """A JSON number as a float; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    return float(value) if abs(value) < 1e300 else float("nan")


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> Difference:
    """The second summary beside the first."""
    return Difference(
        str(a["cluster"]), str(b["cluster"]), (*_speed(a, b), *_cost(a, b)), _figures(a, b), _inputs(a, b), _notes(a, b)
    )


def _term(name: str, unit: str, values: list[float], part: float, depth: int) -> Term:
    return Term(name, unit, values[0], values[1], part, depth)


def _mean(a: float, b: float) -> float:
    """The logarithmic mean of two positive numbers: between the geometric and the arithmetic one."""
    if a == b:
        return a
    near = a / 2 < b < 2 * a  # where the quotient's logarithm would lose what tells them apart
    return (b - a) / (log1p((b - a) / a) if near else log(b / a))


def _speed(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Term]:
    """The whole, then tokens a second: requests in flight over the seconds each takes for a token."""
    rate = [float(x["tokens_per_second"]) for x in (a, b)]
    usd = [float(x["usd_per_hour"]) for x in (a, b)]
    batch = [float(x["batch"]) for x in (a, b)]
    each = [n / r for n, r in zip(batch, rate, strict=True)]
    whole = [r * 3600 / u for r, u in zip(rate, usd, strict=True)]
    terms = [
        _term("tokens per dollar", "tokens/USD", whole, log(rate[1] / rate[0]) - log(usd[1] / usd[0]), 0),
        _term("tokens a second", "tokens/s", rate, log(rate[1] / rate[0]), 1),
        _term("requests in flight", "requests", batch, log(batch[1] / batch[0]), 2),
        _term("seconds a token of each", "s", each, -log(each[1] / each[0]), 2),
    ]
    step = [_part(x, "tpot", "mean") for x in (a, b)]
    if not all(map(isfinite, step)):
        return terms
    rest = [s - t for s, t in zip(each, step, strict=True)]
    mean = _mean(*each)
    return [
        *terms,
        _term("time per output token", "s", step, (step[0] - step[1]) / mean, 3),
        _term("first tokens, waiting, idle places", "s", rest, (rest[0] - rest[1]) / mean, 3),
    ]


def _cost(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Term]:
    """Dollars an hour: of each device its price and its number, or all of it where only one side has the device."""
    usd = [float(x["usd_per_hour"]) for x in (a, b)]
    terms = [_term("dollars an hour", "USD/h", usd, -log(usd[1] / usd[0]), 1)]
    bills = [_bill(x) for x in (a, b)]
    if None in bills:
        return terms
    first, second = (bill or {} for bill in bills)
    mean = _mean(*usd)
    for name in dict.fromkeys((*first, *second)):
        (n, p), (m, q) = first.get(name, (0.0, 0.0)), second.get(name, (0.0, 0.0))
        terms.append(Term(name, "USD/h", n * p, m * q, (n * p - m * q) / mean, 2))
        if n * p > 0 < m * q:
            share = _mean(n * p, m * q) / mean
            terms.append(Term(f"price of {name}", "USD/h", p, q, -share * log(q / p), 3))
            terms.append(Term(f"number of {name}", "devices", n, m, -share * log(m / n), 3))
    return terms


def _bill(answer: Mapping[str, Any]) -> dict[str, tuple[float, float]] | None:
    """Number and price of each device; None where the answer does not say, or they are not its price."""
    devices, prices = answer.get("devices"), answer.get("prices")
    if not isinstance(devices, Mapping) or not isinstance(prices, Mapping):
        return None
    bill = {str(name): (_number(count), _number(prices.get(name))) for name, count in devices.items()}
    usd = float(answer["usd_per_hour"])
    return bill if abs(sum(n * p for n, p in bill.values()) - usd) <= 1e-9 * usd else None


def _part(answer: Mapping[str, Any], name: str, key: str) -> float:
    inner = answer.get(name)
    return _number(inner.get(key)) if isinstance(inner, Mapping) else float("nan")


def _figures(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[tuple[str, str, float, float], ...]:
    """Latencies, energy and the hardware's limit, where both have them."""
    rows = [(f"{n} {k}", "s", _part(a, n, k), _part(b, n, k)) for n in LATENCIES for k in ("mean", "p50", "p95", "p99")]
    for name, unit in (("joules_per_token", "J/token"), ("limit_tokens_per_second", "tokens/s")):
        rows.append((name, unit, _number(a.get(name)), _number(b.get(name))))
    return tuple(row for row in rows if isfinite(row[2]) and isfinite(row[3]))


def _inputs(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """What was asked or chosen and is not the same, with prices and numbers of devices, and what binds."""
    rows = [(name, a.get(name), b.get(name)) for name in (*INPUTS, "bound")]
    for group, label in (("devices", "number of"), ("prices", "price of")):
        first, second = (x[group] if isinstance(x.get(group), Mapping) else {} for x in (a, b))
        rows += [(f"{label} {key}", first.get(key), second.get(key)) for key in dict.fromkeys((*first, *second))]
    return tuple((name, _said(x), _said(y)) for name, x, y in rows if x != y)


def _said(value: Any) -> str:
    return "none" if value in (None, "") else str(value)


def _notes(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Assumptions that only one of them rests on."""
    first, second = ([str(n) for n in x["notes"]] if isinstance(x.get("notes"), list) else [] for x in (a, b))
    own = [("A", note) for note in first if note not in second]
    return (*own, *(("B", note) for note in second if note not in first))
