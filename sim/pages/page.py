"""One HTML file that shows a table: an interactive picture, the rows, what they come from. It loads nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import platform
import string
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from einsum.errors import WeirError, hint

if TYPE_CHECKING:
    import pandas as pd

ROWS, COLUMNS, LONGEST = 100_000, 256, 2000  # rows and columns of a page, characters of a cell
SCRIPTS = ("rows.js", "plot.js", "table.js", "controls.js")
FIRST = ("tokens_per_second", "seconds", "usd_per_hour", "tokens_per_dollar", "usd_per_million_tokens", "joules")
MORE = ("per_second", "per_dollar", "per_joule", "per_usd", "throughput", "utilisation")  # more is better of these
EXACT = 2**53  # a browser's numbers hold whole numbers up to here


def report(
    frame: pd.DataFrame, path: str | Path, *, title: str | None = None, x: str | None = None, y: str | None = None,
    minimise: Sequence[str] | str = (), maximise: Sequence[str] | str = (), date: str | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write the table as one self-contained page and return its path; what was there stays if anything fails.

    ``x`` and ``y`` are the columns first drawn, ``minimise`` and ``maximise`` the objectives of the front (without
    them, the two axes). ``frame.attrs["units"]`` names units and ``frame.attrs["manifest"]`` what made the rows;
    ``date`` and ``inputs`` are printed with it. Raises :class:`WeirError` for columns that are not there, or a file
    that cannot be written.
    """
    where = Path(path)
    if where.suffix.lower() not in (".html", ".htm"):
        raise WeirError(f"{where}: a page's name ends in .html")
    text = page(
        frame, title=title or where.stem, x=x, y=y, minimise=minimise, maximise=maximise, date=date, inputs=inputs
    )
    _write(where, text)
    return where


