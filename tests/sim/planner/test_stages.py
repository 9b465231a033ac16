"""A model cut into stages: its passes add up, and its schedules hold what the paper of each says they do."""

from __future__ import annotations

from itertools import accumulate, pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum import WeirError, parse
from mappings.training import gradients
from sim.arch import cluster
from sim.planner.stages import SCHEDULES, Cut, dealt_by_cost, kept, making, parameters
from workloads.transformer import model

MADE = Cut(model("gpt2-xl").spec, cluster("8xa100"), 1024)


def test_stages_are_a_models_layers_and_its_two_ends() -> None:
    whole, (forward, backward) = MADE.parts(MADE.layers), MADE.layer
    first, back, last, behind = MADE.ends(1)
    assert MADE.layers == (6,) * 8
    assert sum(whole.forward) == pytest.approx(48 * forward + first + last)
    assert sum(whole.backward) == pytest.approx(48 * backward + back + behind)
    assert MADE.work.model_operations == pytest.approx(
        6 * 1024 * (1.557e9 - 1024 * 1600) + 48 * 6 * 1024**2 * 1600, rel=0.01
    )


def test_a_divided_vocabulary_does_the_same_work_in_eight_places() -> None:
    for barriers in (1, 2):
        found = MADE.vocabulary(barriers)
        alone = sum(MADE.ends(8))
        assert found.s[0] + found.t[0] == pytest.approx(alone)
    assert MADE.vocabulary(2).s[0] < MADE.vocabulary(1).s[0]
    assert MADE.vocabulary(2).t[0] > MADE.vocabulary(1).t[0]


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("1f1b", 8),
        ("vocabulary", 9),
        ("vocabulary_2", 10),
        ("v_half", 6.5),
        ("v_half_split", 5),  # 4 where all passes are alike (test_repeating)
        ("zero_bubble", 8),
        ("interleaved", 11.5),
        ("gpipe", 16),
    ],
)
def test_microbatches_held(name: str, held: float) -> None:
    found = MADE.schedule(name, 16, seconds=0)
    assert max(found.held) <= held
    assert found.seconds >= 16 * found.flow.busiest * (1 - 1e-9)
    assert len(found.start) == 16 * len(found.flow.nodes)
    assert 0 < MADE.mfu(found, 16) < 1


def test_weights_gradients_take_part_of_the_backward_pass() -> None:
    """A layer's products each have two in the backward pass, one for the weight and one for the stream."""
    own, last = MADE.weights(MADE.work), making(MADE._ends(1)[1])
    assert 0.25 * MADE.layer[1] < own < 0.5 * MADE.layer[1]
    assert 0 < last < MADE.ends(1)[3]
    split = MADE.parts(MADE.layers, split=True)
    assert split.weights[1] == pytest.approx(6 * own)
    assert split.backward == MADE.parts(MADE.layers).backward


def test_layers_go_where_there_is_time() -> None:
    spec = model("llama-3-8b").spec  # 128,256 words take as long as some layers
    even, dealt = (Cut(spec, cluster("8xh100"), 2048, even=choice) for choice in (True, False))
    assert sum(dealt.layers) == 32
    assert dealt.layers[-1] < 4
    assert dealt.schedule("1f1b", 32).seconds < even.schedule("1f1b", 32).seconds


def test_bytes_are_weights_and_what_is_held() -> None:
    found = MADE.schedule("1f1b", 32)
    sizes = MADE.bytes("1f1b", found)
    table = 16 * 50257 * 1600
    assert sizes[0] - sizes[1] == pytest.approx(table + 6 * kept(MADE.work))  # a microbatch more, and the embedding
    assert sizes[-1] == pytest.approx(16 * 6 * parameters(MADE.work) + table + 6 * kept(MADE.work))
    assert parameters(MADE.work) * 48 == pytest.approx(1.557e9 - 1600 * (50257 + 1024), rel=1e-3)


def test_stages_of_several_kinds_add_up_to_the_model() -> None:
    """Three dense layers come before 58 with experts."""
    made = Cut(model("deepseek-v3").spec, cluster("4xh100"), 512)
    dense, experts = made.kinds
    rows, found = made.shared(made.divided("1f1b")), made.schedule("1f1b", 8)
    assert rows == ((dense,) * 3 + (experts,) * 13, *(3 * ((experts,) * 15,)))
    passes = made.parts(made.divided("1f1b"), ends=False)
    assert sum(passes.forward) == pytest.approx(3 * dense.forward + 58 * experts.forward)
    assert sum(passes.backward) == pytest.approx(3 * dense.backward + 58 * experts.backward)
    assert found.held == (4, 3, 2, 1)
    table, each = made.spec.vocabulary * made.spec.model, [parameters(experts), kept(experts)]
    sizes = made.bytes("1f1b", found)
    assert sizes[1:3] == pytest.approx([15 * (16 * each[0] + n * each[1]) for n in (3, 2)])
    assert sizes[0] == pytest.approx(
        16 * (table + 3 * parameters(dense) + 13 * each[0]) + 4 * (3 * kept(dense) + 13 * each[1])
    )


