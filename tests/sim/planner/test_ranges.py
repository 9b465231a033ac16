"""Layer ranges against all ranges there are, and the flow against augmenting paths."""

from __future__ import annotations

import itertools
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Infeasible, WeirError
from sim.planner.ranges import Holder, Network, Ranges, flow, follows, improved, network, place, templates

RATES = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(lambda r: tuple(float(x) for x in sorted(r)[::-1]))


def ford(made: Network, ranges: Ranges) -> float:
    """The largest flow by augmenting paths, with the capacities as they are."""
    room: dict[tuple[str, str], float] = {}
    for n, (s, e) in enumerate(ranges):
        room[f"in{n}", f"out{n}"] = made.nodes[n].rates[e - s - 1] if e > s else 0.0
        if s == 0 and e:
            room["source", f"in{n}"] = made.link(-1, n)
        if e == made.layers and e > s:
            room[f"out{n}", "sink"] = made.link(n, -1)
    for a, b in itertools.permutations(range(len(ranges)), 2):
        if follows(ranges[a], ranges[b]):
            room[f"out{a}", f"in{b}"] = made.link(a, b)
    total = 0.0
    while path := _path(room):
        least = min(room[edge] for edge in path)
        total += least
        for a, b in path:
            room[a, b] -= least
            room[b, a] = room.get((b, a), 0.0) + least
    return total


def _path(room: dict[tuple[str, str], float]) -> list[tuple[str, str]]:
    seen, queue = {"source": ("", "")}, ["source"]
    for at in queue:
        for (a, b), left in room.items():
            if a == at and b not in seen and left > 1e-9:
                seen[b] = (a, b)
                queue.append(b)
    path, at = [], "sink"
    while at in seen and at != "source":
        path.append(seen[at])
        at = seen[at][0]
    return path if at == "source" else []


@given(
    st.lists(RATES, min_size=1, max_size=3), st.integers(1, 3),
    st.dictionaries(st.tuples(st.integers(-1, 2), st.integers(-1, 2)), st.integers(1, 6).map(float), max_size=4),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_no_ranges_flow_more(rates: list[tuple[float, ...]], layers: int, links: dict[tuple[int, int], float]) -> None:
    nodes = tuple(Holder(f"n{n}", r) for n, r in enumerate(rates))
    if sum(map(len, rates)) < layers:
        with pytest.raises(Infeasible, match="all nodes together hold"):
            Network(layers, nodes, links)
        return
    made = Network(layers, nodes, links)
    choices = [
        [(0, 0), *((s, s + j) for j in range(1, min(len(r), layers) + 1) for s in range(layers - j + 1))] for r in rates
    ]
    most = max(ford(made, ranges) for ranges in itertools.product(*choices))
    found = place(made, tries=20)
    assert found.proven
    assert found.flow == pytest.approx(most, rel=1e-6)
    assert ford(made, found.ranges) == pytest.approx(found.flow, rel=1e-6)
    assert most <= made.most * (1 + 1e-9)


def cluster(count: int, layers: int) -> Network:
    """Nodes of two kinds in turn, as many layers a second whatever their range."""
    kinds = ((60.0, 4), (30.0, 2))
    nodes = [Holder(f"n{n}", tuple(kinds[n % 2][0] / (j + 1) for j in range(kinds[n % 2][1]))) for n in range(count)]
    return Network(layers, tuple(nodes), {})


def test_even_work_is_reached_and_proven() -> None:
    found = place(cluster(4, 6), tries=100)
    assert found.flow == pytest.approx(30, rel=1e-6)  # 180 layers a second through six layers
    assert found.proven
    assert found.gap == 0
    assert list(found.frame().columns) == ["node", "first", "stop", "tokens_per_second", "busy"]


def test_a_search_cut_short_is_no_worse_than_its_start() -> None:
    made = cluster(9, 20)
    start = max(flow(made, improved(made, ranges, tries=200)) for ranges in templates(made))
    found = place(made, seconds=1, tries=200)
    assert found.flow >= start * (1 - 1e-6)
    assert found.flow <= found.bound
    assert found.bound <= made.most * (1 + 1e-6)


def test_links_carry_tokens_of_some_bytes() -> None:
    nodes = [Holder("a", (10.0, 5.0)), Holder("b", (10.0, 5.0))]
    made = network(2, nodes, token=100.0, bandwidth={(0, 1): 400.0, (1, 0): 300.0})
    assert made.link(0, 1) == 4
    assert made.link(-1, 0) == inf
    assert flow(made, ((0, 1), (1, 2))) == pytest.approx(4, rel=1e-6)
    assert place(made, tries=0).flow == pytest.approx(10, rel=1e-6)  # each holds both layers


def test_mistakes_are_named() -> None:
    with pytest.raises(WeirError, match="something must be sent"):
        network(1, [Holder("a", (1.0,))], token=0, bandwidth={})
    with pytest.raises(WeirError, match="none negative"):
        Holder("a", ())
    with pytest.raises(WeirError, match="needs layers and nodes"):
        Network(0, (), {})
