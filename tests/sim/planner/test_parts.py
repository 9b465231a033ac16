"""A layer's step on the devices of a node: what is sent, what is kept, what takes time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.arch import cluster
from sim.model.task import Task
from sim.model.timing import Timed
from sim.planner.iteration import Iteration
from sim.planner.parallel import Setting, fusion
from sim.planner.parts import Part, issued, makespan
from workloads.spec import Spec

EAGER = fusion("megatron_2022")
Gpt = Callable[..., Spec]


def layer(spec: Spec, *, ways: int = 8, sequence: int = 512, microbatch: int = 2, **how: Any) -> Part:
    kernels = how.pop("kernels", EAGER)
    made = Setting(spec, cluster(f"{ways}xa100"), sequence, microbatch, microbatch, ways, kernels=kernels, **how)
    return Iteration(made).layer


def sent(part: Part) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Kinds and sizes of collectives, forward and backward; a few bytes of vectors left out."""
    first, second = (
        [(one.task.kind, float(one.task.size)) for _, _, one in way if one.task.kind != "kernel"] for way in part.timed
    )
    return first, second


def test_tensor_parallelism_reduces_the_stream_twice_each_way(gpt: Gpt) -> None:
    """Shoeybi et al. (arXiv 1909.08053): two all-reduces of 2 b s h bytes forward, two backward, and no others."""
    forward, backward = sent(layer(gpt()))
    each = 2.0 * 2 * 512 * 1024
    assert forward == backward == [("all-reduce", each)] * 2


def test_sequence_parallelism_gathers_and_scatters_and_gathers_again(gpt: Gpt) -> None:
    """Korthikanti et al. (arXiv 2205.05198), section 4.2: inputs kept divided are gathered anew for gradients."""
    forward, backward = sent(layer(gpt(), spread=True))
    each = 2.0 * 2 * 512 * 1024
    assert sorted(forward) == sorted([("all-gather", each), ("reduce-scatter", each)] * 2)
    assert sorted(backward) == sorted([("all-gather", each)] * 4 + [("reduce-scatter", each)] * 2)


@settings(max_examples=6, deadline=None)
@given(st.sampled_from([1, 2, 4, 8]), st.integers(1, 4), st.integers(1, 8), st.sampled_from([16, 32, 128]))
def test_what_is_kept_by_the_formulas(gpt: Gpt, ways: int, batch: int, blocks: int, head: int) -> None:
    """The paper's equations 1 to 6, in bytes for each of the stream's elements; norms' sums are 8 bytes a token."""
    heads, sequence = 8, 64 * blocks
    spec = gpt(width=heads * head, heads=heads)
    pairs, unit = 5 * sequence / head, batch * sequence * heads * head
    want = {
        ("none", False): 10 + (24 + pairs) / ways,
        ("none", True): (34 + pairs) / ways,
        ("selective", True): 34 / ways,
        ("full", False): 2.0,
    }
    for (recompute, spread), each in want.items():
        part = layer(spec, ways=ways, sequence=sequence, microbatch=batch, recompute=recompute, spread=spread)
        norms = 0 if recompute == "full" else 8 * batch * sequence / (ways if spread else 1)
        scores = 2 * batch * heads * sequence / ways
        assert part.kept == pytest.approx(each * unit + norms, abs=scores), (recompute, spread)


def test_operations_by_the_formula(gpt: Gpt) -> None:
    """72 b s h^2 (1 + s / 6h) for a layer, all scores counted, a third more where everything is computed anew."""
    part = layer(gpt(), recompute="full")
    want = 72 * 2 * 512 * 1024**2 * (1 + 512 / (6 * 1024))
    assert part.macs == pytest.approx((want, want / 3))
    assert layer(gpt(), recompute="selective").macs[1] == pytest.approx(4 * 2 * 512**2 * 1024)


def test_fused_attention_keeps_and_reads_no_scores(gpt: Gpt) -> None:
    fused, eager = layer(gpt(), sequence=8192, kernels=fusion("fused")), layer(gpt(), sequence=8192)
    scores = 2 * 2 * 16 / 8 * 8192**2  # bytes on a device
    assert fused.kept < scores < eager.kept
    most = [max(float(one.task.size) for way in made.timed for _, _, one in way) for made in (fused, eager)]
    assert most[0] < scores < most[1]


def test_full_recomputation_runs_the_forward_pass_once_more(gpt: Gpt) -> None:
    plain, full = layer(gpt()), layer(gpt(), recompute="full")
    assert full.backward.seconds == pytest.approx(plain.backward.seconds + plain.forward.seconds)
    assert layer(gpt(), recompute="selective").backward.seconds < full.backward.seconds


def test_terms_add_up(gpt: Gpt) -> None:
    for spread in (False, True):
        made = layer(gpt(), spread=spread)
        for one in (made.forward, made.backward):
            assert sum(seconds for _, seconds in one.terms) == pytest.approx(one.seconds)


def task(kind: str, seconds: float, *after: int) -> Timed:
    return Timed(Task(kind, kind, "model", 0.0, after=after), seconds)


STREAM = [
    (5, "matrix products", task("kernel", 4.0, 3)),  # the stream's gradient
    (6, "matrix products", task("kernel", 5.0, 3)),  # the weight's, which does not wait
    (7, "collectives", task("all-reduce", 3.0, 5)),
    (8, "elementwise", task("kernel", 1.0, 7)),
]


def test_collectives_run_beside_kernels_that_do_not_wait() -> None:
    assert [number for number, _, _ in issued(STREAM)] == [5, 7, 6, 8]
    assert makespan(STREAM, beside=False) == 13
    assert makespan(STREAM, beside=True) == 10  # the three seconds are hidden
    assert makespan(STREAM, beside=True, slowed=0.25) == 10.75  # at three quarters of its speed for three seconds


def test_kernels_of_a_pass_end_one_after_the_other(gpt: Gpt) -> None:
    for spread in (False, True):
        part = layer(gpt(), spread=spread)
        for backward, one in enumerate((part.forward, part.backward)):
            kernels = list(part.kernels_ended(bool(backward)))
            assert [names for names, _ in kernels] == [
                t.task.einsums for _, _, t in part.timed[backward] if t.task.einsums
            ]
            assert sum(seconds for _, seconds in kernels) == pytest.approx(one.seconds)
            assert min(seconds for _, seconds in kernels) > 0


def test_what_waits_is_not_hidden() -> None:
    waits = [
        *STREAM[:1],
        (6, "matrix products", task("kernel", 5.0, 7)),
        (7, "collectives", task("all-reduce", 3.0, 5)),
    ]
    assert makespan([waits[0], waits[2], waits[1]], beside=True) == 12
