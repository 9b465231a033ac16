"""Attention and its projections on arrays: a design is a cascade, a device and a nest, for all points at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from einsum.errors import WeirError, hint
from einsum.parse import parse
from mappings import attention_arrays
from mappings.tree import Nest
from sim.arch import Device, device
from sim.model.fit import largest
from sim.model.nests import Mapped
from sim.model.spatial import MappedEstimate, evaluate
from sim.published.calls import number, pick, table, text
from workloads import attention

__all__ = ["average", "end_to_end", "figure"]

SIDE = 256  # of the array, and keys in a block of the one-pass cascade


@dataclass(frozen=True)
class Points:
    """Every model at every length: names, and arrays of the sizes that they give."""

    names: tuple[tuple[str, str], ...]
    heads: Any
    width: Any  # of a head
    length: Any
    model: Any
    hidden: Any
    batch: int

    @classmethod
    def of(cls, inputs: Mapping[str, Any]) -> Points:
        """The points of a paper's inputs."""
        names = tuple((m, s) for m in table(inputs, "models") for s in table(inputs, "lengths"))

        def each(key: str) -> Any:
            return np.array([number(inputs, "models", m, key) for m, _ in names])

        length = np.array([number(inputs, "lengths", s) for _, s in names])
        batch = int(number(inputs, "batch"))
        return cls(names, each("heads"), each("width"), length, each("model"), each("hidden"), batch)

    def at(self, places: list[int]) -> Points:
        """Some of the points."""
        return replace(
            self, names=tuple(self.names[i] for i in places), heads=self.heads[places], width=self.width[places],
            length=self.length[places], model=self.model[places], hidden=self.hidden[places],
        )  # fmt: skip


Found = dict[str, Any]  # quantity -> array over points


def _device(inputs: Mapping[str, Any], design: str) -> Device:
    """The design's device with the numbers that the study changes, and units that it takes to work step by step."""
    made = device(text(inputs, "designs", design, "device"))
    for path, value in table(inputs, "designs", design, "set").items():
        made = made.with_(path, value)
    serial = pick(inputs, "designs", design).get("serial", ())
    return replace(made, computes=tuple(replace(u, chained=u.chained and u.name not in serial) for u in made.computes))


def _one_pass(inputs: Mapping[str, Any], design: str, on: Device, points: Points) -> Found:
    """FuseMax's cascade with the largest block of queries that fits."""
    cascade = attention.one_pass(query=SIDE, context=SIDE, head_dim=1)
    steps = np.ceil(points.length / SIDE)  # keys are padded to whole steps
    sizes = cascade.bind(b=points.batch, h=points.heads, p=points.length, m1=steps, e=points.width, f=points.width)
    nest = _nest(inputs, design)(block=SIDE)
    choices = tuple(sorted({SIDE * tiles for step in steps for tiles in range(1, int(step) + 1) if step % tiles == 0}))
    block = np.minimum(largest(Mapped(cascade, nest), on, sizes, "p.0", choices), points.length)
    return _mixed(evaluate(cascade, nest, on, sizes, {"p.0": block}, checked=False))


def _unfused(inputs: Mapping[str, Any], design: str, on: Device, points: Points) -> Found:
    """Three passes through memory, with the blocks of queries that the study's search chose."""
    blocks = [
        pick(inputs, "designs", design, "blocks").get(f"{width:.0f}", {}).get(name, length)
        for (_, name), width, length in zip(points.names, points.width, points.length, strict=True)
    ]
    nest = _nest(inputs, design)(block=SIDE)
    return _mixed(_three_pass(nest, on, points, {"p.0": np.array(blocks), "p.4": np.array(blocks)}))


def _flat(inputs: Mapping[str, Any], design: str, on: Device, points: Points) -> Found:
    """FLAT as its own model configures it, the share of a block that does not fit going by memory."""
    groups: dict[str, list[int]] = {}
    for place, ((_, name), width) in enumerate(zip(points.names, points.width, strict=True)):
        configured = table(inputs, "designs", design, "options", f"{width:.0f}", name)
        groups.setdefault(json.dumps(configured), []).append(place)
    found: Found = {}
    for options, places in groups.items():
        part = _configured(_nest(inputs, design), json.loads(options), on, points.at(places))
        for quantity, values in part.items():
            found.setdefault(quantity, np.empty(len(points.names)))[places] = values
    return found


def _configured(make: Callable[..., Nest], options: dict[str, Any], on: Device, points: Points) -> Found:
    share = options.pop("spilled", 0.0)
    inside = _three_pass(make(**{**options, "on_chip": tuple(options.get("on_chip", ()))}), on, points)
    if not share:
        return _mixed(inside)
    outside = _three_pass(make(**{**options, "on_chip": (), "scores": "dram"}), on, points)
    return _mixed(inside, outside, share)


def _three_pass(nest: Nest, on: Device, points: Points, tiles: Mapping[str, Any] | None = None) -> MappedEstimate:
    cascade = attention.three_pass(query=SIDE, context=SIDE, head_dim=1)
    sizes = cascade.bind(
        b=points.batch, h=points.heads, p=points.length, m=points.length, e=points.width, f=points.width
    )
    return evaluate(cascade, nest, on, sizes, tiles, checked=False)


