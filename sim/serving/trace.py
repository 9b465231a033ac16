"""Requests as they arrive: when, how long a prompt, how many tokens generated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from einsum.errors import WeirError, hint
from einsum.tables import Table
from sim.serving.formats import MAX_TOKENS, columns
from sim.serving.service import Array

LARGEST = 1e300  # of a figure; NaN is not below it
DATA = Path(__file__).parent / "data"
SUMMARY_KEYS = (
    "title",
    "requests",
    "seconds",
    "burstiness",
    "mean_prompt",
    "mean_output",
    "cells",
    "source",
    "licence",
)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Requests, one a row; in a summary (not ``exact``) a row is the mean of the ``weight`` requests it stands for."""

    name: str
    arrival: Array  # seconds after the first request; empty where only lengths are known
    prompt: Array  # tokens; whole numbers when exact
    output: Array  # tokens, at least one
    weight: Array  # requests a row stands for
    source: str
    exact: bool
    rate: float | None = None  # requests per second
    burstiness: float | None = None  # squared coefficient of variation of the gaps between arrivals (Poisson: 1)

    def __post_init__(self) -> None:
        """Make the arrays read-only, so that a value stays what it was."""
        for name in ("arrival", "prompt", "output", "weight"):
            values = np.array(getattr(self, name), dtype=float)
            values.flags.writeable = False
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        """The number of requests the rows stand for."""
        return round(float(self.weight.sum()))

    @property
    def mean_prompt(self) -> float:
        """Mean prompt in tokens."""
        return float(np.average(self.prompt, weights=self.weight))

    @property
    def mean_output(self) -> float:
        """Mean number of generated tokens."""
        return float(np.average(self.output, weights=self.weight))

    @property
    def mean_context(self) -> float:
        """Mean context of a decode step in tokens: a request counts once for every token it generates."""
        return float(np.average(self.prompt + self.output / 2, weights=self.weight * self.output))

    def percentile(self, q: float, of: str = "prompt") -> float:
        """The smallest ``prompt`` or ``output`` length that at least ``q`` percent of the requests do not exceed."""
        if of not in ("prompt", "output") or not 0 <= q <= 100:
            raise WeirError(f"percentile {q} of {of!r}: give 0 to 100 of 'prompt' or 'output'")
        values = self.prompt if of == "prompt" else self.output
        order = np.argsort(values, kind="stable")
        cumulative = np.cumsum(self.weight[order])
        at = np.searchsorted(cumulative, q / 100 * cumulative[-1] * (1 - 1e-12))
        return float(values[order][at])

    def sample(self, n: int, seed: int = 0) -> Trace:
        """``n`` requests drawn by weight at equal steps of the distribution, shuffled; arrivals as bursty as the trace.

        Fractional lengths of a summary are rounded up or down at random, so that their means stay.
        """
        _check_count(n)
        rng = np.random.default_rng(seed)
        cumulative = np.cumsum(self.weight)
        at = np.searchsorted(cumulative, (np.arange(n) + rng.random()) / n * cumulative[-1], side="right")
        at = rng.permutation(np.minimum(at, len(cumulative) - 1))
        prompt = np.maximum(1, np.floor(self.prompt[at] + rng.random(n)))
        output = np.maximum(1, np.floor(self.output[at] + rng.random(n)))
        source = f"{n} requests sampled (seed {seed}) from {self.source}"
        return Trace(
            self.name, self._gaps(n, rng), prompt, output, np.ones(n), source, True, self.rate, self.burstiness
        )

    def _gaps(self, n: int, rng: np.random.Generator) -> Array:
        """Arrivals of ``n`` requests: gamma-distributed gaps of the trace's rate and burstiness."""
        if self.rate is None:
            return np.empty(0)
        scv = 1.0 if self.burstiness is None else self.burstiness
        mean = 1 / self.rate
        gaps = rng.gamma(1 / scv, scv * mean, n - 1) if scv > 0 else np.full(n - 1, mean)
        return np.concatenate([[0.0], np.cumsum(gaps)])

    def __str__(self) -> str:
        """One line: how many requests, how long."""
        kind = "" if self.exact else ", summary"
        pace = "" if self.rate is None else f", {self.rate:.3g} requests/s"
        return (
            f"{self.name}{kind}: {len(self)} requests, mean prompt {self.mean_prompt:.2f},"
            f" mean output {self.mean_output:.2f} tokens{pace}"
        )


