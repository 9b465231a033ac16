"""How the engines of measured runs were configured, as those who measured publish it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from einsum.errors import raise_all, refuse_unknown
from sim.arch import Tier
from sim.arch.files import read
from sim.serving.engines import Software, software

FILE = Path(__file__).with_name("data") / "recipes.toml"
CONDITIONS = ("backend", "dated", "model")
OWN = ("beside", "batch", "grouped", "source")
CHANGES = ("kept", "ahead", "divided", "recorded", "narrow_state")


@dataclass(frozen=True)
class Recipe:
    """Conditions on a row, and what its engine does otherwise than by default."""

    backend: str
    dated: bool
    source: str
    model: str = ""  # any, if empty
    beside: int = 0  # tokens of an iteration beyond one prompt; 0: the engine's default budget
    batch: bool = False  # and beyond the engine's largest batch
    grouped: bool = False  # experts' narrow weights are widened within one kernel
    changes: tuple[tuple[str, Any], ...] = ()  # fields of the engine

    def covers(self, row: Mapping[str, str]) -> bool:
        """Whether a row was measured so."""
        alike = row["backend"] == self.backend and bool(row["measured"]) == self.dated
        return alike and self.model in ("", row["model_path"])

    def engine(self, row: Mapping[str, str]) -> Software:
        """The row's engine as it was configured."""
        own = replace(software(self.backend), **dict(self.changes))
        if not self.beside:
            return own
        most = int(float(row["batch_size"])) if self.batch else 0
        return replace(own, token_budget=int(row["isl"]) + self.beside + most)


def engine(row: Mapping[str, str]) -> Software:
    """The engine of a measured run, with its recipe's options or with its defaults."""
    found = _covering(row)
    return found.engine(row) if found else software(row["backend"])


def level(row: Mapping[str, str], tier: Tier) -> Tier:
    """The tier with the constants of the kernels that a measured run used.

    Those of experts with narrow weights are of a kernel that takes several launches; one grouped kernel takes one.
    """
    found, constants = _covering(row), tier.constants
    if found is None or not found.grouped or constants is None:
        return tier
    table = {name: dict(values) for name, values in constants.classes}
    table["experts"]["slow"] = 1.0
    classes = tuple((name, tuple(values.items())) for name, values in table.items())
    return replace(tier, constants=replace(constants, classes=classes))


def _covering(row: Mapping[str, str]) -> Recipe | None:
    return next((one for one in recipes() if one.covers(row)), None)


@cache
def recipes() -> tuple[Recipe, ...]:
    """The recipes that are known, in order."""
    return tuple(_recipe(raw) for raw in read(FILE, "recipes")["recipe"])


def _recipe(raw: Mapping[str, Any]) -> Recipe:
    raise_all(refuse_unknown(raw, (*CONDITIONS, *OWN, *CHANGES), FILE.name))
    changes = tuple((name, raw[name]) for name in CHANGES if name in raw)
    return Recipe(**{name: value for name, value in raw.items() if name not in CHANGES}, changes=changes)
