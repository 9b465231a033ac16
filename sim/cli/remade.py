"""A result made again as a value of the model, from the arguments of the command that printed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from einsum.errors import WeirError
from sim.cli import ask

Given = Mapping[str, Any]
Remade = tuple[Any, tuple[str, ...]]  # the result, and the paths of numbers that the user had set


def remade(command: str, given: Given) -> Remade:
    """The result of a command; raises :class:`WeirError` for one whose results hold no figures of the model."""
    if command not in COMMANDS:
        raise WeirError(f"what 'weir {command}' answers has no formula; {', '.join(COMMANDS)} and sweep have")
    return COMMANDS[command](given)


def _set(given: Given, name: str = "setting") -> tuple[str, ...]:
    return tuple(ask.pairs(given.get(name) or (), "--set", "PATH=VALUE, as in network.latency=5us"))


def _estimate(given: Given) -> Remade:
    if given.get("mapping"):
        return _nest(given, given["model"], given["on"][0], tuple(given.get("size") or ()))
    comparison, changed = _compare(given)
    return comparison.answers[0], changed


def _compare(given: Given) -> Remade:
    from sim.cli import answers

    question = answers.Asked.of(given)
    return question.answers(sensitive=False), tuple(question.changed)


def _map(given: Given) -> Remade:
    return _nest(given, given["workload"], given["on"], tuple(given.get("sizes") or ()))


def _nest(given: Given, what: str, on: str, sizes: tuple[str, ...]) -> Remade:
    from sim.cli import nests

    asked = nests.Asked(what, sizes, on, given.get("mapping"), given.get("technology"), None, given.get("objective"))
    return nests.answered(asked), ()


def _spgemm(given: Given) -> Remade:
    from sim.cli import sparse

    return sparse.answered(sparse.Asked.of(given)), _set(given)


def _offload(given: Given) -> Remade:
    from sim.cli import policies

    return policies.policy(policies.Asked.of(given)), _set(given)


def _rent(given: Given) -> Remade:
    from sim.cli import rentals

    return rentals.rented(rentals.Asked.of(given)), ()


def _cache(given: Given) -> Remade:
    from sim.cli import rentals

    return rentals.replayed(rentals.Stored.of(given)), ()


def _plan(given: Given) -> Remade:
    from sim.cli import plans
    from sim.cli.plan_asked import Asked

    return plans.answered(Asked.of(given)), ()


def _pipeline(given: Given) -> Remade:
    from sim.cli import pipelines

    return pipelines.answered(pipelines.Asked.of(given)), ()


def _ranges(given: Given) -> Remade:
    from sim.cli import layered

    return layered.answered(layered.Asked.of(given)), ()


def _train(given: Given) -> Remade:
    from sim.cli import trained

    return trained.answered(trained.Asked.of(given)), _set(given, "settings")


def row(given: Given, cells: Mapping[str, Any]) -> Remade:
    """What a sweep answers at the point of one of its rows."""
    from sim.cli import sweeps
    from sim.space.point import again

    what, terms = sweeps.terms_of(sweeps.Asked.of(given))
    return again(what, terms, cells), tuple(name for name in cells if "." in name)


COMMANDS: dict[str, Callable[[Given], Remade]] = {
    "estimate": _estimate, "compare": _compare, "map": _map, "spgemm": _spgemm, "offload": _offload, "rent": _rent,
    "cache": _cache, "plan": _plan, "pipeline": _pipeline, "ranges": _ranges, "train": _train,
}  # fmt: skip
