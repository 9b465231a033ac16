from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from einsum import Part, Program, WeirError, parse
from mappings.kernels import kernels
from mappings.layout import Layout, Place
from mappings.parallel import layout, prefilled
from mappings.tree import Spatial
from sim.arch import cluster, tier
from sim.model.step import Work
from sim.model.task import Task
from sim.model.work import tasks

LAYER = """
WQ[d, g, r, e]: weight
WK[d, g, e]: weight
WV[d, g, e]: weight
WO[g, r, e, d]: weight
W1[d, f]: weight
W3[d, f]: weight
W2[f, d]: weight
K[b, g, m, e]: state
V[b, g, m, e]: state
QK[b, g, r, p, m]: causal(p, m, C)
MS[b, p] = square(X[b, p, d])
XN[b, p, d] = X[b, p, d] * rsqrt(MS[b, p] / D)
Q[b, g, r, p, e] = XN[b, p, d] * WQ[d, g, r, e]
KN[b, g, p, e] = XN[b, p, d] * WK[d, g, e]
VN[b, g, p, e] = XN[b, p, d] * WV[d, g, e]
K[b, g, C + p, e] = KN[b, g, p, e]
V[b, g, C + p, e] = VN[b, g, p, e]
QK[b, g, r, p, m] = Q[b, g, r, p, e] * K[b, g, m, e]
GM[b, g, r, p] = max[m](QK[b, g, r, p, m])
SN[b, g, r, p, m] = exp(QK[b, g, r, p, m] - GM[b, g, r, p])
SD[b, g, r, p] = SN[b, g, r, p, m]
AV[b, g, r, p, e] = SN[b, g, r, p, m] * V[b, g, m, e]
O[b, g, r, p, e] = AV[b, g, r, p, e] / SD[b, g, r, p]
Y1[b, p, d] = O[b, g, r, p, e] * WO[g, r, e, d]
X2[b, p, d] = X[b, p, d] + Y1[b, p, d]
F1[b, p, f] = X2[b, p, d] * W1[d, f]
F3[b, p, f] = X2[b, p, d] * W3[d, f]
H[b, p, f] = silu(F1[b, p, f]) * F3[b, p, f]
Y2[b, p, d] = H[b, p, f] * W2[f, d]
Y[b, p, d] = X2[b, p, d] + Y2[b, p, d]
"""
SIZES: dict[str, Any] = {"b": 6, "p": 1, "c": 99, "m": "C + P", "d": 64, "g": 4, "r": 4, "e": 4, "f": 128}


def program(times: int = 4, **sizes: Any) -> Program:
    return Program("toy", (Part(parse(LAYER, name="layer", **{**SIZES, **sizes}), times),))


def laid(text: dict[str, Any], pools: dict[str, int], **sizes: Any) -> tuple[Task, ...]:
    made = program(**sizes)
    [part] = made.parts
    return tasks(part.cascade, layout(made, pools, **text), part.cascade.bind())


def moving(found: tuple[Task, ...]) -> list[tuple[str, float, int]]:
    return [(t.name, float(t.size), t.ways) for t in found if t.kind != "kernel"]


@pytest.mark.parametrize("ways", [2, 4, 8])
@pytest.mark.parametrize("p", [1, 5])
def test_a_tensor_parallel_layer_has_two_all_reduces(ways: int, p: int) -> None:
    """Megatron-LM (2019): one after attention and one after the feed-forward network, of b p d elements each."""
    size = 6 * p * 64 * 2
    found = moving(laid({"tp": ways}, {"model": ways}, p=p))
    assert found == [("all-reduce Y1", size, ways), ("all-reduce Y2", size, ways)]


