from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Part, Program, WeirError, parse
from mappings.layout import Axis, Layout, Place, check, uneven
from mappings.parallel import attention_core, candidates, devices, layout, read
from mappings.tree import Spatial
from workloads.transformer import model

TEXT = """
WQ[d, g, r, e]: weight
WO[g, r, e, d]: weight
WG[d, x]: weight
W1[x, d, f]: weight
W2[x, f, d]: weight
K[b, g, m, e]: state
RT[b, p, x]: per_row(x, 2)
Q[b, g, r, p, e] = X[b, p, d] * WQ[d, g, r, e]
K[b, g, C + p, e] = Q[b, g, 0, p, e]
QK[b, g, r, p, m] = Q[b, g, r, p, e] * K[b, g, m, e]
AV[b, g, r, p, e] = QK[b, g, r, p, m] * K[b, g, m, e]
Y[b, p, d] = AV[b, g, r, p, e] * WO[g, r, e, d]
RT[b, p, x] = Y[b, p, d] * WG[d, x]
H[b, p, x, f] = one(RT[b, p, x]) * Y[b, p, d] * W1[x, d, f]
Z[b, p, d] = RT[b, p, x] * H[b, p, x, f] * W2[x, f, d]
"""


def program(g: int = 4, r: int = 2, x: int = 8, layers: int = 6) -> Program:
    sizes: dict[str, Any] = {"b": 1, "p": 1, "c": 7, "m": "C + P", "d": 16, "e": 4, "f": 16}
    return Program("toy", (Part(parse(TEXT, name="layer", g=g, r=r, x=x, **sizes), layers),))


ONE = {"model": 8}
TWO = {"model": 2, "attention": 4}


@pytest.mark.parametrize(
    ("text", "name", "count", "stages", "replicas"),
    [
        ("", "tp=8", 8, 1, 1),
        ("tp=4", "tp=4, replicas=2", 4, 1, 2),
        ("tp=2,pp=2", "tp=2, pp=2, replicas=2", 2, 2, 2),
        ("tp=2, dp=2, ep=4, replicas=1", "tp=2, dp=2, ep=4", 4, 1, 1),
        (" pp=4 ", "tp=2, pp=4", 2, 4, 1),
    ],
)
def test_text_is_read(text: str, name: str, count: int, stages: int, replicas: int) -> None:
    found = read(text, program(), ONE)
    check(found, program(), ONE)
    assert (found.places[0].count, found.stages, found.replicas) == (count, stages, replicas)
    assert found.name == name.replace(",", "")
    assert devices(found) == count * stages * replicas


def test_the_second_pool_runs_attention() -> None:
    found = read("attention=requests,batches=3", program(), TWO)
    assert [str(p) for p in found.places] == [
        "on model x2: spatial g/2, f/2",
        "on attention x4: spatial b/4",
    ]
    assert dict(found.bound) == dict.fromkeys(["K", "QK", "AV"], "attention")
    assert found.batches == 3
    assert attention_core(program().parts[0].cascade) == ("K", "QK", "AV")


def test_heads_are_divided_by_key_first_and_then_by_query() -> None:
    for ways, loops in ((4, [("g", 4)]), (8, [("g", 4), ("r", 2)]), (2, [("g", 2)])):
        found = [(s.rank, s.ways) for s in layout(program(), ONE, tp=ways).places[0].spatial if s.rank in "gr"]
        assert found == loops


def test_loops_apply_in_order_until_the_devices_are_used_up() -> None:
    place = Place("model", 8, (Spatial("x", 8, ("H",)), Spatial("b", 4), Spatial("f", 2), Spatial("g", 2)))
    cascade = program().parts[0].cascade
    assert place.ways(cascade.einsum("H")) == {"x": 8}
    assert place.ways(cascade.einsum("Q")) == {"b": 4, "g": 2}
    assert place.ways(cascade.einsum("Z")) == {"b": 4, "f": 2}


