"""What to rent for a load at least dollars an hour: whole numbers of templates that share buckets of requests.

Melange (arXiv 2404.14527), section 5: minimise the price of the counts, every bucket fully assigned, no template given
more load than its copies bear. A template is any cluster; weir's serving model says what it bears within limits on
latency, so that attention on other devices at a degree (a, b) is one template among others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from einsum.errors import Infeasible, WeirError
from sim.serving.trace import Trace

if TYPE_CHECKING:
    from sim.planner.milp import Row

Array = NDArray[np.float64]
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Bucket:
    """``rate`` requests a second of like lengths."""

    prompt: float
    output: float
    rate: float


@dataclass(frozen=True, slots=True)
class Template:
    """Something that is rented whole: its price, and the devices that each copy uses of what there is in stock."""

    name: str
    usd_per_hour: float
    uses: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        """Refuse prices that would make renting more pay."""
        if not 0 <= self.usd_per_hour < inf:
            raise WeirError(f"{self.name} costs {self.usd_per_hour} USD/h; it must be finite and not negative")


@dataclass(frozen=True)
class Purchase:
    """Copies of each template, and the share of each bucket (rows) that each (columns) serves.

    No purchase costs less than ``bound``.
    """

    templates: tuple[Template, ...]
    buckets: tuple[Bucket, ...]
    counts: tuple[int, ...]
    shares: Array
    bound: float
    proven: bool
    seconds: float

    @property
    def costs(self) -> tuple[float, ...]:
        """Price of all copies of each template."""
        return tuple(t.usd_per_hour * n for t, n in zip(self.templates, self.counts, strict=True))

    @property
    def usd_per_hour(self) -> float:
        """Price of all copies."""
        return sum(self.costs)

    @property
    def gap(self) -> float:
        """How far the price may be above the least, as a fraction of it."""
        return 0.0 if self.proven or not self.usd_per_hour else (self.usd_per_hour - self.bound) / self.usd_per_hour

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What is rented of each template, what it costs and what it serves."""
        rates = np.array([b.rate for b in self.buckets]) @ self.shares
        every = zip(self.templates, self.counts, self.costs, rates.tolist(), strict=True)
        names = ("template", "count", "usd_per_hour", "requests_per_second")
        return [dict(zip(names, (t.name, *rest), strict=True)) for t, *rest in every]

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of the whole under stable names."""
        return {
            "usd_per_hour": self.usd_per_hour, "bound": self.bound, "proven": self.proven, "gap": self.gap,
            "seconds": self.seconds,
            "buckets": [{"prompt": b.prompt, "output": b.output, "rate": b.rate} for b in self.buckets],
        }  # fmt: skip

    def frame(self) -> Any:
        """A pandas DataFrame, one row a template."""
        import pandas as pd

        return pd.DataFrame(self.rows)


def buckets(
    trace: Trace, rate: float, *, edges: Sequence[float] = (0, 256, 1024, 4096, 16384, inf)
) -> tuple[Bucket, ...]:
    """A trace's requests by length of prompt and of output, each bucket at its means; ``rate`` requests a second."""
    if rate <= 0:
        raise WeirError(f"a rate of {rate:g} requests a second; it must be positive")
    where = [np.digitize(lengths, edges) for lengths in (trace.prompt, trace.output)]
    found = []
    for cell in sorted(set(zip(*(w.tolist() for w in where), strict=True))):
        inside = (where[0] == cell[0]) & (where[1] == cell[1])
        weight = trace.weight[inside]
        means = [float(np.average(x[inside], weights=weight)) for x in (trace.prompt, trace.output)]
        found.append(Bucket(means[0], means[1], rate * float(weight.sum() / trace.weight.sum())))
    return tuple(found)


def loads(wanted: Sequence[Bucket], templates: Sequence[Template], most: Callable[[Bucket, Template], float]) -> Array:
    """The part of one copy that all requests of a bucket take: their rate over the ``most`` requests a second it bears.

    Infinite where a template cannot serve a bucket at all.
    """
    rates = [[most(bucket, template) for template in templates] for bucket in wanted]
    with np.errstate(divide="ignore"):
        return np.array([[b.rate / r if r else inf for r in row] for b, row in zip(wanted, rates, strict=True)])


def rent(
    wanted: Sequence[Bucket], templates: Sequence[Template], load: Array, *, stock: Mapping[str, int] | None = None,
    slices: int | None = None, seconds: float = 30.0, solver: str = "highs",
) -> Purchase:  # fmt: skip
    """The cheapest counts; ``stock`` limits devices, ``slices`` makes each bucket that many indivisible parts.

    Raises :class:`Infeasible` for a bucket that no template serves, or where the stock does not suffice.
    """
    began = monotonic()
    _check(wanted, templates, load)
    model, count, share = _programme(templates, load, slices, stock or {})
    model.minimise(sum(t.usd_per_hour * n for t, n in zip(templates, count, strict=True)))
    start = None if stock else _greedy(templates, load, slices)
    try:
        solved = model.solve(seconds=seconds, start=start, solver=solver)
    except Infeasible:
        raise _short(templates, load, slices, stock or {}, solver) from None
    shares = np.zeros(load.shape)
    for (b, t), variable in share.items():
        shares[b, t] = solved[variable] / (slices or 1)
    counts = tuple(round(solved[n]) for n in count)
    made = Purchase(
        tuple(templates), tuple(wanted), counts, shares, solved.bound, solved.proven, monotonic() - began
    )  # fmt: skip
    check(made, load, stock or {})
    return made


