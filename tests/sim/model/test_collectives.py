from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.arch import Link, tier
from sim.model.collectives import ALGORITHMS, CHANNELS, SHARE, achieved, collective, filled

KINDS = st.sampled_from(sorted(ALGORITHMS))
NVLINK = Link("nvlink", "node", 450e9, 0.8e-6)


def library(size: float, ways: int, link: Link = NVLINK, kind: str = "all-gather") -> float:
    """Seconds of NCCL at 1.98 GHz."""
    level = tier("physical").constants
    assert level is not None
    return float(achieved(kind, np.array([size]), ways, link, level.table()["collective"], 1.98e9, shot=False)[0][0])


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


def test_a_small_message_opens_as_few_channels_as_give_each_its_share() -> None:
    """Below one share one of 24 channels carries it; from 24 shares on all do, and between them time stands still."""
    share = SHARE * 4.0
    assert list(filled(share * np.array([0.5, 1, 12, 24, 48]), 4)) == [CHANNELS, CHANNELS, 2, 1, 1]
    assert library(share, 4) == pytest.approx(library(CHANNELS * share, 4))
    assert library(share / 2, 4) < library(share, 4) < library(1.5 * CHANNELS * share, 4)


@given(kind=KINDS, ways=st.integers(2, 16))
def test_nothing_to_send_takes_the_start_and_the_way_alone(kind: str, ways: int) -> None:
    """As long as a byte takes, to a nanosecond."""
    assert library(0.0, ways, kind=kind) == pytest.approx(library(1.0, ways, kind=kind), abs=1e-9)


def test_two_devices_copy_half_of_what_they_gather_besides() -> None:
    """Of 1 GB each sends half and copies half; of eight, seven eighths are sent and an eighth is copied."""
    two, eight = library(1e9, 2), library(1e9, 8)
    assert two > 1.15 * eight * (1 / 2) / (7 / 8)
    assert library(2e9, 2) - two == pytest.approx(1e9 * (two - library(0.5e9, 2)) / 0.5e9)


@given(kind=KINDS, size=st.floats(512, 1e9), ways=st.sampled_from([2, 4, 8]), faster=st.floats(1, 4))
def test_a_faster_link_and_a_smaller_message_are_never_slower(kind: str, size: float, ways: int, faster: float) -> None:
    here = library(size, ways, NVLINK, kind)
    assert library(size, ways, replace(NVLINK, bandwidth=450e9 * faster), kind) <= here * (1 + 1e-12)
    assert library(size, ways, replace(NVLINK, payload=0.9), kind) <= here * (1 + 1e-12)
    if kind != "all-to-all":  # between pairs NCCL changes its protocol at a size, not where the other is faster
        assert library(size / 2, ways, NVLINK, kind) <= here * (1 + 1e-12)
