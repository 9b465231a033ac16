"""Every notebook runs from top to bottom, within a minute, and is committed without outputs."""

from __future__ import annotations

import json
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 60

# Jupyter's own housekeeping, none of it about a notebook's contents.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Jupyter is migrating:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*event loop:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@cache
def executed(path: Path) -> list[dict[str, Any]]:
    """The notebook's code cells after a run in a kernel of this interpreter, with this tree first on its path."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(book, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"})
    return [cell for cell in book.cells if cell.cell_type == "code"]


def text(cells: list[dict[str, Any]], stream: str) -> str:
    """What the cells wrote to a stream."""
    return "".join(
        o["text"] for c in cells for o in c["outputs"] if o["output_type"] == "stream" and o["name"] == stream
    )


def pictures(cells: list[dict[str, Any]]) -> int:
    """How many pictures the cells show."""
    return sum("image/png" in o.get("data", {}) for c in cells for o in c["outputs"])


def test_there_are_notebooks() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{i + 1:02}" for i in range(len(NOTEBOOKS))]
    assert len(NOTEBOOKS) >= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_outputs_are_committed(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert all(not c["outputs"] and c["execution_count"] is None for c in cells if c["cell_type"] == "code")
    assert cells[0]["cell_type"] == "markdown"  # a question comes first


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs_within_a_minute_and_shows_pictures(path: Path) -> None:
    start = time.monotonic()
    cells = executed(path)
    assert time.monotonic() - start < SECONDS
    assert pictures(cells) >= 3
    assert text(cells, "stderr") == ""
    assert text(cells[-1:], "stdout")  # the answer comes last


def test_the_answer_on_attention_offloading_has_both_signs() -> None:
    """The notebook's closing words hold: cheaper where prompts are read elsewhere, dearer for short answers here."""
    [path] = [p for p in NOTEBOOKS if "offloading" in p.stem]
    lines = text(executed(path)[-1:], "stdout").splitlines()
    elsewhere, short, _ = [[float(x) for x in line.split(":")[-1].split(" to ")] for line in lines[1:]]
    assert elsewhere[1] > 1.2
    assert short[1] < 1
