"""Steady-state serving in closed form: a full, staggered batch in which every finished request is replaced at once.

Every token generated costs one decode iteration, the first one too: the prefill gives none. The context of a request
is taken midway through its life, which is exact where the decode time is linear in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from einsum.errors import Infeasible, WeirError, hint
from sim.serving.service import Array, Curve, Service
from sim.units import fmt

Prefill = Literal[
    "here", "elsewhere"
]  # elsewhere: another cluster fills the state, in no time and for no money of ours
Reserve = Literal[
    "whole", "mean"
]  # whole: prompt and output from the start; mean: paged, staggered growth averages out
# whole: prompts in iterations of their own, and the decode step after them gives their first token;
# first: in chunks before anybody decodes, the last of which gives it; mixed: in chunks beside those that decode
Schedule = Literal["whole", "first", "mixed"]
TOKEN_BUDGET = 8192  # prompt tokens of one prefill iteration, the usual setting of serving engines


@dataclass(frozen=True, slots=True)
class Lengths:
    """What the closed forms need of a load: its requests' lengths in tokens, each with the weight it counts."""

    prompt: Array
    output: Array
    weight: Array

    @property
    def mean_output(self) -> float:
        """Tokens a request generates."""
        return float(np.average(self.output, weights=self.weight))

    @property
    def mean_prompt(self) -> float:
        """Tokens of a prompt."""
        return float(np.average(self.prompt, weights=self.weight))

    @property
    def mean_context(self) -> float:
        """Context of a decode step: a request is in flight in proportion to the tokens it generates."""
        return float(np.average(self.prompt + self.output / 2, weights=self.weight * self.output))

    @property
    def mean(self) -> Lengths:
        """Requests that all have the mean lengths."""
        return lengths(self.mean_prompt, self.mean_output)


@dataclass(frozen=True, slots=True, eq=False)
class Steady:
    """Steady-state figures, each an array over ``batch``; seconds, joules, US dollars and output tokens."""

    batch: Array
    together: Array  # prompts of one prefill iteration
    step: Array  # seconds of a decode iteration
    tpot: Array  # mean seconds between a request's tokens, with the prefills of others in between
    ttft: Array  # seconds from being admitted to the first token
    e2e: Array
    tokens_per_second: Array
    joules_per_token: Array
    usd_per_million_tokens: Array
    tokens_per_dollar: Array

    def at(self, index: int) -> dict[str, float]:
        """The figures of one batch."""
        return {name: float(getattr(self, name).flat[index]) for name in self.__slots__}

    def frame(self) -> Any:
        """A pandas DataFrame, one row a batch."""
        import pandas as pd

        return pd.DataFrame({name: np.ravel(getattr(self, name)) for name in self.__slots__})


def lengths(prompt: ArrayLike, output: ArrayLike, weight: ArrayLike | None = None) -> Lengths:
    """A load from one length or many; refuses what is not a number of tokens."""
    p, o = np.broadcast_arrays(np.atleast_1d(np.asarray(prompt, float)), np.atleast_1d(np.asarray(output, float)))
    w = np.ones_like(p) if weight is None else np.broadcast_to(np.asarray(weight, float), p.shape)
    for name, values, least in (("prompt", p, 1), ("output", o, 1), ("weight", w, 0)):
        if not np.isfinite(values).all() or (values < least).any() or not values.size:
            raise WeirError(f"{name} lengths must be finite numbers of at least {least}; got {np.ravel(values)[:3]}")
    return Lengths(p, o, w)


def held(service: Service, load: Lengths, reserve: Reserve = "mean") -> float:
    """Bytes a request in flight occupies on average; longer outputs are in flight for longer."""
    check_choice("reserve", reserve, ("whole", "mean"))
    context = load.prompt + (load.output if reserve == "whole" else load.output / 2)
    return float(np.average(service.state(context), weights=load.weight * load.output))


def largest_batch(
    service: Service,
    prompt: ArrayLike,
    output: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reserve: Reserve = "mean",
) -> int:
    """The most requests whose states fit in memory and which the engine allows."""
    load = lengths(prompt, output, weight)
    each = held(service, load, reserve)
    if not np.isfinite(each) or each < 0:
        raise WeirError(f"the state of a request is {each} bytes; it must be finite and not negative")
    if each > service.capacity:
        raise Infeasible(
            f"not one request fits: its state is {fmt(each, 'B')} at {load.mean_context:.0f} tokens of context,"
            f" {fmt(service.capacity, 'B')} are free; use shorter requests or more memory"
        )
    return int(min(service.max_batch, service.capacity / each if each else np.inf))


def steady(
    service: Service,
    prompt: ArrayLike,
    output: ArrayLike,
    batch: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    prefill: Prefill = "here",
    token_budget: int = TOKEN_BUDGET,
) -> Steady:
    """The steady state at each ``batch``; requests that finish together are prefilled together, within the budget."""
    load = lengths(prompt, output, weight)
    at = pace(service.decode, service.prefill, load, batch, prefill=prefill, token_budget=token_budget)
    b, together, step, filling = at.batch, at.together, at.step, at.filling
    joules = service.decode_joules(b, np.full_like(b, load.mean_context)) / b
    if prefill == "here":
        joules = joules + _over_prompts(service.prefill_joules, together, load) / together / load.mean_output
    others = b / together - at.turns
    between = others * filling / (load.mean_output - 1) if load.mean_output > 1 else np.zeros_like(b)
    tpot = step + between
    rate = at.tokens_per_second
    with np.errstate(divide="ignore"):
        per_dollar = rate * 3600 / service.usd_per_hour
    ttft = at.turns * filling + step
    return Steady(b, together, step, tpot, ttft, load.mean_output * at.each, rate, joules, 1e6 / per_dollar, per_dollar)


