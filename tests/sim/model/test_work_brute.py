from __future__ import annotations

from math import prod
from statistics import mean, stdev
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from einsum import Cascade, parse
from mappings.layout import Layout, Place
from mappings.tree import Spatial
from sim.model.work import tasks

KW = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
GEMMS = """
W1[d, f]: weight
W2[f, d]: weight
H[b, p, f] = X[b, p, d] * W1[d, f]
A[b, p, f] = relu(H[b, p, f])
Y[b, p, d] = A[b, p, f] * W2[f, d]
Z[b, p, d] = X[b, p, d] + Y[b, p, d]
S[b, p] = square(Z[b, p, d])
R[b, p, d] = Z[b, p, d] / S[b, p]
"""
GATED = """
W1[d, f]: weight
W3[d, f]: weight
W2[f, d]: weight
F1[b, p, f] = X[b, p, d] * W1[d, f]
F3[b, p, f] = X[b, p, d] * W3[d, f]
H[b, p, f] = silu(F1[b, p, f]) * F3[b, p, f]
Y[b, p, d] = H[b, p, f] * W2[f, d]
Z[b, p, d] = X[b, p, d] + Y[b, p, d]
"""
ATTENTION = """
WQ[d, g, r, e]: weight
WK[d, g, e]: weight
WV[d, g, e]: weight
WO[g, r, e, d]: weight
K[b, g, m, e]: state
V[b, g, m, e]: state
QK[b, g, r, p, m]: causal(p, m, C)
Q[b, g, r, p, e] = X[b, p, d] * WQ[d, g, r, e]
KN[b, g, p, e] = X[b, p, d] * WK[d, g, e]
VN[b, g, p, e] = X[b, p, d] * WV[d, g, e]
K[b, g, C + p, e] = KN[b, g, p, e]
V[b, g, C + p, e] = VN[b, g, p, e]
QK[b, g, r, p, m] = Q[b, g, r, p, e] * K[b, g, m, e]
GM[b, g, r, p] = max[m](QK[b, g, r, p, m])
SN[b, g, r, p, m] = exp(QK[b, g, r, p, m] - GM[b, g, r, p])
SD[b, g, r, p] = SN[b, g, r, p, m]
AV[b, g, r, p, e] = SN[b, g, r, p, m] * V[b, g, m, e]
O[b, g, r, p, e] = AV[b, g, r, p, e] / SD[b, g, r, p]
Y[b, p, d] = O[b, g, r, p, e] * WO[g, r, e, d]
Z[b, p, d] = X[b, p, d] + Y[b, p, d]
"""
CORE = ("K", "V", "QK", "GM", "SN", "SD", "AV", "O")
MLP: dict[str, Any] = {"b": 4, "p": 4, "d": 8, "f": 8}
HEADS: dict[str, Any] = {"b": 4, "p": 1, "c": 3, "m": "C + P", "d": 4, "g": 2, "r": 2, "e": 4}


def compare(cascade: Cascade, layout: Layout, brute: Any, moved: Any, *, exact: bool = True) -> None:
    """Operations and memory equal on every device; what travels equals the least that must."""
    at = cascade.bind()
    found, run = tasks(cascade, layout, at), brute(cascade, layout, at).execute()
    for task in (t for t in found if t.kind == "kernel"):
        ours = dict.fromkeys(k for k, _, _ in task.ops)
        ours.update({k: sum(float(n) for kind, _, n in task.ops if kind == k) for k in ours})
        for device in run.kernel_ops(task):
            assert device == pytest.approx({k: n for k, n in ours.items() if n}), task.name
        assert [float(task.size)] * len(run.kernel_bytes(task)) == pytest.approx(run.kernel_bytes(task)), task.name
    inside = tuple(t for t in found if t.name.split()[-1] not in cascade.outputs)
    ours = {k: v for k, v in moved(inside, layout).items() if v}
    least = {k: 2 * v for k, v in run.received.items() if v}
    assert set(ours) == set(least)
    for name, size in least.items():
        assert ours[name] >= size * (1 - 1e-9), name
        assert not exact or ours[name] == pytest.approx(size), name
    for name, kinds in run.kinds.items() if exact else ():
        assert {t.kind for t in inside if t.name.split()[-1] == name} >= kinds, name


