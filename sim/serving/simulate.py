"""Iteration-level simulation of continuous batching over a trace: closed loop, Poisson or replayed arrivals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from einsum.errors import Infeasible, WeirError
from sim.serving.chunked import Chunked, mixed_tables
from sim.serving.engine import Engine, Tables, Totals
from sim.serving.served import Served, at_percentile
from sim.serving.service import Array, Service
from sim.serving.steady import (
    TOKEN_BUDGET,
    Prefill,
    Reserve,
    Schedule,
    check_choice,
    check_limits,
    largest_batch,
    limits_text,
    steady,
)
from sim.serving.steptable import counts, spread, table
from sim.serving.trace import Trace
from sim.units import fmt

REQUESTS = 2000  # simulated unless told otherwise: p99 then rests on twenty requests
GENERATIONS = 4  # closed loop: the first generation of requests warms up, the last drains, the rest is measured


@dataclass(frozen=True, slots=True)
class Rules:
    """How requests are admitted."""

    prefill: Prefill = "here"
    reserve: Reserve = "whole"
    token_budget: int = TOKEN_BUDGET
    schedule: Schedule = "whole"
    ahead: int = 0  # iterations scheduled while one runs, which later requests are not in (overlapped scheduling)
    divided: bool = True  # whether a prompt is cut where the budget ends, or waits for an iteration that holds it whole
    recorded: float = math.inf  # tokens up to which an iteration with prompts is replayed from a recorded graph
    launches: float = 1.0  # times what eager PyTorch's launches take of the host (sim/serving/launches.py)
    front: float = 0.0  # seconds of server and client for a first token, outside the scheduler and what it runs

    def __post_init__(self) -> None:
        """Refuse words and budgets that mean nothing."""
        check_choice("prefill", self.prefill, ("here", "elsewhere"))
        check_choice("reserve", self.reserve, ("whole", "mean"))
        check_choice("schedule", self.schedule, ("whole", "first", "mixed"))
        if self.schedule != "whole" and self.prefill == "elsewhere":
            raise WeirError(f"schedule {self.schedule!r} is of prompts filled here; with prefill elsewhere none are")
        if self.token_budget < 1:
            raise WeirError(f"token_budget is {self.token_budget}; a prefill iteration takes at least one token")
        if self.schedule == "whole" and self.front:
            raise WeirError("front is of engines that share iterations; with schedule 'whole' first tokens have none")
        for name in ("launches", "front"):
            if not 0 <= getattr(self, name) < math.inf:
                raise WeirError(f"{name} is {getattr(self, name)}; a finite number of at least 0 is needed")
        if self.ahead not in (0, 1):
            raise WeirError(f"ahead is {self.ahead}; none or one iteration is scheduled while another runs")

    def bytes(self, service: Service, trace: Trace) -> Array:
        """What each request reserves; refused if one of them can never be admitted."""
        if not self.divided and self.schedule != "whole" and trace.prompt.max() > self.token_budget:
            raise Infeasible(
                f"{trace.name}: a prompt of {trace.prompt.max():.0f} tokens is not divided, and an iteration takes"
                f" {self.token_budget}; use shorter prompts, a larger token_budget or divided=True"
            )
        held = trace.prompt + (trace.output if self.reserve == "whole" else trace.output / 2)
        size = np.asarray(service.state(held), dtype=float)
        worst = int(size.argmax())
        if not size[worst] <= service.capacity:
            raise Infeasible(
                f"{trace.name}: a request of {trace.prompt[worst]:.0f} + {trace.output[worst]:.0f} tokens needs"
                f" {fmt(float(size[worst]), 'B')} of state, {fmt(service.capacity, 'B')} are free;"
                " use shorter requests or more memory"
            )
        return size


def simulate(
    service: Service,
    trace: Trace,
    *,
    concurrency: int | None = None,
    rate: float | None = None,
    replay: bool = False,
    requests: int | None = None,
    rules: Rules = Rules(),
    seed: int = 0,
    cold: bool = False,
) -> Served:
    """Serve requests of ``trace``.

    Closed loop (the default): ``concurrency`` users, each submitting a request when the last one finishes; as many as
    fit in memory unless given. It starts in full swing and is measured so; ``cold``, all users submit at once to an
    empty engine and every request counts, as with benchmark clients. ``rate``: Poisson arrivals, a second.
    ``replay``: at the trace's own times.
    """
    if sum((concurrency is not None, rate is not None, replay)) > 1:
        raise WeirError("give one of concurrency, rate and replay: they are three ways for requests to arrive")
    if rate is not None or replay:
        load = _open_load(trace, rate, requests, seed)
        return _open(service, load, rules, f"poisson {rate:.4g} requests/s" if rate is not None else "replayed")
    users = fitting(service, trace, rules) if concurrency is None else concurrency
    _check_users(users, requests)
    load = trace.sample(requests or max(REQUESTS, GENERATIONS * users), seed)
    if cold:
        return _burst(service, load, users, rules, tables(service, load, users, rules))
    return _closed(service, load, users, rules, tables(service, load, users, rules), seed)


def respecting(
    service: Service,
    trace: Trace,
    *,
    tpot: float | None = None,
    ttft: float | None = None,
    percentile: float = 95,
    rules: Rules = Rules(),
    requests: int | None = None,
    seed: int = 0,
) -> Served:
    """The closed loop of the most users, to 1 %, whose ``percentile`` of TPOT and TTFT meets the limits (seconds)."""
    check_limits(tpot, ttft)
    if not 0 <= percentile <= 100:
        raise WeirError(f"percentile is {percentile}; give a number from 0 to 100")
    most = fitting(service, trace, rules)
    _check_users(most, requests)
    costs = tables(service, trace, most, rules)

    def run(users: int) -> Served:
        load = trace.sample(requests or max(REQUESTS, GENERATIONS * users), seed)
        return _closed(service, load, users, rules, costs, seed)

    def meets(served: Served) -> bool:
        limits = ((served.tpot, tpot), (served.ttft, ttft))
        return all(not len(x) or at_percentile(x, percentile) <= limit for x, limit in limits if limit is not None)

    if meets(full := run(most)):
        return full
    if not meets(alone := run(1)):
        raise Infeasible(
            f"no concurrency meets p{percentile:g} of {limits_text(tpot, ttft)}: one user alone has"
            f" {_reached(alone, percentile)}; relax the limit or use faster hardware"
        )
    return _most(run, meets, alone, most)


def _most(run: Callable[[int], Served], meets: Callable[[Served], bool], best: Served, high: int) -> Served:
    """The most users, to 1 %, between one, who meets, and ``high``, who do not."""
    low = 1
    while high - low > max(1, low // 100):
        served = run(middle := (low + high) // 2)
        low, high, best = (middle, high, served) if meets(served) else (low, middle, best)
    return best


def holding(rules: Rules, load: Trace, users: int) -> tuple[Rules, tuple[str, ...]]:
    """Iterations that hold the longest prompt beside all users, if none is divided; a sentence where they grew."""
    need = math.ceil(load.prompt.max()) + users
    if rules.divided or rules.schedule == "whole" or need <= rules.token_budget:
        return rules, ()
    said = f"iterations of {need} tokens instead of {rules.token_budget}: prompts are not divided, and the longest"
    return replace(rules, token_budget=need), (f"{said} would not find room beside {users} requests",)


def fitting(service: Service, trace: Trace, rules: Rules) -> int:
    """The requests of the trace that memory holds at once under the rules."""
    return largest_batch(service, trace.prompt, trace.output, weight=trace.weight, reserve=rules.reserve)


def tables(service: Service, load: Trace, most: int, rules: Rules) -> Tables:
    """Step costs over every batch up to ``most`` and every length of the load, or of a sample's rounded lengths."""
    top = min(most, service.max_batch)
    batch = counts(top, 1.05)
    shortest, longest = math.floor(load.prompt.min()), math.ceil(load.prompt.max())
    context = spread(shortest, math.ceil((load.prompt + load.output).max()) + 1, 1.3)
    decode = table(service.decode, batch, context, "decode seconds")
    decode_joules = table(service.decode_joules, batch, context, "decode joules", unknown=True)
    if rules.prefill == "elsewhere":
        return Tables(decode, decode_joules, None, None)
    together = counts(int(min(top, max(1, rules.token_budget // shortest))), 1.25)
    prompt = spread(shortest, longest, 1.15)
    filling = table(service.prefill, together, prompt, "prefill seconds")
    joules = table(service.prefill_joules, together, prompt, "prefill joules", unknown=True)
    mixed = (
        None
        if rules.schedule == "whole"
        else mixed_tables(service, top, longest, context, rules.token_budget, rules.recorded, rules.launches)
    )
    return Tables(decode, decode_joules, filling, joules, mixed)


def _closed(service: Service, load: Trace, users: int, rules: Rules, costs: Tables, seed: int) -> Served:
    """A full house from the start: requests midway through their lives, then ``load`` as those finish."""
    n = len(load)
    begun, done = _midway(load, users, seed)
    size = rules.bytes(service, load)
    engine = _engine(service, load, size, begun, rules, costs)
    arrival, (start, end) = _submit_until_empty(engine, n, users, done)
    span = end.now - start.now
    notes = [_rule(rules)]
    if (fit := fitting(service, load, rules)) < users:
        notes.append(f"{users} users, but about {fit} requests fit in memory: the others wait, and ttft shows it")
    served = _served(engine, load, arrival, f"closed loop of {users}", service, notes)
    return replace(
        served,
        first=users,
        last=n - users,
        seconds=span,
        tokens=end.tokens - start.tokens,
        joules=end.joules - start.joules,
        mean_batch=(end.occupied - start.occupied) / span if span else float(users),
    )


def _burst(service: Service, load: Trace, users: int, rules: Rules, costs: Tables) -> Served:
    """All users at once before an empty engine, each submitting again when served; all requests are measured."""
    engine = _engine(service, load, rules.bytes(service, load), np.empty(0), rules, costs)
    arrival, _ = _submit_until_empty(engine, len(load), users, np.empty(0))
    return _served(engine, load, arrival, f"closed loop of {users} from empty", service, [_rule(rules)])


def _submit_until_empty(engine: Engine, n: int, users: int, done: Array) -> tuple[list[float], list[Totals]]:
    """Keep every user busy until ``n`` requests are through: their arrivals, and the sums at the window's two ends.

    The window opens when each user has submitted once, so that all it sees began here, and closes with the last
    submission, from which on the batch can only shrink.
    """
    arrival: list[float] = []
    marks: list[Totals] = []

    def submit() -> None:
        if len(arrival) < n:
            if len(arrival) in (users, n - 1):
                marks.append(engine.totals())
            engine.join(len(arrival), engine.now)  # the engine does not wait for its users' next requests
            arrival.append(engine.now)

    for k in range(users):
        if k < len(done) and engine.fits(n + k):
            engine.start_midway(n + k, int(done[k]))
        else:
            submit()
    while engine.busy:
        for _ in engine.step(math.inf):
            submit()
    return arrival, marks


def _open(service: Service, load: Trace, rules: Rules, title: str) -> Served:
    """Requests arriving at their own times, from an empty engine to an empty engine; all are measured."""
    n = len(load)
    arrival = load.arrival.tolist()
    size = rules.bytes(service, load)
    least = float(size.min())
    most = int(min(n, service.capacity / least)) if least else n  # if all in flight were the smallest
    costs = tables(service, load, most, rules)
    engine = _engine(service, load, size, np.empty(0), rules, costs)
    seen = waiting = 0
    while seen < n or engine.busy:
        while seen < n and arrival[seen] <= engine.now:
            engine.join(seen, arrival[seen])
            seen += 1
            waiting = len(engine.queue)
        upcoming = arrival[seen] if seen < n else math.inf
        if engine.busy:
            engine.step(math.inf if engine.queue else upcoming)
        else:
            engine.now = upcoming
    notes = [_rule(rules), *_overload(service, load, rules, waiting)]
    return _served(engine, load, arrival, title, service, notes)


def _engine(service: Service, load: Trace, size: Array, begun: Array, rules: Rules, costs: Tables) -> Engine:
    """An empty engine that knows the load's requests and, numbered after them, copies of those already ``begun``."""
    every = np.concatenate([np.arange(len(load)), begun]).astype(int)
    known = (load.prompt[every].tolist(), load.output[every].tolist(), size[every].tolist())
    terms = (costs, service.capacity, service.max_batch, rules.token_budget, *known)
    if rules.schedule == "whole":
        return Engine(*terms)
    mixed = rules.schedule == "mixed"
    return Chunked(*terms, mixed=mixed, ahead=rules.ahead, divided=rules.divided, front=rules.front)


def _midway(load: Trace, users: int, seed: int) -> tuple[Array, Array]:
    """Requests in flight at a random moment, and the tokens each has generated: longer outputs are seen more often."""
    even = (np.arange(users) + 0.5) / users
    share = np.cumsum(load.output)
    begun = np.minimum(np.searchsorted(share, even * share[-1]), len(load.output) - 1)
    progress = np.random.default_rng(seed + 1).permutation(even)
    return begun.astype(float), np.floor(load.output[begun] * progress)


def _open_load(trace: Trace, rate: float | None, requests: int | None, seed: int) -> Trace:
    """The requests with their times: Poisson at ``rate``, or the trace's own."""
    if rate is not None:
        if not (math.isfinite(rate) and rate > 0):
            raise WeirError(f"rate is {rate} requests/s; it must be positive and finite")
        load = trace.sample(requests or REQUESTS, seed)
        gaps = np.random.default_rng(seed + 1).exponential(1 / rate, len(load))
        return replace(load, arrival=np.cumsum(gaps), rate=rate, burstiness=1.0)
    if trace.rate is None and not len(trace.arrival):
        raise WeirError(f"{trace.name} has no arrival times to replay; give a rate, or a concurrency")
    if not len(trace.arrival):
        return trace.sample(requests or REQUESTS, seed)
    n = min(requests or len(trace.arrival), len(trace.arrival))
    kept = {name: getattr(trace, name)[:n] for name in ("arrival", "prompt", "output", "weight")}
    return replace(trace, **kept)


def serveable(service: Service, load: Trace, rules: Rules) -> float:
    """Requests a second that a full engine serves in steady state."""
    most = fitting(service, load, rules)
    full = steady(service, load.prompt, load.output, most, prefill=rules.prefill, token_budget=rules.token_budget)
    return float(full.tokens_per_second[0]) / load.mean_output


def _overload(service: Service, load: Trace, rules: Rules, waiting: int) -> list[str]:
    """What to say when requests come faster than they can be served."""
    served = serveable(service, load, rules)
    notes = []
    if load.rate is not None and load.rate > served:
        notes.append(
            f"overloaded: {load.rate:.4g} requests/s arrive and about {served:.4g} can be served; the queue grows"
            " as long as requests arrive, so the latencies say only how long the trace is"
        )
    if waiting > max(1, len(load) // 20):
        notes.append(f"{waiting} of {len(load)} requests were waiting when the last one arrived")
    return notes


def _served(
    engine: Engine, load: Trace, arrival: list[float], title: str, service: Service, notes: list[str]
) -> Served:
    """The finished run as a value, with every request measured from the first arrival to the last finish."""
    n = len(load)
    times = [np.array([at[i] for i in range(n)]) for at in (engine.admitted, engine.first_token, engine.finish)]
    span = engine.now - arrival[0]
    return Served(
        load=title,
        arrival=np.array(arrival),
        admitted=times[0],
        first_token=times[1],
        finish=times[2],
        prompt=load.prompt,
        output=load.output,
        first=0,
        last=n,
        seconds=span,
        tokens=engine.tokens,
        joules=engine.joules,
        mean_batch=engine.occupied / span if span else float(n),
        peak_state=engine.peak,
        usd_per_hour=service.usd_per_hour,
        interpolation=engine.tables.error,
        notes=tuple(notes),
    )


def _rule(rules: Rules) -> str:
    """The admission rule in words."""
    if rules.reserve == "whole":
        return "each request reserves the state of its whole prompt and output when admitted; none is pre-empted"
    return "each request reserves the state of its mean context, as paged, staggered growth needs; none is pre-empted"


def _reached(served: Served, percentile: float) -> str:
    """The latencies that can be limited, in words."""
    pairs = (("tpot", served.tpot), ("ttft", served.ttft))
    return " and ".join(f"{name} {at_percentile(x, percentile) * 1e3:.4g} ms" for name, x in pairs if len(x))


def _check_users(users: int, requests: int | None) -> None:
    """Refuse a closed loop without users, or too short to have a measured part."""
    if users < 1:
        raise WeirError(f"concurrency is {users}; at least one user is needed")
    if requests is not None and requests < GENERATIONS * users:
        raise WeirError(
            f"{requests} requests are too few for {users} users: a quarter warms up and a quarter drains,"
            f" give at least {GENERATIONS * users}"
        )
