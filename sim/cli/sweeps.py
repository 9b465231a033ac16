"""``weir sweep`` and ``weir show-run``: tables of answers over axes, kept in a store if there is one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum.errors import WeirError
from sim.cli.text import Sheet, show, terminal

if TYPE_CHECKING:
    import pandas as pd

WRITTEN = ("s", "B", "B/s", "op/s", "J", "W")  # units that are written with their numbers
SHOWN = 40  # rows printed to a terminal; files and pipes get all


@dataclass(frozen=True, slots=True)
class Asked:
    """A sweep as the command line gives it."""

    model: str
    on: tuple[str, ...]
    axes: tuple[str, ...]
    zips: tuple[str, ...]
    where: str | None
    serve: bool
    store: str | None
    processes: int
    scheduler: str | None = None
    mapping: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """The sweep that the command's arguments, by name, ask for."""
        on, axes, zips, mapping = (tuple(given[name] or ()) for name in ("on", "axis", "zipped", "mapping"))
        own: dict[str, Any] = {name: given.get(name) for name in ("where", "serve", "store", "processes", "scheduler")}
        return cls(given["model"], on, axes, zips, **own, mapping=mapping)


def sweep(
    asked: Asked, out: str | None, as_json: bool, as_csv: bool, minimise: Sequence[str], maximise: Sequence[str]
) -> None:
    """Make the table, then print it or write it."""
    from sim.manifest import manifest
    from sim.space import tables
    from sim.space.pareto import pareto

    if as_json and as_csv:
        raise WeirError("give --json or --csv, not both")
    if out is not None:
        tables.checked(Path(out))
    frame = _made(asked)
    if minimise or maximise:
        units = frame.attrs["units"]
        frame = pareto(frame[frame["fits"]] if "fits" in frame else frame, list(minimise), list(maximise))
        frame.attrs["units"] = units
    if out is not None:
        tables.written(frame, Path(out), manifest(output="out"))
        print(f"{len(frame):,} rows in {out}")
    elif as_json:
        print(tables.text(frame, manifest()))
    elif as_csv:
        frame.to_csv(sys.stdout, index=False)
    else:
        show(sheet(frame, terminal()))


def _made(asked: Asked) -> pd.DataFrame:
    from sim.space.sweep import sweep as swept

    what, terms = terms_of(asked)
    with _pool(asked.processes, asked.scheduler) as executor:
        return swept(what, executor=executor, **terms)


def terms_of(asked: Asked) -> tuple[Any, dict[str, Any]]:
    """What is swept, and the keywords of the sweep."""
    from sim.space import text

    axes = {one.name: list(one.values) for one in map(text.read, asked.axes)}
    zips = {one.name: list(one.values) for one in map(text.read, asked.zips)}
    if both := sorted(axes.keys() & zips.keys()):
        raise WeirError(f"axis {both[0]!r} is given with --axis and with --zip; one is enough")
    what, axes = _what(asked, axes)
    return what, {"on": list(asked.on), "zips": zips, "where": asked.where, "store": asked.store, **axes}


def _what(asked: Asked, axes: dict[str, list[Any]]) -> tuple[Any, dict[str, Any]]:
    """What is swept, and its axes: steps of a model, or its whole service, or runs of a cascade."""
    if asked.mapping:
        axes = {"mapping": list(asked.mapping), **axes}
    if not asked.serve:
        return asked.model, axes
    from sim.serving.answer import serve

    return serve, {"model": [asked.model], "sensitive": [False], **axes}


def _pool(processes: int, address: str | None) -> Any:
    """Processes started afresh: a forked one would share locks with threads that it does not have; or a scheduler's."""
    from contextlib import nullcontext

    if address is not None:
        from sim.space.cluster import scheduler

        return scheduler(address)
    if processes == 1:
        return nullcontext()
    if not 1 <= processes <= 256:
        raise WeirError(f"{processes} processes; give 1 to 256")
    return _processes(processes)


def _processes(number: int) -> Any:
    """Processes that do not hear an interrupt: it is for whoever hands them their work, and ends them quietly."""
    import signal
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    deaf = signal.SIGINT, signal.SIG_IGN
    pool = ProcessPoolExecutor(number, get_context("spawn"), signal.signal, deaf)
    before = signal.signal(*deaf)  # while they start; a process is started where none is idle
    for _ in range(number):
        pool.submit(int)
    signal.signal(signal.SIGINT, before)
    return pool


