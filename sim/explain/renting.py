"""Purchases and caches opened: what is rented at which price, and how much of what was reserved held anything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sim.arch import cluster
from sim.explain import given
from sim.explain.opened import Opened, opened
from sim.explain.serving import SIMULATED
from sim.explain.traced import leaf
from sim.planner.cache import Replayed, Usage
from sim.planner.offers import Rented

COPIES = "copies: the mixed-integer programme's choice"


@opened.register
def _rented(result: Rented, changed: tuple[str, ...] = ()) -> Opened:
    book, found = given.prices(result.prices), result.purchase
    templates = tuple(replace(t, usd_per_hour=book.usd_per_hour(cluster(t.name))) for t in found.templates)
    counts: Any = tuple(leaf(n, f"number of {t.name}", "", COPIES) if n else n
                        for t, n in zip(templates, found.counts, strict=True))  # fmt: skip
    made = replace(found, templates=templates, counts=counts)
    rows = [row | {"usd_per_hour": usd} for row, usd in zip(found.rows, made.costs, strict=True)]
    figures = {**found.figures, "usd_per_hour": made.usd_per_hour, "templates": rows}
    return Opened(figures, "usd_per_hour")


@opened.register
def _replayed(result: Replayed, changed: tuple[str, ...] = ()) -> Opened:
    where = given.device(result.where, dict.fromkeys(changed, given.YOURS))
    weights = leaf(result.weights, "weights on a device", "B", given.COUNTED)
    made = replace(result, where=where, weights=weights)
    rows = [_usage(one).row for one in result.usages]
    return Opened({"capacity": made.room, "allocators": rows}, "allocators[0].waste", how=lambda _: SIMULATED,
                  units={"capacity": "B"})  # fmt: skip


def _usage(one: Usage) -> Usage:
    how = f"{SIMULATED}: {one.steps:,} decode steps of {one.allocator.name}"
    return replace(one, held=leaf(one.held, "tokens held over all steps", "tokens", how),
                   reserved=leaf(one.reserved, "tokens that there was room for", "tokens", how))  # fmt: skip