@dataclass(frozen=True, slots=True, eq=False)
class Pace:
    """The seconds that a steady state goes through, each an array over ``batch``."""

    batch: Array
    together: Array  # prompts of one prefill iteration
    turns: Array  # prefills in a row
    step: Array  # seconds of a decode iteration
    filling: Array  # seconds of a prefill
    each: Array  # seconds for a token of every request, prefills in between included

    @property
    def tokens_per_second(self) -> Array:
        """Output tokens a second."""
        with np.errstate(divide="ignore"):
            rate: Array = self.batch / self.each
        return rate


def pace(
    decode: Curve, prefilling: Curve, load: Lengths, batch: ArrayLike, *, prefill: Prefill = "here",
    token_budget: int = TOKEN_BUDGET,
) -> Pace:  # fmt: skip
    """The pace of the steady state at each ``batch``, from the seconds of its iterations alone.

    Raises :class:`WeirError` for a batch below 1 or an unknown ``prefill``.
    """
    check_choice("prefill", prefill, ("here", "elsewhere"))
    b = np.atleast_1d(np.asarray(batch, float))
    if not np.isfinite(b).all() or (b < 1).any():
        raise WeirError(f"batch must be at least 1; got {b[:3]}")
    step = decode(b, np.full_like(b, load.mean_context))
    together, turns = _cohorts(b / load.mean_output, max(1, token_budget // load.mean_prompt))
    filling = _over_prompts(prefilling, together, load) if prefill == "here" else np.zeros_like(b)
    groups = b / together  # prefills in a request's life: those of its own cohort before its first token, then others'
    return Pace(b, together, turns, step, filling, step + groups * filling / load.mean_output)


def largest_within(
    service: Service,
    prompt: ArrayLike,
    output: ArrayLike,
    *,
    tpot: float | None = None,
    ttft: float | None = None,
    weight: ArrayLike | None = None,
    prefill: Prefill = "here",
    reserve: Reserve = "mean",
    token_budget: int = TOKEN_BUDGET,
) -> int:
    """The largest batch that fits and whose mean TPOT and TTFT meet the limits (seconds)."""
    check_limits(tpot, ttft)
    most = largest_batch(service, prompt, output, weight=weight, reserve=reserve)
    if tpot is None and ttft is None:
        return most

    def figures(batch: Array) -> Steady:
        return steady(service, prompt, output, batch, weight=weight, prefill=prefill, token_budget=token_budget)

    def meets(batch: Array) -> NDArray[np.bool_]:
        at = figures(batch)
        return (at.tpot <= (np.inf if tpot is None else tpot)) & (at.ttft <= (np.inf if ttft is None else ttft))

    best = _largest(meets, most)
    if best == 0:
        raise _missed(figures(np.ones(1)), tpot, ttft)
    return best


def _missed(alone: Steady, tpot: float | None, ttft: float | None) -> Infeasible:
    """That not even one request meets the limits, and by how much it misses them."""
    return Infeasible(
        f"no batch meets {limits_text(tpot, ttft)}: one request alone has tpot {alone.tpot[0] * 1e3:.4g} ms"
        f" and ttft {alone.ttft[0] * 1e3:.4g} ms; relax the limit or use faster hardware",
        max(float(alone.tpot[0]) / (tpot or np.inf), float(alone.ttft[0]) / (ttft or np.inf)),
    )


def _largest(meets: Callable[[Array], NDArray[np.bool_]], most: int, points: int = 64) -> int:
    """The largest of 1..most before the first failure, narrowed ``points`` at a time; 0 when 1 fails already."""
    low, high = 0, most + 1  # low meets, high does not
    while high - low > 1:
        tried = np.array(sorted(set(np.linspace(low + 1, high - 1, points).round().tolist())))
        failed = np.flatnonzero(~meets(tried))
        first = int(failed[0]) if len(failed) else len(tried)
        low = int(tried[first - 1]) if first else low
        high = int(tried[first]) if len(failed) else high
    return low


def _cohorts(finishing: Array, most: float) -> tuple[Array, Array]:
    """Prompts of one prefill, and prefills in a row, when ``finishing`` requests are replaced at each decode step.

    A fraction means one more at some steps: 1.5 is one and two in turn, 0.1 is one at every tenth step.
    """
    whole = np.floor(finishing)
    share = finishing - whole
    prefills = (1 - share) * np.ceil(whole / most) + share * np.ceil((whole + 1) / most)
    return finishing / prefills, np.maximum(1, prefills)


def _over_prompts(cost: Callable[[Array, Array], Array], together: Array, load: Lengths) -> Array:
    """Mean cost over the load's prompt lengths of prefilling ``together`` of them."""
    grid = np.broadcast_arrays(together[:, None], load.prompt[None, :])
    each = cost(np.ravel(grid[0]), np.ravel(grid[1])).reshape(grid[0].shape)
    mean: Array = each @ load.weight / load.weight.sum()
    return mean


def check_choice(what: str, given: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is not one of the choices."""
    if given not in known:
        raise WeirError(f"{what} {given!r} is not understood{hint(given, known)}")


def check_limits(tpot: float | None, ttft: float | None) -> None:
    """Refuse a latency limit that no system could be asked for."""
    for name, limit in (("tpot", tpot), ("ttft", ttft)):
        if limit is not None and not (np.isfinite(limit) and limit > 0):
            raise WeirError(f"the limit on {name} is {limit} s; it must be positive and finite")


def limits_text(tpot: float | None, ttft: float | None) -> str:
    """The limits in words, for messages."""
    given = [f"{name} <= {limit * 1e3:.4g} ms" for name, limit in (("tpot", tpot), ("ttft", ttft)) if limit is not None]
    return " and ".join(given) or "no limit"
