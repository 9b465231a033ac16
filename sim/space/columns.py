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
PLACES = "<i4"
Coded = dict[str, tuple[str, Any, list[Any] | None]]  # name -> type, numbers or places, and the values of the places


def packed(frame: pd.DataFrame) -> bytes:
    """The table's columns, compressed; one of mixed things holds each as JSON does."""
    made = {}
    for name, (kind, array, values) in coded(frame).items():
        listed = {} if values is None else {"values": values}
        made[name] = {"type": kind, **listed, "data": b64encode(array.tobytes()).decode()}
    return zlib.compress(json.dumps({"rows": len(frame), "columns": made}).encode(), 1)


def unpacked(raw: bytes) -> pd.DataFrame:
    """The table again, the same to the last bit."""
    found = json.loads(zlib.decompress(raw))
    columns: Coded = {}
    for name, column in found["columns"].items():
        kind = PLACES if "values" in column else KINDS[column["type"]]
        array = np.frombuffer(b64decode(column["data"]), kind)
        columns[name] = column["type"], array, column.get("values")
    return uncoded(columns, found["rows"])


def coded(frame: pd.DataFrame) -> Coded:
    """The table's columns as arrays of numbers: quick to send to another process, and to write."""
    return {str(name): _column(series) for name, series in frame.items()}


def uncoded(columns: Coded, rows: int) -> pd.DataFrame:
    """The table again, the same to the last bit."""
    import pandas as pd

    made = {name: pd.Series(_values(array, values), dtype=kind) for name, (kind, array, values) in columns.items()}
    return pd.DataFrame(made, index=range(rows))


def _column(series: pd.Series[Any]) -> tuple[str, Any, list[Any] | None]:
    kind = str(series.dtype)
    if kind in KINDS:
        return kind, series.to_numpy(KINDS[kind]), None
    if _texts(series):
        places, found = series.factorize()
        return kind, places.astype(PLACES), found.tolist()
    cells = [(type(value), value) for value in map(_plain, series.tolist())]  # 1, 1.0 and True are three values
    known = {cell: place for place, cell in enumerate(dict.fromkeys(cells))}
    return kind, np.array([known[cell] for cell in cells], PLACES), [value for _, value in known]


def _texts(series: pd.Series[Any]) -> bool:
    """Whether a column holds texts and nothing else."""
    from pandas.api.types import infer_dtype

    return infer_dtype(series, skipna=False) == "string"


def _plain(value: Any) -> Any:
    """What stands in a cell, in JSON's own types; anything else by its name."""
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _values(array: Any, values: list[Any] | None) -> Any:
    if values is None:
        return array.copy()
    known = np.empty(len(values), object)
    known[:] = values
    return known[array]
