"""Two results of one command beside each other: every figure that is not the same, totals divided among their terms.

Of a sum each term has its own change; of a product each factor ``x`` has ``L ln(after / before)``, where ``L`` is the
logarithmic mean of the product (Ang, "Decomposition analysis for policymaking in energy", Energy Policy 32, 2004). What
the named terms leave over is a term too, so that the terms of a total always sum to its change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import fsum, log
from typing import Any

from einsum.errors import WeirError
from sim.explain.figures import numbers_of, unit
from sim.manifest import moved

SLIGHT = 1e-9  # of a total: what is left over below that is rounding
Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """How a command's result is made up: the list that is its table and the columns that name a row; totals with the
    groups or figures that they are the sum of, and those with the factors and powers that they are the product of."""

    rows: str = ""
    key: tuple[str, ...] = ()
    sums: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    products: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


SHAPES: dict[str, Shape] = {
    "map": Shape(sums={"joules": ("joules_by",)}),
    "spgemm": Shape("rows", ("mapping",), {"bytes": ("tensors",), "joules": ("joules_by",)}),
    "offload": Shape(
        sums={"block_seconds": ("seconds_by",)},
        products={"tokens_per_second": {"micro": 1, "batches": 1, "output": 1, "block_seconds": -1}},
    ),
    "rent": Shape(sums={"usd_per_hour": ("templates",)}),
    "cache": Shape("allocators", ("allocator",)),
    "plan": Shape(
        sums={"height": ("bound",), "bytes": ("memory",), "seconds": ("bound", "stalled")},
        products={"usd": {"usd_per_hour": 1, "seconds": 1}},
    ),
    "pipeline": Shape("schedules", ("schedule",), {"seconds": ("bound",)}),
    "train": Shape(
        sums={"seconds": ("terms",), "bytes": ("memory",)},
        products={"tokens_per_second": {"batch": 1, "sequence": 1, "seconds": -1}},
    ),
    "ranges": Shape(sums={"tokens_per_second": ("bound",)}),
    "sweep": Shape("data", (), {}, {"tokens_per_dollar": {"tokens_per_second": 1, "usd_per_hour": -1}}),
}


@dataclass(frozen=True, slots=True)
class Part:
    """A total (depth 0) or one of its terms, before and after, and the ``change`` of the total that it makes."""

    name: str
    unit: str
    before: float | None
    after: float | None
    change: float
    depth: int


@dataclass(frozen=True)
class Changes:
    """Two results, or a row of each: totals with their terms, other figures, arguments and inputs that differ."""

    before: str
    after: str
    terms: tuple[Part, ...]
    figures: tuple[tuple[str, str, float, float], ...]
    inputs: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """The whole under stable names (a member of ``differences`` in the JSON schema ``weir.diff/1``)."""
        return {
            "before": self.before, "after": self.after, "terms": [asdict(part) for part in self.terms],
            "figures": [{"name": n, "unit": u, "before": a, "after": b} for n, u, a, b in self.figures],
            "inputs": [{"name": n, "before": a, "after": b} for n, a, b in self.inputs],
            "notes": [{"of": "both", "note": note} for note in self.notes],
        }  # fmt: skip


def changes(a: Figures, b: Figures, names: tuple[str, str]) -> tuple[Changes, ...]:
    """Each row of ``b`` beside its like of ``a``, or the whole where there are no rows.

    Raises :class:`WeirError` for results of different commands, of one that has no figures to compare, or without a row
    in common.
    """
    told = tuple(_told(one, name) for one, name in zip((a, b), names, strict=True))
    commands = [str(one.get("command")) for one in told]
    if commands[0] != commands[1]:
        raise WeirError(f"{names[0]} is of 'weir {commands[0]:.20}', {names[1]} of 'weir {commands[1]:.20}'")
    if commands[0] not in SHAPES:
        known = ", ".join(("estimate", "compare", *SHAPES))
        raise WeirError(f"{names[0]}: results of 'weir {commands[0]:.20}' are not compared; those of {known} are")
    shape = SHAPES[commands[0]]
    inputs, notes = _arguments(*told), tuple(moved(*told))
    pairs = list(_pairs(shape, a, b, _key(shape, told[0], (a, b))))
    if not pairs:
        raise WeirError(f"{names[0]} and {names[1]} have no row in common")
    times = {str(name) for one in told for name in _listed(one.get("times"))}
    return tuple(
        _changes(shape, title, _timeless(x, times), _timeless(y, times), inputs, notes) for title, x, y in pairs
    )


def _timeless(one: Figures, times: set[str]) -> Figures:
    """Figures but for those that measure weir's own run."""
    return {name: value for name, value in one.items() if name not in times}


def _told(one: Any, name: str) -> Mapping[str, Any]:
    told = one.get("manifest") if isinstance(one, Mapping) else None
    if not isinstance(told, Mapping) or not isinstance(told.get("arguments"), Mapping):
        raise WeirError(f"{name}: no manifest in it that says how it was made; results of 'weir ... --json' have one")
    return told


