"""What fills a memory is named, and what more of it is said to give is what the plan made again gives."""

from __future__ import annotations

import pytest

from sim.planner.answers import Scheduled
from sim.planner.memory_advice import laid, scheduled
from sim.planner.offsets import lay
from sim.planner.problem import Buffer, Problem, Task, Tier
from sim.planner.rematerialise import rematerialise


def test_buffers_of_the_fullest_moment_are_named() -> None:
    buffers = (Buffer("a", 5, ((0, 4),)), Buffer("b", 7, ((2, 6),)), Buffer("c", 3, ((4, 9),)))
    problem = Problem("p", buffers, (Tier("memory"),))
    [said] = laid(lay(problem))
    assert said.startswith("fullest at 2: 12 B live, b (7 B), a (5 B);")


def test_nothing_is_said_of_no_buffers() -> None:
    problem = Problem("p", (), (Tier("memory"),))
    assert list(laid(lay(problem))) == []


@pytest.mark.parametrize(
    ("capacity", "words"),
    [
        (41, ["nothing is computed again or waited for: more memory would not help"]),
        (37, ["20.0% of the time is computing again or waiting for copies", "+10% memory -> +25.0% runs/s"]),
    ],
)
def test_a_graph_short_of_memory_computes_again_until_it_has_more(capacity: int, words: list[str]) -> None:
    tasks = (
        Task("a", 1.0, (), ("x",)),
        Task("b", 1.0, ("x",), ("y",)),
        Task("c", 1.0, ("y",), ("w",)),
        Task("d", 1.0, ("w", "x"), ("z",)),
    )
    buffers = tuple(Buffer(name, size, ()) for name, size in {"x": 10, "y": 20, "w": 10, "z": 1}.items())
    problem = Problem("chain", buffers, (Tier("device", capacity),), tasks)
    assert list(scheduled(Scheduled(problem, rematerialise(problem)))) == words
