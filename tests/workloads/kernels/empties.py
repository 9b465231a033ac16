"""Every rank of every kernel emptied: the result is empty too, or what the rest adds up to, or a refusal by name.

Cascades have no empty ranks, but a sum over none is a sum over one zero: where a rank is emptied in all arguments, a
kernel has to agree with itself when they have one place of zeros instead, which a cascade does say. Run by
``test_running.py`` in a process of its own, uncompiled, as ``refusals.py`` is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from einsum import WeirError
from tests.workloads.kernels.refusals import KERNEL, TABLE, Recorder
from workloads.kernels import catalogue
from workloads.kernels.core.csr import Csr

RANKS = "bhrpme"  # as in Draw


def ones(*shape: int) -> Any:
    return np.ones(shape)


def whole(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def none(*shape: int) -> Any:
    return np.zeros(shape, np.int64)


def bits(*shape: int) -> Any:
    return np.zeros(shape, np.uint8)


Q, K, V = ones(1, 2, 3, 4), ones(1, 2, 0, 4), ones(1, 2, 0, 5)
NOTHING = np.zeros((1, 2, 3, 5))
POOL = ones(2, 3, 2, 4)
SCORE = np.arange(10.0).reshape(1, 2, 5)
CODES = np.zeros(0, np.uint16)
SEVERAL = ones(1, 2, 5, 4)
ANY: dict[str, Any] = {"sinks": 0, "window": 0}
MIDDLE: dict[str, Any] = {"full": 0, "sinks": 0, "recent": 0, "middle": 0}

# Kernel, emptied ranks of its row, arguments, options, results. Most rows have no case there; some add more than zeros.
CALLS: tuple[tuple[str, str, tuple[Any, ...], dict[str, Any], tuple[Any, ...]], ...] = (
    ("cache.virtual", "r", (ones(2, 0, 1, 4), POOL, POOL, whole(1, 3)), {}, (ones(2, 0, 1, 4),)),
    ("cache.paged", "r", (ones(2, 0, 1, 4), POOL, POOL, none(2, 1), whole(1, 3)), {}, (ones(2, 0, 1, 4),)),
    ("cache.ragged", "r", (ones(2, 0, 4), POOL[0], POOL[0], whole(0, 2), whole(0, 3)), {}, (ones(2, 0, 4),)),
    ("cache.ragged", "p", (ones(0, 2, 4), POOL[0], POOL[0], whole(0, 0), whole(0, 3)), {}, (ones(0, 2, 4),)),
    ("cache.ragged", "e", (ones(1, 2, 0), POOL[0][..., :0].copy(), POOL[0], whole(0, 1), whole(0, 3)), {},
     (ones(1, 2, 4),)),
    ("editing.emmet", "pe", (2 * ones(3, 4), np.eye(4), ones(4, 0), ones(3, 0)), {}, (2 * ones(3, 4),)),
    ("eviction.keyformer", "m", (Q, K, V, ones(1, 2, 0), ones(1, 2, 0)), {"keep": 0, "recent": 0},
     (NOTHING, ones(1, 2, 0))),
    ("eviction.keyformer", "p", (ones(1, 2, 0, 4), SEVERAL, SEVERAL, SCORE, SCORE), {"keep": 3, "recent": 1},
     (ones(1, 2, 0, 4), SCORE)),
    ("eviction.task_kv", "h", (ones(1, 0, 3, 4), ones(1, 0, 2, 4), ones(1, 0, 2, 5), ones(1, 0, 4), ones(1, 0, 2)),
     MIDDLE, (ones(1, 0, 3, 5),)),
    ("eviction.task_kv", "m", (Q, K, V, ones(1, 2, 4), ones(1, 2, 0)), MIDDLE, (NOTHING,)),
    ("eviction.elastic_cache", "m", (Q, K, V, ones(1, 2, 0)), {"keep": 0}, (NOTHING,)),
    ("exact.mla_absorbed", "m", (Q, ones(1, 0, 6), ones(5, 2, 3), ones(5, 2, 5)), {}, (NOTHING,)),
    ("exact.mla_absorbed", "e", (ones(1, 2, 3, 1), ones(1, 2, 6), ones(5, 2, 0), ones(5, 2, 0)), {},
     (ones(1, 2, 3, 0),)),
    ("exact.sliding_window", "m", (Q[:, :, :0].copy(), K, V), {"window": 1}, (ones(1, 2, 0, 5),)),
    ("experts.dispatch", "r", (ones(1, 3, 4), none(1, 3, 0)), {"count": 2, "capacity": 2},
     (np.zeros((1, 2, 2, 4)), none(1, 3, 0))),
    ("experts.grouped", "m", (ones(0, 3), ones(2, 3, 4), none(3)), {}, (ones(0, 4),)),
    ("lookup.pack", "e", (ones(2, 3, 0),), {}, (bits(2, 3, 0),)),
    ("lookup.pack_two_bit", "e", (bits(3, 0),), {}, (bits(3, 0),)),
    ("lookup.t_mac", "e", (ones(2, 0), bits(1, 3, 0), ones(1, 3)), {}, (np.zeros((2, 3)),)),
    ("lookup.two_bit", "e", (ones(2, 0), bits(3, 0), ones(3)), {}, (np.zeros((2, 3)),)),
    ("merging.tome", "m", (ones(1, 0, 4), ones(1, 0, 3), ones(1, 0)), {"merged": 0}, (ones(1, 0, 4), ones(1, 0))),
    ("merging.tempme", "m", (ones(1, 2, 0, 4), ones(1, 2, 0, 3), ones(1, 2, 0)), {"merged": 0},
     (ones(1, 1, 0, 4), ones(1, 1, 0))),
    ("merging.tempme", "h", (ones(1, 0, 3, 4), ones(1, 0, 3, 3), ones(1, 0, 3)), {"merged": 1},
     (ones(1, 0, 5, 4), ones(1, 0, 5))),
    ("qmoe.encode", "bh", (bits(0, 3),), {}, (CODES, none(1))),
    ("qmoe.encode", "m", (bits(2, 0),), {}, (CODES, none(3))),
    ("qmoe.decode", "bh", (CODES, none(1)), {"columns": 3}, (bits(0, 3),)),
    ("qmoe.decode", "m", (CODES, none(3)), {"columns": 0}, (bits(2, 0),)),
    ("qmoe.matvec", "bh", (CODES, none(1), ones(0, 2), ones(3)), {}, (ones(0),)),
    ("qmoe.matvec", "m", (CODES, none(3), ones(2, 2), ones(0)), {}, (np.zeros(2),)),
    ("selection.top_k", "m", (ones(2, 0),), {"keep": 0}, (none(2, 0),)),
    ("selection.nearest", "m", (Q, K), {"keep": 0}, (none(1, 2, 3, 0),)),
    ("selection.hip", "p", (ones(1, 2, 0, 4), SEVERAL, SEVERAL), {"keep": 2}, (ones(1, 2, 0, 4),)),
    ("selection.hip", "m", (Q, K, V), {"keep": 2}, (NOTHING,)),
    ("selection.infllm", "m", (Q, K, V, ones(1, 2, 0)), {"block": 4, "blocks": 0, **ANY}, (NOTHING,)),
    ("selection.landmark", "m", (Q, K, V, K), {"block": 4, "blocks": 0}, (NOTHING,)),
    ("selection.retrieval_attention", "m", (Q, K, V, none(1, 2, 3, 0)), ANY, (NOTHING,)),
    ("selection.retrieval_attention", "b", (Q[:0], SEVERAL[:0], SEVERAL[:0], none(0, 2, 3, 1)), ANY, (Q[:0],)),
    ("selection.retrieval_attention", "h",
     (ones(1, 0, 3, 4), ones(1, 0, 5, 4), ones(1, 0, 5, 4), none(1, 0, 3, 1)), ANY, (ones(1, 0, 3, 4),)),
    ("selection.retrieval_attention", "p", (ones(1, 2, 0, 4), SEVERAL, SEVERAL, none(1, 2, 0, 1)), ANY,
     (ones(1, 2, 0, 4),)),
    ("split.partial", "m", (Q, K, V), {}, (np.full((1, 2, 3), -np.inf), np.zeros((1, 2, 3)), NOTHING)),
    ("split.offloaded", "m", (Q, K, V, Q, ones(1, 2, 3, 5)), {"devices": 2}, (ones(1, 2, 3, 5),)),
    ("vocabulary.cross_entropy_gradients", "rp", (ones(0, 3), ones(4, 3), none(0), ones(0), ones(0)), {"least": 0.0},
     (ones(0, 3), np.zeros((4, 3)), 0)),
    ("vocabulary.cross_entropy_gradients", "e", (ones(2, 0), ones(4, 0), none(2), ones(2), ones(2)), {"least": 0.0},
     (ones(2, 0), ones(4, 0), 1)),
)  # fmt: skip
REFUSED = {
    ("cache.virtual", "h"): "q has 0 heads, expected a multiple of the 0 of k",
    ("cache.paged", "h"): "q has 0 heads, expected a multiple of the 0 of k",
    ("cache.ragged", "h"): "q has 0 heads, expected a multiple of the 0 of k",
    ("gates.expert_choice", "m"): "capacity is 1, expected a whole number from 1 to 0",
}
ELSEWHERE = {*REFUSED, *((kernel, rank) for kernel, ranks, *_ in CALLS for rank in ranks)}
SPGEMM = [kernel for kernel in TABLE if kernel.startswith("spgemm.")]


@pytest.fixture(autouse=True)
def _cascades_may_be_written_with_empty_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that rows call their kernels at all; nothing is interpreted."""
    for module in ("einsum.parse", "einsum.cascade"):
        monkeypatch.setattr(import_module(module), "check_extents", lambda cascade: None)


