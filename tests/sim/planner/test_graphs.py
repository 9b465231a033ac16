"""Graphs from JSON files, and what is said of bad ones."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from einsum import WeirError
from sim.planner.graphs import load
from sim.planner.problem import Buffer, Task, Tier

GOOD: dict[str, Any] = {
    "name": "two",
    "buffers": [{"name": "x", "bytes": "1 KiB"}, {"name": "y", "bytes": 8}],
    "tasks": [{"name": "t", "seconds": "2 ms", "reads": ["x"], "writes": ["y"]}],
    "tiers": [{"name": "hbm", "capacity": "1 MB"}, {"name": "host", "write": "1 GB/s", "read": "2 GB/s"}],
    "given": ["x"],
    "kept": ["y"],
}


def written(path: Path, content: Any) -> Path:
    """A file with the content as JSON (text as it is)."""
    file = path / "graph.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def test_a_graph_is_read(tmp_path: Path) -> None:
    problem = load(written(tmp_path, GOOD))
    assert problem.buffers == (Buffer("x", 1024), Buffer("y", 8))
    assert problem.tasks == (Task("t", 0.002, ("x",), ("y",)),)
    assert problem.tiers[0] == Tier("hbm", 1e6)
    assert (problem.tiers[1].write, problem.tiers[1].read) == (1e9, 2e9)
    assert (problem.given, problem.kept) == (("x",), ("y",))
    assert load(written(tmp_path, GOOD), (Tier("mine", 5.0),)).tiers == (Tier("mine", 5.0),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"buffers": []}, "'buffers' must be a list of objects and not empty"),
        ({"buffers": [{"name": "x", "bytes": -1}]}, r"buffers\[0\] 'bytes': -1 is negative"),
        ({"buffers": [{"name": "x", "bytes": 1.5}]}, "must be a whole number, not 1.5"),
        ({"buffers": [{"name": "x", "bytes": 1}, {"name": "x", "bytes": 1}]}, "two buffers are called 'x'"),
        ({"buffers": [{"name": "x", "size": 1}]}, r"buffers\[0\]: unknown key 'size'"),
        ({"tasks": [{"name": "t", "reads": ["z"]}]}, "a task names no buffer 'z'"),
        ({"tasks": [7]}, r"tasks\[0\]: must be an object, not 7"),
        ({"tasks": [{"name": "t", "reads": "x"}]}, "'reads' must be a list of names, not 'x'"),
        ({"task": []}, "unknown key 'task'; did you mean 'tasks'"),
        ({"tiers": [{"name": "h", "write": 0}]}, "a bandwidth must be above zero"),
        ({"given": ["q"]}, "'given' or 'kept' names no buffer 'q'"),
    ],
)
def test_bad_graphs_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(WeirError, match=message):
        load(written(tmp_path, {**GOOD, **change}))


@pytest.mark.parametrize(("text", "message"), [("[", "not valid JSON"), ("[1]", "must be an object"),
                                               ("[" * 5000, "not valid JSON")])  # fmt: skip
def test_what_is_no_graph(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(WeirError, match=message):
        load(written(tmp_path, text))


def test_the_page_s_example_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "planning_training.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```json\n(.*?)```", text, re.S)
    problem = load(written(tmp_path, block))
    assert [b.size for b in problem.buffers] == [64 * 2**20, 2**20]
    assert [t.name for t in problem.tiers] == ["hbm", "host"]
