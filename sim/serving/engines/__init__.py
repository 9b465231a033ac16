"""Serving engines as data: how they schedule prompts beside decoding, and the memory they keep; one file each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from einsum.errors import WeirError, hint, raise_all, refuse_unknown
from sim.arch.files import read
from sim.serving.simulate import Rules
from sim.serving.steady import Reserve, Schedule

FOLDER = Path(__file__).parent
KEYS = ("title", "schedule", "token_budget", "ahead", "reserve", "kept", "narrow_state", "source", "unverified")


@dataclass(frozen=True, slots=True)
class Software:
    """A serving engine's defaults, as its authors publish them."""

    name: str
    title: str
    schedule: Schedule
    token_budget: int  # of one iteration
    ahead: int  # iterations scheduled while one runs
    reserve: Reserve  # the state that a request must find free to be admitted
    kept: float  # share of a device's memory that holds neither weights nor state
    narrow_state: bool  # whether the fp8 checkpoints that it is published with keep their state in fp8 too
    source: str
    unverified: str = ""

    @property
    def rules(self) -> Rules:
        """How it admits and schedules requests."""
        return Rules(reserve=self.reserve, token_budget=self.token_budget, schedule=self.schedule, ahead=self.ahead)


def engine_names() -> tuple[str, ...]:
    """The engines that are described."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@cache
def software(name: str) -> Software:
    """An engine by its name; :class:`WeirError` with the nearest one if there is none."""
    if name not in engine_names():
        known = hint(name, engine_names()) or f"; known: {', '.join(engine_names())}"
        raise WeirError(f"unknown engine {name!r}{known}")
    path = FOLDER / f"{name}.toml"
    raw = read(path, "engine")
    raise_all(refuse_unknown(raw, KEYS, path.name))
    return Software(name, **raw)