def emptied(kernel: str, rank: str) -> list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]:
    """What a row calls its kernel with when a rank has no place."""
    row = TABLE[kernel]
    sizes: dict[str, Any] = {"b": 2, "h": 3, "r": 2, "p": 2, "m": 7, "e": 3} | {rank: 0}
    draw = Recorder(np.random.default_rng(0), np.float64, **sizes, kind=row.kinds[0])
    with suppress(WeirError, ValueError, ZeroDivisionError):  # of the row; what it called until then is what counts
        list(row.cases(draw))
    return [call for call in draw.calls if call[0].__name__ == kernel.split(".")[1]]


def padded(arg: Any) -> Any:
    """The argument with one place of zeros for none."""
    if isinstance(arg, tuple):
        return tuple(padded(part) for part in arg)
    if isinstance(arg, np.ndarray) and not arg.size:
        return np.zeros([max(extent, 1) for extent in arg.shape], arg.dtype)
    return arg


def leaves(result: Any) -> Iterator[Any]:
    if isinstance(result, tuple):
        for part in result:
            yield from leaves(part)
    else:
        yield np.asarray(result)


def same(got: Any, wanted: Any) -> None:
    """Empty where one place became none, and otherwise the same numbers."""
    for one, other in zip(leaves(got), leaves(wanted), strict=True):
        assert one.dtype == other.dtype
        assert one.ndim == other.ndim
        assert all(n == m or (n, m) == (0, 1) for n, m in zip(one.shape, other.shape, strict=True))
        if one.size:
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@KERNEL
@pytest.mark.parametrize("rank", RANKS)
def test_a_sum_over_none_is_a_sum_over_one_zero(kernel: str, rank: str) -> None:
    if (kernel, rank) in ELSEWHERE or kernel in SPGEMM:
        return  # the tests below
    calls, compared = emptied(kernel, rank), 0
    assert calls
    hollow = [call for call in calls if any(not leaf.size for leaf in leaves(call[1]))]
    for function, args, options in hollow:
        with suppress(ValueError):  # what is packed, or goes in pairs, does not take one more; causal needs keys
            wanted = function(*(padded(arg) for arg in args), **options)
            same(function(*args, **options), wanted)
            compared += 1
    assert compared or not hollow  # not every kernel has every rank


