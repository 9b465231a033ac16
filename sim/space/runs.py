"""Sweeps of one cascade under loop nests: all sizes and tile sizes on one device are counted in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from einsum import Cascade
from einsum.errors import WeirError, hint
from einsum.terms import Affine
from mappings.text import pointed
from mappings.text import read as read_nest
from mappings.tree import Nest
from sim.arch import Device, device
from sim.mapper.hunt import OBJECTIVES, search
from sim.model.nests import taken_apart
from sim.model.spatial import MappedEstimate, evaluate
from sim.space.axes import REFUSED, Axis, column, dotted, held, points, size
from sim.space.progress import tracked
from workloads.catalogue import build

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Places = NDArray[np.int64]
CELLS = ("on", "mapping", "technology", "objective")
TILE = "tile."  # an axis of tile sizes: tile.m.0 is the first loop over m
BLOCK = 1 << 12  # points counted, and kept, at once


@dataclass(frozen=True, slots=True)
class Space:
    """The axes by what they change: the device and its nest, the cascade, or the tiles of the nest."""

    cells: tuple[Axis, ...]
    sizes: tuple[Axis, ...]
    tiles: tuple[Axis, ...]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """All of them, in the order of the table's rows."""
        return (*self.cells, *self.sizes, *self.tiles)


def space(what: Cascade | str, axes: Sequence[Axis]) -> Space:
    """The axes sorted; refuses those that a run of a cascade cannot have."""
    if isinstance(what, Cascade):
        ranks = [name for name, _ in what.sizes]
        for one in axes:
            if one.name not in (*CELLS, *ranks) and not dotted(one.name):
                raise WeirError(f"sweep: {what.name} has no rank {one.name!r}{hint(one.name, (*CELLS, *ranks))}")
    if priced := [one.name for one in axes if one.name.startswith("price.")]:
        raise WeirError(f"sweep: axis {priced[0]!r}: a run of a cascade under a nest has no price")
    if not any(one.name == "on" for one in axes):
        raise WeirError("sweep: on which device? on=['fusemax_cloud'], for example")
    tiles = tuple(one for one in axes if one.name.startswith(TILE))
    cells = tuple(one for one in axes if one.name in CELLS or (dotted(one.name) and one not in tiles))
    sizes = tuple(one for one in axes if one not in (*cells, *tiles))
    for one in (*sizes, *tiles):
        _whole(one)
    _searchable({one.name: one for one in axes}, bool(tiles))
    return Space(cells, sizes, tiles)


def _whole(one: Axis) -> None:
    """Refuse sizes that are no whole numbers."""
    one.numbers(least=1)
    if odd := [value for value in one.values if int(value) != value]:
        raise WeirError(f"sweep: axis {one.name!r} has {odd[0]:g}; sizes are whole numbers")


def _searchable(axes: Mapping[str, Axis], tiled: bool) -> None:
    """A nest is given, or it is searched for; then there are no tiles to give, and else nothing to search for."""
    if "mapping" not in axes and tiled:
        raise WeirError("sweep: tile sizes are those of a loop nest; give mapping=... as well")
    if "objective" in axes:
        if "mapping" in axes:
            raise WeirError("sweep: an objective is for a search; with a mapping there is nothing to search for")
        for value in axes["objective"].values:
            if value not in OBJECTIVES:
                raise WeirError(f"sweep: unknown objective {value!r:.40}{hint(str(value), OBJECTIVES)}")


@dataclass(frozen=True)
class Group:
    """Cascades that differ in sizes alone: the first, their places among all combinations of sizes, and the extents of
    ranks at each (a number where it is the same at all)."""

    cascade: Cascade
    at: Places
    extents: Mapping[str, int | Array]

    def sizes(self, at: Places) -> dict[str, Any]:
        """The extent of every rank at some of its places."""
        own = np.searchsorted(self.at, at)
        free = {name: n if isinstance(n, int) else _plain(n[own]) for name, n in self.extents.items()}
        return self.cascade.bind(**free)


