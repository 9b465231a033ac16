"""Closed forms of sparsity against masks: exact where the pattern is exact, statistical (seeded) where it is random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from einsum.counted import PerRow, Structured
from einsum.sparsity import Actual, Band, Block, PowerLaw, Sparsity, Uniform, density, occupied

SIZES = {"p": 12, "m": 20, "c": 8}
EXACT: tuple[Sparsity, ...] = (
    Band("p", "m", "c"),
    Band("p", "m"),
    Band("p", "m", "c", window=5),
    PerRow(("p",), "m", 3),
    PerRow(("p",), "m", 3, spread=1),
    PerRow(("p",), "m", 3, skew=1.2, spread=30),
    Structured("m", 2, 4),
)
RANDOM: tuple[Sparsity, ...] = (
    Uniform(("p", "m"), 0.15),
    Block((("p", 4), ("m", 5)), 0.3),
    PowerLaw("p", "m", 0.2, 1.1),
    PowerLaw("p", "m", 0.6, 2.0),  # the head is saturated
)


def masks(pattern: Sparsity, count: int = 400) -> NDArray[np.bool_]:
    """Independent draws of a pattern."""
    rng = np.random.default_rng(7)
    return np.stack([pattern.mask(SIZES, rng) for _ in range(count)])


@pytest.mark.parametrize("pattern", EXACT, ids=str)
def test_exact_density(pattern: Sparsity) -> None:
    assert masks(pattern, 3).mean(axis=tuple(range(1, 1 + len(pattern.ranks)))) == pytest.approx(
        [pattern.density(SIZES)] * 3
    )


@pytest.mark.parametrize("pattern", [*EXACT, *RANDOM], ids=str)
def test_only_drawn_places_hang_on_the_draw(pattern: Sparsity) -> None:
    one, two = masks(pattern, 2)
    assert pattern.drawn != np.array_equal(one, two)


@pytest.mark.parametrize("pattern", RANDOM, ids=str)
def test_random_density_within_five_standard_errors(pattern: Sparsity) -> None:
    """At five standard errors of the mean of 400 draws, a right formula fails about once in two million seeds."""
    drawn = masks(pattern).mean(axis=(1, 2))
    assert abs(drawn.mean() - pattern.density(SIZES)) < 5 * drawn.std() / np.sqrt(len(drawn))


@pytest.mark.parametrize("pattern", [*RANDOM, PerRow(("p",), "m", 3)], ids=str)
@pytest.mark.parametrize("keep", ["p", "m"])
def test_occupied_slices_within_five_standard_errors(pattern: Sparsity, keep: str) -> None:
    drawn = masks(pattern).any(axis=2 if keep == "p" else 1).mean(axis=1)
    error = max(5 * drawn.std() / np.sqrt(len(drawn)), 1e-12)
    assert abs(drawn.mean() - pattern.occupied((keep,), SIZES, SIZES)) < error


@given(p=st.integers(1, 9), m=st.integers(1, 12), c=st.integers(0, 9), window=st.integers(0, 5))
@settings(max_examples=60)
def test_band_density_is_exact(p: int, m: int, c: int, window: int) -> None:
    sizes = {"p": p, "m": max(m, p + c), "c": c}
    pattern = Band("p", "m", "c", window)
    mask = pattern.mask(sizes, np.random.default_rng(0))
    assert pattern.density(sizes) == pytest.approx(mask.mean())


@given(c=st.integers(0, 9), window=st.integers(1, 5), sinks=st.integers(0, 3))
@settings(max_examples=40)
def test_band_with_sinks_is_exact(c: int, window: int, sinks: int) -> None:
    sizes = {"p": 6, "m": 6 + c, "c": c}
    pattern = Band("p", "m", "c", window, sinks)
    assert pattern.density(sizes) == pytest.approx(pattern.mask(sizes, np.random.default_rng(0)).mean())


def test_causal_by_hand() -> None:
    mask = Band("p", "m").mask({"p": 3, "m": 3}, np.random.default_rng(0))
    assert mask.tolist() == [[True, False, False], [True, True, False], [True, True, True]]


def test_window_with_sinks_by_hand() -> None:
    mask = Band("p", "m", "c", 2, 1).mask({"p": 1, "m": 6, "c": 4}, np.random.default_rng(0))
    assert mask.tolist() == [[True, False, False, True, True, False]]


def test_band_keys_seen_through_a_window() -> None:
    sizes = {"p": 2, "m": 10, "c": 4}
    mask = Band("p", "m", "c").mask(sizes, np.random.default_rng(0))
    assert Band("p", "m", "c").occupied(("m",), sizes, sizes) == mask.any(axis=0).mean() == 0.6


def test_every_query_sees_itself() -> None:
    assert Band("p", "m").occupied(("p",), SIZES, SIZES) == 1.0
    assert Band("p", "m").fills(("p",))
    assert not Band("p", "m").fills(("p", "m"))


def test_density_takes_arrays_of_sizes() -> None:
    sizes = {"p": np.array([1, 2]), "m": np.array([4, 4]), "c": np.array([3, 2])}
    assert Band("p", "m", "c").density(sizes).tolist() == [1.0, 7 / 8]


def test_power_law_rows_have_the_mean_asked_for() -> None:
    rows = PowerLaw("p", "m", 0.6, 2.0).rows(12)
    assert rows.mean() == pytest.approx(0.6)
    assert (rows <= 1).all()
    assert (np.diff(rows) <= 0).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_actual_counts_exactly(seed: int) -> None:
    matrix = sparse.random_array((7, 9), density=0.3, rng=np.random.default_rng(seed))
    dense = matrix.toarray() != 0
    pattern = Actual.of(matrix, "p", "m")
    sizes = {"p": 7, "m": 9}
    assert pattern.density(sizes) == dense.mean()
    assert pattern.occupied(("p",), sizes, sizes) == dense.any(axis=1).mean()
    assert pattern.occupied(("m",), sizes, sizes) == dense.any(axis=0).mean()
    tiles = [dense[i : i + 3, j : j + 4].any() for i in range(0, 7, 3) for j in range(0, 9, 4)]
    assert pattern.occupied((), sizes, {"p": 3, "m": 4}) == np.mean(tiles)
    assert (pattern.mask(sizes, np.random.default_rng(0)) == dense).all()


def test_actual_values_hash_and_compare() -> None:
    one = Actual.of(np.eye(3), "p", "m")
    assert one == Actual.of(sparse.eye_array(3), "p", "m")
    assert hash(one) == hash(Actual.of(np.eye(3), "p", "m"))


@pytest.mark.parametrize("pattern", [*EXACT, *RANDOM, Actual.of(np.eye(3), "p", "m")], ids=str)
def test_renaming_changes_names_only(pattern: Sparsity) -> None:
    there = pattern.rename({"p": "x", "m": "y", "c": "z"})
    assert "m" not in there.ranks
    assert there.rename({"x": "p", "y": "m", "z": "c"}) == pattern


def test_independent_patterns_multiply() -> None:
    both = (Uniform(("p",), 0.5), Uniform(("m",), 0.5))
    assert density(both, SIZES) == 0.25
    assert occupied(both, ("p", "m"), SIZES, SIZES) == 0.25
