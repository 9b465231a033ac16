"""Other people's figures, recomputed by the general model: ``validate`` puts theirs beside ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sim.published.figures import Figure, Paper
from sim.published.matrices import folder
from sim.published.report import Report, Row, row
from sim.published.shelf import paper, papers

__all__ = ["Figure", "Paper", "Report", "Row", "paper", "papers", "validate"]


def validate(
    name: str | Path | None = None,
    *,
    data: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """The figures of one paper (by name, or a file of figures by path), or of all, beside what the model gives.

    All of them take minutes. A row says whether the figure holds, within its stated tolerance, fails, or cannot be
    derived, and why. Raises :class:`WeirError` for an unknown paper and for mistakes in a file.
    ``data`` is a folder of matrices that do not come with weir; figures about a matrix that is not there are "absent".
    ``progress`` is called with the number of figures done and of all.
    """
    found = tuple(paper(each) for each in ([name] if name is not None else papers()))
    todo = [(source, figure) for source in found for figure in source.figures]
    rows = []
    with folder(data):
        for done, (source, figure) in enumerate(todo, start=1):
            rows.append(row(source, figure))
            if progress is not None:
                progress(done, len(todo))
    return Report(found, tuple(rows))
