"""Energies for the components of a device that state none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from sim.arch.architecture import Device
from sim.arch.components import Compute, Memory
from sim.arch.technology.arithmetic import operations
from sim.arch.technology.memories import Cell, sram_model
from sim.arch.technology.technology import Technology
from sim.arch.technology.technology import technology as at_node

WORD = 8.0  # B moved by one access of a memory that states no line
BITS = 8  # in a byte


@dataclass(frozen=True, slots=True)
class Modelled:
    """One energy that no file states: where it stands, its value, and the model it comes from."""

    path: str  # as ``Device.get`` takes it
    energy: float  # J/B of a memory, J/op of a unit
    model: str


@dataclass(frozen=True, slots=True)
class Filled:
    """A device with an energy for every component that has a model; ``missing`` names those that have none."""

    device: Device
    modelled: tuple[Modelled, ...]
    missing: tuple[str, ...]
    technology: Technology | None = None  # of the models; None where nothing was asked of them


def made(device: Device, node: str | float | None = None) -> Filled:
    """The device filled with models at a node, or else at the one that its file states; as it is where none is."""
    stated = device.technology
    if node is None:
        if stated is None:
            return Filled(device, (), ())
        node = stated.node
    return fill(device, at_node(node), (stated.dram or None) if stated else None)


def fill(device: Device, technology: Technology, dram: str | None = None) -> Filled:
    """The device with modelled energies where it states none; ``dram`` is the kind of its outermost memory."""
    rows, missing = list[Modelled](), list[str]()
    for memory in device.memories:
        found = _memory(memory, device, technology, dram)
        rows += found
        missing += [] if found or memory.energy else [f"{memory.name}.energy"]
    for unit in device.computes:
        for op, dtype in _unstated(unit):
            model = _operation(unit, op, dtype, technology)
            rows += model
            missing += [] if model else [f"{unit.name}.energy.{op}.{dtype}"]
    return Filled(_applied(device, tuple(rows)), tuple(rows), tuple(missing), technology)


def _memory(memory: Memory, device: Device, technology: Technology, dram: str | None) -> list[Modelled]:
    """The modelled energy of a memory that states none, if its kind is known."""
    if memory.energy:
        return []
    path = f"{memory.name}.energy"
    if memory is device.memory and dram is not None:
        kind = technology.dram(dram)
        return [Modelled(path, kind.energy * BITS, f"{kind.name}{'' if kind.verified else ' (unverified)'}")]
    if memory is device.memory or memory.capacity == inf:
        return []
    cell, model = on_chip(memory, technology)
    return [Modelled(path, float(cell.read + cell.write) / 2 / _word(memory), model)]


def _word(memory: Memory) -> float:
    """Bytes that one access moves."""
    return min(memory.line or WORD, memory.capacity)


def on_chip(memory: Memory, technology: Technology) -> tuple[Cell, str]:
    """An SRAM, or flip-flops where the words are too few for an array, and the name of that model."""
    word = _word(memory)
    width, words = max(1, round(word * BITS)), int(memory.capacity // word)
    if words < sram_model().rows:
        cell, model = technology.register_file(words, width), "register file"
    else:
        cell, model = technology.sram(memory.capacity, width), f"sram of {width}-bit words"
    beyond = words >= sram_model().rows and not sram_model().covers(memory.capacity, width)
    note = ", beyond the range it was fitted to" if beyond else ""
    return cell, f"{model} at {technology.node:g} nm{note}"


def _unstated(unit: Compute) -> list[tuple[str, str]]:
    """The (operation, type) pairs that the unit runs and gives no energy for."""
    stated = {(op, dtype) for op, dtype, _ in unit.energies}
    return [(op, dtype) for op, dtype, _ in unit.rates if (op, dtype) not in stated]


def _operation(unit: Compute, op: str, dtype: str, technology: Technology) -> list[Modelled]:
    """The modelled energy of one operation; a rate counts a multiply-accumulate as two, and so does its energy."""
    kind = arithmetic_kind(op)
    if kind not in operations():
        return []
    each = technology.arithmetic(kind, dtype).energy / (2 if op == "mac" else 1)
    return [Modelled(f"{unit.name}.energy.{op}.{dtype}", each, f"{kind} on {dtype} at {technology.node:g} nm")]


def arithmetic_kind(op: str) -> str:
    """The arithmetic that stands for an operation class: ``map``, any elementwise class, costs an addition."""
    return "add" if op == "map" else op


def _applied(device: Device, rows: tuple[Modelled, ...]) -> Device:
    """The device with those energies written in."""
    energies = {row.path: row.energy for row in rows}
    memories = tuple(replace(m, energy=energies.get(f"{m.name}.energy", m.energy)) for m in device.memories)
    computes = tuple(_with_energies(unit, energies) for unit in device.computes)
    return replace(device, memories=memories, computes=computes)


def _with_energies(unit: Compute, energies: dict[str, float]) -> Compute:
    paths = [(op, dtype, f"{unit.name}.energy.{op}.{dtype}") for op, dtype, _ in unit.rates]
    added = tuple((op, dtype, energies[path]) for op, dtype, path in paths if path in energies)
    return replace(unit, energies=(*unit.energies, *added))