def groups(what: Cascade | str, sizes: Sequence[Axis]) -> tuple[list[Group], dict[int, WeirError]]:
    """The cascades of all combinations of sizes, alike ones together, and why others cannot be built."""
    alike: dict[Cascade, list[tuple[int, Cascade]]] = {}
    refused: dict[int, WeirError] = {}
    for at, point in enumerate(points(sizes)):
        whole = {name: int(value) for name, value in point.items()}
        try:
            made = what.with_sizes(**whole) if isinstance(what, Cascade) else build(what, whole)
        except WeirError as why:
            refused[at] = why
            continue
        fixed = set(_factors(made))
        bare = replace(made, sizes=tuple((r, n if r in fixed or not isinstance(n, int) else 1) for r, n in made.sizes))
        alike.setdefault(bare, []).append((at, made))
    return [_group(members) for members in alike.values()], refused


def _factors(cascade: Cascade) -> Iterator[str]:
    """Ranks whose extents are part of an index (``m1 * M0 + m0``): how tiles move depends on them."""
    for einsum in cascade.einsums:
        for access in (einsum.output, *einsum.reads):
            for index in access.indices:
                if isinstance(index, Affine):
                    yield from (name for term in index.terms for name in term.extents)


def _group(members: Sequence[tuple[int, Cascade]]) -> Group:
    every = [dict(made.sizes) for _, made in members]
    extents: dict[str, int | Array] = {}
    for rank, n in every[0].items():
        if isinstance(n, int):
            values = [sizes[rank] for sizes in every]
            extents[rank] = n if len(set(values)) == 1 else np.array(values, float)
    return Group(members[0][1], np.array([at for at, _ in members]), extents)


def _plain(values: Array) -> Any:
    """A lone value as a whole number: what refuses it can name it."""
    return int(values[0]) if len(values) == 1 else values


def _line(why: WeirError) -> str:
    return "; ".join(str(why).splitlines())


Ask = Callable[[Places], MappedEstimate]  # what runs at some places come to


