"""JSON Schema of every file a person writes, built from what the readers themselves declare: for editors.

A schema knows the shape of a file: keys, types, units. What needs the whole file (that names differ, that a memory
stands above) only the reader knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any

from einsum.errors import WeirError, hint
from sim.arch.architecture import ENERGY, RATE
from sim.arch.clusters import FILE_KEYS as CLUSTER_KEYS
from sim.arch.clusters import POOL_KEYS
from sim.arch.components import OPERATIONS, Compute, Fanout, Link, Memory, Power, Quantity
from sim.arch.devices import FILE_KEYS as DEVICE_KEYS
from sim.arch.prices import FILE_KEYS as BOOK_KEYS
from sim.arch.prices import HOURLY, PRICE_KEYS
from sim.units import units_of

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "pattern": r"\S"}
TEXTS: Schema = {"type": "array", "items": {"type": "string"}}
NAMED: dict[str, Schema] = {"name": TEXT, "under": {"type": "string"}}
COUNT = Quantity("1", positive=True, whole=True)
_NUMBER = r"^\s*[+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][+-]?\d+)?\s*"


def schema(kind: str) -> Schema:
    """The JSON Schema (draft 2020-12) of one kind of file: device, cluster, prices or trace."""
    if kind not in KINDS:
        raise WeirError(f"no file format {kind!r:.80}{hint(kind, KINDS)}")
    made = KINDS[kind]()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"weir {kind} file", **made}


def quantity(kind: Quantity) -> Schema:
    """A number in SI units, or text with a unit of the right dimension."""
    low = {"exclusiveMinimum": 0} if kind.positive else {"minimum": 0}
    high = {"maximum": kind.most} if isfinite(kind.most) else {}
    number: Schema = {"type": "integer" if kind.whole else "number", **low, **high}
    bare = "?" if kind.unit == "1" else ""
    units = "|".join(re.escape(u) for u in sorted(units_of(kind.unit), key=len, reverse=True))
    text = {"type": "string", "maxLength": 64, "pattern": f"{_NUMBER}({units}){bare}\\s*$"}
    return {"anyOf": [number, text], "description": f"in {kind.unit}, or text with a unit"}


def table(properties: Mapping[str, Schema], required: Iterable[str] = ()) -> Schema:
    """An object of known keys only."""
    needed = {"required": sorted(required)} if required else {}
    return {"type": "object", "additionalProperties": False, "properties": dict(properties), **needed}


def tables(entry: Schema) -> Schema:
    """An array of tables."""
    return {"type": "array", "items": entry}


def _quantities(kinds: Mapping[str, Quantity]) -> dict[str, Schema]:
    return {name: quantity(kind) for name, kind in kinds.items()}


def _listed(keys: Iterable[str], stated: Mapping[str, Schema]) -> dict[str, Schema]:
    """The schema of every key that a reader takes; a key without one here is a mistake of ours."""
    return {key: stated[key] for key in keys}


def _memory() -> Schema:
    own: dict[str, Schema] = {
        "replacement": {"enum": [one for one in Memory.REPLACEMENTS if one]}, "interleaved": {"type": "boolean"},
    }  # fmt: skip
    return table({**NAMED, **_quantities(Memory.QUANTITIES), **own}, ["name"])


def _fanout() -> Schema:
    own: dict[str, Schema] = {
        "network": {"enum": [one for one in Fanout.NETWORKS if one]},
        "topology": {"enum": [one for one in Fanout.TOPOLOGIES if one]},
    }
    return table({**NAMED, **_quantities(Fanout.QUANTITIES), **own}, ["name"])


def _compute() -> Schema:
    rows = table({op: {"type": "object", "additionalProperties": quantity(RATE)} for op in OPERATIONS})
    joules = table({op: {"type": "object", "additionalProperties": quantity(ENERGY)} for op in OPERATIONS})
    own: dict[str, Schema] = {
        **NAMED, "rate": rows, "device_rate": rows, "energy": joules, "chained": {"type": "boolean"},
        "area": quantity(Memory.QUANTITIES["area"]), "contexts": quantity(Compute.CONTEXTS),
        "asynchronous": {"type": "boolean"},
        "apart": {"type": "boolean"},
    }  # fmt: skip
    return table(own, ["name"])


def _link() -> Schema:
    own: dict[str, Schema] = {"name": TEXT, "scope": {"enum": list(Link.SCOPES)}, "reduces": {"type": "boolean"}}
    return table(own | _quantities(Link.QUANTITIES), ["name", "scope", "bandwidth"])


def _technology() -> Schema:
    own: dict[str, Schema] = {
        "node": {"anyOf": [{"type": "string"}, {"type": "number", "exclusiveMinimum": 0}]},
        "dram": {"type": "string"},
        "clock": quantity(Quantity("Hz", positive=True)),
    }
    return table(own, ["node"])


def _device() -> Schema:
    known = {
        "title": TEXT, "vendor": TEXT, "architecture": TEXT, "year": quantity(COUNT), "source": TEXT, "aliases": TEXTS,
        "notes": {"type": "string"}, "unverified": TEXTS,
        "memory": tables(_memory()),
        "fanout": tables(_fanout()),
        "compute": tables(_compute()),
        "link": tables(_link()),
        "power": table(_quantities(Power.QUANTITIES), ["tdp"]),
        "technology": _technology(),
    }  # fmt: skip
    needed = ("title", "vendor", "architecture", "year", "source", "memory", "compute")
    return table(_listed(DEVICE_KEYS, known), needed)


def _cluster() -> Schema:
    pool: dict[str, Schema] = {"name": TEXT, "device": TEXT, "count": quantity(COUNT), "set": {"type": "object"}}
    network = table(_quantities(Link.QUANTITIES), ["bandwidth"])
    known: dict[str, Schema] = {
        "title": TEXT, "source": TEXT, "notes": {"type": "string"}, "node_size": quantity(COUNT), "network": network,
        "pool": tables(table(_listed(POOL_KEYS, pool), ["name", "device", "count"])),
    }  # fmt: skip
    return table(_listed(CLUSTER_KEYS, known), ["title", "source", "pool"])


def _prices() -> Schema:
    usd, text = quantity(HOURLY), {"type": "string"}
    price: dict[str, Schema] = {
        "device": TEXT,
        "usd_per_hour": usd,
        "date": text,
        "source": text,
        "note": text,
        "low": usd,
        "high": usd,
    }
    known = {"title": TEXT, "date": TEXT, "source": TEXT, "notes": {"type": "string"}} | {
        "price": tables(table(_listed(PRICE_KEYS, price), ["device", "usd_per_hour"]))
    }
    return table(_listed(BOOK_KEYS, known), ["title", "date", "source"])


def _trace() -> Schema:
    from sim.serving.trace import SUMMARY_KEYS

    positive: Schema = {"type": "number", "exclusiveMinimum": 0}
    row = {"type": "array", "items": {"type": "number", "minimum": 1}, "minItems": 3, "maxItems": 3}
    known = dict.fromkeys(SUMMARY_KEYS, positive) | {
        **{key: {"type": "string"} for key in ("title", "source", "licence")},
        "cells": {"type": "array", "items": row, "minItems": 1},
    }  # fmt: skip
    means = {"required": ["mean_prompt", "mean_output"]}
    return table(_listed(SUMMARY_KEYS, known), ["requests"]) | {"anyOf": [{"required": ["cells"]}, means]}


KINDS: dict[str, Callable[[], Schema]] = {"device": _device, "cluster": _cluster, "prices": _prices, "trace": _trace}