def loops(ranks: str, most: int = 8) -> st.SearchStrategy[tuple[Spatial, ...]]:
    """Loops over distinct ranks, two ways each, no more than there are devices for."""
    picked = st.lists(st.sampled_from(ranks), unique=True, max_size=most.bit_length() - 1)
    return picked.map(lambda found: tuple(Spatial(r, 2) for r in found))


@KW
@given(spatial=loops("bpf"), text=st.sampled_from([GEMMS, GATED]))
def test_feed_forward_divided_by_requests_positions_and_hidden(
    spatial: tuple[Spatial, ...], text: str, brute: Any, moved: Any
) -> None:
    layout = Layout((Place("model", 2 ** len(spatial), spatial),))
    compare(parse(text, **MLP), layout, brute, moved)


@KW
@given(spatial=loops("bpf"), late=st.sampled_from("bpd"), text=st.sampled_from([GEMMS, GATED]))
def test_what_follows_the_products_divided_another_way(
    spatial: tuple[Spatial, ...], late: str, text: str, brute: Any, moved: Any
) -> None:
    if late in [s.rank for s in spatial]:
        return
    loop = Spatial(late, 2, ("Z", "S", "R"))
    layout = Layout((Place("model", 2 ** (len(spatial) + 1), (*spatial, loop)),))
    compare(parse(text, **MLP), layout, brute, moved, exact=False)


@KW
@given(ways=st.sampled_from([2, 4]), rank=st.sampled_from("bp"))
def test_norms_divided_along_the_sequence_scatter_and_gather(ways: int, rank: str, brute: Any, moved: Any) -> None:
    late = Spatial(rank, ways, ("Z", "S", "R"))
    cascade = parse(GEMMS + "W3[d, f]: weight\nU[b, p, f] = R[b, p, d] * W3[d, f]", **MLP)
    layout = Layout((Place("model", ways, (late, Spatial("f", ways))),))
    compare(cascade, layout, brute, moved)
    kinds = [(t.kind, t.name) for t in tasks(cascade, layout, cascade.bind()) if t.kind != "kernel"]
    assert kinds[:2] == [("reduce-scatter", "reduce-scatter Y"), ("all-gather", "all-gather R")]


@KW
@given(spatial=loops("bgr"))
def test_attention_divided_by_requests_and_heads(spatial: tuple[Spatial, ...], brute: Any, moved: Any) -> None:
    layout = Layout((Place("model", 2 ** len(spatial), spatial),))
    compare(parse(ATTENTION, **HEADS), layout, brute, moved)


@KW
@given(ahead=loops("bgr", 4), behind=loops("bgr"))
def test_attention_on_a_pool_of_its_own(
    ahead: tuple[Spatial, ...], behind: tuple[Spatial, ...], brute: Any, moved: Any
) -> None:
    places = (Place("model", 2 ** len(ahead), ahead), Place("attention", 2 ** len(behind), behind))
    layout = Layout(places, bound=tuple((n, "attention") for n in CORE))
    compare(parse(ATTENTION, **HEADS), layout, brute, moved, exact=False)


@pytest.mark.parametrize("ways", [2, 4])
def test_context_divided_reduces_maxima_and_sums(ways: int, brute: Any, moved: Any) -> None:
    layout = Layout((Place("model", ways, (Spatial("m", ways),)),))
    cascade = parse(ATTENTION.replace("QK[b, g, r, p, m]: causal(p, m, C)\n", ""), **HEADS)
    compare(cascade, layout, brute, moved)
    reduced = {t.name for t in tasks(cascade, layout, cascade.bind()) if t.kind == "all-reduce"}
    assert reduced == {"all-reduce GM", "all-reduce SD", "all-reduce AV"}


REDIVIDED = "A[b, d] = relu(X[b, d])\nB[b, d] = relu(A[b, d])\nC[b] = max[d](B[b, d])"


