"""Tables and paragraphs for a terminal: styled and fitted to a person's, plain and unwrapped into a pipe."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import Any

WIDTH = 80  # columns of plain text that people's terminals have at least
WORD = 12  # columns to which a cell of words may be folded


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of text: columns to the right are numbers where ``right`` says so; notes come below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Aligned with spaces, a row on one line however wide, notes folded: for pipes, files and tests."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        head = [self.title] if self.title else []
        body = [self._line(row, widths) for row in (self.columns, *self.rows)]
        return "\n".join([*head, *body, *map(folded, self.notes)])

    def _line(self, row: tuple[str, ...], widths: list[int]) -> str:
        cells = (
            cell.rjust(width) if at in self.right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()


def show(*parts: Sheet | str) -> None:
    """Print sheets and paragraphs, a blank line between them."""
    if styled():
        _rich(parts)
    else:
        print("\n\n".join(map(str, parts)))


def styled() -> bool:
    """Whether stdout is a terminal that can do more than plain text."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def terminal() -> int | None:
    """Columns of the terminal that stdout is; None where it is a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _rich(parts: tuple[Sheet | str, ...]) -> None:
    """Print on a terminal: tables fitted to its width, long cells folded."""
    from rich.console import Console

    console = Console(highlight=False)  # honours NO_COLOR by itself
    for place, part in enumerate(parts):
        if place:
            console.print()
        if isinstance(part, str):
            console.print(part, markup=False, soft_wrap=True)
            continue
        if _least(part) > console.width:
            print(part)
            continue
        if part.title:
            console.print(part.title, markup=False, style="bold")
        console.print(_table(part))
        for note in part.notes:
            console.print(note, markup=False, style="dim")


def _least(sheet: Sheet) -> int:
    """Columns that a table needs if no number and no name is to be broken: words beside them may be folded."""
    widths = [max(map(len, column)) for column in zip(sheet.columns, *sheet.rows, strict=True)]
    kept = (width if at == 0 or at in sheet.right else min(width, WORD) for at, width in enumerate(widths))
    return sum(kept) + 2 * (len(widths) - 1)


def _table(sheet: Sheet) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(sheet.columns):
        table.add_column(
            name,
            justify="right" if at in sheet.right else "left",
            no_wrap=at == 0 or at in sheet.right,
            overflow="fold",
        )
    for row in sheet.rows:
        table.add_row(*map(Text, row))
    return table


def folded(text: str, width: int = WIDTH, indent: str = "  ") -> str:
    """A paragraph broken at words, its further lines indented."""
    import textwrap

    return textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
