"""Serving engines as data: how they schedule prompts beside decoding, and the memory they keep; one file each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from einsum.errors import WeirError, hint, raise_all, refuse_unknown
from sim.arch.files import read
from sim.serving.simulate import Rules
from sim.serving.steady import Reserve, Schedule
from sim.units import fmt

FOLDER = Path(__file__).parent
KEYS = (
    "title",
    "schedule",
    "token_budget",
    "ahead",
    "divided",
    "recorded",
    "launches",
    "host",
    "front",
    "reserve",
    "kept",
    "of_free",
    "narrow_state",
    "flash",
    "source",
    "unverified",
    "tested",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Errors of the mean time to first token against measured runs, queueing included; nothing is fitted to them."""

    device: str
    runs: int
    median: float  # of the absolute relative error
    p90: float
    bias: float  # median of the signed error

    def lines(self, name: str, devices: frozenset[str]) -> tuple[str, ...]:
        """Sentences to print below an answer of an engine on some devices."""
        known = (
            f"time to first token with {name}: {self.median:.0%} median error, {self.p90:.0%} in nine of ten"
            f" ({self.runs} measured runs on {self.device}, bias {self.bias:+.0%})"
        )
        other = ", ".join(sorted(devices - {self.device}))
        return (known, f"beyond what was tested: first tokens on {other}") if other else (known,)


@dataclass(frozen=True, slots=True)
class Software:
    """A serving engine's defaults, as its authors publish them."""

    name: str
    title: str
    schedule: Schedule
    token_budget: int  # of one iteration
    ahead: int  # iterations scheduled while one runs
    divided: bool  # whether a prompt is cut where the budget ends
    recorded: float  # tokens up to which an iteration with prompts is replayed from a recorded graph
    launches: float  # times what eager PyTorch's launches take of the host
    host: float  # seconds between two iterations in which the devices wait for it
    front: float  # seconds of server and client for a first token, outside the scheduler and what it runs
    reserve: Reserve  # the state that a request must find free to be admitted
    kept: float  # share of a device's memory that holds neither weights nor state
    of_free: bool  # whether that is a share of what weights leave free
    flash: bool  # whether attention is FlashAttention's kernel, alone; else positions and cache are in its own
    narrow_state: bool  # whether the fp8 checkpoints that it is published with keep their state in fp8 too
    source: str
    tested: Measured
    unverified: str = ""

    def lines(self, devices: frozenset[str]) -> tuple[str, ...]:
        """How it schedules, and how far off first tokens are: sentences to print below an answer on some devices."""
        way = "beside those that decode" if self.schedule == "mixed" else "before anybody decodes"
        how = "in chunks" if self.divided else "undivided, in iterations"
        told = f"engine {self.title}: prompts {how} of up to {self.token_budget} tokens {way} ({self.source})"
        apart = "FlashAttention's, positions and cache in kernels before it"
        runs = apart if self.flash else "its own, with positions and cache"
        own = f"{fmt(self.front, 's')} of server and client" if self.front else "nothing of server and client: unknown"
        first = f"first tokens with {self.name} hold {own}"
        doubt = (f"{self.name}: unverified: {self.unverified}",) if self.unverified else ()
        return (told, f"attention with {self.name}: {runs}", first, *self.tested.lines(self.name, devices), *doubt)

    @property
    def terms(self) -> dict[str, Any]:
        """What a deployment with it takes of memory and, in every step, of time."""
        return {"reserve": self.kept, "of_free": self.of_free, "host": self.host}

    @property
    def rules(self) -> Rules:
        """How it admits and schedules requests."""
        names = ("reserve", "token_budget", "schedule", "ahead", "divided", "recorded", "launches", "front")
        return Rules(**{name: getattr(self, name) for name in names})


def engine_names() -> tuple[str, ...]:
    """The engines that are described."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@cache
def software(name: str) -> Software:
    """An engine by its name; :class:`WeirError` with the nearest one if there is none."""
    if name not in engine_names():
        raise WeirError(f"unknown engine {name!r}{hint(name, engine_names(), most=99)}")
    path = FOLDER / f"{name}.toml"
    raw = read(path, "engine")
    raise_all(refuse_unknown(raw, KEYS, path.name))
    return Software(name, **{**raw, "tested": Measured(**raw["tested"])})
