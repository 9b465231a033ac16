"""``sweep``: a table of answers over any arguments as axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum import Cascade
from einsum.errors import WeirError
from sim.arch import Cluster, Device, book, books, cluster, device, tier
from sim.serving.deploy import Model
from sim.space import runs
from sim.space.axes import REFUSED, Axis, axis, dotted, label, unit_of
from sim.space.blocks import Sweep, done_of, run, total
from sim.space.calls import calls, checked, priced_of
from sim.space.identity import digest, identity, version
from sim.space.steps import priced, space, steps
from sim.space.store import Kept, opened
from sim.space.where import mask, split
from workloads.catalogue import named

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 1 << 14  # points of steps worked on, and kept, at once
SHOWN = 20  # values of an axis, and products of a sweep, that a store notes
UNITS = {
    "context": "tokens", "prompt": "tokens", "output": "tokens", "batch": "requests", "host": "s", "seconds": "s",
    "tokens_per_second": "tokens/s", "joules_per_token": "J/token", "joules": "J", "usd_per_hour": "USD/h",
    "usd_per_million_tokens": "USD/Mtoken", "usd_per_iteration": "USD", "tokens_per_dollar": "tokens/USD",
    "limit_seconds": "s", "limit_tokens_per_second": "tokens/s", "operations_per_device": "op", "bytes_per_device": "B",
}  # fmt: skip
GROUPS = {"ttft": "s", "tpot": "s", "e2e": "s", "terms": "s", "memory": "B"}  # as of ttft_p95
ENDINGS = {"joules": "J", "bytes": "B", "mm2": "mm^2"}  # as of dram_bytes


Swept = Callable[..., Any] | Cascade | Model | str | Path | list[Model | str | Path]


def sweep(
    what: Swept, /, *, on: Any = None,
    zips: Mapping[str, Any] | None = None, where: str | None = None, store: str | Path | None = None,
    executor: Executor | None = None, **axes: Any,
) -> pd.DataFrame:  # fmt: skip
    """A tidy table, one row for every combination of the axes' values, the last axis moving fastest.

    ``what`` is a model (or several, or their names): then each row is one decode step (axes ``batch`` and ``context``)
    or one prefill (``batch`` and ``prompt``) on a cluster of ``on``, with ``layout``, ``tier``, ``host`` and
    ``prices`` as further axes, and all sizes of a deployment are timed in one vectorised call. Or it is a cascade or
    the name of one (``attention.one_pass``): then each row is one run on a device of ``on`` under a loop nest
    (``mapping``; without one the best is searched for, by ``objective``), with its sizes, ``technology`` and the nest's
    tile sizes (``**{"tile.m.0": [8, 16]}``) as axes. Or it is a function, such as :func:`sim.serve`, whose parameters
    are the axes: it is called point by point; its attribute ``units``, if it has one, names the units of its columns.

    A dotted name reaches into the clusters (``**{"model.hbm.bandwidth": ["2 TB/s", "4 TB/s"]}``) or into the prices
    (``**{"price.h100_sxm": [2, 3]}``). The axes of ``zips`` move together, as :func:`zip` does, and slowest. ``where``
    keeps the rows for which it holds (``"batch * context <= 1e6 and tokens_per_second > 100"``); what it says of axes
    alone is looked at first, so that nothing is computed where it does not hold.

    What does not fit, or is no legal point, is a row with ``fits`` False and its reason. Raises :class:`WeirError`
    if no point at all is legal. With a ``store`` (the path of a file), answers are kept as they are made and the same
    sweep goes on where it stopped. An ``executor`` of :mod:`concurrent.futures` (of processes started with ``spawn``,
    or a Dask client's) works on several blocks at once. ``frame.attrs["units"]`` names the units.
    """

    asked, rest = _asked(what, on, zips, axes, where)
    if store is None and executor is None:
        frame = _joined([one.make(made, one.only) for one, made in asked])
    else:
        frame = _kept(asked, store, executor)
    return _finished(frame, rest, getattr(what, "units", {}))


def state(
    what: Swept, /, *, store: str | Path, on: Any = None,
    zips: Mapping[str, Any] | None = None, where: str | None = None, **axes: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Of a sweep's points: how many a store has, how many there are, and the answers there of other sources."""
    asked, _ = _asked(what, on, zips, axes, where)
    with opened(store, create=False) as kept:
        counts = [done_of(one, made, kept) for one, made in asked]
        older = sum(count for name, count in kept.versions().items() if name != asked[0][0].version)
    return sum(done for done, _ in counts), sum(points for _, points in counts), older


def axes_of(
    what: Swept, /, *, on: Any = None, zips: Mapping[str, Any] | None = None, where: str | None = None,
    store: str | Path | None = None, **axes: Any,
) -> list[list[Axis]]:  # fmt: skip
    """The products of axes that a sweep goes through, every value read."""
    return [made for _, made in _asked(what, on, zips, axes, where)[0]]


def _asked(
    what: Any, on: Any, zips: Mapping[str, Any] | None, axes: Mapping[str, Any], where: str | None
) -> tuple[list[tuple[Sweep, list[Axis]]], str | None]:
    """The products of the sweep, each with what answers it, and what of the condition is left for the answers.

    Refused where no table could hold them.
    """
    spaces = zipped(zips or {}, {"on": on} if on is not None else {}, axes)
    read = _functional if callable(what) else _mapped if _cascade(what) else _stepwise
    asked = [read(what, one) for one in spaces]
    total([made for _, made in asked])
    only, rest = split(where, [one.name for one in asked[0][1]])
    return [(replace(one, only=only), made) for one, made in asked], rest


def zipped(zips: Mapping[str, Any], front: Mapping[str, Any], axes: Mapping[str, Any]) -> Iterator[list[Axis]]:
    """The products that a sweep is made of: one, or one for each step of the zipped axes."""
    rest = [axis(name, values) for name, values in {**front, **axes}.items() if name not in zips]
    moving = [axis(name, values) for name, values in zips.items()]
    if len({len(one.values) for one in moving}) > 1:
        sizes = ", ".join(f"{one.name} {len(one.values)}" for one in moving)
        raise WeirError(f"sweep: zipped axes must be equally long, not {sizes}")
    for at in range(len(moving[0].values) if moving else 1):
        yield [*(Axis(one.name, one.values[at : at + 1]) for one in moving), *rest]


def _functional(what: Callable[..., Any], given: list[Axis]) -> tuple[Sweep, list[Axis]]:
    """A function asked point by point; anything of weir may matter to it."""
    for one in given:
        if one.name == "on":
            one.check((str, Path, Cluster, Device))
    checked(what, given)
    make = partial(calls, what, devices=priced_of(what, given))
    return Sweep(make, 1, lambda _, value: value, version(data=True), identity(what)), given


def _stepwise(what: Any, given: list[Axis]) -> tuple[Sweep, list[Axis]]:
    """Steps of a model, vectorised; hardware and prices count by what they hold, not by their names."""
    front = [one for one in given if one.name == "on"]
    for one in front:
        one.check((str, Path, Cluster))
    rest = [one for one in given if one.name != "on"]
    axes = list(space([Axis("model", _models(what)), _clusters(front), *rest]).axes)
    devices = priced(next(a for a in axes if a.name == "on").values)
    make = partial(steps, devices=devices)
    base = f"steps {','.join(d.name for d in devices)}"
    return Sweep(make, BLOCK, _meaning, version(data=False), base), axes


def _cascade(what: Any) -> bool:
    return isinstance(what, Cascade) or (isinstance(what, str) and named(what))


def _mapped(what: Cascade | str, given: list[Axis]) -> tuple[Sweep, list[Axis]]:
    """Runs of a cascade, vectorised over sizes and tiles; devices and nests count by what they hold."""
    axes = [Axis(one.name, tuple(map(_device, one.values))) if one.name == "on" else one for one in given]
    made = list(runs.space(what, axes).axes)
    searched = not any(one.name == "mapping" for one in axes)
    base = f"runs {what if isinstance(what, str) else ''} {identity(what)}"
    return Sweep(
        partial(runs.runs, what), 1 if searched else runs.BLOCK, lambda _, v: v, version(data=True), base
    ), made


def _device(one: Any) -> Device:
    return one if isinstance(one, Device) else device(one)


def _meaning(name: str, value: Any) -> Any:
    """What a value of a step's axis stands for."""
    if name == "tier" and isinstance(value, str):
        return repr(tier(value))
    if name == "prices":
        return [repr(book(one)) for one in ([value] if value else books())]
    return value


def _kept(
    asked: Sequence[tuple[Sweep, list[Axis]]], store: str | Path | None, executor: Executor | None
) -> pd.DataFrame:
    """The sweep block by block, in a store, on an executor, or both."""

    with opened(store) if store is not None else nullcontext() as kept:
        if kept is not None:
            kept.begin(noted(asked))
        tables = [table for one, made in asked for table in run(one, made, kept, executor)]
    return _joined(tables or [one.make(made, one.only) for one, made in asked[:1]])


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of all, the reasons last."""
    import pandas as pd

    full = [table for table in tables if len(table)] or list(tables[:1])
    frame = full[0].reset_index(drop=True) if len(full) == 1 else pd.concat(full, ignore_index=True)
    ends = [c for c in ("reason", REFUSED) if c in frame]
    return frame[[*(c for c in frame.columns if c not in ends), *ends]]


def noted(asked: Sequence[tuple[Sweep, list[Axis]]]) -> Kept:
    """The sweep as a store remembers it."""
    from datetime import UTC, datetime

    from sim.manifest import asked as command

    spec = [{a.name: [str(label(v)) for v in a.values[:SHOWN]] for a in made} for _, made in asked]
    sizes = [{a.name: len(a.values) for a in made} for _, made in asked]
    version = asked[0][0].version
    key = digest(version, *(k for one, made in asked for k in (one.base, *map(repr, made)))).hex()
    started = datetime.now(UTC).isoformat(timespec="microseconds")  # sweeps of one second have an order, too
    terms = {"axes": spec[:SHOWN], "sizes": sizes[:SHOWN], "asked": command()}
    return Kept(key, version, started, total([made for _, made in asked]), terms)


def _finished(frame: pd.DataFrame, where: str | None, own: Mapping[str, str]) -> pd.DataFrame:
    """The table as it is handed over: mistakes told from points that cannot be, units named, conditions kept."""
    if REFUSED in frame:
        refused = frame.pop(REFUSED).fillna(False).astype(bool)
        if len(refused) and refused.all():
            raise WeirError(f"{frame['reason'].iloc[0]}")
    if "reason" in frame:
        frame["reason"] = frame.pop("reason").fillna("")
    if where is not None:
        frame = frame[mask(where, {str(c): frame[c].to_numpy() for c in frame.columns})].reset_index(drop=True)
    frame.attrs["units"] = {str(c): unit for c in frame.columns if (unit := own.get(str(c)) or _unit(str(c)))}
    return frame


def _models(what: Any) -> tuple[Model, ...]:
    """The models, those given by name read."""
    given = list(what) if isinstance(what, list | tuple) else [what]
    if not given:
        raise WeirError("sweep: no model; give one, or a list of them")
    return tuple(_model(one) for one in given)


def _model(one: Any) -> Model:
    if isinstance(one, str | Path):
        from workloads.transformer import from_config

        return from_config(one)
    if not (hasattr(one, "decode") and hasattr(one, "prefill")):
        raise WeirError(f"sweep: a {type(one).__name__} is neither a model nor a function")
    made: Model = one
    return made


def _clusters(given: list[Axis]) -> Axis:
    if not given:
        raise WeirError("sweep: no cluster; give at least one with on=[...], for example on=['4xh100']")
    return Axis("on", tuple(one if isinstance(one, Cluster) else cluster(one) for one in given[0].values))


def _unit(name: str) -> str | None:
    if dotted(name):
        return unit_of(name)
    return UNITS.get(name) or GROUPS.get(name.partition("_")[0]) or ENDINGS.get(name.rpartition("_")[2])