def _mixed(inside: MappedEstimate, outside: MappedEstimate | None = None, share: float = 0.0) -> Found:
    """The figures of an estimate, or of two that each do a share of the same work at the same time.

    What goes by memory passes by the buffer none the less: only memory works more for it.
    """
    parts = [(inside, 1.0 - share)] + ([(outside, share)] if outside else [])

    def both(of: Callable[[MappedEstimate], Any]) -> Any:
        return sum((part * of(one) for one, part in parts), start=0.0)

    seconds = inside.seconds
    if outside:
        seconds = np.maximum(both(lambda e: e.compute_seconds), both(lambda e: e.level_seconds["dram"]))
    places = inside.device.instances("array")
    shares = {f"array, {one.einsum}": one.capacity / (seconds * places) for one in inside.leaves if one.unit == "array"}
    return shares | {
        "traffic": both(lambda e: e.traffic("dram")),
        "seconds": seconds,
        "joules": inside.joules + both(lambda e: e.joules_by["dram"]) - inside.joules_by["dram"],
        "array": both(lambda e: e.utilisation("array") * e.seconds) / seconds,
        "vector": both(lambda e: e.utilisation("vector") * e.seconds) / seconds,
    }


def _nest(inputs: Mapping[str, Any], design: str) -> Callable[..., Nest]:
    name = text(inputs, "designs", design, "mapping")
    if name not in attention_arrays.__all__:
        raise WeirError(f"inputs: unknown mapping {name!r}{hint(name, attention_arrays.__all__)}")
    made: Callable[..., Nest] = getattr(attention_arrays, name)
    return made


_STUDIES = {"unfused": _unfused, "flat": _flat}


@lru_cache(maxsize=64)
def attentions(inputs_text: str, design: str) -> Found:
    """Attention of a design at all points (inputs as JSON, so that it is done once)."""
    inputs = json.loads(inputs_text)
    mapping = text(inputs, "designs", design, "mapping")
    return _STUDIES.get(mapping, _one_pass)(inputs, design, _device(inputs, design), Points.of(inputs))


@lru_cache(maxsize=64)
def projections(inputs_text: str, design: str) -> Found:
    """The six products around attention: three into it, one out of it, two of the network behind."""
    inputs = json.loads(inputs_text)
    points, on = Points.of(inputs), _device(inputs, design)
    inner = points.heads * points.width
    shapes = [(points.model, inner)] * 3 + [(inner, points.model), (points.model, points.hidden)]
    shapes.append((points.hidden, points.model))
    cascade = parse("X[t, k]: stream\nW[k, n]: weight\nZ[t, n] = X[t, k] * W[k, n]", name="product", t=1, k=1, n=1)
    nest = attention_arrays.product(block=SIDE)
    total: Found = {"seconds": 0.0, "joules": 0.0}
    for k, n in shapes:
        sizes = cascade.bind(t=points.batch * points.length, k=k, n=n)
        choices = tuple(SIDE << i for i in range(int(np.log2(n.max() / SIDE)) + 2))
        block = largest(Mapped(cascade, nest), on, sizes, "n.0", choices)
        made = evaluate(cascade, nest, on, sizes, {"n.0": np.minimum(block, n)}, checked=False)
        total = {"seconds": total["seconds"] + made.seconds, "joules": total["joules"] + made.joules}
    return total


def _of(inputs: Mapping[str, Any], design: str, whole: bool) -> Found:
    """A design's figures at all points: of attention, or with its projections as the ``whole``."""
    known = table(inputs, "designs")
    if design not in known:
        raise WeirError(f"inputs: unknown design {design!r}{hint(design, known)}")
    key = json.dumps(_whole(inputs), sort_keys=False)
    found = attentions(key, design)
    if not whole:
        return found
    around = projections(key, design)
    return {quantity: found[quantity] + around[quantity] for quantity in ("seconds", "joules")}


def _whole(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs, designs that are ``like`` another filled up with what they do not change."""
    designs = table(inputs, "designs")
    full = dict(designs)
    for name in (n for n, one in designs.items() if "like" in one):
        base = pick(inputs, "designs", text(inputs, "designs", name, "like"))
        full[name] = {**base, "set": {**base.get("set", {}), **designs[name].get("set", {})}}
    return {**inputs, "designs": full}


def _place(inputs: Mapping[str, Any], model: str, length: str) -> int:
    pick(inputs, "models", model)
    lengths = tuple(table(inputs, "lengths"))
    pick(inputs, "lengths", length)
    return tuple(table(inputs, "models")).index(model) * len(lengths) + lengths.index(length)


def _quantity(found: Found, quantity: str) -> Any:
    if quantity not in found:
        raise WeirError(f"unknown quantity {quantity!r}{hint(quantity, found)}")
    return found[quantity]


def figure(inputs: Mapping[str, Any], *, design: str, quantity: str, model: str, length: str) -> float:
    """Attention: bytes of ``traffic`` with memory, ``seconds``, ``joules``, share of ``array`` or ``vector`` in use (of
    the array by one Einsum: ``array, QK``)."""
    return float(_quantity(_of(inputs, design, False), quantity)[_place(inputs, model, length)])


def end_to_end(inputs: Mapping[str, Any], *, design: str, quantity: str, model: str, length: str) -> float:
    """Attention with its projections and feed-forward network: ``seconds`` or ``joules``."""
    return float(_quantity(_of(inputs, design, True), quantity)[_place(inputs, model, length)])


def average(inputs: Mapping[str, Any], *, quantity: str, over: str, under: str, whole: int) -> float:
    """Mean over all points of one design's seconds or joules over another's, of attention or (1) of the ``whole``."""
    above, below = (_quantity(_of(inputs, design, bool(whole)), quantity) for design in (over, under))
    return float(np.mean(above / below))
