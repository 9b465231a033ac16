"""A matrix product on small tiles: the accumulators stay in vector registers, which plain loops do not achieve.

Compiled, :func:`multiply` works on a few rows by one or two 64-byte vectors of columns at a time; LLVM splits vectors
where the machine's are shorter. Uncompiled it is NumPy's product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from workloads.kernels.core.checks import Array
from workloads.kernels.core.jit import jit, jit_inside

VECTOR = 64  # bytes
# Accumulators in flight: at least the latency of a multiply-add times two of them a cycle, and no more than registers
# hold beside operands: 24 of 32, or 12 halves of a vector of 16. Twelve rows two vectors wide take 14 loads for 24
# multiply-adds; one vector wide they would take 13 for 12, and loads would set the pace.
WIDE = 2 if get_host_cpu_features().get("avx512f") else 1  # vectors
ROWS = 12 if WIDE == 2 else 6
REST = 4  # rows of a smaller tile, for what is left
NARROW = 8  # rows of a tile one vector wide, where tiles are two
PACKED = 32  # rows for which a tile's columns are brought together first: strided, they fall on few sets of a cache
DEPTH = 128  # terms summed at a time: the columns of them that a tile takes stay in the first-level cache


@jit
def whole_vectors(count: int, size: int) -> int:
    """As many numbers of ``size`` bytes as fill whole vectors."""
    each = VECTOR // size
    return (count + each - 1) // each * each


def multiply(a: Array, b: Array, c: Array) -> None:  # (r, k), (k, n), (r, n); n in whole vectors, b and c contiguous
    """Add ``a @ b`` to ``c``."""
    c += a @ b


def _tile(rows: int, vectors: int) -> Any:
    """An intrinsic: ``c[ci + r*cr + lane] += sum over k of a[ai + r*ar + k*ak] * b[bi + k*bk + lane]``."""

    @intrinsic
    def tile(
        _: Any, a: Any, ai: Any, ar: Any, ak: Any, b: Any, bi: Any, bk: Any, c: Any, ci: Any, cr: Any, n: Any
    ) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = [context.make_array(t)(context, builder, args[at]).data for t, at in ((a, 0), (b, 4), (c, 7))]
            _emit(builder, rows, vectors, a.dtype.bitwidth // 8, data, args)
            return context.get_dummy_value()

        return types.void(a, ai, ar, ak, b, bi, bk, c, ci, cr, n), codegen

    return tile


def _emit(builder: Any, rows: int, vectors: int, size: int, data: Any, args: Any) -> None:
    """The loop over ``k``, with an accumulator for each vector of each row."""
    _, ai, ar, ak, _, bi, bk, _, ci, cr, depth = args
    whole, each = depth.type, VECTOR // size
    vector = ir.VectorType(data[0].type.pointee, each)
    a, b, c = (builder.gep(p, [at]) for p, at in zip(data, (ai, bi, ci), strict=True))

    def lanes(pointer: Any, offset: Any, at: int) -> Any:
        return _lanes(builder, pointer, builder.add(offset, whole(at * each)), vector)

    entry, loop, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", depth, whole(0)), loop, done)
    builder.position_at_end(loop)
    k = builder.phi(whole)
    sums = [builder.phi(vector) for _ in range(rows * vectors)]
    right = [builder.load(lanes(b, builder.mul(k, bk), at), align=size) for at in range(vectors)]
    grown: list[Any] = []
    for row in range(rows):
        scalar = builder.load(builder.gep(a, [builder.add(builder.mul(whole(row), ar), builder.mul(k, ak))]))
        grown += _added(builder, sums[row * vectors : (row + 1) * vectors], _spread(builder, scalar, vector), right)
    after = builder.add(k, whole(1))
    builder.cbranch(builder.icmp_signed("<", after, depth), loop, done)
    _join(k, entry, whole(0), loop, after)
    builder.position_at_end(done)
    for place, final in enumerate(_finals(builder, sums, grown, entry, loop)):
        to = lanes(c, builder.mul(whole(place // vectors), cr), place % vectors)
        builder.store(builder.fadd(builder.load(to, align=size), final), to, align=size)


def _finals(builder: Any, sums: list[Any], grown: list[Any], entry: Any, loop: Any) -> list[Any]:
    """The accumulators behind the loop; in it each begins as nothing and goes on as what it has grown to."""
    finals = []
    for total, sum_ in zip(sums, grown, strict=True):
        _join(total, entry, ir.Constant(total.type, None), loop, sum_)
        finals.append(builder.phi(total.type))
        _join(finals[-1], entry, ir.Constant(total.type, None), loop, sum_)
    return finals


def _added(builder: Any, sums: list[Any], left: Any, right: list[Any]) -> Iterator[Any]:
    """Accumulators with one product more each."""
    for total, vector in zip(sums, right, strict=True):
        product = builder.fmul(left, vector, flags=("contract",))
        yield builder.fadd(total, product, flags=("contract",))


@intrinsic
def _columns(_: Any, b: Any, bi: Any, bk: Any, panel: Any, n: Any) -> Any:
    """``panel[k, lane] = b[bi + k*bk + lane]`` for ``n`` rows of the columns of a tile."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = [context.make_array(t)(context, builder, args[at]).data for t, at in ((b, 0), (panel, 3))]
        size, whole = b.dtype.bitwidth // 8, args[4].type
        vector = ir.VectorType(data[0].type.pointee, VECTOR // size)
        with cgutils.for_range(builder, args[4]) as loop:
            source = builder.add(args[1], builder.mul(loop.index, args[2]))
            target = builder.mul(loop.index, whole(WIDE * vector.count))
            for at in (whole(i * vector.count) for i in range(WIDE)):
                left, right = (
                    _lanes(builder, p, builder.add(to, at), vector)
                    for p, to in zip(data, (source, target), strict=True)
                )
                builder.store(builder.load(left, align=size), right, align=size)
        return context.get_dummy_value()

    return types.void(b, bi, bk, panel, n), codegen


def _lanes(builder: Any, pointer: Any, offset: Any, vector: Any) -> Any:
    """The address of a vector of numbers."""
    return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())