def page(
    frame: pd.DataFrame, *, title: str = "weir", x: str | None = None, y: str | None = None,
    minimise: Sequence[str] | str = (), maximise: Sequence[str] | str = (), date: str | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """The page as text. Every name and cell of the table is escaped: none is ever markup or a programme."""
    if not len(frame.columns):
        raise WeirError("report: the table has no column")
    shown = frame.iloc[:ROWS, :COLUMNS]
    columns = [_column(name, shown.iloc[:, at], frame) for at, name in enumerate(_names(shown))]
    numeric = [c["name"] for c in columns if c["number"]]
    senses = _senses(columns, minimise, maximise)
    axes = _axes(columns, numeric, (x, y), senses)
    data: dict[str, Any] = {"columns": columns, "x": axes[0], "y": axes[1], "fixed": bool(senses)}
    data["senses"] = list((senses or {name: _guess(name) for name in numeric}).items())
    script, style = "\n".join(_asset(name) for name in SCRIPTS), _asset("page.css")
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    return string.Template(_asset("page.html")).substitute(
        title=html.escape(title), summary=html.escape(_summary(frame, shown, date)), version=html.escape(_version()),
        manifest=_listed(_manifest(frame, date, inputs or {})), data=_json(data), script=script, style=style,
        script_hash=_hash(script), style_hash=_hash(style),
    )  # fmt: skip


def _names(frame: pd.DataFrame) -> list[str]:
    """The columns' names as text, each once."""
    made: list[str] = []
    for name in map(str, frame.columns):
        again = sum(other == name or other.startswith(f"{name} #") for other in made)
        made.append(f"{name} #{again + 1}" if name in made else name)
    return made


def _column(name: str, values: pd.Series[Any], frame: pd.DataFrame) -> dict[str, Any]:
    """A column as the page reads it: numbers where all are, else text."""
    unit = frame.attrs.get("units", {}).get(name)
    numbers = _numbers(values)
    cells = [_cell(v) for v in values.tolist()] if numbers is None else [_real(v) for v in numbers.tolist()]
    return {"name": name, "unit": None if unit is None else str(unit), "number": numbers is not None, "values": cells}


def _numbers(values: pd.Series[Any]) -> Any:
    """The values as floats, missing ones NaN; None if one is no number, or too large a whole one to be held exactly."""
    from pandas.api.types import infer_dtype, is_complex_dtype, is_numeric_dtype

    kind = infer_dtype(values, skipna=True)
    if is_complex_dtype(values) or not (is_numeric_dtype(values) or values.dtype == object):
        return None
    if kind not in ("integer", "floating", "mixed-integer-float", "decimal"):
        return None
    try:
        found = values.astype("Float64" if values.dtype == object else values.dtype).to_numpy(float, na_value=np.nan)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if kind == "integer" and len(found) and np.nanmax(np.abs(found), initial=0) > EXACT else found


def _real(value: float) -> float | str | None:
    """A number for JSON, which has no infinities and nothing that is not a number."""
    if value != value:
        return None
    if value in (np.inf, -np.inf):
        return "Infinity" if value > 0 else "-Infinity"
    return int(value) if value == int(value) and abs(value) < EXACT else value


def _cell(value: Any) -> str | None:
    """A cell as text, clipped; a missing one is None."""
    if value is None or value != value:
        return None
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _senses(
    columns: list[dict[str, Any]], minimise: Sequence[str] | str, maximise: Sequence[str] | str
) -> dict[str, int]:
    """The objectives, 1 where least is best and -1 where most is."""
    senses: dict[str, int] = {}
    for given, sense in ((minimise, 1), (maximise, -1)):
        for name in [given] if isinstance(given, str) else given:
            if name in senses:
                raise WeirError(f"report: column {name!r} is named twice among what to minimise and maximise")
            senses[_numeric(columns, name)] = sense
    return senses


def _numeric(columns: list[dict[str, Any]], name: str) -> str:
    """The name of a column of numbers, or why it is none."""
    found = next((c for c in columns if c["name"] == name), None)
    if found is None:
        numbers = [c["name"] for c in columns if c["number"]]
        raise WeirError(f"report: no column {name!r}{hint(name, numbers, most=40)}")
    if not found["number"]:
        raise WeirError(f"report: column {name!r} holds text; axes and objectives are numbers")
    return name


def _axes(
    columns: list[dict[str, Any]], numeric: list[str], given: tuple[str | None, str | None], senses: Mapping[str, int]
) -> tuple[str | None, str | None]:
    """The two columns first drawn: those given, then objectives, then well-known figures, then any that vary."""
    asked = [None if name is None else _numeric(columns, name) for name in given]
    varied = [c["name"] for c in columns if c["number"] and len({v for v in c["values"] if v is not None}) > 1]
    known = [name for name in FIRST if name in varied]
    # Of a sweep's columns the axes come first and the results last: the results are what to look at.
    rest = [n for n in dict.fromkeys([*senses, *known, *reversed(varied), *numeric]) if n not in asked]
    picked = [name if name is not None else (rest.pop(0) if rest else None) for name in asked]
    return (picked[0], picked[1]) if None not in picked else (None, None)


def _guess(name: str) -> int:
    """Whether less or more is likely to be better; the page lets people say otherwise."""
    return -1 if any(part in name for part in MORE) else 1


def _summary(frame: pd.DataFrame, shown: pd.DataFrame, date: str | None) -> str:
    """One line below the title: how much there is, how much of it is shown, from when."""
    parts = [f"{len(frame):,} rows, {len(frame.columns):,} columns"]
    if len(shown) < len(frame):
        parts.append(f"the first {len(shown):,} rows are shown")
    if len(shown.columns) < len(frame.columns):
        parts.append(f"the first {len(shown.columns)} columns are shown")
    return "; ".join([*parts, *([date] if date else [])])


def _manifest(frame: pd.DataFrame, date: str | None, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What made the page and the rows: versions, date, inputs."""
    made = {"weir": _version(), "python": platform.python_version(), "numpy": np.__version__}
    own = frame.attrs.get("manifest", {})
    return {
        **made,
        **({"date": date} if date else {}),
        **(own if isinstance(own, Mapping) else {"rows": own}),
        **inputs,
    }


def _listed(entries: Mapping[str, Any]) -> str:
    """Names and values as a definition list's HTML."""
    texts = {str(k): v if isinstance(v, str) else json.dumps(v, default=str, indent=1) for k, v in entries.items()}
    return "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in texts.items())


def _json(data: Any) -> str:
    """JSON that HTML reads as text whatever it holds: no character of it opens a tag or an entity."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return (files("sim.pages") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The text's digest as a content security policy names it: no other script or style of the page runs."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("weir")
    except PackageNotFoundError:
        return "run from its sources"


def _write(path: Path, text: str) -> None:
    """Write the file whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(text.encode("utf-8", "replace"))  # half a surrogate pair in a title is no reason to fail
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise WeirError(f"cannot write {path}: {error.strerror or error}") from None
