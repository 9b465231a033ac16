"""Answers for programs: JSON whole, or CSV by rows."""

from __future__ import annotations

import json
import math
import sys
from enum import Enum
from pathlib import Path
from typing import Any

from einsum.errors import WeirError
from einsum.files import write
from sim.cli.text import Sheet
from sim.manifest import Made, manifest


class Form(Enum):
    """How an answer is printed."""

    TEXT, JSON, CSV = "text", "json", "csv"

    @classmethod
    def of(cls, as_json: bool, as_csv: bool) -> Form:
        """The form that two flags ask for."""
        if as_json and as_csv:
            raise WeirError("give --json or --csv, not both")
        return cls.JSON if as_json else cls.CSV if as_csv else cls.TEXT


def emit(form: Form, summary: dict[str, Any], rows: list[dict[str, Any]], made: Made | None = None) -> None:
    """Print the summary as JSON with its manifest, or the rows as CSV under a line of names."""
    if form is Form.JSON:
        print(text(summary, made))
        return
    import csv

    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain(row) for row in rows)


def text(summary: dict[str, Any], made: Made | None = None, output: str = "") -> str:
    """The summary as JSON, what it follows from at its end."""
    return json.dumps(plain({**summary, "manifest": manifest(made, output)}), indent=2, allow_nan=False)


def save(path: str, option: str, summary: dict[str, Any], made: Made | None = None) -> None:
    """Write the summary as JSON with its manifest, whole or not at all."""
    write(Path(path), (text(summary, made, option) + "\n").encode(), f"--{option}")


def sheets(schema: str, name: str, parts: tuple[Sheet | str, ...]) -> dict[str, Any]:
    """What a command prints as tables and paragraphs, for programs: cells as they are printed, by column."""
    tables = [part for part in parts if isinstance(part, Sheet)]
    return {
        "schema": schema,
        "name": name,
        "title": next((table.title for table in tables if table.title), ""),
        "rows": [dict(zip(_columns(table), row, strict=True)) for table in tables for row in table.rows],
        "notes": [line for part in parts for line in ([part] if isinstance(part, str) else part.notes) if line],
    }


def _columns(table: Sheet) -> list[str]:
    """The columns' names; one without a heading is remarks."""
    return [name or "remark" for name in table.columns]


def plain(value: Any) -> Any:
    """The value in JSON's own types; what is not a finite number is null."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, bool | int | str | None):
        return value
    return float(value) if math.isfinite(value) else None
