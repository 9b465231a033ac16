"""Tables of results read from files: CSV with a line of names, or JSON."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum.errors import WeirError
from einsum.files import read_text
from sim.serving.answer import flat
from sim.space.sweep import UNITS
from sim.space.tables import beside, column_units, mapping

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 1 << 28  # bytes of a file
_UNIT = re.compile(r"^(.*\S) [(\[]([^()\[\]]{1,24})[)\]]$", re.S)  # "latency (s)", "energy [J]"


def read(path: str | Path) -> pd.DataFrame:
    """The file's rows, their units in ``attrs["units"]`` and what the file says of itself in ``attrs["manifest"]``.

    JSON is a list of objects, an object with ``rows`` or ``data`` (as ``weir sweep --out`` writes), or what
    ``weir estimate --json`` and ``weir compare --json`` print. A unit is the file's own (``units``), the bracket behind
    a column's name, or that which weir gives the name.
    Raises :class:`WeirError` for anything else.
    """
    where = Path(path)
    kinds = {".csv": _csv, ".json": _json}
    if where.suffix.lower() not in kinds:
        raise WeirError(f"{where}: a table's name ends in .csv or .json")
    frame, units, manifest = kinds[where.suffix.lower()](read_text(where, "table", LARGEST), where.name)
    if (about := beside(where)) is not None:
        units, manifest = units | column_units(about), manifest | mapping(about.get("manifest"))
    split = {name: found for name in map(str, frame.columns) if name not in units and (found := _UNIT.match(name))}
    bare = [split[name][1] if name in split else name for name in map(str, frame.columns)]
    if len(set(bare)) == len(bare):
        units = {found[1]: found[2] for found in split.values()} | units
        frame.columns = bare
    known = {name: unit for name in map(str, frame.columns) if (unit := _known(name))}
    frame.attrs.update(units=known | units, manifest=manifest)
    return frame


def _known(name: str) -> str | None:
    """The unit of a column that weir writes."""
    return "s" if name.startswith(("ttft_", "tpot_", "e2e_")) else UNITS.get(name)


def _csv(content: str, name: str) -> tuple[pd.DataFrame, dict[str, str], dict[str, Any]]:
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a row longer than the heading would lose its end
            frame = pd.read_csv(io.StringIO(content), index_col=False, low_memory=False)
    except (ValueError, OverflowError, pd.errors.ParserWarning) as problem:
        raise WeirError(f"{name}: not a CSV table: {' '.join(str(problem).split())}") from None
    return frame, {}, {}


def _json(content: str, name: str) -> tuple[pd.DataFrame, dict[str, str], dict[str, Any]]:
    import pandas as pd

    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as problem:
        raise WeirError(f"{name}: not valid JSON: {problem}") from None
    rows, units, about = _rows(found)
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise WeirError(f"{name}: no table: give a list of objects, or an object with 'rows' (docs/report.md)")
    try:
        return pd.DataFrame([flat(row) for row in rows]), units, about
    except (ValueError, OverflowError, RecursionError) as problem:
        raise WeirError(f"{name}: no table: {problem}") from None


def _rows(found: Any) -> tuple[list[Any], dict[str, str], dict[str, Any]]:
    """The rows of a parsed file, their units, and what it says of them."""
    if isinstance(found, list):
        return found, {}, {}
    if not isinstance(found, dict):
        return [], {}, {}
    key = next((k for k in ("rows", "answers", "data") if isinstance(found.get(k), list)), None)
    rows = found[key] if key else [found] if found.get("schema") == "weir.estimate/1" else []
    units, manifest = found.get("units"), found.get("manifest")
    named = {str(k): str(v) for k, v in units.items()} if isinstance(units, dict) else {}
    schema = {"schema": found["schema"]} if isinstance(found.get("schema"), str) else {}
    return rows, named, schema | mapping(manifest)