def _programme(
    templates: Sequence[Template], load: Array, slices: int | None, stock: Mapping[str, int]
) -> tuple[Any, list[Any], dict[tuple[int, int], Any]]:
    """The programme without an objective, its counts and its shares."""
    from sim.planner import milp

    parts, model = slices or 1, milp.Model("purchase")
    count = [model.integer(f"n{t}") for t in range(len(templates))]
    able = [(int(b), int(t)) for b, t in zip(*np.nonzero(np.isfinite(load)), strict=True)]
    share = {
        (b, t): model.integer(f"x{b}_{t}", 0, parts) if slices else model.number(f"x{b}_{t}", 0, 1) for b, t in able
    }
    model.add("every bucket is served", served(len(load), share, parts))
    model.add("no template is overloaded", borne(len(templates), share, load, count, parts))
    model.add("devices in stock", stocked(templates, count, stock))
    return model, count, share


def _short(
    templates: Sequence[Template], load: Array, slices: int | None, stock: Mapping[str, int], solver: str
) -> Infeasible:
    """How many of which device would do, as the others are; the miss is the least of these over what there is."""
    from sim.planner.milp import Unfinished

    lines, miss = [], inf
    for name, most in stock.items():
        model, count, _ = _programme(templates, load, slices, {n: s for n, s in stock.items() if n != name})
        model.minimise(sum(dict(t.uses).get(name, 0) * n for t, n in zip(templates, count, strict=True)))
        try:
            need = round(model.solve(solver=solver).objective)
        except (Infeasible, Unfinished):
            continue
        lines.append(f"{need:,} of {name} instead of {most:,}")
        miss = min(miss, need / most if most else inf)
    more = f"{', or '.join(lines)} would do" if lines else "more of several devices are needed"
    return Infeasible(f"the stock does not bear this load: {more}", miss)


def _check(wanted: Sequence[Bucket], templates: Sequence[Template], load: Array) -> None:
    if load.shape != (len(wanted), len(templates)) or not wanted or not templates:
        raise WeirError(f"load has shape {load.shape}; {len(wanted)} buckets and {len(templates)} templates are given")
    if not (load >= 0).all():
        raise WeirError("a load is negative or not a number")
    for bucket, row in zip(wanted, load, strict=True):
        if not np.isfinite(row).any():
            raise Infeasible(
                f"no template serves requests of {bucket.prompt:.0f} + {bucket.output:.0f} tokens within the limits"
            )


def served(wanted: int, share: Mapping[tuple[int, int], Any], parts: int) -> Iterator[Row]:
    """A bucket's shares sum to the whole: sum over templates of x = parts."""
    for b in range(wanted):
        yield sum(x for (at, _), x in share.items() if at == b) == parts


def borne(
    templates: int, share: Mapping[tuple[int, int], Any], load: Array, count: Sequence[Any], parts: int
) -> Iterator[Row]:
    """A template's load is no more than its copies: sum over buckets of load x share <= n."""
    for t in range(templates):
        yield sum(load[b, at] / parts * x for (b, at), x in share.items() if at == t) <= count[t]


def stocked(templates: Sequence[Template], count: Sequence[Any], stock: Mapping[str, int]) -> Iterator[Row]:
    """Devices of a kind in all copies are no more than there are: sum of uses x n <= stock."""
    for name, most in stock.items():
        used = [dict(t.uses).get(name, 0) * n for t, n in zip(templates, count, strict=True) if dict(t.uses).get(name)]
        if used:
            yield sum(used) <= most


def _greedy(templates: Sequence[Template], load: Array, slices: int | None) -> dict[str, float]:
    """Each bucket whole where it costs least, counts rounded up: somewhere to start."""
    price = np.array([t.usd_per_hour for t in templates])
    at = np.argmin(np.where(np.isfinite(load), load * np.maximum(price, 1e-12), inf), axis=1)
    taken = np.zeros(len(templates))
    for b, t in enumerate(at):
        taken[t] += load[b, t]
    start = {f"n{t}": float(np.ceil(taken[t] - 1e-9)) for t in range(len(templates))}
    return start | {
        f"x{b}_{t}": float(slices or 1) * (t == at[b]) for b, t in zip(*np.nonzero(np.isfinite(load)), strict=True)
    }


def check(made: Purchase, load: Array, stock: Mapping[str, int]) -> None:
    """Refuse a purchase whose buckets are not all served, whose templates are overloaded, or that is not in stock."""
    if not np.allclose(made.shares.sum(axis=1), 1, atol=1e-5) or (made.shares < -TOLERANCE).any():
        raise WeirError("a bucket is not wholly served")
    taken = np.where(made.shares > 0, np.where(np.isfinite(load), load, 0) * made.shares, 0).sum(axis=0)
    if (taken > np.array(made.counts) * (1 + 1e-5) + 1e-5).any():
        raise WeirError("a template bears more than its copies can")
    for name, most in stock.items():
        if sum(dict(t.uses).get(name, 0) * n for t, n in zip(made.templates, made.counts, strict=True)) > most:
            raise WeirError(f"more {name} are used than there are")
