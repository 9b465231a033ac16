"""Bad arguments of the approximate kernels: one line that names the argument, what it is and what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from workloads.kernels import eviction, lookup, selection, vocabulary

Q, K, W = np.ones((1, 2, 3, 4)), np.ones((1, 2, 9, 4)), np.ones((1, 2, 9))
FOUND = np.array([[[[2, 3]] * 3] * 2])
E, C, Y = np.ones((3, 4)), np.ones((7, 4)), np.array([0, 6, 2])
NOTHING: Any = None
CODES, SCALE = np.zeros((1, 5, 2), np.uint8), np.ones((1, 5))
FOURS = np.zeros((5, 8), np.uint8)


def retrieved(found: Any, **options: Any) -> Any:
    return selection.retrieval_attention(Q, K, K, found, **({"sinks": 1, "window": 2} | options))


BAD: list[tuple[Any, str]] = [
    (lambda: selection.hip(Q, K, K, keep=0), "hip: keep is 0, expected a whole number from 1"),
    (
        lambda: selection.hip(Q, K, K[:, :, :5].copy(), keep=2),
        "hip: v has shape (1, 2, 5, 4), expected (b, h, m, f) with m=9 as in k",
    ),
    (lambda: selection.hip(Q, K, K, keep=2, block=-1), "hip: block is -1, expected a whole number from 1"),
    (lambda: selection.top_k(E, keep=5), "top_k: keep is 5, expected a whole number from 0 to 4"),
    (lambda: selection.nearest(Q, K, keep=10), "nearest: keep is 10, expected a whole number from 0 to 9"),
    (lambda: selection.nearest(Q, K.astype(np.float32), keep=1), "nearest: k holds float32, expected float64 as in q"),
    (lambda: retrieved(FOUND.astype(np.int32)), "retrieval_attention: found holds int32, expected int64"),
    (lambda: retrieved(FOUND[..., :0, :]), "found has shape (1, 2, 0, 2), expected (1, 2, 3, 2)"),
    (lambda: retrieved(FOUND[:, :1].copy()), "found has shape (1, 1, 3, 2), expected (1, 2, 3, 2)"),
    (lambda: retrieved(FOUND + 9), "found reaches from 11 to 12, expected 0 to 8"),
    (lambda: retrieved(FOUND - 2), "found reaches from 0 to 1, expected 1 to 6: sinks and window are attended anyway"),
    (lambda: retrieved(FOUND * 0 + 3), "found of shape (1, 2, 3, 2) names a key twice, expected each once"),
    (lambda: retrieved(FOUND, window=9), "retrieval_attention: window is 9, expected a whole number from 0 to 8"),
    (
        lambda: selection.infllm(Q, K, K, W, block=2, blocks=5, sinks=1, window=1),
        "infllm: representatives is 4, expected a whole number from 1 to 2",
    ),
    (
        lambda: selection.infllm(Q, K, K, W, block=4, blocks=3, sinks=1, window=1),
        "infllm: blocks is 3, expected a whole number from 0 to 1",
    ),
    (
        lambda: selection.landmark(Q, K, K, Q, block=2, blocks=1),
        "landmark: landmarks has shape (1, 2, 3, 4), expected j=4 for 9 keys in blocks of 2",
    ),
    (
        lambda: selection.landmark(Q, K, K, Q, block=3, blocks=1),
        "expected j=2 for 9 keys in blocks of 3, of which the last is local",
    ),
    (
        lambda: eviction.keyformer(Q, K, K, W, W, keep=4, recent=5),
        "keyformer: recent is 5, expected a whole number from 0 to 4",
    ),
    (
        lambda: eviction.keyformer(Q, K, K, W, W, keep=4, recent=2, temperature=float("nan")),
        "keyformer: temperature is nan, expected a positive finite number",
    ),
    (
        lambda: eviction.keyformer(Q, K, K, W[..., :3].copy(), W, keep=4, recent=2),
        "keyformer: noise has shape (1, 2, 3)",
    ),
    (
        lambda: eviction.razor(Q, K, K, np.array([0, 2]), sinks=1, recent=1),
        "razor: retrieval reaches from 0 to 2, expected 0 to 1",
    ),
    (
        lambda: eviction.razor(Q, K, K, np.array([0]), sinks=1, recent=1),
        "razor: retrieval has shape (1,), expected (2,)",
    ),
    (
        lambda: eviction.razor(Q, K, K, np.array([0, 1]), sinks=5, recent=5),
        "razor: recent is 5, expected a whole number from 0 to 4",
    ),
    (
        lambda: eviction.task_kv(Q, K, K, Q[:, :, 0].copy(), W, full=3, sinks=1, recent=1, middle=1),
        "task_kv: full is 3, expected a whole number from 0 to 2",
    ),
    (
        lambda: eviction.task_kv(Q, K, K, Q[:, :, 0].copy(), W, full=1, sinks=4, recent=4, middle=2),
        "task_kv: middle is 2, expected a whole number from 0 to 1",
    ),
    (
        lambda: eviction.elastic_cache(Q, K, K, W, keep=0),
        "elastic_cache: keep is 0, expected a whole number from 1 to 9",
    ),
    (
        lambda: lookup.pack(np.ones((1, 2, 6))),
        "pack: signs has shape (1, 2, 6), expected a last rank of whole groups of 4",
    ),
    (lambda: lookup.t_mac(np.ones((2, 9)), CODES, SCALE), "t_mac: x has shape (2, 9), expected a last rank of whole"),
    (
        lambda: lookup.t_mac(np.ones((2, 8)), CODES.astype(int), SCALE),
        "t_mac: codes is a ndarray of int64, expected a contiguous array (1, 5, 2) of uint8",
    ),
    (lambda: lookup.t_mac(np.ones((2, 8)), NOTHING, SCALE), "t_mac: codes is a NoneType of no type, expected"),
    (lambda: lookup.t_mac(np.ones((2, 8)), CODES + np.uint8(16), SCALE), "t_mac: codes reach 16, expected 0 to 15"),
    (
        lambda: lookup.t_mac_int8(np.ones((2, 12)), CODES, SCALE),
        "t_mac_int8: codes has shape (1, 5, 2), expected (1, 5, 3) as in scale and x",
    ),
    (
        lambda: lookup.pack_two_bit(np.zeros((2, 8))),
        "pack_two_bit: codes is a ndarray of float64 and shape (2, 8), expected uint8 of two ranks (m, k)",
    ),
    (lambda: lookup.pack_two_bit(NOTHING), "pack_two_bit: codes is a NoneType of no type and shape none, expected"),
    (lambda: lookup.pack_two_bit(CODES), "pack_two_bit: codes is a ndarray of uint8 and shape (1, 5, 2), expected"),
    (lambda: lookup.pack_two_bit(CODES[0]), "codes has shape (5, 2), expected a last rank of whole groups of 4"),
    (lambda: lookup.pack_two_bit(FOURS + np.uint8(4)), "pack_two_bit: codes reach 4, expected 0 to 3"),
    (lambda: lookup.pack_two_bit(FOURS[:, ::2]), "codes of shape (5, 4) has strides (8, 2), expected a contiguous"),
    (lambda: lookup.pack_two_bit(FOURS, threads=0), "pack_two_bit: threads is 0, expected a whole number from 1"),
    (lambda: lookup.two_bit(np.ones((2, 9)), CODES[0], SCALE[0]), "two_bit: x has shape (2, 9), expected a last rank"),
    (lambda: lookup.two_bit(np.ones((2, 8)), CODES[0], SCALE), "two_bit: scale has shape (1, 5), expected 1 ranks (m)"),
    (
        lambda: lookup.two_bit(np.ones((2, 8)), CODES[0].astype(int), SCALE[0]),
        "two_bit: packed is a ndarray of int64, expected a contiguous array (5, 2) of uint8",
    ),
    (
        lambda: lookup.two_bit(np.ones((2, 12)), CODES[0], SCALE[0]),
        "two_bit: packed has shape (5, 2), expected (5, 3) as in scale and x",
    ),
    (
        lambda: lookup.memory_former(np.ones((2, 6)), np.ones((2, 7, 3))),
        "memory_former: tables has shape (2, 7, 3), expected (k, 2**t, o) with k*t=6",
    ),
    (lambda: vocabulary.cross_entropy(E, C, Y + 1), "cross_entropy: labels reaches from 1 to 7, expected 0 to 6"),
    (
        lambda: vocabulary.cross_entropy(E, C[:, :3].copy(), Y),
        "cross_entropy: c has shape (7, 3), expected (v, d) with d=4 as in e",
    ),
    (lambda: vocabulary.vocabulary_parallel(E, C, Y, shards=0), "vocabulary_parallel: shards is 0, expected a whole"),
    (
        lambda: vocabulary.cross_entropy_gradients(E, C, Y, np.ones(3), np.ones(3), least=-1),
        "cross_entropy_gradients: least is -1, expected a number from 0 to below 1",
    ),
    (
        lambda: vocabulary.cross_entropy_gradients(E, C, Y, np.ones(2), np.ones(3)),
        "lse has shape (2,), expected (n) with n=3 as in e",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message[:50] for _, message in BAD])
def test_bad_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
