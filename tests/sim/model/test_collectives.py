from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.model.collectives import ALGORITHMS, collective

KINDS = st.sampled_from(sorted(ALGORITHMS))


@pytest.mark.parametrize(
    ("kind", "name", "seconds"),
    [  # 800 bytes among 4 at 100 B/s and 1 s: a quarter takes 2 s, all of it 8 s
        ("all-reduce", "ring", 6 * (2 + 1)),
        ("all-reduce", "tree", 2 * 2 * 1 + 2 * 8),
        ("all-reduce", "one-shot", 1 + 3 * 8),
        ("all-reduce", "two-shot", 2 * (1 + 3 * 2)),
        ("all-reduce", "star", 2 * (1 + 3 * 8)),
        ("reduce-scatter", "direct", 1 + 3 * 2),
        ("reduce-scatter", "ring", 3 * (2 + 1)),
        ("all-gather", "direct", 1 + 3 * 2),
        ("all-gather", "ring", 3 * (2 + 1)),
        ("all-to-all", "direct", 1 + 3 * 2),
    ],
)
def test_algorithms_by_hand(kind: str, name: str, seconds: float) -> None:
    assert ALGORITHMS[kind][name](800.0, 4, 100.0, 1.0) == pytest.approx(seconds)


def test_small_all_reduces_are_one_shot_and_large_ones_two_shot() -> None:
    small, large = (collective("all-reduce", size, 8, 450e9, 1e-6) for size in (1e3, 1e9))
    assert (small[1], large[1]) == ("one-shot", "two-shot")
    assert large[0] == pytest.approx(2 * 1e-6 + 2 * 7 / 8 * 1e9 / 450e9)


@given(kind=KINDS, size=st.floats(0, 1e12), ways=st.integers(2, 64), latency=st.floats(0, 1e-3))
def test_a_ring_never_beats_the_switch_and_nothing_beats_the_bytes(
    kind: str, size: float, ways: int, latency: float
) -> None:
    best, name = collective(kind, size, ways, 1e9, latency)
    options = {n: f(size, ways, 1e9, latency) for n, f in ALGORITHMS[kind].items()}
    assert best == min(options.values())
    assert options[name] == best
    assert best >= (2 if kind == "all-reduce" else 1) * size * (ways - 1) / ways / 1e9 * (1 - 1e-12)
    direct = options.get("two-shot", options.get("direct", 0.0))
    assert options.get("ring", direct) >= direct * (1 - 1e-12)


@given(kind=KINDS, sizes=st.lists(st.floats(1, 1e12), min_size=1, max_size=6), ways=st.integers(2, 16))
def test_arrays_of_sizes_are_timed_point_by_point(kind: str, sizes: list[float], ways: int) -> None:
    many, _ = collective(kind, np.array(sizes), ways, 1e11, 1e-6)
    assert list(many) == [collective(kind, s, ways, 1e11, 1e-6)[0] for s in sizes]
    ordered = sorted(many)
    assert ordered == [collective(kind, s, ways, 1e11, 1e-6)[0] for s in sorted(sizes)]


def test_one_device_has_nothing_to_say() -> None:
    assert collective("all-reduce", 1e9, 1, 1e9, 1.0) == (0.0, "none")
