"""A sweep's answers on disk: an SQLite file that survives being killed, and that several sweeps may share.

Answers are kept a block at a time (a single point of a function, up to some thousands of vectorised steps), under a
hash of everything that they follow from: the model's sources, and each value with what its name stands for. So a
changed device or a changed model finds nothing to reuse, an unchanged one all.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum.errors import WeirError
from sim.space.columns import packed, unpacked

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
WAIT = 30.0  # seconds that another sweep may hold the file
_BATCH = 500  # hashes asked for at once
# All at once: another sweep that opens the file meanwhile finds nothing, or all of it.
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (
    key BLOB PRIMARY KEY, version TEXT NOT NULL, points INTEGER NOT NULL, answers BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS runs (
    key TEXT PRIMARY KEY, version TEXT NOT NULL, started TEXT NOT NULL, total INTEGER NOT NULL, spec TEXT NOT NULL
) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('schema', '{SCHEMA}');
COMMIT;
"""  # noqa: S608  the number is ours


@dataclass(frozen=True, slots=True)
class Kept:
    """One sweep that a store knows: when it was first asked for, with which sources, its size and its terms."""

    key: str
    version: str
    started: str
    total: int
    spec: dict[str, Any]


class Store:
    """An open store; use :func:`opened`."""

    def __init__(self, base: sqlite3.Connection, path: Path) -> None:
        self._base, self.path = base, path

    def known(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of the keys that answers are kept for."""
        found: set[bytes] = set()
        for start in range(0, len(keys), _BATCH):
            some = keys[start : start + _BATCH]
            marks = ",".join("?" * len(some))
            query = f"SELECT key FROM blocks WHERE key IN ({marks})"  # noqa: S608  marks are question marks
            found.update(key for (key,) in self._base.execute(query, some))
        return found

    def table(self, key: bytes) -> pd.DataFrame:
        """The answers kept for a key."""
        [(raw,)] = self._base.execute("SELECT answers FROM blocks WHERE key = ?", (key,))
        return unpacked(raw)

    def add(self, key: bytes, version: str, frame: pd.DataFrame) -> None:
        """Keep answers, whole or not at all; what is there already stays as it is."""
        row = key, version, len(frame), packed(frame)
        with self._base:
            self._base.execute("INSERT OR IGNORE INTO blocks VALUES (?, ?, ?, ?)", row)

    def begin(self, run: Kept) -> None:
        """Note a sweep, so that its state can be asked for."""
        with self._base:
            self._base.execute(
                "INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?)",
                (run.key, run.version, run.started, run.total, json.dumps(run.spec)),
            )

    def runs(self) -> tuple[Kept, ...]:
        """Every sweep noted, the first asked for first."""
        rows = self._base.execute("SELECT key, version, started, total, spec FROM runs ORDER BY started, key")
        return tuple(
            Kept(key, version, started, total, json.loads(spec)) for key, version, started, total, spec in rows
        )

    def versions(self) -> dict[str, int]:
        """Answers kept, by the version of the sources that gave them."""
        return dict(self._base.execute("SELECT version, sum(points) FROM blocks GROUP BY version ORDER BY version"))


@contextmanager
def opened(path: str | Path, *, create: bool = True) -> Iterator[Store]:
    """The store at a path, made if it is not there; what goes wrong with the file is a :class:`WeirError`."""
    place = Path(path)
    if not create and not place.exists():
        raise WeirError(f"no store {place}; a sweep with --store makes it")
    if place.exists() and not place.is_file():
        raise WeirError(f"{place} is not a file; a store is one")
    base: sqlite3.Connection | None = None
    try:
        base = sqlite3.connect(place, timeout=WAIT)
        _prepare(base, place, create)
        yield Store(base, place)
    except sqlite3.Error as error:
        raise WeirError(_said(error, place)) from None
    finally:
        if base is not None:
            base.close()


def _prepare(base: sqlite3.Connection, place: Path, create: bool) -> None:
    """Tables and journal as they must be; refuse a file of something else or of a later weir."""
    names = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if names and "meta" not in names:
        raise WeirError(f"{place} is a database of something else, not a store of sweeps")
    if not names and not create:
        raise WeirError(f"{place} is empty; a sweep with --store fills it")
    if names:
        [(schema,)] = base.execute("SELECT value FROM meta WHERE name = 'schema'").fetchall() or [("none",)]
        if schema != str(SCHEMA):
            raise WeirError(
                f"{place} is a store of schema {schema}, written by another weir; this one reads schema {SCHEMA}:"
                " use that weir, or another file"
            )
    if create:
        _journal(base)
        base.execute("PRAGMA synchronous = NORMAL")
        base.executescript(_TABLES)


def _journal(base: sqlite3.Connection) -> None:
    """Write ahead; while another sweep does the same to a new file SQLite refuses at once, without waiting."""
    end = time.monotonic() + WAIT
    while True:
        try:
            base.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as busy:
            if "locked" not in str(busy) or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _said(error: sqlite3.Error, place: Path) -> str:
    """What went wrong with the file, and what to do, in a person's words."""
    text = str(error)
    for part, words in (
        ("readonly", "cannot be written: it, or its folder, is read-only"),
        ("full", "cannot grow: the disk is full. Nothing kept is lost; make room and run the same command again"),
        ("disk I/O", "cannot be written: the disk refuses. Nothing kept is lost; run the same command again"),
        ("locked", f"is held by another sweep for more than {WAIT:.0f} s; wait for it, or use another file"),
        ("not a database", "is not a store of sweeps"),
        ("malformed", "is damaged; move it away and sweep again"),
        ("unable to open", "cannot be opened: is its folder there, and may it be written?"),
    ):
        if part in text:
            return f"{place} {words}"
    return f"{place}: {text}"
