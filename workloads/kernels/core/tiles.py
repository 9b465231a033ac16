"""A matrix product on small tiles: the accumulators stay in vector registers, which plain loops do not achieve.

Compiled, :func:`multiply` works on a few rows by one 64-byte vector of columns at a time; LLVM splits the vector where
the machine's are shorter. Uncompiled it is NumPy's product.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.extending import intrinsic, overload

from workloads.kernels.core.checks import Array

VECTOR = 64  # bytes
# Accumulators in flight: at least the latency of a multiply-add times two of them a cycle, and no more than registers
# hold beside their operands. Where there are sixteen registers of half a vector, eight rows would spill.
ROWS = 8 if get_host_cpu_features().get("avx512f") else 6
REST = 4  # rows of a smaller tile, for what is left
DEPTH = 128  # terms summed at a time: a vector's column of them stays in the first-level cache


def multiply(a: Array, b: Array, c: Array) -> None:  # (r, k), (k, n), (r, n); n in whole vectors, b and c contiguous
    """Add ``a @ b`` to ``c``."""
    c += a @ b


def _tile(rows: int) -> Any:
    """An intrinsic: ``c[ci + r*cr + lane] += sum over k of a[ai + r*ar + k*ak] * b[bi + k*bk + lane]``."""

    @intrinsic
    def tile(
        _: Any, a: Any, ai: Any, ar: Any, ak: Any, b: Any, bi: Any, bk: Any, c: Any, ci: Any, cr: Any, n: Any
    ) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = [context.make_array(t)(context, builder, args[at]).data for t, at in ((a, 0), (b, 4), (c, 7))]
            _emit(builder, rows, a.dtype.bitwidth // 8, data, args)
            return context.get_dummy_value()

        return types.void(a, ai, ar, ak, b, bi, bk, c, ci, cr, n), codegen

    return tile


def _emit(builder: Any, rows: int, size: int, data: Any, args: Any) -> None:
    """The loop over ``k``, with one vector accumulator a row."""
    _, ai, ar, ak, _, bi, bk, _, ci, cr, depth = args
    whole = depth.type
    vector = ir.VectorType(data[0].type.pointee, VECTOR // size)
    a, b, c = (builder.gep(p, [at]) for p, at in zip(data, (ai, bi, ci), strict=True))

    def lanes(pointer: Any, offset: Any) -> Any:
        return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())

    entry, loop, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", depth, whole(0)), loop, done)
    builder.position_at_end(loop)
    k = builder.phi(whole)
    sums = [builder.phi(vector) for _ in range(rows)]
    right = builder.load(lanes(b, builder.mul(k, bk)), align=size)
    grown = []
    for row, total in enumerate(sums):
        left = builder.load(builder.gep(a, [builder.add(builder.mul(whole(row), ar), builder.mul(k, ak))]))
        product = builder.fmul(_spread(builder, left, vector), right, flags=("contract",))
        grown.append(builder.fadd(total, product, flags=("contract",)))
    after = builder.add(k, whole(1))
    builder.cbranch(builder.icmp_signed("<", after, depth), loop, done)
    _join(k, entry, whole(0), loop, after)
    builder.position_at_end(done)
    for row, (total, sum_) in enumerate(zip(sums, grown, strict=True)):
        _join(total, entry, ir.Constant(vector, None), loop, sum_)
        final = builder.phi(vector)
        _join(final, entry, ir.Constant(vector, None), loop, sum_)
        sums[row] = final
    for row, final in enumerate(sums):
        place = lanes(c, builder.mul(whole(row), cr))
        builder.store(builder.fadd(builder.load(place, align=size), final), place, align=size)


def _spread(builder: Any, scalar: Any, vector: Any) -> Any:
    """A scalar in every lane."""
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None))


def _join(phi: Any, before: Any, first: Any, loop: Any, again: Any) -> None:
    phi.add_incoming(first, before)
    phi.add_incoming(again, loop)


_many, _some, _one = _tile(ROWS), _tile(REST), _tile(1)


@overload(multiply)
def _multiply(a: Any, b: Any, c: Any) -> Any:
    size = a.dtype.bitwidth // 8
    lanes = VECTOR // size

    def compiled(a: Any, b: Any, c: Any) -> Any:
        rows, depth = a.shape
        ar, ak = a.strides[0] // size, a.strides[1] // size
        bk, cr = b.shape[1], c.shape[1]
        full = rows // ROWS
        if ROWS % REST == 2 and full > 0 and rows % ROWS % REST > 1:
            full -= 1  # what is left then is tiles of REST
        full *= ROWS
        most = rows - (rows - full) % REST
        for first in range(0, depth, DEPTH):
            deep = min(DEPTH, depth - first)
            for i in range(0, cr, lanes):
                at = first * bk + i
                for r in range(0, full, ROWS):
                    _many(a, r * ar + first * ak, ar, ak, b, at, bk, c, r * cr + i, cr, deep)
                for r in range(full, most, REST):
                    _some(a, r * ar + first * ak, ar, ak, b, at, bk, c, r * cr + i, cr, deep)
                for r in range(most, rows):
                    _one(a, r * ar + first * ak, ar, ak, b, at, bk, c, r * cr + i, cr, deep)

    return compiled
