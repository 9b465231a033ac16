"""A table as bytes and back: columns of numbers as they are in memory, of texts by place in a list; read, never run."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"f": "<f8", "i": "<i8", "u": "<i8", "b": "|b1"}


def packed(frame: pd.DataFrame) -> bytes:
    """The table's columns, compressed; a column of mixed things holds them as JSON."""
    made = {str(name): _column(frame[name].to_numpy()) for name in frame.columns}
    return zlib.compress(json.dumps({"rows": len(frame), "columns": made}).encode(), 1)


def unpacked(raw: bytes) -> pd.DataFrame:
    """The table again, the same to the last bit."""
    import pandas as pd

    found = json.loads(zlib.decompress(raw))
    return pd.DataFrame(
        {name: _values(column) for name, column in found["columns"].items()}, index=range(found["rows"])
    )


def _column(values: Any) -> dict[str, Any]:
    kind = KINDS.get(values.dtype.kind)
    if kind is not None:
        return {"type": kind, "data": b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()}
    cells = [(type(value), value) for value in map(_plain, values.tolist())]  # 1, 1.0 and True are three values
    known = {cell: place for place, cell in enumerate(dict.fromkeys(cells))}
    codes = np.array([known[cell] for cell in cells], "<i4")
    return {"type": "text", "values": [value for _, value in known], "data": b64encode(codes.tobytes()).decode()}


def _plain(value: Any) -> Any:
    """What stands in a cell, in JSON's own types; anything else by its name."""
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _values(column: dict[str, Any]) -> Any:
    raw = b64decode(column["data"])
    if column["type"] != "text":
        return np.frombuffer(raw, column["type"]).copy()
    known = np.empty(len(column["values"]), object)
    known[:] = column["values"]
    return known[np.frombuffer(raw, "<i4")]