def _spread(builder: Any, scalar: Any, vector: Any) -> Any:
    """A scalar in every lane."""
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None))


def _join(phi: Any, before: Any, first: Any, loop: Any, again: Any) -> None:
    phi.add_incoming(first, before)
    phi.add_incoming(again, loop)


_pack: Any = _columns
_many, _some, _one = (_tile(rows, WIDE) for rows in (ROWS, REST, 1))
_many_narrow, _one_narrow = (_tile(rows, 1) for rows in (NARROW, 1))


@jit_inside
def _heights(rows: int) -> tuple[int, int]:
    """Rows in tiles of ``ROWS``, and those with the tiles of ``REST`` below; what is left comes one by one."""
    full = rows // ROWS
    if ROWS % REST == 2 and full > 0 and rows % ROWS % REST > 1:
        full -= 1  # what is left then is tiles of REST
    full *= ROWS
    return full, rows - (rows - full) % REST


@overload(multiply)
def _multiply(a: Any, b: Any, c: Any) -> Any:
    size = a.dtype.bitwidth // 8
    lanes = VECTOR // size
    wide = WIDE * lanes

    def compiled(a: Any, b: Any, c: Any) -> Any:
        rows, depth = a.shape
        ar, ak = a.strides[0] // size, a.strides[1] // size
        bk, cr = b.shape[1], c.shape[1]
        full, most = _heights(rows)
        packed = rows >= PACKED and bk > wide
        panel = np.empty((DEPTH if packed else 0, wide), b.dtype)
        for first in range(0, depth, DEPTH):
            deep, af = min(DEPTH, depth - first), first * ak
            for i in range(0, cr - cr % wide, wide):
                if packed:
                    _pack(b, first * bk + i, bk, panel, deep)
                source, at, step = (panel, 0, wide) if packed else (b, first * bk + i, bk)
                for r in range(0, full, ROWS):
                    _many(a, r * ar + af, ar, ak, source, at, step, c, r * cr + i, cr, deep)
                for r in range(full, most, REST):
                    _some(a, r * ar + af, ar, ak, source, at, step, c, r * cr + i, cr, deep)
                for r in range(most, rows):
                    _one(a, r * ar + af, ar, ak, source, at, step, c, r * cr + i, cr, deep)
            if WIDE == 2 and cr % wide:  # one vector of columns is left
                at, i = first * bk + cr - lanes, cr - lanes
                for r in range(0, rows - rows % NARROW, NARROW):
                    _many_narrow(a, r * ar + af, ar, ak, b, at, bk, c, r * cr + i, cr, deep)
                for r in range(rows - rows % NARROW, rows):
                    _one_narrow(a, r * ar + af, ar, ak, b, at, bk, c, r * cr + i, cr, deep)

    return compiled
