"""A table as bytes and back: columns of numbers as they are in memory, of texts by place in a list; read, never run."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"float64": "<f8", "int64": "<i8", "bool": "|b1"}


def packed(frame: pd.DataFrame) -> bytes:
    """The table's columns, compressed; one of mixed things holds each as JSON does."""
    made = {str(name): _column(frame[name]) for name in frame.columns}
    return zlib.compress(json.dumps({"rows": len(frame), "columns": made}).encode(), 1)


def unpacked(raw: bytes) -> pd.DataFrame:
    """The table again, the same to the last bit."""
    import pandas as pd

    found = json.loads(zlib.decompress(raw))
    made = {name: pd.Series(_values(column), dtype=column["type"]) for name, column in found["columns"].items()}
    return pd.DataFrame(made, index=range(found["rows"]))


def _column(series: pd.Series[Any]) -> dict[str, Any]:
    kind = str(series.dtype)
    if kind in KINDS:
        return {"type": kind, "data": b64encode(series.to_numpy(KINDS[kind]).tobytes()).decode()}
    cells = [(type(value), value) for value in map(_plain, series.tolist())]  # 1, 1.0 and True are three values
    known = {cell: place for place, cell in enumerate(dict.fromkeys(cells))}
    codes = np.array([known[cell] for cell in cells], "<i4")
    return {"type": kind, "values": [value for _, value in known], "data": b64encode(codes.tobytes()).decode()}


def _plain(value: Any) -> Any:
    """What stands in a cell, in JSON's own types; anything else by its name."""
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _values(column: dict[str, Any]) -> Any:
    raw = b64decode(column["data"])
    if "values" not in column:
        return np.frombuffer(raw, KINDS[column["type"]]).copy()
    known = np.empty(len(column["values"]), object)
    known[:] = column["values"]
    return known[np.frombuffer(raw, "<i4")]