@KW
@given(first=loops("bd", 4), second=loops("bd", 4), wide=st.sampled_from([1, 2]))
def test_a_tensor_divided_anew_is_exchanged(
    first: tuple[Spatial, ...], second: tuple[Spatial, ...], wide: int, brute: Any, moved: Any
) -> None:
    """Loops of one Einsum, of the other and of both, an axis each: what is held and what is needed overlap anyhow."""
    both = {s.rank for s in first} & {s.rank for s in second}
    one = tuple(Spatial(s.rank, 2 if s.rank in both else 2 * wide, () if s.rank in both else ("A",)) for s in first)
    two = tuple(Spatial(s.rank, 2, ("B", "C")) for s in second if s.rank not in both)
    count = prod(s.ways for s in (*one, *two))
    layout = Layout((Place("model", count, (*one, *two)),))
    compare(parse(REDIVIDED, b=8, d=8), layout, brute, moved)


EXPERTS = """
WG[x, d, f]: weight
WD[x, f, d]: weight
RT[b, x]: per_row(x, 2)
N[b, d] = relu(X[b, d])
G[b, x, f] = one(RT[b, x]) * N[b, d] * WG[x, d, f]
H[b, x, f] = relu(G[b, x, f])
Z[b, d] = RT[b, x] * H[b, x, f] * WD[x, f, d]
Y[b, d] = X[b, d] + Z[b, d]
"""
ROUTED = ("G", "H", "Z")


def experts(dp: int, tp: int) -> Layout:
    """Experts over all devices, requests over some, the hidden rank untouched."""
    every = dp * tp
    return Layout((Place("model", every, (Spatial("x", every, ROUTED), Spatial("b", dp))),))


@pytest.mark.parametrize(("dp", "tp"), [(4, 1), (1, 4), (2, 2)])
def test_routed_experts_cost_what_many_routings_cost_on_average(dp: int, tp: int, brute: Any, moved: Any) -> None:
    """Expected operations, bytes and traffic lie within four standard errors of seeded draws."""
    cascade, layout = parse(EXPERTS, b=8, d=4, x=8, f=2), experts(dp, tp)
    at = cascade.bind()
    found = tasks(cascade, layout, at)
    runs = [brute(cascade, layout, at, seed).execute() for seed in range(60)]
    for task in (t for t in found if t.kind == "kernel"):
        expected(float(task.size), [b for run in runs for b in run.kernel_bytes(task)], task.name)
        macs = sum(float(n) for kind, _, n in task.ops if kind == "mac")
        expected(macs, [ops.get("mac", 0) for run in runs for ops in run.kernel_ops(task)], task.name)
    ours = moved(found, layout)
    expected(ours.get("N", 0.0), [2 * run.received["N"] for run in runs], "N travels")
    if tp == 1:
        expected(ours["Z"], [2 * run.received["Z"] for run in runs], "Z travels")
    else:  # the brute force adds up wherever that is least, which nobody can know before the routing
        assert ours["Z"] > mean(2 * run.received["Z"] for run in runs)


def expected(ours: float, drawn: list[int], what: str) -> None:
    """A mean of draws, within four standard errors (or exactly, where they do not vary)."""
    error = stdev(drawn) / len(drawn) ** 0.5
    assert ours == pytest.approx(mean(drawn), rel=1e-9, abs=4 * error), what


def test_experts_divided_dispatch_and_combine() -> None:
    cascade = parse(EXPERTS, b=8, d=4, x=8, f=2)
    kinds = [(t.kind, t.name.split()[-1], t.ways) for t in tasks(cascade, experts(4, 1), cascade.bind())]
    assert [k for k in kinds if k[0] != "kernel"] == [
        ("all-to-all", "N", 4),
        ("reduce-scatter", "Z", 4),
    ]


def test_sums_of_few_experts_are_reduced_whole() -> None:
    """A device holds sums of the tokens its experts saw; where every device wants every token, all of them travel."""
    cascade = parse(EXPERTS, b=8, d=4, x=8, f=2)
    [found] = [t for t in tasks(cascade, experts(1, 4), cascade.bind()) if t.kind != "kernel"]
    assert (found.kind, found.ways, found.size) == ("all-reduce", 4, 8 * 4 * 2)
