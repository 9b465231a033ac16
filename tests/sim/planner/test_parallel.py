"""Settings of a training iteration, and sets of kernels in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from einsum import WeirError
from sim.arch import cluster
from sim.planner.parallel import Setting, fusion, fusions
from workloads.spec import Spec
from workloads.transformer import model


def test_replicas_and_microbatches(gpt: Callable[..., Spec]) -> None:
    made = Setting(gpt(), cluster("32xa100"), 512, 64, microbatch=2, tensor=4, stages=2)
    assert (made.replicas, made.microbatches) == (4, 8)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"tensor": 3}, "8 devices are no multiple of 3 (tensor) x 1 (stages); 6 would do"),
        ({"tensor": 3}, "16 heads cannot be divided 3 ways; 2 would do"),
        ({"batch": 12}, "a batch of 12 is no multiple of 8: 8 replicas x 1; 16 would do"),
        ({"stages": 4, "chunks": 4}, "8 layers do not go round 4 stages of 4 chunks; 4 of one chunk would do"),
        (
            {"stages": 4, "chunks": 2, "batch": 12},
            "6 microbatches are no multiple of 4 stages, which interleaving needs; a batch of 16 would do",
        ),
        ({"recompute": "ful"}, "did you mean 'full'"),
        ({"cluster": cluster("8xa100_8xh100")}, "one pool of like devices"),
        ({"cluster": cluster("16xa100"), "tensor": 16}, "reach beyond a node of 8 devices; 8 would do"),
        ({"experts": 2}, "gpt has no experts to divide 2 ways"),
        (
            {"spec": model("mixtral-8x7b").spec, "tensor": 2, "experts": 3},
            "8 experts cannot be divided 3 ways over 2 devices of 4 replicas; 1, 2, 4, 8 would do",
        ),
        ({"spec": model("mixtral-8x7b").spec, "tensor": 2, "experts": 4}, "need their positions divided"),
    ],
)
def test_what_does_not_go_round_is_refused(gpt: Callable[..., Spec], how: dict[str, Any], message: str) -> None:
    with pytest.raises(WeirError) as problem:
        Setting(**{"spec": gpt(), "cluster": cluster("8xa100"), "sequence": 512, "batch": 8, **how})
    assert message in str(problem.value)


def test_kernels_that_come_with_weir() -> None:
    assert fusions() == ("fused", "megatron_2022")
    assert fusion("megatron_2022").eager
    assert not fusion("fused").dropout
    with pytest.raises(WeirError, match="did you mean 'fused'"):
        fusion("fusd")


def test_a_file_of_kernels_is_checked(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('title = "mine"\nsource = "me"\neager = true\nbegin = ["H"]\n', encoding="utf-8")
    assert fusion(str(mine)).begin == ("H",)
    mine = tmp_path / "wrong.toml"
    mine.write_text('title = "mine"\nsource = "me"\neagre = true\ndropout = 1.5\n', encoding="utf-8")
    with pytest.raises(WeirError) as problem:
        fusion(str(mine))
    assert str(problem.value).splitlines() == [
        "wrong.toml:3:1: eagre: unknown key; did you mean 'eager'?",
        "wrong.toml:4:1: dropout: 1.5 must be at least 0 and less than 1",
    ]
