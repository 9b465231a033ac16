"""Offloading policies: which fractions of weights, cache and hidden states lie where, and at which batch.

For one block of batches the fractions come from a linear programme (:mod:`sim.planner.placement`), so they are the best
there are; the block itself is searched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from einsum.errors import Infeasible, WeirError
from sim.planner.placement import Method, Placement
from sim.planner.placement import method as named
from sim.planner.shape import Hardware, Shape
from sim.units import fmt

TRIED = 400  # programmes that one search solves at most
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Load:
    """What is asked for: prompts of ``prompt`` tokens, each answered with ``output``."""

    prompt: int
    output: int

    def __post_init__(self) -> None:
        """Refuse lengths that no request has."""
        for name, value in (("prompt", self.prompt), ("output", self.output)):
            if value < 1:
                raise WeirError(f"{name} is {value} tokens; at least one is needed")


@dataclass(frozen=True)
class Policy:
    """The best placement found: fractions by ``class.tier``, seconds, bytes and tokens a second.

    ``proven`` says that no other fractions are faster at this block (``micro`` sequences at a time, ``batches`` of them
    a block); whether another block would be is only known of the ``tried``.
    """

    placement: Placement
    model: str
    hardware: str
    micro: int
    batches: int
    fractions: Mapping[str, float]
    proven: bool
    tried: int
    seconds: float

    @property
    def batch(self) -> int:
        """Sequences of a block."""
        return self.micro * self.batches

    @property
    def stages(self) -> dict[str, float]:
        """Seconds of one run of each stage."""
        return self.placement.cost(self.fractions)

    @property
    def seconds_by(self) -> dict[str, float]:
        """Seconds of all runs of each stage in a block."""
        runs = self.placement.runs(self.fractions)
        return {name: runs[name] * each for name, each in self.stages.items()}

    @property
    def block_seconds(self) -> float:
        """Seconds of a block, from its prompts to its last tokens."""
        return self.placement.total(self.fractions)

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens over the seconds of their block."""
        return self.batch * self.placement.numbers["output"] / self.block_seconds

    @property
    def loads(self) -> dict[str, float]:
        """The method's quantities at this placement: which resource takes how long."""
        return self.placement.loads(self.fractions)

    @property
    def memory(self) -> dict[str, tuple[float, float]]:
        """Bytes held and allowed, by memory."""
        return self.placement.held(self.fractions)

    def slowest(self, stage: str) -> tuple[str, float]:
        """The quantity that a stage's seconds name and that takes longest, with its seconds."""
        [formula] = [s.seconds for s in self.placement.method.stages if s.name == stage]
        loads = self.loads
        named = [name for name in re.findall(r"\w+", formula) if name in loads]
        slowest = max(named, key=lambda name: loads[name])
        return slowest, loads[slowest]

    def frame(self) -> Any:
        """A pandas DataFrame, one row a fraction."""
        import pandas as pd

        rows = [(*name.split("."), value) for name, value in self.fractions.items()]
        return pd.DataFrame(rows, columns=["class", "tier", "fraction"])

    def summary(self) -> dict[str, Any]:
        """The figures under stable names (the JSON schema ``weir.plan.offload/1``)."""
        return {
            "schema": "weir.plan.offload/1",
            "model": self.model,
            "hardware": self.hardware,
            "method": self.placement.method.name,
            "micro": self.micro,
            "batches": self.batches,
            "fractions": dict(self.fractions),
            "output": self.placement.numbers["output"],
            "stages": self.stages,
            "seconds_by": self.seconds_by,
            "block_seconds": self.block_seconds,
            "tokens_per_second": self.tokens_per_second,
            "memory": {name: {"held": held, "most": most} for name, (held, most) in self.memory.items()},
            "proven": self.proven,
            "tried": self.tried,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        """A few lines for people."""
        where = {
            name: ", ".join(f"{self.fractions[f'{name}.{t}']:.1%} {t}" for t in tiers if self.fractions[f"{name}.{t}"])
            for name, tiers in self.placement.method.classes
        }
        placed = "\n".join(f"  {name}: {text}" for name, text in where.items())
        used = "; ".join(f"{fmt(h, 'B')} of {fmt(m, 'B')} {name}" for name, (h, m) in self.memory.items() if m)
        each = ", ".join(f"{name} {fmt(s, 's')}" for name, s in self.stages.items())
        return (
            f"{self.model} on {self.hardware}: {self.tokens_per_second:.4g} tokens/s ({self.placement.method.name})\n"
            f"{placed}\n  block: {self.batches} x {self.micro} sequences, {fmt(self.block_seconds, 's')}"
            f" ({each} a run)\n  memory: {used}"
        )


def place(
    model: Shape, hardware: Hardware, load: Load, *, method: str | Method = "overlapped", micro: int, batches: int = 1,
    fixed: Mapping[str, float] | None = None, settings: Mapping[str, str | float] | None = None, within: bool = True,
) -> Policy:  # fmt: skip
    """The fastest fractions for one block of ``batches`` times ``micro`` sequences.

    ``fixed`` are fractions given by ``class.tier``; with all of them given nothing is sought, and ``within=False`` then
    leaves the memories unchecked (a policy that somebody ran). Raises :class:`Infeasible` where nothing fits.
    """
    began = monotonic()
    placement = _placement(model, hardware, load, method, micro, batches, fixed or {}, settings or {})
    if set(placement.fixed) >= set(placement.method.fractions):
        fractions, claimed, proven = dict(placement.fixed), None, True
    elif not within:
        raise WeirError("memories can only be left unchecked where every fraction is given")
    else:
        fractions, claimed, proven = placement.solve()
    if within:
        placement.check(fractions, claimed)
    return Policy(placement, model.name, hardware.name, micro, batches, fractions, proven, 1, monotonic() - began)


def _placement(
    model: Shape, hardware: Hardware, load: Load, method: str | Method, micro: int, batches: int,
    fixed: Mapping[str, float], settings: Mapping[str, str | float],
) -> Placement:  # fmt: skip
    if micro < 1 or batches < 1:
        raise WeirError(f"a block of {batches} batches of {micro} sequences; each must be at least 1")
    block = {"micro": micro, "batches": batches, "batch": micro * batches}
    numbers = {**model.names, **hardware.names, "prompt": load.prompt, "output": load.output, **block}
    chosen = method if isinstance(method, Method) else named(method)
    return Placement(chosen, {n: float(v) for n, v in numbers.items()}, settings, fixed)


def best(
    model: Shape, hardware: Hardware, load: Load, *, method: str | Method = "overlapped", micro: int | None = None,
    batches: int | None = None, fixed: Mapping[str, float] | None = None,
    settings: Mapping[str, str | float] | None = None, progress: Progress | None = None,
) -> Policy:  # fmt: skip
    """The fastest placement over blocks: micro-batches by powers of two and batches by bisection on throughput.

    Throughput rises with the number of batches until a memory is full or nothing is shared any more; of each
    micro-batch the best block is found by doubling and then narrowing.
    """
    began, told = monotonic(), progress or (lambda done, total: None)
    search = _Search(model, hardware, load, method, dict(fixed or {}), dict(settings or {}), told)
    sizes = [micro] if micro else [2**k for k in range(13)]
    for size in sizes:
        if not search.widen(size, batches) and search.found is not None:
            break  # larger micro-batches need more of every memory
    if search.found is None:
        raise search.refused or Infeasible("no block fits")
    return replace(search.found, tried=search.tried, seconds=monotonic() - began)


@dataclass
class _Search:
    """What a search over blocks has found so far."""

    model: Shape
    hardware: Hardware
    load: Load
    method: str | Method
    fixed: dict[str, float]
    settings: dict[str, str | float]
    told: Progress
    found: Policy | None = None
    refused: Infeasible | None = None
    tried: int = 0

    def at(self, micro: int, batches: int) -> float:
        """Tokens a second of one block; none where it does not fit."""
        self.tried += 1
        self.told(self.tried, TRIED)
        try:
            policy = place(
                self.model, self.hardware, self.load, method=self.method, micro=micro, batches=batches,
                fixed=self.fixed, settings=self.settings,
            )  # fmt: skip
        except Infeasible as error:
            self.refused = self.refused or error
            return 0.0
        rate = policy.tokens_per_second
        if self.found is None or rate > self.found.tokens_per_second * (1 + 1e-9):
            self.found = policy
        return rate

    def widen(self, micro: int, batches: int | None) -> bool:
        """Try blocks of one micro-batch; whether any fits."""
        if batches is not None:
            return self.at(micro, batches) > 0
        rates = {1: self.at(micro, 1)}
        for size in _doubling():
            if self.tried >= TRIED or not rates[size // 2]:
                break
            rates[size] = self.at(micro, size)
            if rates[size] <= rates[size // 2] * (1 + 1e-6):
                break
        self._narrow(micro, rates)
        return rates[1] > 0

    def _narrow(self, micro: int, rates: dict[int, float]) -> None:
        """Halve the steps around the best number of batches."""
        middle = max(rates, key=lambda size: rates[size])
        step = middle // 2
        while step and rates[middle] and self.tried < TRIED:
            for size in (middle - step, middle + step):
                if size >= 1 and size not in rates:
                    rates[size] = self.at(micro, size)
            middle = max(rates, key=lambda size: rates[size])
            step //= 2


def _doubling(most: int = 1 << 20) -> Iterator[int]:
    size = 2
    while size <= most:
        yield size
        size *= 2
