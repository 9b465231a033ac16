"""Tables of sweeps as files that pandas reads as they are, with the units of their columns and their manifest.

JSON is pandas' own layout (``orient="table"``) with both inside. Parquet keeps them where pandas keeps ``attrs``, and a
column's unit with the column. CSV has no place for either: they stand beside it in a file named as the W3C's "Metadata
Vocabulary for Tabular Data" names it (``TABLE.csv-metadata.json``), so that ``read_csv`` needs no arguments.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum.errors import WeirError
from einsum.files import content, read_text, regular, write

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".csv", ".json", ".parquet")
LARGEST = 1 << 28  # bytes of a file that is read
BESIDE = "-metadata.json"
CONTEXT = ["http://www.w3.org/ns/csvw", {"schema": "https://schema.org/"}]


def checked(path: Path) -> None:
    """Refuse an ending that no table is written with, a folder that takes none, and Parquet without its library."""
    from importlib.util import find_spec

    if path.suffix not in ENDINGS:
        raise WeirError(f"{path}: a table is written as {', '.join(ENDINGS)}")
    if not os.access(path.absolute().parent, os.W_OK):
        raise WeirError(f"{path}: no folder that a table can be written to")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise WeirError("parquet needs pyarrow: pip install 'weir[parquet]', or write .csv")


def written(frame: pd.DataFrame, path: Path, manifest: Mapping[str, Any]) -> None:
    """The table in a file, whole or not at all, with its units (``frame.attrs["units"]``) and manifest."""
    checked(path)
    units = frame.attrs.get("units", {})
    if path.suffix == ".json":
        write(path, text(frame, manifest).encode(), "table")
    elif path.suffix == ".parquet":
        write(path, _parquet(frame, units, manifest), "table")
    else:
        raw = frame.to_csv(index=False, lineterminator="\n").encode()
        write(path.with_name(path.name + BESIDE), _beside(frame, path.name, raw, manifest).encode(), "table's metadata")
        write(path, raw, "table")


def text(frame: pd.DataFrame, manifest: Mapping[str, Any]) -> str:
    """The table as JSON, units with its fields and the manifest at its end."""
    from pandas.io.json import build_table_schema

    units = frame.attrs.get("units", {})
    schema: dict[str, Any] = build_table_schema(frame, index=False)
    for field in schema["fields"]:
        field.update({"unit": units[field["name"]]} if field["name"] in units else {})
    rows = [dict(zip(frame.columns, row, strict=True)) for row in _cells(frame)]
    return json.dumps({"schema": schema, "data": rows, "units": units, "manifest": manifest}, allow_nan=False)


def _cells(frame: pd.DataFrame) -> list[list[Any]]:
    """Rows in JSON's own types, every float whole; what is not a finite number is null."""
    columns = [frame[name].tolist() for name in frame.columns]
    return [[_cell(value) for value in row] for row in zip(*columns, strict=True)]


def _cell(value: Any) -> Any:
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _parquet(frame: pd.DataFrame, units: Mapping[str, str], manifest: Mapping[str, Any]) -> bytes:
    """As pandas writes it: ``read_parquet(...).attrs`` has units and manifest; so has the schema, column by column."""
    import pyarrow as pa
    from pyarrow import parquet

    whole = frame.copy(deep=False)
    whole.attrs = {"units": dict(units), "manifest": dict(manifest)}
    table = pa.Table.from_pandas(whole, preserve_index=False)
    fields = [f.with_metadata({"unit": units[f.name]}) if f.name in units else f for f in table.schema]
    into = BytesIO()
    parquet.write_table(table.cast(pa.schema(fields, table.schema.metadata)), into)
    return into.getvalue()


def _beside(frame: pd.DataFrame, name: str, raw: bytes, manifest: Mapping[str, Any]) -> str:
    """The metadata of a CSV: its columns with types and units, a hash of it, and its manifest."""
    units = frame.attrs.get("units", {})
    columns = [_column(str(name), frame[name].dtype.kind, units) for name in frame.columns]
    found = {"@context": CONTEXT, "url": name, "tableSchema": {"columns": columns}, "blake2b": content(raw)}
    return json.dumps({**found, "manifest": manifest}, indent=1)


def _column(name: str, kind: str, units: Mapping[str, str]) -> dict[str, str]:
    found = {
        "name": name,
        "titles": name,
        "datatype": {"i": "integer", "f": "double", "b": "boolean"}.get(kind, "string"),
    }
    return found | ({"schema:unitText": units[name]} if name in units else {})


def figures(path: Path) -> tuple[Any, Any]:
    """What is in a result's or a table's file, and its manifest (None where it has none)."""
    kind = {".csv": _from_csv, ".parquet": _from_parquet}.get(path.suffix.lower(), _from_json)
    return kind(path)


def _from_json(path: Path) -> tuple[Any, Any]:
    found = _parsed(path, "result")
    if not isinstance(found, dict):
        return found, None
    return {key: value for key, value in found.items() if key != "manifest"}, found.get("manifest")


def _parsed(path: Path, what: str) -> Any:
    held = read_text(path, what, LARGEST)
    try:
        return json.loads(held)
    except (ValueError, RecursionError) as problem:
        raise WeirError(f"{path.name}: not valid JSON: {problem}") from None


def _from_csv(path: Path) -> tuple[Any, Any]:
    import csv

    raw = read_text(path, "table", LARGEST)
    about = beside(path)
    if about is not None and about.get("blake2b") != content(raw.encode()):
        raise WeirError(
            f"{path.name} is not the table that {path.name}{BESIDE} describes: one was changed or is of another run"
        )
    rows = list(csv.DictReader(raw.splitlines()))
    return {"data": rows}, None if about is None else about.get("manifest")


def beside(path: Path) -> dict[str, Any] | None:
    """What stands beside a CSV about it; None where nothing does."""
    there = path.with_name(path.name + BESIDE)
    if not there.is_file():
        return None
    found = _parsed(there, "metadata")
    return found if isinstance(found, dict) else None


def column_units(about: Mapping[str, Any]) -> dict[str, str]:
    """The units that the metadata of a CSV gives its columns."""
    columns = mapping(about.get("tableSchema")).get("columns")
    found = [mapping(one) for one in columns] if isinstance(columns, list) else []
    return {str(one["name"]): str(one["schema:unitText"]) for one in found if {"name", "schema:unitText"} <= one.keys()}


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object with its keys; an empty one for anything else."""
    return {str(key): inner for key, inner in value.items()} if isinstance(value, Mapping) else {}


def _from_parquet(path: Path) -> tuple[Any, Any]:
    import pandas as pd

    checked(path)
    regular(path, "table", LARGEST)
    try:
        frame = pd.read_parquet(path)
    except (ValueError, OSError) as problem:
        raise WeirError(f"{path.name}: not a Parquet table: {' '.join(str(problem).split())[:200]}") from None
    rows = [dict(zip(map(str, frame.columns), row, strict=True)) for row in _cells(frame)]
    return {"units": frame.attrs.get("units", {}), "data": rows}, frame.attrs.get("manifest")
