"""What a simulated service did: every request's times, and the figures people quote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.serving.service import Array

PERCENTILES = (50, 90, 95, 99)
NOT_PER_REQUEST = 1  # a request of one token has no time between tokens


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """Per request, in order of submission: times in seconds and lengths in tokens; ``first``..``last`` are measured."""

    load: str  # how requests came: "closed loop of 32", "poisson 2 requests/s", "replayed"
    arrival: Array
    admitted: Array
    first_token: Array
    finish: Array
    prompt: Array
    output: Array
    first: int  # requests measured: first <= index < last
    last: int
    seconds: float  # the time over which tokens, joules and mean_batch were measured
    tokens: float
    joules: float
    mean_batch: float  # requests in flight, averaged over that time
    peak_state: float  # bytes, the most reserved at once
    usd_per_hour: float
    interpolation: float  # largest relative error found in the tables of step costs
    notes: tuple[str, ...] = ()

    @property
    def ttft(self) -> Array:
        """Seconds from arrival to the first token, queueing included, of the measured requests."""
        return (self.first_token - self.arrival)[self.first : self.last]

    @property
    def e2e(self) -> Array:
        """Seconds from arrival to the last token of the measured requests."""
        return (self.finish - self.arrival)[self.first : self.last]

    @property
    def tpot(self) -> Array:
        """Seconds a token after the first, of the measured requests that have more than one."""
        output = self.output[self.first : self.last]
        spent = (self.finish - self.first_token)[self.first : self.last]
        many = output > NOT_PER_REQUEST
        each: Array = spent[many] / (output[many] - 1)
        return each

    @property
    def tokens_per_second(self) -> float:
        """Output tokens a second over the measured time."""
        return self.tokens / self.seconds if self.seconds else float("inf")

    @property
    def joules_per_token(self) -> float:
        """Joules an output token, prefills included; a machine with nothing to do is counted as using none."""
        return self.joules / self.tokens if self.tokens else float("nan")

    @property
    def tokens_per_dollar(self) -> float:
        """Output tokens for one US dollar of machine time."""
        return self.tokens_per_second * 3600 / self.usd_per_hour if self.usd_per_hour else float("inf")

    @property
    def usd_per_million_tokens(self) -> float:
        """US dollars for a million output tokens."""
        return 1e6 / self.tokens_per_dollar if self.tokens_per_dollar else float("inf")

    def summary(self) -> dict[str, float]:
        """The figures as one flat row; latencies in seconds, ``ttft_p95`` and the like."""
        row = {name: float(getattr(self, name)) for name in FIGURES}
        for name in ("ttft", "tpot", "e2e"):
            row |= {f"{name}_{key}": value for key, value in percentiles(getattr(self, name)).items()}
        return row

    def frame(self) -> Any:
        """A pandas DataFrame, one row a request."""
        import pandas as pd

        names = ("arrival", "admitted", "first_token", "finish", "prompt", "output")
        index = np.arange(len(self.arrival))
        measured = (index >= self.first) & (index < self.last)
        return pd.DataFrame({name: getattr(self, name) for name in names} | {"measured": measured})

    def __str__(self) -> str:
        """A few lines to read."""
        s = self.summary()
        lines = [
            f"{self.load}: {s['tokens_per_second']:.4g} tokens/s, mean batch {s['mean_batch']:.4g},"
            f" {s['joules_per_token']:.3g} J/token, {s['usd_per_million_tokens']:.4g} USD per million tokens",
            f"{'seconds':8}" + "".join(f"{key:>11}" for key in ("mean", *(f"p{q}" for q in PERCENTILES))),
        ]
        for name in ("ttft", "tpot", "e2e"):
            cells = (s[f"{name}_{key}"] for key in ("mean", *(f"p{q}" for q in PERCENTILES)))
            lines.append(f"{name:8}" + "".join(f"{value:11.4g}" for value in cells))
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


FIGURES = (
    "tokens_per_second",
    "mean_batch",
    "joules_per_token",
    "usd_per_million_tokens",
    "tokens_per_dollar",
    "seconds",
    "peak_state",
    "interpolation",
)


def percentiles(values: Array) -> dict[str, float]:
    """Mean and percentiles; NaN where no request has such a time."""
    if not len(values):
        return dict.fromkeys(("mean", *(f"p{q}" for q in PERCENTILES)), float("nan"))
    return {"mean": float(values.mean())} | {f"p{q}": at_percentile(values, q) for q in PERCENTILES}


def at_percentile(values: Array, q: float) -> float:
    """The ``q``-th percentile, linear between neighbours (numpy's own would load its masked arrays: 30 ms)."""
    return float(np.interp(q / 100 * (len(values) - 1), np.arange(len(values)), np.sort(values)))
