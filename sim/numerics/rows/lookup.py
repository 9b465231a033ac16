"""Products by table, against the cascades of :mod:`workloads.lookup`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sim.numerics.draw import Draw, Pair, Row, Tensors
from workloads import lookup as cascades
from workloads.kernels import lookup

PLACES = 2 ** np.arange(4)
SIGN = np.where(np.arange(16)[:, None] & PLACES, 1, -1)


def pack(d: Draw) -> Iterator[Pair]:
    t = {"S": d.normal(2, d.m, 4 * d.e)}
    cascade = cascades.pack(planes=2, outputs=d.m, inner=4 * d.e)
    yield d.run(lookup.pack, t["S"]), cascade, t | {"POW": PLACES}, "A"


def _weights(d: Draw, inner: int, outputs: int) -> Tensors:
    """Activations, and codes and scales of weights in a few bits."""
    codes = d.rng.integers(0, 16, (d.r, outputs, inner // 4)).astype(np.uint8)
    return {"X": d.normal(d.p, inner), "A": codes, "AL": d.values(d.r, outputs)}


def t_mac(d: Draw) -> Iterator[Pair]:
    t = _weights(d, 4 * d.e, d.m)
    cascade = cascades.t_mac(rows=d.p, planes=d.r, outputs=d.m, inner=4 * d.e)
    yield d.run(lookup.t_mac, *t.values()), cascade, t | {"SIGN": SIGN}, "Y"


def t_mac_int8(d: Draw) -> Iterator[Pair]:
    inner, outputs = 64 + 4 * d.e, 64 + d.m  # enough for errors to be an average
    t = _weights(d, inner, outputs)
    cascade = cascades.t_mac(rows=d.p, planes=d.r, outputs=outputs, inner=inner)
    yield d.run(lookup.t_mac_int8, *t.values()), cascade, t | {"SIGN": SIGN}, "Y"


def _codes(d: Draw) -> Any:
    return d.rng.integers(0, 4, (d.m, 4 * d.e)).astype(np.uint8)


def pack_two_bit(d: Draw) -> Iterator[Pair]:
    t = {"S": _codes(d), "POW": 4 ** np.arange(4)}
    yield d.run(lookup.pack_two_bit, t["S"]), cascades.pack_two_bit(outputs=d.m, inner=4 * d.e), t, "A"


def two_bit(d: Draw) -> Iterator[Pair]:
    t = {"X": d.normal(d.p, 4 * d.e), "S": _codes(d), "AL": d.values(d.m)}
    got = d.run(lookup.two_bit, t["X"], lookup.pack_two_bit(t["S"]), t["AL"])
    yield got, cascades.two_bit(rows=d.p, outputs=d.m, inner=4 * d.e), t, "Y"


def memory_former(d: Draw) -> Iterator[Pair]:
    for bits in (1, 3, 8):
        t = {"X": d.normal(d.p, d.e * bits), "TB": d.values(d.e, 2**bits, d.r)}
        cascade = cascades.memory_former(rows=d.p, tables=d.e, bits=bits, outputs=d.r)
        yield d.run(lookup.memory_former, *t.values()), cascade, t | {"POW": 2 ** np.arange(bits)}, "Y"


INT8 = 5e-4**0.5  # T-MAC's own limit on the normalised mean squared error is 5e-4

ROWS = {
    "lookup.pack": Row(pack),
    "lookup.t_mac": Row(t_mac),
    "lookup.t_mac_int8": Row(t_mac_int8, single=INT8, double=INT8),
    "lookup.pack_two_bit": Row(pack_two_bit),
    "lookup.two_bit": Row(two_bit),
    "lookup.memory_former": Row(memory_former),
}
