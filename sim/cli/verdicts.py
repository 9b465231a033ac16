"""``weir validate``: published figures recomputed."""

from __future__ import annotations

from sim.cli.data import Form, emit
from sim.cli.patience import patience
from sim.cli.text import show


def validate(paper: str | None, as_json: bool) -> int:
    """Print the report on one paper or all of them; the exit code says whether every row that should hold does."""
    from sim.published import validate as recompute

    with patience(f"recomputing {paper or 'every paper'}") as advance:
        report = recompute(paper, progress=advance)
    if as_json:
        emit(Form.JSON, report.summary(), [])
    else:
        show(str(report))
    return 0 if report.ok else 1