def crosses(task: Task, axis: tuple[int, int], count: int, node: int) -> bool:
    """Whether some group of devices that differ along an axis (ways, stride) alone is on several nodes, one by one."""
    ways, stride = axis
    assert task.ways == ways
    groups: dict[int, set[int]] = {}
    for number in range(count):
        place = number // stride % ways
        groups.setdefault(number - place * stride, set()).add(number // node)
    return any(len(nodes) > 1 for nodes in groups.values())


@pytest.mark.parametrize(("dp", "cp", "tp"), [(2, 2, 4), (1, 4, 4), (4, 2, 2), (2, 8, 1), (1, 2, 8)])
def test_a_group_is_as_wide_as_the_neighbours_that_it_is_among(dp: int, cp: int, tp: int) -> None:
    count = dp * cp * tp
    found = laid({"dp": dp, "cp": cp, "tp": tp}, {"model": count}, b=dp, c=127)
    axes = {"Y1": (tp, 1), "Y2": (tp, 1), **dict.fromkeys(("GM", "SD", "AV"), (cp, tp))}
    sent = [t for t in found if t.kind != "kernel"]
    assert {t.name.split()[-1] for t in sent} == {name for name, (ways, _) in axes.items() if ways > 1}
    for task in sent:
        assert task.groups * task.reach == count
        for node in (n for n in (1, 2, 4, 8, 16) if count % n == 0):
            assert (task.reach > node) == crosses(task, axes[task.name.split()[-1]], count, node)


def test_requests_divided_move_nothing() -> None:
    assert moving(laid({"tp": 1, "dp": 2}, {"model": 2})) == []


@pytest.mark.parametrize("by", ["heads", "requests"])
@pytest.mark.parametrize(("g", "r"), [(4, 4), (16, 1), (2, 8)])
def test_attention_elsewhere_sends_queries_results_and_new_keys_and_values(by: str, g: int, r: int) -> None:
    """Lamina (arXiv 2405.01814), section 3.1: (2 + 2/G) e d bytes a token and layer, G queries sharing a key."""
    found = laid({"tp": 1, "attention": by}, {"model": 1, "attention": 2}, g=g, r=r)
    sent = {t.name: float(t.size) * t.receivers for t in found if t.kind == "transfer"}
    assert set(sent) == {"transfer Q", "transfer KN", "transfer VN", "transfer O"}
    assert sum(sent.values()) == pytest.approx((2 + 2 / r) * 2 * 64 * 6)


def test_queries_leave_before_keys_are_computed() -> None:
    names = [t.name for t in laid({"tp": 1}, {"model": 1, "attention": 1})]
    assert names.index("transfer Q") < names.index("KN VN")


def test_prefill_sends_the_state_where_it_will_be_read() -> None:
    made = program(p=10, c=0)
    there = prefilled(made, layout(made, {"model": 2, "attention": 2}))
    found = tasks(made.parts[0].cascade, there, made.parts[0].cascade.bind())
    sent = {t.name: float(t.size) * t.receivers for t in found if t.kind == "transfer"}
    assert sent == {"transfer K": 6 * 4 * 10 * 4 * 2, "transfer V": 6 * 4 * 10 * 4 * 2}


def test_stages_hand_over_the_residual() -> None:
    made = program()
    work = Work.of(made, layout(made, {"model": 2}, tp=1, pp=2), b=3)
    assert work.passed == 3 * 64 * 2
    step, whole = work.on(cluster("2xh100"), tier("limit")), Work.of(made, layout(made, {"model": 1}), b=3)
    alone = whole.on(cluster("1xh100"), tier("limit"))
    assert step.latency - alone.latency == pytest.approx(3 * 64 * 2 / 450e9 + 0.8e-6)
    assert step.busy["model"] == pytest.approx(alone.busy["model"] / 2)


def test_norms_by_position_between_products_by_head() -> None:
    """Sequence parallelism (Korthikanti et al. 2022): each all-reduce becomes a reduce-scatter and an all-gather."""
    late = Spatial("p", 2, ("MS", "XN", "X2", "Y"))
    place = Place("model", 2, (late, Spatial("g", 2), Spatial("f", 2)))
    cascade = program(p=8).parts[0].cascade
    names = [(n, s) for n, s, _ in moving(tasks(cascade, Layout((place,)), cascade.bind()))]
    whole = 6 * 8 * 64 * 2
    assert names == [
        ("all-gather XN", whole),
        ("reduce-scatter Y1", whole),
        ("all-gather X2", whole),
        ("reduce-scatter Y2", whole),
    ]


TWICE = """
W[f, d]: weight
Y[b, d] = X[b, f] * W[f, d]
A[b, d] = relu(Y[b, d])
B[b, d] = exp(Y[b, d])
C[b, d] = A[b, d] * B[b, d]
"""


def test_a_sum_is_reduced_once_however_often_it_is_read() -> None:
    cascade = parse(TWICE, b=4, d=4, f=4)
    place = Place("model", 2, (Spatial("b", 2, ("A", "C")), Spatial("f", 2)))
    found = moving(tasks(cascade, Layout((place,)), cascade.bind()))
    assert [n for n, _, _ in found] == ["reduce-scatter Y", "all-gather Y"]


def test_expert_parallel_attention_parallel_by_fewer_ways_gathers_the_rest() -> None:
    """Partial over four, wanted in halves by pairs: scattered four ways, then gathered in pairs."""
    cascade = parse("W[f, d]: weight\nY[b, d] = X[b, f] * W[f, d]\nA[b, d] = relu(Y[b, d])", b=4, d=4, f=4)
    place = Place("model", 4, (Spatial("f", 4), Spatial("b", 2, ("A",))))
    found = moving(tasks(cascade, Layout((place,)), cascade.bind()))
    assert found == [("reduce-scatter Y", 4 * 4 * 2, 4), ("all-gather Y", 2 * 4 * 2, 2)]


def test_kernels_are_cut_at_products_and_at_what_must_travel() -> None:
    made = program()
    one = layout(made, {"model": 1})
    groups = [[e.name for e in g] for g in kernels(made.parts[0].cascade, one)]
    assert groups[:3] == [["MS", "XN"], ["Q", "KN", "VN"], ["K", "V", "QK", "GM", "SN", "SD", "AV", "O"]]
    apart = replace(one, apart=("GM",))
    groups = [[e.name for e in g] for g in kernels(made.parts[0].cascade, apart)]
    assert ["K", "V", "QK"] in groups
    split = Layout((Place("model", 2, (Spatial("m", 2),)),))
    groups = [[e.name for e in g] for g in kernels(made.parts[0].cascade, split)]
    assert groups[2:5] == [["K", "V", "QK", "GM"], ["SN", "SD", "AV"], ["O"]]


SUMMED = """
A[d, f]: weight
B[d, f]: weight
Y1[p, d] = X[p, f] * A[d, f]
Y2[p, d] = X[p, f] * B[d, f]
Y[p, d] = Y1[p, d] + Y2[p, d]
Z[p, d] = Y[p, d] * R[p, d]
"""


def halved(text: str, **how: Any) -> tuple[Task, ...]:
    made = parse(text, p=8, d=4, f=16)
    return tasks(made, Layout((Place("model", 2, (Spatial("f", 2),)),), **how), made.bind())


def test_partial_sums_are_added_before_they_are_reduced() -> None:
    sent = [t for t in halved(SUMMED) if t.kind == "all-reduce"]
    assert [(t.name, t.size) for t in sent] == [("all-reduce Y", 8 * 4 * 2)]


def test_what_is_whole_is_not_added_to_each_part() -> None:
    sent = [t.name for t in halved(SUMMED.replace("Y1[p, d] + Y2[p, d]", "Y1[p, d] + R[p, d]")) if t.kind != "kernel"]
    assert sent == ["all-reduce Y1", "all-reduce Y2"]


def test_products_into_one_sum_are_one_product_as_deep_as_both() -> None:
    [first, *_] = [t for t in halved(SUMMED, joined=("Y2", "Y")) if t.kind == "kernel"]
    assert first.einsums == ("Y1", "Y2", "Y")
    [merged] = first.products
    assert (merged.rows, merged.cols, merged.depth) == (8, 4, 16)


def test_a_kernel_cannot_use_its_own_partial_sums() -> None:
    with pytest.raises(WeirError, match="Z needs Y whole, which its own kernel leaves in partial sums"):
        halved(SUMMED, joined=("Y2", "Y", "Z"))


def test_copies_are_gathered_anew_where_the_layout_says_so() -> None:
    text = "A[d, f]: weight\nX[p, d] = R[p, d] * R[p, d]\nY[p, f] = X[p, d] * A[d, f]\nZ[p, f] = X[p, d] * A[d, f]"
    loops = (Spatial("f", 2), Spatial("p", 2))
    made = parse(text, p=8, d=4, f=16)
    for anew, count in (((), 1), (("Z",), 2)):
        how = Layout((Place("model", 2, loops),), apart=("Z",), anew=anew)
        assert sum(t.kind == "all-gather" and t.name.endswith(" X") for t in tasks(made, how, made.bind())) == count


PLAIN = "X[p, d] = R[p, d] * R[p, d]\n{copy}\nY[p, d] = {own}[p, d] + R[p, d]\nZ[p, d] = {own}[p, d] * Y[p, d]"


@pytest.mark.parametrize(
    ("copy", "own", "written"),
    [
        ("", "X", 1),
        ("W[p, d] = X[p, d]", "W", 1),  # two names of one tensor
        ("W[p, d] = R[p, d]", "W", 1),  # it is there
        ("W[d, p] = R[p, d]", "W", 2),  # in another order
        ("W[p, d]: fp32\nW[p, d] = R[p, d]", "W", 3),  # of another type, twice as wide
        ("W[p, d]: uniform(1.0)\nW[p, d] = R[p, d]", "W", 2),  # with fewer places
    ],
)
def test_a_plain_copy_is_not_written(copy: str, own: str, written: int) -> None:
    """X is written, in 16 bits, and so is what is no copy of it, nor of what it is made from."""
    made = parse(PLAIN.format(copy=copy, own=own), p=8, d=8)
    first, *_ = tasks(made, Layout((Place("model", 1),), apart=("Y", "Z")), made.bind())
    assert first.size == 8 * 8 * 2 * (1 + written)


def test_a_copy_of_what_is_overwritten_later_is_written() -> None:
    text = "S[p, d]: state\nW[p, d] = S[p, d]\n{next}\nZ[p, d] = W[p, d] + R[p, d]"
    for after, written in (("T[p, d] = R[p, d] * S[p, d]", 0), ("S[p, d] = R[p, d] * R[p, d]", 1)):
        made = parse(text.format(next=after), p=8, d=8)
        first, *_ = tasks(made, Layout((Place("model", 1),), apart=(after[0], "Z")), made.bind())
        assert first.size == 8 * 8 * 2 * (1 + written)


def test_of_copies_of_what_nobody_else_needs_the_largest_is_written() -> None:
    """W is a whole X, V a half of it on each of two devices."""
    text = "X[p, d] = R[p, d] * R[p, d]\n{}\n{}\nY[p, d] = V[p, d] + R[p, d]\nZ[p, d] = W[p, d] * R[p, d]"
    copies = ("W[p, d] = X[p, d]", "V[p, d] = X[p, d]")
    how = Layout((Place("model", 2, (Spatial("p", 2, only=("V", "Y")),)),), apart=("Y", "Z"))
    for order in (copies, copies[::-1]):
        made = parse(text.format(*order), p=8, d=8)
        first, *_ = tasks(made, how, made.bind())
        assert first.einsums == ("X", order[0][0], order[1][0])
        assert first.size == 8 * 8 * 2 * (1 + 1)


def test_rows_kept_in_registers_are_one_pass() -> None:
    made = parse("S[p] = square(X[p, d])\nY[p, d] = X[p, d] * rsqrt(S[p])", p=8, d=8)
    for held, work in (((), "reduce"), (("S",), "map"), (("Y",), "reduce")):
        [one] = tasks(made, Layout((Place("model", 1),), held=held), made.bind())
        assert one.work == work


def test_activations_added_up_along_rows_are_no_product_whatever_scales_them() -> None:
    text = "G[d]: weight\n{}\nT[p] = X[p, d] * G[d]"
    for other in ("S[p] = X[p, d] * Y[p, d] * G[d]", "S[p] = X[p, d] * X[p, d] * G[d]"):
        made = parse(text.format(other), p=8, d=8)
        rows, weighted = tasks(made, Layout((Place("model", 1),), apart=("T",)), made.bind())
        assert not rows.products
        assert weighted.products


TURNED = """
K[b, g, m, e]: state
V[b, g, m, u]: state
Q[b, g, r, p, i] = QN[b, g, r, p, i] * COS[C + p, i] + QN[b, g, r, p, I - 1 - i] * SIN[C + p, i]
K[b, g, C + p, i] = KN[b, g, p, i] * COS[C + p, i] + KN[b, g, p, I - 1 - i] * SIN[C + p, i]
V[b, g, C + p, u] = VN[b, g, p, u]
QK[b, g, r, p, m] = Q[b, g, r, p, e] * K[b, g, m, e]
SN[b, g, r, p, m] = exp(QK[b, g, r, p, m])
AV[b, g, r, p, u] = SN[b, g, r, p, m] * V[b, g, m, u]
"""


def turned(flash: bool | None, state: str = "bf16") -> tuple[Task, ...]:
    text = TURNED.replace(": state", f": (state, {state})")
    made = parse(text, b=2, g=2, r=4, p=8, c=16, m="C + P", e=4, u=4, i=4)
    return tasks(made, Layout((Place("model", 1),), flash=flash), made.bind())


def test_of_a_kernel_that_attends_alone_only_its_queries_pass_once_more() -> None:
    """They are written by the kernel that turns them, and read by the one that attends."""
    [whole], apart = turned(None), turned(True)
    assert sum(task.size for task in apart) == whole.size + 2 * (2 * 2 * 4 * 8 * 4) * 2


def test_a_layout_says_whose_attention_a_task_is() -> None:
    assert [task.flash for task in turned(True)] == [None, None, True]
    assert [task.flash for flash in (None, False) for task in turned(flash)] == [None, False]


@pytest.mark.parametrize("state", ["bf16", "fp8"])
def test_a_cache_is_written_in_one_pass_and_a_rotation_goes_through_queries_and_keys(state: str) -> None:
    turn, copy, _ = turned(True, state)
    assert (turn.work, turn.wide, turn.rows) == ("turn", (2 * 4 + 2) * 4, 2 * 8)
    assert (copy.work, copy.wide, copy.rows) == ("map", 2 * 4, 2 * 8)