@pytest.mark.parametrize(
    ("text", "pools", "message"),
    [
        (
            "tq=4",
            ONE,
            "layout 'tq=4': unknown option 'tq'; known: attention, batches, cp, dp, ep, pp, replicas, sp, tp",
        ),
        ("tp", ONE, "layout 'tp': tp must be a whole number of at least 1, not ''"),
        ("tp=0", ONE, "tp must be a whole number of at least 1, not '0'"),
        ("tp=-2", ONE, "tp must be a whole number of at least 1, not '-2'"),
        ("tp=nan", ONE, "tp must be a whole number of at least 1, not 'nan'"),
        ("tp=2.5", ONE, "tp must be a whole number of at least 1, not '2.5'"),
        ("tp=²", ONE, "tp must be a whole number of at least 1, not '²'"),
        ("tp=1" + "0" * 5000, ONE, "tp must be a whole number of at least 1"),
        ("tp=2,tp=4", ONE, "tp is given twice"),
        ("tp=2;pp=2", ONE, "tp must be a whole number of at least 1, not '2;pp=2'"),
        ("attention=head", TWO, "attention is divided by 'heads' or 'requests', not 'head'; did you mean 'heads'?"),
        ("attention=heads", ONE, "attention is divided on a second pool; the cluster has only one"),
        ("replicas=2", TWO, "2 replicas of two pools: give each replica a cluster of its own"),
        ("tp=5", ONE, "8 heads cannot be divided 5 ways"),
        ("ep=9", ONE, "8 experts cannot be divided 9 ways"),
        ("tp=1", {**TWO, "third": 1}, "layouts are made for one pool or two, not for 3 (model, attention, third)"),
    ],
)
def test_bad_text_is_refused(text: str, pools: dict[str, int], message: str) -> None:
    with pytest.raises(WeirError) as error:
        read(text, program(), pools)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


GOOD = Layout((Place("model", 4, (Spatial("g", 4),)),))


