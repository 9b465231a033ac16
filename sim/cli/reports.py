"""``weir report``: a table of results as one page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from einsum.errors import WeirError
from sim.cli.patience import patience
from sim.units import fmt


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for, as text."""

    table: str
    out: str
    x: str | None
    y: str | None
    minimise: tuple[str, ...]
    maximise: tuple[str, ...]
    title: str | None


def report(asked: Asked) -> None:
    """Write the page; the table is only read, and a page that is there stays unless the new one is whole."""
    from sim.pages.page import report as write
    from sim.pages.tables import read

    table, out = Path(asked.table), Path(asked.out)
    if table.resolve() == out.resolve():
        raise WeirError(f"{out} is the table itself; give the page another name")
    with patience(f"reading {table.name}"):
        frame = read(table)
        written = datetime.fromtimestamp(table.stat().st_mtime, UTC)
        made = write(
            frame, out, title=asked.title or table.stem, x=asked.x, y=asked.y, minimise=asked.minimise,
            maximise=asked.maximise, date=f"table of {written:%Y-%m-%d %H:%M} UTC", inputs=_inputs(asked),
        )  # fmt: skip
    print(f"{made}: {len(frame):,} rows, {fmt(made.stat().st_size, 'B')}")


def _inputs(asked: Asked) -> dict[str, str]:
    """What was asked, for the page's manifest: the table's name, not the folder it lay in."""
    given = {"x": asked.x, "y": asked.y, "minimise": ", ".join(asked.minimise), "maximise": ", ".join(asked.maximise)}
    return {"table": Path(asked.table).name} | {key: value for key, value in given.items() if value}
