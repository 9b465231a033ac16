"""The exact simulator: a mapped nest executed visit by visit, every action counted as it happens.

It shares no formula with the closed form: tiles are bitmaps of elements, instances that share a transfer are grouped
when they make it, and what is new is what the bitmap says. Meant for small sizes, as the proof of the closed form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from einsum import Cascade, Einsum
from mappings.tree import Nest
from sim.model.actions import Action, Computes, Counts
from sim.model.flat import Flat, Ints, Present, Slot, flatten

_COUNTED = ("fills", "reads", "updates", "drains")  # the kernel's columns, then two more
POINTS, SUMS, COPIES = 4, 5, 6


def simulate(
    cascade: Cascade, nest: Nest, sizes: Mapping[str, int] | None = None, fanouts: Mapping[str, int] | None = None,
    present: Present | None = None,
) -> Counts:  # fmt: skip
    """Counts of one run of the nest, at the cascade's own sizes or the given ones.

    With ``present``, absent places of tensors are not moved and absent points of Einsums are not run.
    ``fanouts`` are instances by fan-out, if they are to be checked. Raises :class:`WeirError` for nests that do not
    fit the cascade, and for sizes that would take too long to walk.
    """
    resized = cascade.with_sizes(**(sizes or {}))
    flat = flatten(resized, nest, {r: int(s) for r, s in resized.bind().items()}, fanouts)
    flat.present = present or Present()
    from sim.model.tables import build  # numba is heavy
    from sim.model.visits import execute

    machine = build(flat)
    execute(machine)
    return _counts(flat, machine.counts)


def _counts(flat: Flat, found: Ints) -> Counts:
    """The kernel's counters by name."""
    rows: dict[tuple[str, str, str], int] = {}
    for slot in flat.slots:
        for kind, count in zip(_COUNTED, found[slot.number], strict=False):
            key = slot.level, slot.tensor, kind
            rows[key] = rows.get(key, 0) + int(count)
    actions = tuple(Action(*key, count) for key, count in rows.items() if count)
    return Counts(actions, tuple(_computes(flat, found)), tuple(_copies(flat, found)))


def _copies(flat: Flat, found: Ints) -> Iterator[Action]:
    """Elements that several instances took of one read: keeps of their parents, Einsums of their innermost keeps."""
    for slot in flat.slots:
        if slot.parent and not slot.writers:
            yield Action(slot.parent.level, slot.tensor, "multicasts", int(found[slot.number, COPIES]))
    port = len(flat.slots)
    for point in flat.points:
        for place, (_, slot) in enumerate(point.served[:-1]):
            yield Action(slot.level, slot.tensor, "multicasts", int(found[port + place, COPIES]))
        port += len(point.served)


def _computes(flat: Flat, found: Ints) -> Iterator[Computes]:
    """Points of each run, and additions between instances: on the way to its output's keep, and from keep to keep."""
    port = len(flat.slots) - 1
    reducers = [(slot.number, _reducer(slot)) for slot in flat.slots]
    for point in flat.points:
        port += len(point.served)
        reductions = found[port, SUMS]
        reductions += sum(found[number, SUMS] for number, einsum in reducers if einsum is point.einsum)
        yield Computes(point.einsum.name, point.unit, int(found[point.number, POINTS]), int(reductions))


def _reducer(slot: Slot) -> Einsum | None:
    """The Einsum whose sums are added between instances on the way to the parent."""
    ranks = {loop.rank for loop in slot.between if loop.space}
    return next((e for e in slot.writers if ranks & set(e.reduced)), None)