def _arguments(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """What was asked and is not the same."""
    first, second = a["arguments"], b["arguments"]
    names = dict.fromkeys((*first, *second))
    return tuple(
        (str(n), str(first.get(n)), str(second.get(n))) for n in names if first.get(n) != second.get(n)
    )  # fmt: skip


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _key(shape: Shape, told: Mapping[str, Any], both: tuple[Figures, Figures]) -> tuple[str, ...]:
    """The columns that name a row; of a sweep those of its axes that move in one of the tables."""
    if shape.rows != "data":
        return shape.key
    tables = [_records(one, shape.rows) for one in both]
    given = told["arguments"]
    texts = [text for name in ("axis", "zipped") for text in _listed(given.get(name))]
    names = ("model", "on", *(str(text).partition("=")[0].strip() for text in texts))
    return tuple(n for n in names if any(len({str(row.get(n)) for row in table}) > 1 for table in tables))


def _pairs(shape: Shape, a: Figures, b: Figures, key: tuple[str, ...]) -> Iterator[tuple[str, Figures, Figures]]:
    """Rows that are called alike, or the whole."""
    if not shape.rows:
        yield "", a, b
        return
    rows = [
        {tuple(str(row.get(k)) for k in key if k in row): row for row in _records(one, shape.rows)} for one in (a, b)
    ]
    for name, row in rows[0].items():
        if name in rows[1]:
            yield ", ".join(f"{k} {v}" for k, v in zip(key, name, strict=False)), row, rows[1][name]


def _records(one: Figures, name: str) -> list[Mapping[str, Any]]:
    found = one.get(name)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def _changes(
    shape: Shape, title: str, a: Figures, b: Figures, inputs: Sequence[tuple[str, str, str]], notes: tuple[str, ...]
) -> Changes:
    first, second = (
        {n: x for n, v in numbers_of(one) if not n.startswith("manifest.") and (x := _number(v)) is not None}
        for one in (a, b)
    )
    sums = [part for total, groups in shape.sums.items() for part in _telling(_sum(total, groups, a, b))]
    products = [
        part for total, factors in shape.products.items() for part in _telling(_product(total, factors, first, second))
    ]
    shown = {part.name for part in (*sums, *products)}
    within = tuple(f"{group}." for total, groups in shape.sums.items() if total in shown for group in groups)
    left = [n for n in first if n in second and n not in shown and not n.startswith(within)]
    others = tuple((n, unit(n), first[n], second[n]) for n in left)
    said = {name for name, _, _ in inputs}
    words = [
        (n, str(a[n]), str(b[n])) for n in a if isinstance(a[n], str) and n in b and a[n] != b[n] and n not in said
    ]
    return Changes(title, title, (*sums, *products), tuple(row for row in others if row[2] != row[3]),
                   (*inputs, *words), notes)  # fmt: skip


def _telling(parts: Iterator[Part]) -> list[Part]:
    """A total with its terms, where one of them has changed."""
    found = list(parts)
    return found if any(part.change for part in found) else []


def _sum(total: str, groups: tuple[str, ...], a: Figures, b: Figures) -> Iterator[Part]:
    """A total and the terms of some groups; what they leave over last."""
    before, after = _number(a.get(total)), _number(b.get(total))
    if before is None or after is None:
        return
    terms = [{name: value for group in groups for name, value in _group(one, group, total)} for one in (a, b)]
    if not all(terms):
        return
    yield Part(total, unit(total), before, after, after - before, 0)
    for name in dict.fromkeys((*terms[0], *terms[1])):
        x, y = terms[0].get(name, 0.0), terms[1].get(name, 0.0)
        yield Part(name, unit(total), x, y, y - x, 1)
    rest = [whole - fsum(each.values()) for whole, each in zip((before, after), terms, strict=True)]
    if max(map(abs, rest)) > SLIGHT * max(abs(before), abs(after)):
        yield Part("the rest", unit(total), rest[0], rest[1], rest[1] - rest[0], 1)


def _group(one: Figures, group: str, total: str) -> Iterator[tuple[str, float]]:
    """Terms by name: of a mapping, of records (their first text and the figure called as the total), or a figure."""
    found = one.get(group)
    if isinstance(found, Mapping):
        yield from ((str(k), n) for k, v in found.items() if (n := _number(v)) is not None)
    elif isinstance(found, list):
        for row in _records(one, group):
            name = next((v for v in row.values() if isinstance(v, str)), "")
            if (n := _number(row.get(total))) is not None:
                yield name, n
    elif (n := _number(found)) is not None:
        yield group, n


def _product(total: str, factors: Mapping[str, int], a: Mapping[str, float], b: Mapping[str, float]) -> Iterator[Part]:
    """A total and its factors, by the logarithmic mean."""
    known = [name for name in factors if min(a.get(name, 0.0), b.get(name, 0.0)) > 0]
    if min(a.get(total, 0.0), b.get(total, 0.0)) <= 0 or not known:
        return
    x, y = a[total], b[total]
    mean = x if x == y else (y - x) / log(y / x)
    yield Part(total, unit(total), x, y, y - x, 0)
    parts = [(n, mean * factors[n] * log(b[n] / a[n])) for n in known]
    yield from (Part(n, unit(n), a[n], b[n], change, 1) for n, change in parts)
    if abs(rest := y - x - fsum(change for _, change in parts)) > SLIGHT * max(x, y):
        yield Part("the rest", "", None, None, rest, 1)


def _number(value: Any) -> float | None:
    """A finite JSON number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        return None
    return float(value)