def sheet(frame: pd.DataFrame, width: int | None = None) -> Sheet:
    """The table's first rows for a person: what never changes stands below.

    Columns for which ``width`` has no room are left out, from the right, and named.
    """
    units: dict[str, str] = frame.attrs.get("units", {})
    fixed = [c for c in frame.columns if len(frame) > 1 and frame[c].astype(str).nunique() == 1]
    moving = [c for c in frame.columns if c not in fixed]
    head = [_head(c, units.get(c, "")) for c in map(str, moving)]
    shown = frame[moving].head(SHOWN).to_dict("list")
    cells = [[_cell(value, units.get(str(c), "")) for value in shown[c]] for c in moving]
    room = _room(head, cells, width)
    notes = [f"{c}: {_noted(frame[c].head(1).tolist()[0], units.get(str(c), ''))}" for c in fixed]
    if "reason" in moving[room:]:
        refused = frame["reason"][frame["reason"] != ""]
        notes.append(f"{len(refused):,} points cannot be run; the first: {refused.iloc[0]}")
    if room < len(head):
        notes.append(f"no room for {', '.join(map(str, moving[room:]))}; a wider window shows more, --csv or --out all")
    if len(frame) > SHOWN:
        notes.append(f"{len(frame) - SHOWN:,} more rows; --csv, --json or --out FILE give all {len(frame):,}")
    rows = tuple(zip(*cells[:room], strict=True))
    return Sheet("", tuple(head[:room]), rows, right=tuple(range(room)), notes=tuple(notes))


def _head(name: str, unit: str) -> str:
    """A column's name, with its unit where neither the name nor the values tell."""
    return name if unit in ("", *WRITTEN) or "_per_" in name else f"{name} ({unit})"


def _room(head: Sequence[str], cells: Sequence[Sequence[str]], width: int | None) -> int:
    """How many of the columns fit, two spaces between them."""
    if width is None:
        return len(head)
    ends = accumulate(2 + max(map(len, (name, *column))) for name, column in zip(head, cells, strict=True))
    return max(1, sum(end - 2 <= width for end in ends))


def _cell(value: Any, unit: str) -> str:
    """One value as people read it; its unit too, where that has prefixes."""
    from sim.units import fmt

    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value != value:
        return "-"
    if unit in WRITTEN:
        return fmt(float(value), unit)
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def _noted(value: Any, unit: str) -> str:
    return _cell(value, unit) + (f" {unit}" if unit and unit not in WRITTEN else "")


def resumable(path: str | None, model: str | None) -> None:
    """Refuse to go on without a store that holds a sweep."""
    from sim.space.store import opened

    if path is None:
        raise WeirError("--resume and --status ask a store; name it with --store FILE")
    with opened(path, create=False) as store:
        if not store.runs():
            raise WeirError(f"{path} holds no sweep{'' if model else '; name a MODEL, --on and axes to begin one'}")


def again(path: str | None, shown: Mapping[str, Any]) -> None:
    """Go on with the sweep that a store last saw begin, as the command line gave it; say how it is shown now."""
    from sim.cli.again import argv
    from sim.cli.app import run
    from sim.space.store import opened

    if path is None:
        raise WeirError("a sweep needs a MODEL and --on CLUSTER, or --store FILE with --resume or --status")
    with opened(path, create=False) as store:
        last = store.runs()[-1]
    told = last.spec.get("asked")
    if not (
        isinstance(told, Mapping) and told.get("command") == "sweep" and isinstance(told.get("arguments"), Mapping)
    ):
        raise WeirError(
            f"the sweep in {path} last begun ({last.started}) was not made by weir sweep; go on from Python"
        )
    run(argv(told, {"store": path, **{name: value for name, value in shown.items() if value}}))


def status(asked: Asked) -> None:
    """How much of the sweep its store already has."""
    if asked.store is None:
        raise WeirError("--status asks a store; name it with --store FILE")
    from sim.space.sweep import state

    what, terms = terms_of(asked)
    done, total, older = state(what, **terms)
    print(f"{done:,} of {total:,} points are in {asked.store}; {total - done:,} are to be done")
    if older:
        print(f"{older:,} answers there are of other sources or libraries, and are not used")


def show_run(path: str, as_json: bool) -> None:
    """The sweeps that a store has been used for, and what it holds."""
    from sim.cli.data import Form, emit
    from sim.space.identity import version
    from sim.space.store import opened

    with opened(path, create=False) as store:
        runs, versions = store.runs(), store.versions()
    current = {version(data=False), version(data=True)}
    if as_json:
        rows = [{"key": r.key, "version": r.version, "started": r.started, "total": r.total, **r.spec} for r in runs]
        emit(Form.JSON, {"schema": "weir.run/1", "runs": rows, "answers": versions}, [])
        return
    rows_ = tuple(
        (r.started[:19], f"{r.total:,}", _terms(r.spec), "" if r.version in current else "older sources") for r in runs
    )
    kept = [
        f"{count:,} answers of {'these' if name in current else 'other'} sources: {name}"
        for name, count in versions.items()
    ]
    show(Sheet(str(path), ("started (UTC)", "points", "axes", ""), rows_, right=(1,), notes=tuple(kept)))


def _terms(spec: dict[str, Any]) -> str:
    sizes, values = spec["sizes"][0], spec["axes"][0]
    return ", ".join(f"{name} {values[name][0] if count == 1 else f'x{count}'}" for name, count in sizes.items())