def at(**changes: Any) -> Layout:
    return replace(GOOD, places=(replace(GOOD.places[0], **changes),))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (at(pool="modell"), "pool 'modell' is not in the cluster; did you mean 'model'?"),
        (at(count=16), "pool 'model' has 8 devices; the layout needs 16"),
        (at(count=0), "0 devices at pool 'model'; at least 1 is needed"),
        (replace(GOOD, replicas=3), "pool 'model' has 8 devices; the layout needs 12"),
        (replace(GOOD, replicas=0), "0 replicas; at least 1 is needed"),
        (replace(GOOD, batches=-1), "-1 batches; at least 1 is needed"),
        (replace(GOOD, stages=7), "7 stages cannot share 6 layers"),
        (replace(GOOD, stages=0), "0 stages cannot share 6 layers"),
        (at(spatial=(Spatial("h", 2),)), "no rank 'h' to divide"),
        (at(spatial=(Spatial("g", 0),)), "rank 'g' divided 0 ways"),
        (at(spatial=(Spatial("r", 4),)), "rank 'r' has 2 elements, too few for 4 ways"),
        (at(spatial=(Spatial("b", 8),)), "divides a rank further than its 4 devices"),
        (at(spatial=(Spatial("b", 2), Spatial("b", 4))), "divides a rank further than its 4 devices"),
        (at(spatial=(Spatial("b", 2, ("QQ",)),)), "no Einsum 'QQ' to divide"),
        (replace(GOOD, bound=(("KQ", "model"),)), "no Einsum 'KQ' to bind"),
        (replace(GOOD, bound=(("QK", "attention"),)), "QK goes to pool 'attention', where the layout has no place"),
        (replace(GOOD, home=(("K", "modal"),)), "K goes to pool 'modal', where the layout has no place; did you mean"),
        (replace(GOOD, home=(("Q", "model"),)), "no state 'Q' to keep; known: K"),
        (replace(GOOD, apart=("AW",)), "no Einsum 'AW' to set apart"),
        (replace(GOOD, places=(*GOOD.places, *GOOD.places)), "two places at pool 'model'"),
    ],
)
def test_bad_layouts_are_refused(bad: Layout, message: str) -> None:
    check(GOOD, program(), ONE)
    with pytest.raises(WeirError) as error:
        check(bad, program(), ONE)
    assert str(error.value).startswith("layout: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@settings(max_examples=40, deadline=None)
@given(
    first=st.integers(1, 16),
    second=st.integers(0, 8),
    g=st.sampled_from([1, 2, 3, 8]),
    r=st.sampled_from([1, 4, 7]),
    x=st.sampled_from([2, 8]),
    layers=st.integers(1, 8),
)
def test_every_candidate_is_a_layout_that_fits(first: int, second: int, g: int, r: int, x: int, layers: int) -> None:
    pools = {"model": first, **({"attention": second} if second else {})}
    one = program(g, r, x, layers)
    found = list(candidates(one, pools))
    heads = any(n // gcd(n, g) <= r for n in used(first))
    assert bool(found) == (heads or not second)  # a pool beside another holds one copy in one stage
    for each in found:
        check(each, one, pools)
        assert devices(each) - second in used(first)
        assert len(each.places) == 1 + bool(second)
    assert len({str(each) + each.name for each in found}) == len(found)


def used(count: int) -> list[int]:
    """Numbers of devices that the search may use: fewer than all only where all is no power of two."""
    return [count] if count & (count - 1) == 0 else [n for n in range(1, count + 1) if 2 * n > count]


def test_a_device_more_never_takes_a_layout_away() -> None:
    """Five devices can be used as four are, seven as six."""
    for fewer, more in ((4, 5), (6, 7)):
        names = [{each.name for each in candidates(program(), {"model": n})} for n in (fewer, more)]
        assert names[0] <= names[1]


def axes(text: str, einsum: str) -> dict[str, Axis]:
    made = read(text, program(), {"model": 32})
    [part] = program().parts
    return dict(made.places[0].axes(part.cascade.einsum(einsum)))


def test_devices_of_a_tensor_parallel_group_are_neighbours_and_those_of_data_parallelism_furthest_apart() -> None:
    assert axes("tp=4,dp=2,cp=2", "QK") == {"b": Axis(2, 8), "m": Axis(2, 4), "g": Axis(4, 1)}
    assert axes("tp=8,dp=2", "Q") == {"b": Axis(2, 8), "g": Axis(4, 2), "r": Axis(2, 1)}
    assert axes("tp=4,dp=2,sp=4", "RT") == {"b": Axis(2, 4), "p": Axis(4, 1)}


def test_experts_are_on_the_nearest_devices_that_other_loops_leave() -> None:
    assert axes("tp=4,dp=2,ep=8", "H") == {"x": Axis(8, 1)}
    assert axes("tp=4,dp=2,ep=4", "H") == {"x": Axis(4, 1), "b": Axis(2, 4)}
    assert axes("tp=2,dp=4,ep=4", "H") == {"x": Axis(4, 2), "f": Axis(2, 1)}
    assert axes("tp=4,ep=2", "H") == {"x": Axis(2, 1)}


def test_loops_that_state_no_stride_lie_as_they_are_written() -> None:
    [part] = program().parts
    place = Place("model", 8, (Spatial("b", 2), Spatial("g", 4)))
    assert dict(place.axes(part.cascade.einsum("QK"))) == {"b": Axis(2, 4), "g": Axis(4, 1)}
    assert dict(place.axes(part.cascade.einsum("RT"))) == {"b": Axis(2, 4)}


@given(outer=st.integers(0, 4), inner=st.integers(0, 4), other=st.integers(0, 4), far=st.integers(0, 4))
def test_what_is_left_of_an_axis_are_its_devices_alike_along_another(
    outer: int, inner: int, other: int, far: int
) -> None:
    """Of 256 devices: those that differ along one axis and not along the other."""
    one, two = Axis(2**outer, 2**inner), Axis(2**other, 2**far)
    first, second = ({step * axis.stride for step in range(axis.ways)} for axis in (one, two))
    bits = {1 << n for n in range(8)}
    left = {bit for part in one.without(two) for bit in bits & {n * part.stride for n in range(part.ways)}}
    assert left == (bits & first) - (bits & second)


def test_a_layout_prints_its_places_and_numbers() -> None:
    text = str(layout(program(), ONE, tp=2, pp=2))
    assert text.splitlines() == ["on model x2: spatial g/2, f/2", "stages 2", "replicas 2"]
    assert str(Place("model", 3)) == "on model x3: replicated"
    with pytest.raises(WeirError, match=r"layout: no place at pool 'modle'; did you mean 'model'\?"):
        GOOD.at("modle")


def test_what_does_not_divide_evenly_is_said() -> None:
    assert uneven(layout(program(), ONE, tp=4), program()) == ""
    assert "experts" not in uneven(layout(program(), ONE, tp=1), program())
    assert "rank x of 8 over 3 devices" in uneven(layout(program(), ONE, tp=1, dp=3, ep=3, replicas=1), program())


@pytest.mark.parametrize(
    ("tp", "cp", "sp", "dp"), [(4, 2, 2, 1), (2, 4, 2, 1), (4, 1, 4, 2), (2, 2, 2, 2), (8, 1, 8, 1)]
)
def test_no_two_loops_of_an_einsum_go_over_the_same_devices(tp: int, cp: int, sp: int, dp: int) -> None:
    program = model("llama-3-8b").program("prefill")
    place = layout(program, {"model": tp * cp * dp}, tp=tp, cp=cp, sp=sp, dp=dp).places[0]
    for einsum in (e for part in program.parts for e in part.cascade.einsums):
        axes = [axis for _, axis in place.axes(einsum)]
        assert not any(one.meets(other) for i, one in enumerate(axes) for other in axes[i + 1 :]), einsum.name