class Rows:
    """A table in the making: figures by place, and why there are none."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.figures: dict[str, NDArray[Any]] = {}
        self.reasons = np.full(total, "", object)

    def fill(self, places: Places, found: Mapping[str, Any]) -> None:
        """Note the figures of some places."""
        for name, values in found.items():
            if name not in self.figures:
                text = np.asarray(values).dtype.kind in "OU"
                self.figures[name] = np.full(self.total, "" if text else np.nan, object if text else float)
            self.figures[name][places] = values

    def settle(self, places: Places, ask: Ask) -> None:
        """Ask for all places at once; where that is refused, for halves, until each refusal has a place of its own."""
        waiting = [places] if len(places) else []
        while waiting:
            some = waiting.pop()
            try:
                self.fill(some, figures(ask(some), len(some)))
            except WeirError as why:
                if len(some) > 1:
                    waiting += np.array_split(some, 2)
                else:
                    self.reasons[some] = _line(why)

    def columns(self) -> dict[str, NDArray[Any]]:
        """What was found, in the order of a table: whether there is an answer, the answers, the reasons."""
        why = {"reason": self.reasons, REFUSED: self.reasons != ""}
        return {"fits": self.reasons == ""} | self.figures | (why if why[REFUSED].any() else {})


def runs(what: Cascade | str, axes: Sequence[Axis], only: str | None = None) -> pd.DataFrame:
    """One row a point, in the order of the axes' product, of one run of a cascade.

    ``what`` is a cascade (its ranks are axes) or the name of one (the sizes that build it are). Where the condition
    ``only`` does not hold, nothing is counted and there is no row. Without a mapping the best is searched for, each
    point alone.
    """
    import pandas as pd

    whole = space(what, axes)
    asked = held(whole.axes, only)
    rows = Rows(size(whole.axes))
    wanted = np.ones(rows.total, bool) if asked is None else asked
    inside = size(whole.sizes) * size(whole.tiles)
    alike, refused = groups(what, whole.sizes)
    for at, cell in tracked(enumerate(points(whole.cells)), size(whole.cells)):
        places = np.flatnonzero(wanted[at * inside : (at + 1) * inside]) + at * inside
        _cell(rows, places, cell, whole, alike, refused)
    made = {one.name: column(whole.axes, one.name) for one in whole.axes} | rows.columns()
    return pd.DataFrame({name: values[wanted] for name, values in made.items()}, copy=False)


def estimate(what: Cascade | str, axes: Sequence[Axis]) -> MappedEstimate:
    """The run at the only point of some axes; raises :class:`WeirError` where there is none."""
    whole = space(what, axes)
    alike, refused = groups(what, whole.sizes)
    for why in refused.values():
        raise why
    [cell], [group] = points(whole.cells), alike
    where, nest = _device(cell), _nest(cell)
    ask = _searched(group, where, cell, whole) if nest is None else _counted(group, where, nest, cell, whole)
    return ask(np.zeros(1, np.int64))


def _cell(
    rows: Rows, places: Places, cell: Mapping[str, Any], whole: Space, alike: Sequence[Group],
    refused: Mapping[int, WeirError],
) -> None:  # fmt: skip
    """All sizes and tiles of one device and nest."""
    tiles = size(whole.tiles)
    combination = places // tiles % size(whole.sizes)
    for at, why in refused.items():
        rows.reasons[places[combination == at]] = _line(why)
    try:
        where = _device(cell)
        nest = _nest(cell)
    except WeirError as why:
        rows.reasons[places] = _line(why)
        return
    for group in alike:
        mine = places[np.isin(combination, group.at)]
        if nest is None:  # each is a search of its own
            for one in range(len(mine)):
                rows.settle(mine[one : one + 1], _searched(group, where, cell, whole))
        else:
            rows.settle(mine, _counted(group, where, nest, cell, whole))


def _device(cell: Mapping[str, Any]) -> Device:
    """The device of a cell, with every number set that dotted names reach."""
    given = cell["on"]
    where = given if isinstance(given, Device) else device(given)
    for name, value in cell.items():
        if dotted(name):
            where = where.with_(name, value)
    return where


def _nest(cell: Mapping[str, Any]) -> Nest | None:
    given = cell.get("mapping")
    return given if given is None or isinstance(given, Nest) else read_nest(given)


def _counted(group: Group, where: Device, nest: Nest, cell: Mapping[str, Any], whole: Space) -> Ask:
    """How places of a group are counted under a nest, all at once."""
    columns = {one.name.removeprefix(TILE): column(whole.tiles, one.name).astype(float) for one in whole.tiles}
    loops = {loop.key for leaf in taken_apart(group.cascade, nest).leaves for loop in leaf.loops}
    for key in columns:
        if key not in loops:
            raise WeirError(f"sweep: axis {TILE + key!r}: the nest has no such loop{hint(key, loops)}")
    every = size(whole.tiles)

    def ask(places: Places) -> MappedEstimate:
        sizes = group.sizes(places // every % size(whole.sizes))
        tiles = {key: _plain(values[places % every]) for key, values in columns.items()}
        try:
            return evaluate(group.cascade, nest, where, sizes, tiles, technology=cell.get("technology"))
        except WeirError as error:
            given = cell["mapping"]
            raise error if isinstance(given, Nest) else WeirError(pointed(str(error), given)) from None

    return ask


def _searched(group: Group, where: Device, cell: Mapping[str, Any], whole: Space) -> Ask:
    """How one place of a group is answered by the best nest."""

    def ask(places: Places) -> MappedEstimate:
        sizes = group.sizes(places % size(whole.sizes))
        free = {rank: sizes[rank] for rank in group.extents}
        how = cell.get("objective", "time")
        return search(group.cascade, where, objective=how, technology=cell.get("technology"), **free).estimate

    return ask


def figures(found: MappedEstimate, count: int) -> dict[str, Any]:
    """What a row says of a run, for so many design points at once: seconds, joules, mm^2, bytes, shares of units."""
    made: dict[str, Any] = {"seconds": found.seconds, "joules": found.joules, "bound": found.bounds}
    made |= {f"{part}_joules": value for part, value in found.joules_by.items()}
    made |= {f"{one.name}_bytes": found.traffic(one.name) for one in found.device.memories}
    made |= {f"{unit}_used": found.utilisation(unit) for unit in dict.fromkeys(b.unit for b in found.leaves)}
    made |= {"area_mm2": found.area} if found.area else {}
    return {name: np.broadcast_to(value, count) for name, value in made.items()}