def constant(prompt: int, output: int, n: int = 1) -> Trace:
    """``n`` requests, each of ``prompt`` tokens in and ``output`` tokens out."""
    _check_count(n)
    for what, tokens in (("prompt", prompt), ("output", output)):
        if not (math.isfinite(tokens) and tokens == int(tokens) and 1 <= tokens <= MAX_TOKENS):
            raise WeirError(f"{what} is {tokens} tokens; give a whole number from 1 to {MAX_TOKENS:,}")
    name = f"constant {prompt}/{output}"
    return Trace(name, np.empty(0), np.full(n, prompt), np.full(n, output), np.ones(n), "given lengths", True)


def read(path: str | Path) -> Trace:
    """The trace in a CSV or JSON-lines file, recognised by its column names (see ``formats``)."""
    path = Path(path)
    (arrival, prompt, output), form = columns(path)
    source = f"{path.name} ({form.name} columns)"
    if np.any(np.diff(arrival) < 0):
        order = np.argsort(arrival, kind="stable")
        arrival, prompt, output = arrival[order], prompt[order], output[order]
        source += ", sorted by arrival (the file is not)"
    arrival = arrival - arrival[0]
    rate, burstiness = pace(arrival)
    return Trace(path.stem, arrival, prompt, output, np.ones(len(prompt)), source, True, rate, burstiness)


def pace(arrival: Array) -> tuple[float | None, float | None]:
    """Arrival rate (1/s) and squared coefficient of variation of the gaps; None where no time passes."""
    gaps = np.diff(arrival)
    if not len(gaps) or arrival[-1] <= arrival[0]:
        return None, None
    return float(1 / gaps.mean()), float(gaps.var() / gaps.mean() ** 2)


def trace_names() -> tuple[str, ...]:
    """The summaries that come with weir."""
    return tuple(sorted(path.stem for path in DATA.glob("*.toml")))


def trace(name_or_path: str | Path) -> Trace:
    """A summary by its name (``azure_conv``), or a file (.csv, .jsonl, or a summary of one's own in .toml) by its path.

    Prompts and outputs are tokens, arrivals seconds. Raises :class:`WeirError` for what is neither, and for rows that
    cannot be read, by their line (docs/traces.md).
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        return _summary(path)
    if path.suffix in (".csv", ".jsonl", ".json") or len(path.parts) > 1:
        return read(path)
    name = str(name_or_path)
    if name not in trace_names():
        raise WeirError(f"unknown trace {name!r}, neither shipped nor a .csv or .jsonl path{hint(name, trace_names())}")
    return _summary(DATA / f"{name}.toml")


def _summary(path: Path) -> Trace:
    """A trace's summary file: totals of cells of like requests, or means alone."""
    top = Table.read(path, "trace summary", SUMMARY_KEYS)
    requests = _positive(top, "requests")
    if "cells" in top.raw:
        cells = _cells(top)
        if cells[:, 0].sum() != requests:
            top.refuse(f"is {requests:.0f}, but the cells hold {cells[:, 0].sum():.0f}", "requests")
        weight, prompt, output = cells[:, 0], cells[:, 1] / cells[:, 0], cells[:, 2] / cells[:, 0]
        kind = f"{len(cells)} cells of like requests"
    else:
        means = [[_positive(top, key)] for key in ("mean_prompt", "mean_output")]
        weight, prompt, output = np.array([requests]), np.array(means[0]), np.array(means[1])
        kind = "means only: every request has the mean lengths"
    seconds = _positive(top, "seconds") if "seconds" in top.raw else None
    rate = (requests - 1) / seconds if seconds and requests > 1 else None
    burstiness = _positive(top, "burstiness") if "burstiness" in top.raw else None
    source = f"{top.text('source', 'no source given')} ({kind})"
    top.text("title", "")
    top.text("licence", "")
    top.finish()
    return Trace(path.stem, np.empty(0), prompt, output, weight, source, False, rate, burstiness)


def _positive(table: Table, key: str) -> float:
    """A finite positive number of the file."""
    value = table.raw.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LARGEST:
        table.refuse(f"{'is missing' if value is None else f'is {value!r:.60}'}; a positive number is needed", key)
        return 1.0
    return float(value)


def _cells(table: Table) -> Array:
    """Rows of (requests, prompt tokens, output tokens), each a total over its cell."""
    try:
        cells = np.array(table.raw["cells"], dtype=float)
    except (TypeError, ValueError, OverflowError):
        cells = np.empty(0)
    if cells.ndim != 2 or cells.shape[1] != 3 or not np.isfinite(cells).all() or (cells < 1).any():
        table.refuse("must be rows of [requests, prompt tokens, output tokens], each at least 1", "cells")
        return np.array([[_positive(table, "requests"), 1.0, 1.0]])
    return cells


def _check_count(n: int) -> None:
    """Refuse a number of requests that is none, or absurd."""
    if not 1 <= n <= 5_000_000:
        raise WeirError(f"{n} requests asked for; give 1 to 5,000,000")
