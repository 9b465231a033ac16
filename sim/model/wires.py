"""Seconds and joules of the wires of fan-outs, from the words and hops on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.arch import Device
from sim.model.actions import Carried
from sim.units import fmt

if TYPE_CHECKING:
    from sim.arch.technology.technology import Technology


@dataclass(frozen=True)
class Wires:
    """What a run moves on the wires of a device's fan-outs; ``each`` is bytes of an element by tensor."""

    device: Device
    carried: tuple[Carried, ...]
    each: Mapping[str, float]
    technology: Technology | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Fan-outs whose wires are used."""
        return tuple(dict.fromkeys(one.fanout for one in self.carried))

    def of(self, fanout: str) -> tuple[Carried, ...]:
        """What moves on the wires of one fan-out."""
        return tuple(one for one in self.carried if one.fanout == fanout)

    def moved(self, fanout: str) -> Any:
        """Bytes that pass where a fan-out's wires begin, both directions together."""
        return sum(self.each[one.tensor] * one.words for one in self.of(fanout))

    def hops(self, fanout: str) -> Any:
        """Links crossed by elements."""
        return sum(one.hops for one in self.of(fanout))

    @cached_property
    def places(self) -> dict[int, dict[str, Any]]:
        """Seconds by place in the nest, then by fan-out of limited bandwidth and direction (``rows in``)."""
        rates = {f.name: f.bandwidth * self.device.instances(f.name) for f in self.device.fanouts}
        found: dict[int, dict[str, Any]] = {}
        for one in (c for c in self.carried if rates[c.fanout] < np.inf):
            here, key = found.setdefault(one.at, {}), f"{one.fanout} {'out' if one.outwards else 'in'}"
            here[key] = here.get(key, 0.0) + self.each[one.tensor] * one.words / rates[one.fanout]
        return found

    @cached_property
    def seconds(self) -> dict[str, Any]:
        """Seconds of each fan-out's wires in the direction that is busier (0 where no bandwidth is stated)."""
        ways: dict[str, Any] = {}
        for here in self.places.values():
            for key, seconds in here.items():
                ways[key] = ways.get(key, 0.0) + seconds
        return {name: np.maximum(ways.get(f"{name} in", 0.0), ways.get(f"{name} out", 0.0)) for name in self.names}

    @cached_property
    def joules(self) -> dict[str, Any]:
        """Joules of each fan-out's wires, where its pitch is stated and a technology says what a wire costs."""
        if self.technology is None:
            return {}
        bit = self.technology.wire(1.0)  # J/m
        pitches = {f.name: f.pitch for f in self.device.fanouts if f.pitch}
        return {
            name: sum(8 * self.each[one.tensor] * one.pitches for one in self.of(name)) * pitches[name] * bit
            for name in self.names
            if name in pitches
        }

    def notes(self) -> Iterator[str]:
        """What is modelled, what is not known, and which hops are approximate."""
        for fan in (f for f in self.device.fanouts if f.name in self.names):
            if fan.name in self.joules and self.technology:
                node = f"{self.technology.node:g} nm"
                yield f"energy of {fan.name} is modelled: wires at {node}, {fmt(fan.pitch, 'm')} to a neighbour"
            else:
                cure = "a pitch and a technology would say"
                yield f"no energy is known for the wires of {fan.name}: counted as 0 J; {cure}"
            if near := sorted({one.tensor for one in self.of(fan.name) if not one.exact}):
                yield f"hops of {', '.join(near)} over {fan.name} are approximate: who shares which words is not known"
