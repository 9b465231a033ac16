"""Products with weights of few bits, and by table: what would be multiplied is looked up.

Compiled here without byte shuffles, which make tables fast; weights of two bits are faster turned into numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.kernels.core.checks import Array, arrays, contiguous, whole
from workloads.kernels.core.jit import jit, run, spread

__all__ = ["memory_former", "pack", "pack_two_bit", "t_mac", "t_mac_int8", "two_bit"]

GROUP = 4  # activations that one table covers: its sixteen entries are all their signed sums
SHARED = 16  # tables that share a scale in int8: 64 activations, as in the published code
SIGNS = np.array([[1.0 if code >> i & 1 else -1.0 for i in range(GROUP)] for code in range(2**GROUP)])  # (u, i)


def pack(signs: Array, *, threads: int = 1) -> Array:  # (b, m, k) -> uint8 (b, m, k/4)
    """Four signs of each plane of weights as a number of four bits, lowest first; zero counts as negative."""
    size = arrays("pack", signs=(signs, "b m k"))
    _grouped("pack", "signs", signs, size["k"])
    whole("pack", least=1, threads=threads)
    shape = (size["b"], size["m"], size["k"] // GROUP)
    [codes] = spread(_packed, threads, signs.reshape(shape[0] * shape[1], shape[2], GROUP))
    return np.asarray(codes.reshape(shape))


def _packed(signs: Array) -> tuple[Array]:  # (r, j, 4) -> uint8 (r, j)
    return (((signs > 0) << np.arange(GROUP, dtype=np.uint8)).sum(axis=2, dtype=np.uint8),)


def _grouped(kernel: str, name: str, array: Array, inner: int) -> None:
    if inner % GROUP:
        raise ValueError(f"{kernel}: {name} has shape {array.shape}, expected a last rank of whole groups of {GROUP}")


def t_mac(
    x: Array, codes: Array, scale: Array, *, threads: int = 1
) -> Array:  # (n, k), uint8 (b, m, k/4), (b, m) -> (n, m)
    """Weights of a few bits as planes of signs, whose products with activations are tabulated (T-MAC)."""
    size = _checked("t_mac", x, codes, scale, threads)
    y = np.zeros((size["n"], size["m"]), x.dtype)
    run(_look, size["m"], threads, *(np.require(a, requirements="W") for a in (_tables(x), codes, scale)), y)
    return y


def t_mac_int8(
    x: Array, codes: Array, scale: Array, *, threads: int = 1
) -> Array:  # (n, k), uint8 (b, m, k/4), (b, m) -> (n, m)
    """The same with tables of eight bits, whose scale each 64 activations share."""
    size = _checked("t_mac_int8", x, codes, scale, threads)
    tables = _tables(x)
    each = -(-tables.shape[1] // SHARED)
    wide = np.zeros((size["n"], each * SHARED, 2**GROUP), x.dtype)
    wide[:, : tables.shape[1]] = tables
    parts = wide.reshape(size["n"], each, SHARED * 2**GROUP)
    steps = np.abs(parts).max(axis=2, initial=0) / x.dtype.type(127)
    with np.errstate(invalid="ignore"):
        small = np.rint(parts / np.where(steps > 0, steps, 1)[..., None]).astype(np.int8).reshape(wide.shape)
    y = np.zeros((size["n"], size["m"]), x.dtype)
    run(_look_small, size["m"], threads, *(np.require(a, requirements="W") for a in (small, steps, codes, scale)), y)
    return y


def _checked(kernel: str, x: Array, codes: Any, scale: Array, threads: int) -> dict[str, int]:
    size = arrays(kernel, x=(x, "n k"), scale=(scale, "b m"))
    whole(kernel, least=1, threads=threads)
    _grouped(kernel, "x", x, size["k"])
    _bytes(kernel, "codes", codes, (size["b"], size["m"], size["k"] // GROUP))
    if codes.size and codes.max() >= 2**GROUP:
        raise ValueError(f"{kernel}: codes reach {codes.max()}, expected 0 to {2**GROUP - 1}")
    return size


def _bytes(kernel: str, name: str, codes: Any, shape: tuple[int, ...]) -> None:
    """Refuse what is not bytes of this shape."""
    if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8 or not codes.flags.c_contiguous:
        raise ValueError(f"{kernel}: {name} is a {type(codes).__name__} of {getattr(codes, 'dtype', 'no type')}, "
                         f"expected a contiguous array {shape} of uint8")  # fmt: skip
    if codes.shape != shape:
        raise ValueError(f"{kernel}: {name} has shape {codes.shape}, expected {shape} as in scale and x")


def _tables(x: Array) -> Array:  # (n, k) -> (n, k/4, 16)
    """All signed sums of every four activations."""
    parts = x.reshape(len(x), x.shape[1] // GROUP, GROUP)
    return np.asarray(sum(parts[:, :, i : i + 1] * SIGNS[:, i].astype(x.dtype) for i in range(GROUP)))


@jit
def _look(
    first: int, stop: int, tables: Array, codes: Array, scale: Array, y: Array
) -> None:  # (n, j, 16), (b, m, j), (b, m) -> (n, m)
    for m in range(first, stop):
        for n in range(tables.shape[0]):
            for b in range(codes.shape[0]):
                total = y.dtype.type(0)
                for j in range(tables.shape[1]):
                    total += tables[n, j, codes[b, m, j]]
                y[n, m] += scale[b, m] * total


@jit
def _look_small(
    first: int, stop: int, tables: Array, steps: Array, codes: Array, scale: Array, y: Array
) -> None:  # int8 (n, j, 16), (n, j/16), (b, m, j), (b, m) -> (n, m)
    for m in range(first, stop):
        for n in range(tables.shape[0]):
            for b in range(codes.shape[0]):
                for g in range(steps.shape[1]):
                    total = 0
                    for j in range(g * SHARED, min((g + 1) * SHARED, codes.shape[2])):
                        total += int(tables[n, j, codes[b, m, j]])
                    y[n, m] += scale[b, m] * steps[n, g] * y.dtype.type(total)


def pack_two_bit(codes: Array, *, threads: int = 1) -> Array:  # uint8 (m, k) -> uint8 (m, k/4)
    """Four codes of two bits a byte, a quarter of the row apart: neighbours in one place of neighbouring bytes."""
    if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8 or codes.ndim != 2:
        raise ValueError(f"pack_two_bit: codes is a {type(codes).__name__} of {getattr(codes, 'dtype', 'no type')} and "
                         f"shape {getattr(codes, 'shape', 'none')}, expected uint8 of two ranks (m, k)")  # fmt: skip
    contiguous("pack_two_bit", "codes", codes, "(m, k)")
    whole("pack_two_bit", least=1, threads=threads)
    _grouped("pack_two_bit", "codes", codes, codes.shape[1])
    if codes.size and codes.max() > 3:
        raise ValueError(f"pack_two_bit: codes reach {codes.max()}, expected 0 to 3")
    parts = codes.reshape(len(codes), GROUP, codes.shape[1] // GROUP)
    [packed] = spread(lambda p: (p[:, 0] | p[:, 1] << 2 | p[:, 2] << 4 | p[:, 3] << 6,), threads, parts)
    return np.asarray(packed)


def two_bit(
    x: Array, packed: Array, scale: Array, *, threads: int = 1
) -> Array:  # (n, k), uint8 (m, k/4), (m) -> (n, m)
    """Codes 0 to 3 are -3, -1, 1 and 3 times their row's scale, as two planes of signs are; made numbers in passing."""
    size = arrays("two_bit", x=(x, "n k"), scale=(scale, "m"))
    whole("two_bit", least=1, threads=threads)
    _grouped("two_bit", "x", x, size["k"])
    _bytes("two_bit", "packed", packed, (size["m"], size["k"] // GROUP))
    y = np.zeros((size["n"], size["m"]), x.dtype)
    parts = x.reshape(size["n"], GROUP, size["k"] // GROUP)
    run(_unpacked, size["m"], threads, *(np.require(a, requirements="W") for a in (parts, packed, scale)), y)
    return y


@jit
def _unpacked(
    first: int, stop: int, x: Array, packed: Array, scale: Array, y: Array
) -> None:  # (n, 4, j), (m, j), (m) -> (n, m)
    two, four, six, mask, least = np.int32(2), np.int32(4), np.int32(6), np.int32(3), y.dtype.type(1.5)
    for m in range(first, stop):
        row = packed[m]
        for n in range(x.shape[0]):
            x0, x1, x2, x3 = x[n, 0], x[n, 1], x[n, 2], x[n, 3]
            total = y.dtype.type(0)
            for j in range(len(row)):
                held = np.int32(row[j])
                total += x0[j] * (y.dtype.type(np.int32(held & mask)) - least)
                total += x1[j] * (y.dtype.type(np.int32(np.int32(held >> two) & mask)) - least)
                total += x2[j] * (y.dtype.type(np.int32(np.int32(held >> four) & mask)) - least)
                total += x3[j] * (y.dtype.type(np.int32(held >> six)) - least)
            y[n, m] = y.dtype.type(2) * scale[m] * total


def memory_former(x: Array, tables: Array, *, threads: int = 1) -> Array:  # (n, k * t), (k, 2**t, o) -> (n, o)
    """A linear layer as look-ups: the signs of ``t`` activations choose a row of their table (MemoryFormer).

    Rows are weighed by how clear the signs are: the probability of the choice if each sign were drawn by a sigmoid of
    twice its activation.
    """
    size = arrays("memory_former", x=(x, "n d"), tables=(tables, "k u o"))
    whole("memory_former", least=1, threads=threads)
    bits = size["u"].bit_length() - 1
    if size["u"] != 1 << bits or size["d"] != size["k"] * bits:
        raise ValueError(f"memory_former: tables has shape {tables.shape}, expected (k, 2**t, o) with k*t={size['d']}, "
                         "the width of x")  # fmt: skip
    y = np.zeros((size["n"], size["o"]), x.dtype)
    parts = np.require(x.reshape(size["n"], size["k"], bits), requirements="W")
    run(_recall, size["n"], threads, parts, np.require(tables, requirements="W"), y)
    return y


@jit
def _recall(first: int, stop: int, x: Array, tables: Array, y: Array) -> None:  # (n, k, t), (k, 2**t, o) -> (n, o)
    one, total = y.dtype.type(1), np.empty(y.shape[1], np.float64)
    for n in range(first, stop):
        total[:] = 0
        for k in range(x.shape[1]):
            row, doubt = 0, one
            for t in range(x.shape[2]):
                row += (1 << t) if x[n, k, t] >= 0 else 0
                doubt *= one + np.exp(-abs(x[n, k, t] + x[n, k, t]))
            for o in range(y.shape[1]):
                total[o] += tables[k, row, o] / doubt
        y[n] = total
