"""Graphs of tasks and buffers in JSON files, as problems; the schema is in docs/planning_training.md."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from einsum.errors import WeirError, raise_all, refuse_unknown
from einsum.files import read_text
from sim.planner.problem import Buffer, Problem, Task, Tier
from sim.units import si

LARGEST = 64 << 20  # bytes of a file
MOST = 100_000  # tasks or buffers


def load(path: Path | str, tiers: tuple[Tier, ...] = ()) -> Problem:
    """The problem in a JSON file; ``tiers`` stand in for the file's own. One message names all that is wrong."""
    where = Path(path)
    text = read_text(where, "graph", LARGEST)
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise WeirError(f"{where.name}: not valid JSON: {problem}") from None
    made = read(raw, where.stem, where.name)
    return replace(made, tiers=tiers) if tiers else made


def read(raw: Any, name: str, where: str) -> Problem:
    """The problem that decoded JSON describes."""
    if not isinstance(raw, Mapping):
        raise WeirError(f"{where}: must be an object with 'tasks' and 'buffers'")
    found = _Reader(where, refuse_unknown(raw, ("name", "tasks", "buffers", "tiers", "given", "kept"), where))
    buffers = tuple(found.buffer(i, r) for i, r in enumerate(found.many(raw, "buffers", ("name", "bytes"))))
    tasks = tuple(
        found.task(i, r) for i, r in enumerate(found.many(raw, "tasks", ("name", "seconds", "reads", "writes")))
    )
    keys = ("name", "capacity", "write", "read")
    tiers = tuple(found.tier(i, r) for i, r in enumerate(found.many(raw, "tiers", keys, needed=False)))
    given, kept = found.names(raw, "given", where), found.names(raw, "kept", where)
    found.unique("buffers", [b.name for b in buffers])
    found.unique("tasks", [t.name for t in tasks])
    found.known([b.name for b in buffers], tasks, (*given, *kept))
    raise_all(found.problems)
    return Problem(str(raw.get("name", name)), buffers, tiers or (Tier("memory"),), tasks, given, kept)


class _Reader:
    """Reads one file's tables and gathers what is wrong with them."""

    def __init__(self, where: str, problems: list[str]) -> None:
        self.where, self.problems = where, problems

    def many(self, raw: Mapping[str, Any], key: str, fields: tuple[str, ...], needed: bool = True) -> list[Any]:
        """The rows of one list, each an object with known keys."""
        rows = raw.get(key, [])
        if not isinstance(rows, list) or (needed and not rows):
            self.problems.append(f"{self.where}: {key!r} must be a list of objects{' and not empty' * needed}")
            return []
        if len(rows) > MOST:
            self.problems.append(f"{self.where}: {len(rows)} {key}; at most {MOST} can be planned")
            return []
        for place, row in enumerate(rows):
            if not isinstance(row, Mapping):
                self.problems.append(f"{self.where} {key}[{place}]: must be an object, not {row!r:.40}")
            else:
                self.problems += refuse_unknown(row, fields, f"{self.where} {key}[{place}]")
        return [row for row in rows if isinstance(row, Mapping)]

    def buffer(self, place: int, row: Mapping[str, Any]) -> Buffer:
        """One buffer: a name and whole bytes, one or more."""
        where = f"{self.where} buffers[{place}]"
        size = self.amount(row, "bytes", "B", where)
        if size != round(size):
            self.problems.append(f"{where}: 'bytes' must be a whole number, not {size}")
        return Buffer(self.text(row, "name", where), round(size))

    def task(self, place: int, row: Mapping[str, Any]) -> Task:
        """One task: a name, seconds, and the buffers it reads and writes."""
        where = f"{self.where} tasks[{place}]"
        seconds = self.amount(row, "seconds", "s", where)
        reads, writes = self.names(row, "reads", where), self.names(row, "writes", where)
        return Task(self.text(row, "name", where), seconds, reads, writes)

    def tier(self, place: int, row: Mapping[str, Any]) -> Tier:
        """One tier: a name, bytes, and bytes a second into and out of it."""
        where = f"{self.where} tiers[{place}]"
        rates = {k: self.amount(row, k, "B/s", where, math.inf) for k in ("write", "read")}
        if 0 in rates.values():
            self.problems.append(f"{where}: a bandwidth must be above zero")
        return Tier(self.text(row, "name", where), self.amount(row, "capacity", "B", where, math.inf), **rates)

    def text(self, row: Mapping[str, Any], key: str, where: str) -> str:
        """A name."""
        value = row.get(key)
        if not isinstance(value, str) or not value:
            self.problems.append(f"{where}: {key!r} must be a name, not {value!r:.40}")
            return ""
        return value

    def names(self, row: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
        """A list of names, empty if there is none."""
        value = row.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            self.problems.append(f"{where}: {key!r} must be a list of names, not {value!r:.40}")
            return ()
        return tuple(value)

    def amount(self, row: Mapping[str, Any], key: str, unit: str, where: str, default: float | None = None) -> float:
        """A number in SI units or text with a unit, zero or more."""
        if key not in row and default is not None:
            return default
        try:
            value = si(row.get(key, ""), unit, f"{where} {key!r}")
        except WeirError as problem:
            self.problems.append(str(problem))
            return 0.0
        if value < 0 or not math.isfinite(value) or value > 2**60:
            self.problems.append(f"{where}: {key!r} must be from 0 to 2^60, not {value!r}")
            return 0.0
        return value

    def unique(self, what: str, names: list[str]) -> None:
        """No two rows of one name."""
        seen: set[str] = set()
        for name in names:
            if name in seen:
                self.problems.append(f"{self.where}: two {what} are called {name!r:.60}")
            seen.add(name)

    def known(self, buffers: list[str], tasks: tuple[Task, ...], others: tuple[str, ...]) -> None:
        """Every name that is used is a buffer's."""
        from einsum.errors import hint

        there = set(buffers)
        used = [("a task", n) for t in tasks for n in (*t.reads, *t.writes)] + [
            ("'given' or 'kept'", n) for n in others
        ]
        for who, name in used:
            if name not in there and len(self.problems) < 20:
                near = hint(name, buffers[:1000])
                self.problems.append(f"{self.where}: {who} names no buffer {name!r:.60}{near}")
