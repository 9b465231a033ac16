"""The physical tier's constants, fitted to measured kernels of all devices together.

Each class of kernel has a handful of constants. They are fitted in logarithms, to the logarithm of measured over
predicted seconds with a loss that outliers do not rule, every device weighing the same, and held near values known
beforehand (``data/priors.toml``): with few devices, a constant that measurements do not pin down stays where it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.arch import Constants, Tier, tier
from sim.arch.files import read
from sim.silicon.cases import Case

Array = NDArray[np.float64]
Table = dict[str, dict[str, float]]
CLASSES = {  # operation: the classes of kernels whose constants it determines
    "gemm": ("product", "narrow"), "attention_prefill": ("prefill",), "attention_decode": ("decode",),
    "mla_attention": ("latent_prefill", "latent_decode", "host"), "moe_layer": ("experts",),
    "collectives": ("collective",),
    "elementwise_vidur": ("elementwise",),
}  # fmt: skip
FRACTIONS = ("compute", "memory", "issued", "hit", "overlap", "peak")  # of a peak or of a whole: at most 1
SPREAD = 0.07  # of a kernel's logarithmic error that is not yet an outlier
HOLD = 0.004  # residual, for each kernel fitted, that one spread of a constant from its prior costs


@dataclass(frozen=True)
class Sample:
    """What a fit sees: cases of one operation, the measured seconds of its rows, and each row's device."""

    operation: str
    cases: tuple[Case, ...]
    seconds: Array
    devices: tuple[str, ...]

    def only(self, keep: Sequence[bool]) -> Sample:
        """The cases whose device is kept."""
        chosen = tuple(c for c in self.cases if keep[int(c.rows[0])])
        return replace(self, cases=chosen)

    def errors(self, level: Tier) -> tuple[NDArray[np.int_], Array]:
        """Rows, and the logarithm of predicted over measured seconds."""
        rows = np.concatenate([c.rows for c in self.cases])
        ours = np.concatenate([c.seconds(level) for c in self.cases])
        return rows, np.log(ours / self.seconds[rows])


@cache
def priors() -> dict[str, dict[str, tuple[float, float]]]:
    """Where each constant is thought to be before anything is fitted, and how far off that may be (in logarithms)."""
    raw = read(Path(__file__).with_name("data") / "priors.toml", "priors")
    return {
        name: {key: (float(at), float(spread)) for key, (at, spread) in table.items()}
        for name, table in raw.items() if isinstance(table, dict)
    }  # fmt: skip


def prior(classes: Sequence[str]) -> Table:
    """The priors' values of some classes."""
    return {name: {key: at for key, (at, _) in priors()[name].items()} for name in classes}


def with_constants(changed: Mapping[str, Mapping[str, float]], level: Tier | None = None) -> Tier:
    """The physical tier with the constants of some classes exchanged."""
    base = level or tier("physical")
    table = (base.constants.table() if base.constants else {}) | {n: dict(v) for n, v in changed.items()}
    return replace(base, constants=Constants(tuple((n, tuple(v.items())) for n, v in table.items())))


def fit(sample: Sample, hold: float = HOLD) -> Table:
    """The constants of the classes that an operation determines; ``hold`` is how strongly the priors hold them."""
    from scipy.optimize import least_squares

    held = [(c, key, *priors()[c][key]) for c in CLASSES[sample.operation] for key in priors()[c]]
    free = [(key, at, spread) for _, key, at, spread in held if at > 0 and spread > 0]
    rows = np.concatenate([c.rows for c in sample.cases])
    share = _shares([sample.devices[i] for i in rows])

    def residuals(logs: Array) -> Array:
        _, errors = sample.errors(with_constants(_moved(held, logs)))
        return np.concatenate([errors * share, logs * hold * len(rows)])

    first, step = np.zeros(len(free)), np.full(len(free), 1e-2)
    most = [math.log(1 / max(at, 1e-9)) / spread if key in FRACTIONS else math.inf for key, at, spread in free]
    limits = (-np.inf, np.array(most))
    found = least_squares(residuals, first, bounds=limits, loss="soft_l1", f_scale=SPREAD, diff_step=step, max_nfev=20)
    return _moved(held, found.x)


def _moved(held: Sequence[tuple[str, str, float, float]], logs: Array) -> Table:
    """Constants by class at so many spreads from their priors, those that have a spread."""
    found: Table = {}
    steps = iter(logs)
    for name, key, at, spread in held:
        off = np.exp(np.clip(next(steps) * spread, -3, 3)) if at > 0 and spread > 0 else 1.0
        found.setdefault(name, {})[key] = float(at * off)
    return found


def left_out(sample: Sample) -> Array:
    """Seconds of every row by constants fitted to all devices but the row's own; NaN where there is no other."""
    seconds = np.full(len(sample.seconds), np.nan)
    for name in sorted(set(sample.devices)):
        others = [device != name for device in sample.devices]
        if any(others):
            level = with_constants(fit(sample.only(others)))
            for case in sample.only([not other for other in others]).cases:
                seconds[case.rows] = case.seconds(level)
    return seconds


def _shares(devices: Sequence[str]) -> Array:
    """Weights with which every device counts the same."""
    _, place, count = np.unique(np.array(devices), return_inverse=True, return_counts=True)
    return np.asarray(np.sqrt(count.mean() / count[place]))