@pytest.mark.parametrize(("kernel", "ranks", "args", "options", "wanted"), CALLS, ids=[f"{c[0]}-{c[1]}" for c in CALLS])
def test_what_rows_do_not_reach(kernel: str, ranks: str, args: Any, options: Any, wanted: Any) -> None:
    got = catalogue()[kernel](*args, **options)
    for one, other in zip(leaves(got), leaves(wanted), strict=True):
        assert one.shape == other.shape
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("kernel", "rank"), REFUSED)
def test_what_cannot_be_is_refused(kernel: str, rank: str) -> None:
    function, args, options = emptied(kernel, rank)[0]
    with pytest.raises(ValueError, match=f"^{function.__name__}: {REFUSED[kernel, rank]}"):
        function(*args, **options)


@pytest.mark.parametrize("kernel", SPGEMM)
@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 0, 0)])
def test_products_of_empty_matrices_have_no_entries(kernel: str, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    a, b = (Csr(none(rows + 1), none(0), ones(0), (rows, columns)) for rows, columns in ((m, k), (k, n)))
    got = catalogue()[kernel](a, b)
    starts = got if kernel == "spgemm.symbolic" else got.indptr
    np.testing.assert_array_equal(starts, none(m + 1))
    if kernel != "spgemm.symbolic":
        assert got.shape == (m, n)
        assert not got.indices.size
        assert not got.data.size
