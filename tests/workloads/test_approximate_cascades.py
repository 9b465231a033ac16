"""Approximate attention, look-ups, losses and merging as cascades: what they read and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from einsum import Cascade, WeirError, counts
from sim.cli import main
from workloads import approximate, lookup, merging, vocabulary

SIZES: dict[str, Any] = {"query": 1, "context": 1024, "head_dim": 64}
FEW: dict[str, Any] = {"query": 4, "context": 32, "head_dim": 5}
MODULES = (approximate, lookup, merging, vocabulary)


def scores(cascade: Cascade, width: int) -> float:
    """Inner products of queries and keys: multiply-adds, two operations each, into what has no rank ``f``."""
    sizes = cascade.bind()
    counted = (e for e in cascade.einsums if "f" not in e.output.ranks)
    return float(sum(counts.operations(cascade, e, sizes).get("mac", 0) for e in counted)) / (2 * width)


def test_hip_scores_twice_its_branches_a_level_and_then_its_keys() -> None:
    """Of 131072 keys 512 are kept: eight levels of 1024 scores and 512 at the end, a fifteenth of all."""
    cascade = approximate.hip(query=1, context=131_072, head_dim=64, keep=512, block=1)
    assert scores(cascade, 64) == 2 * 512 * 8 + 512 == 8704


def test_landmark_scores_blocks_and_what_they_hold() -> None:
    """1023 / 16 = 63 landmarks, 4 blocks of 16 keys, and the 16 that are local."""
    assert scores(approximate.landmark(**SIZES, block=16, blocks=4), 64) == 63 + 4 * 16 + 16


def test_retrieval_attention_scores_what_it_was_given() -> None:
    assert scores(approximate.retrieval_attention(**SIZES, found=100, sinks=4, window=20), 64) == 124


def test_razor_scores_what_is_left_and_one_token_more() -> None:
    assert scores(approximate.razor(**SIZES, sinks=4, recent=200), 64) == 4 + 200 + 1


def test_a_table_takes_an_addition_for_four_multiplications() -> None:
    """Looked up and added for each plane and four weights: half an addition a weight of two bits."""
    cascade = lookup.t_mac(rows=1, planes=2, outputs=4096, inner=4096)
    [work] = [counts.operations(cascade, e, cascade.bind()) for e in cascade.einsums if e.output.tensor == "T"]
    assert work["add"] == work["lookup"] == 4096 * 4096 * 2 / 4


def test_every_builder_is_listed() -> None:
    for module in MODULES:
        built = {name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
                 and callable(value) and not name.startswith("_")}  # fmt: skip
        assert built == set(module.__all__)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: approximate.hip(**FEW, keep=3, block=2), "context=32 must be keep=3 times a power of two"),
        (lambda: approximate.hip(**FEW, keep=4, block=3), "hip: query=4 must be whole blocks of 3"),
        (lambda: approximate.hip(**FEW, keep=0, block=1), "hip: keep=0; at least 1"),
        (lambda: approximate.nearest(**FEW, keep=33), "nearest: keep=33 come to 33 keys of a context of 32"),
        (
            lambda: approximate.retrieval_attention(**FEW, found=20, sinks=8, window=8),
            "found=20, sinks=8, window=8 come to 36 keys of a context of 32",
        ),
        (
            lambda: approximate.infllm(**FEW, block=4, blocks=8, representatives=2, sinks=2, window=2),
            "infllm: blocks=8 of 7 and representatives=2 of block=4 are too many",
        ),
        (lambda: approximate.landmark(**FEW, block=8, blocks=4), "landmark: blocks=4 of 3 are too many"),
        (lambda: approximate.keyformer(**FEW, keep=4, recent=4, temperature=1.0), "keyformer: rest=0; at least 1"),
        (
            lambda: approximate.keyformer(**FEW, keep=4, recent=1, temperature=float("nan")),
            "keyformer: temperature=nan; it must be positive and finite",
        ),
        (lambda: approximate.razor(**FEW, sinks=16, recent=16), "razor: dropped=0; at least 1"),
        (lambda: approximate.task_kv(**FEW, heads=2, full=2, sinks=1, recent=1, middle=1), "task_kv: others=0"),
        (lambda: approximate.elastic_cache(**FEW, keep=-1), "elastic_cache: "),
        (lambda: lookup.t_mac(rows=1, planes=2, outputs=3, inner=6), "t_mac: inner=6 must be whole groups of 4"),
        (
            lambda: vocabulary.vocabulary_parallel(tokens=1, width=2, words=10, shards=3),
            "shards=3 does not divide words=10; give a divisor",
        ),
        (
            lambda: merging.tome(tokens=6, width=2, metric=2, merged=3),
            "tome: merged=3 of the 3 tokens that face 3; from 1 to 2 can",
        ),
        (
            lambda: merging.tempme(frames=3, tokens=4, width=2, metric=2, merged=1),
            "tempme: frames=3 must come in pairs",
        ),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize("name", [f"{m.__name__.split('.')[1]}.{build}" for m in MODULES for build in m.__all__])
def test_every_cascade_is_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", name]) == 0
    assert f"# {name.split('.')[1]}: " in capsys.readouterr().out
