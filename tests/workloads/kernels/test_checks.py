"""Bad arguments: one line that names the argument, what it is and what was expected."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from workloads.kernels import cache, exact, linear, memory, split

F4, F8 = np.float32, np.float64
Q, K = np.ones((1, 2, 3, 4)), np.ones((1, 2, 5, 4))
POOL, PAGES, LENGTHS = np.ones((6, 4, 1, 4)), np.array([[0, 5]]), np.array([7])
CUT = np.array([0, 3])
FACTOR = np.zeros((1, 2, 3))
W = np.ones((2, 4, 4))
TWICE = split.partial(Q, K, K)

BAD: list[tuple[Any, str]] = [
    (lambda: exact.one_pass([1.0], K, K), "one_pass: q is a list, expected an array (b, h, p, e)"),
    (lambda: exact.one_pass(Q, None, K), "one_pass: k is a NoneType, expected an array (b, h, m, e)"),
    (lambda: exact.one_pass(Q[0], K, K), "one_pass: q has shape (2, 3, 4), expected 4 ranks (b, h, p, e)"),
    (
        lambda: exact.one_pass(Q, K[..., :3].copy(), K),
        "one_pass: k has shape (1, 2, 5, 3), expected (b, h, m, e) with e=4 as in q",
    ),
    (
        lambda: exact.one_pass(Q, K, K[:, :, :4].copy()),
        "one_pass: v has shape (1, 2, 4, 4), expected (b, h, m, f) with m=5 as in k",
    ),
    (lambda: exact.one_pass(Q, K[:, :1].copy(), K), "with h=2 as in q"),
    (lambda: exact.one_pass(Q.astype(int), K, K), "one_pass: q holds int64, expected float32 or float64"),
    (lambda: exact.one_pass(Q.astype(np.float16), K, K), "one_pass: q holds float16, expected float32 or float64"),
    (lambda: exact.one_pass(Q, K.astype(F4), K), "one_pass: k holds float32, expected float64 as in q"),
    (lambda: exact.one_pass(Q, K.astype(">f8"), K), "one_pass: k holds >f8, expected this machine's byte order"),
    (
        lambda: exact.one_pass(Q, K, K[:, :, ::-1]),
        "expected a contiguous array (b, h, m, f); pass numpy.ascontiguousarray(v)",
    ),
    (
        lambda: exact.one_pass(Q, K.swapaxes(0, 1).copy().swapaxes(0, 1)[..., :2], K),
        "one_pass: k of shape (1, 2, 5, 2)",
    ),
    (lambda: exact.one_pass(Q, K, K, threads=0), "one_pass: threads is 0, expected a whole number from 1"),
    (lambda: exact.one_pass(Q, K, K, threads=2.0), "one_pass: threads is 2.0, expected a whole number"),
    (lambda: exact.one_pass(Q, K, K, threads=True), "one_pass: threads is True, expected a whole number"),
    (
        lambda: exact.one_pass(K, Q, Q, causal=True),
        "one_pass: q has 5 queries and k has 3 keys; causal expects no more",
    ),
    (lambda: exact.three_pass(K, Q, Q, causal=True), "three_pass: q has 5 queries and k has 3 keys"),
    (lambda: exact.two_pass(Q, K, Q), "two_pass: v has shape (1, 2, 3, 4), expected (b, h, m, f) with m=5 as in k"),
    (lambda: exact.sliding_window(Q, K, K, window=0), "sliding_window: window is 0, expected a whole number from 1"),
    (
        lambda: exact.sliding_window(Q, K, K, window=2, sinks=-1),
        "sliding_window: sinks is -1, expected a whole number from 0",
    ),
    (lambda: exact.sliding_window(Q, K, K, window=float("nan")), "sliding_window: window is nan, expected"),
    (lambda: exact.grouped_query(Q, K, K), "grouped_query: q has shape (1, 2, 3, 4), expected 5 ranks (b, g, r, p, e)"),
    (lambda: exact.multi_query(Q, K, K), "multi_query: k has shape (1, 2, 5, 4), expected 3 ranks (b, m, e)"),
    (
        lambda: exact.mla_absorbed(Q, K[0], np.ones((3, 2, 2)), np.ones((3, 2, 2))),
        "mla_absorbed: ckv has shape (2, 5, 4), expected (b, m, c) with b=1 as in q",
    ),
    (
        lambda: exact.mla_absorbed(Q, K[0, :1], np.ones((3, 2, 2)), np.ones((3, 2, 2))),
        "mla_absorbed: ckv has shape (1, 5, 4), expected (b, m, l + j) with l=3 as in wuk and j=2, the width of q",
    ),
    (
        lambda: split.decode_split(Q, K, K, splits=0),
        "decode_split: splits is 0, expected a whole number from 1 to 1048576",
    ),
    (
        lambda: split.decode_split(Q, K, K, splits=2**40),
        "decode_split: splits is 1099511627776, expected a whole number",
    ),
    (lambda: split.stream_k(Q, K, K, workers=-2), "stream_k: workers is -2, expected a whole number from 1"),
    (lambda: split.stream_k(Q, K, K, workers=2, tile=0), "stream_k: tile is 0, expected a whole number from 1"),
    (lambda: split.partial(K, Q, Q, causal=True), "partial: q has 5 queries and k has 3 keys; causal expects no more"),
    (
        lambda: split.merge(TWICE, split.partial(K, K, K)),
        "merge: x2 has shape (1, 2, 5), expected (b, h, p) with p=3 as in x1",
    ),
    (
        lambda: split.offloaded(Q, K, K, K, K, devices=1),
        "offloaded: new_k has shape (1, 2, 5, 4), expected (b, h, p, e) with p=3",
    ),
    (lambda: split.offloaded(Q, K, K, Q, Q, devices=0), "offloaded: devices is 0, expected a whole number from 1"),
    (lambda: cache.paged(Q, POOL, POOL, [[0]], LENGTHS), "paged: tables is a list, expected an array (1, ...)"),
    (lambda: cache.paged(Q, POOL, POOL, PAGES[0], LENGTHS), "paged: tables has shape (2,), expected (1, ...)"),
    (lambda: cache.paged(Q, POOL, POOL, PAGES.astype(np.int32), LENGTHS), "paged: tables holds int32, expected int64"),
    (lambda: cache.paged(Q, POOL, POOL, PAGES + 1, LENGTHS), "paged: tables reaches from 1 to 6, expected 0 to 5"),
    (lambda: cache.paged(Q, POOL, POOL, PAGES - 1, LENGTHS), "paged: tables reaches from -1 to 4, expected 0 to 5"),
    (lambda: cache.paged(Q, POOL, POOL, PAGES, LENGTHS + 2), "paged: lengths reaches from 9 to 9, expected 0 to 8"),
    (lambda: cache.paged(Q, POOL, POOL, PAGES, LENGTHS[:0]), "paged: lengths has shape (0,), expected (1,)"),
    (
        lambda: cache.paged(Q, POOL, POOL, PAGES, np.array([2])),
        "paged: q has 3 queries and k has 2 keys; causal expects no more",
    ),
    (
        lambda: cache.paged(Q[:, :, :1].copy(), np.ones((6, 4, 3, 4)), np.ones((6, 4, 3, 4)), PAGES, LENGTHS),
        "paged: q has 2 heads, expected a multiple of the 3 of k",
    ),
    (
        lambda: cache.virtual(Q, POOL[:1], POOL[:1], np.array([5])),
        "virtual: lengths reaches from 5 to 5, expected 0 to 4",
    ),
    (
        lambda: cache.virtual(Q, POOL, POOL, LENGTHS),
        "virtual: k has shape (6, 4, 1, 4), expected (b, n, g, e) with b=1 as in q",
    ),
    (
        lambda: cache.ragged(Q[0], K[0], K[0], np.array([0, 1]), np.array([0, 2])),
        "ragged: q_starts is [0, 1], expected to rise from 0 to 2, the length of q",
    ),
    (
        lambda: cache.ragged(Q[0], K[0], K[0], np.array([0, 2, 1, 2]), CUT),
        "ragged: q_starts is [0, 2, 1, 2], expected to rise",
    ),
    (
        lambda: cache.ragged(Q[0], K[0], K[0], np.array([0, 2]), CUT[:1]),
        "ragged: k_starts is [0], expected to rise from 0 to 2",
    ),
    (
        lambda: cache.ragged(Q[0], K[0], K[0], np.array([0, 1, 2]), np.array([0, 2])),
        "ragged: k_starts has shape (2,), expected (3,) as q_starts",
    ),
    (
        lambda: cache.ragged(Q[0], K[0], K[0], np.array([0.0, 2.0]), CUT),
        "ragged: q_starts holds float64, expected int64",
    ),
    (
        lambda: linear.lightning(Q, Q, Q, np.array([0.5, 1.5])),
        "lightning: decay is [0.5, 1.5], expected a factor from 0 to 1",
    ),
    (lambda: linear.lightning(Q, Q, Q, np.array([0.5, np.nan])), "lightning: decay is [0.5, nan], expected a factor"),
    (lambda: linear.lightning(Q, Q, Q, np.ones(3)), "lightning: decay has shape (3,), expected (h) with h=2 as in q"),
    (
        lambda: linear.lightning(Q, K, K, np.ones(2)),
        "lightning: k has shape (1, 2, 5, 4), expected (b, h, t, e) with t=3",
    ),
    (lambda: linear.based(Q, Q, K), "based: v has shape (1, 2, 5, 4), expected (b, h, t, f) with t=3 as in q"),
    (
        lambda: memory.neural_memory(Q, Q, Q, W, W[:1], FACTOR, FACTOR, FACTOR),
        "neural_memory: w2 has shape (1, 4, 4), expected (h, d, f) with h=2 as in q",
    ),
    (
        lambda: memory.neural_memory(Q, Q, Q, W, W, FACTOR[0], FACTOR, FACTOR),
        "neural_memory: rate has shape (2, 3), expected 3 ranks (b, h, t)",
    ),
    (
        lambda: memory.neural_memory(Q, Q, Q, W, W, FACTOR, FACTOR, FACTOR, chunk=0),
        "neural_memory: chunk is 0, expected",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_refused_in_one_line(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_unused_entries_of_a_block_table_may_be_anything() -> None:
    given = np.array([[2, 3, -7, 99]])
    got = cache.paged(Q, POOL, POOL, given, np.array([8]))
    np.testing.assert_array_equal(got, cache.paged(Q, POOL, POOL, given[:, :2].copy(), np.array([8])))


def test_read_only_arguments_are_taken_and_left_alone() -> None:
    fixed = [a.copy() for a in (Q, K, K)]
    for a in fixed:
        a.flags.writeable = False
    np.testing.assert_array_equal(exact.one_pass(*fixed), exact.one_pass(Q, K, K))
    np.testing.assert_array_equal(exact.three_pass(*fixed), exact.three_pass(Q, K, K))