def test_activations_are_those_of_the_chunks_that_hold_them() -> None:
    """Seven devices in a V hold 4 or 3 layers a chunk."""
    made = Cut(MADE.spec, cluster("7xa100"), 1024)
    found = made.schedule("v_half", 8, seconds=0)
    layers = made.divided("v_half")
    assert layers == (4,) * 6 + (3,) * 8
    table = 16 * 2 * 50257 * 1600
    least = [16 * (a + b) * parameters(MADE.work) for a, b in zip(layers[:7], reversed(layers[7:]), strict=True)]
    least[0] += table
    own = [size - weights for size, weights in zip(made.bytes("v_half", found), least, strict=True)]
    assert all(one > 0 and one / kept(MADE.work) == pytest.approx(round(one / kept(MADE.work))) for one in own)


@pytest.mark.parametrize(
    ("layers", "more", "held"),
    [
        ([1.0] * 5, [0.0] * 2, (3, 2)),
        ([1.0] * 6, [0.0, 0.0, 2.0], (3, 3, 0)),  # as even as 3, 2 and 1
        ([1.0, 1.0, 1.0, 5.0, 1.0], [0.0] * 3, (3, 1, 1)),
        ([1.0, 1.0], [0.0, 9.0], (2, 0)),
        ([3.0, 1.0, 1.0, 1.0, 3.0], [0.0] * 3, (1, 3, 1)),
    ],
)
def test_layers_dealt_by_cost(layers: list[float], more: list[float], held: tuple[int, ...]) -> None:
    assert dealt_by_cost(layers, more) == held


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.lists(st.integers(0, 9), min_size=1, max_size=3))
def test_no_division_of_layers_has_a_quicker_slowest_stage(layers: list[int], more: list[int]) -> None:
    def slowest(held: tuple[int, ...]) -> int:
        ends = [0, *accumulate(held)]
        return max(sum(layers[a:b]) + own for (a, b), own in zip(pairwise(ends), more, strict=True))

    every = [held for held in product(range(len(layers) + 1), repeat=len(more)) if sum(held) == len(layers)]
    assert slowest(dealt_by_cost(layers, more)) == min(map(slowest, every))


def test_measured_passes_are_longer_by_what_was_measured() -> None:
    slow = Cut(MADE.spec, MADE.cluster, 1024, slower=(2.0, 3.0), more=(1e-12, 0.0))
    assert slow.layer == (2 * MADE.layer[0], 3 * MADE.layer[1])
    assert slow.ends(1)[2] - MADE.ends(1)[2] == pytest.approx(1e-12 * 1024 * 50257)


def test_mistakes_are_named() -> None:
    with pytest.raises(WeirError, match="64 stages cannot share 48 layers"):
        Cut(MADE.spec, cluster("64xa100"), 1024)
    with pytest.raises(WeirError, match="did you mean 'v_half'"):
        MADE.schedule("v_halve", 8)
    with pytest.raises(WeirError, match="12 microbatches are not a multiple of 8"):
        MADE.schedule("interleaved", 12)
    assert len(SCHEDULES) == 10


def test_a_weights_gradient_is_known_by_its_whole_name() -> None:
    """``DWAX`` is no part of the gradient of ``WA``; ``DWA_1`` is."""
    lines = ["WA[d, e]: weight", *(f"{name}[d, e] = X[b, d] * G[b, e]" for name in ("DWA", "DWA_1", "DWAX"))]
    makes = gradients(parse("\n".join([*lines, "Z[b, e] = X[b, d] * WA[d, e]"]), b=2, d=2, e=2))
    assert [makes(name) for name in ("DWA", "DWA_1", "DWAX", "WA", "DWA_SUM")] == [True, True, False, False, False]


def test_kernels_that_make_weights_gradients() -> None:
    """Those of attention's inputs and of its output, and the network's two; norms' weights go with the stream."""
    part = MADE.work.part
    own = {t.task.einsums[0]: t.seconds for _, _, t in part.timed[1]}
    assert making(part) == pytest.approx(sum(own[name] for name in ("DWV", "DWO", "DWU", "DWD")))
