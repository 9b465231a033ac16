"""How sparsity moves from operands to results."""

from __future__ import annotations

import numpy as np
import pytest

from einsum import parse
from einsum.cascade import Cascade
from einsum.counted import PerRow
from einsum.patterns import Projected
from einsum.sparsity import Band, Uniform

CAUSAL = (Band("p", "m"),)


def pattern(cascade: Cascade, name: str) -> object:
    """A tensor's patterns."""
    return cascade.tensor(name).patterns


def test_a_mask_carries_through_maps_and_products() -> None:
    text = "S[m, p]: causal(p, m)\nS[m, p] = Q[p] * K[m]\nE[m, p] = exp(S[m, p] - G[p])\nA[m, p] = E[m, p] / D[p]"
    cascade = parse(text, m=4, p=4)
    assert pattern(cascade, "E") == pattern(cascade, "A") == CAUSAL
    assert not cascade.tensor("S").derived
    assert cascade.tensor("A").derived


def test_a_sum_over_keys_leaves_every_query() -> None:
    cascade = parse("S[m, p]: causal(p, m)\nZ[p] = S[m, p]", m=4, p=4)
    assert pattern(cascade, "Z") == ()


def test_unions() -> None:
    head = "A[p, m]: causal(p, m)\nB[p, m]: uniform(0.5)\n"
    assert pattern(parse(head + "Z[p, m] = A[p, m] + B[p, m]", p=4, m=4), "Z") == ()
    assert pattern(parse(head + "Z[p, m] = A[p, m] + A[p, m]", p=4, m=4), "Z") == CAUSAL
    assert pattern(parse(head + "Z[p, m] = A[p, m] - B[p, m]", p=4, m=4), "Z") == CAUSAL
    both = pattern(parse(head + "Z[p, m] = A[p, m] * B[p, m]", p=4, m=4), "Z")
    assert both == (*CAUSAL, Uniform(("p", "m"), 0.5))


def test_literals_have_no_say() -> None:
    assert pattern(parse("A[p, m]: causal(p, m)\nZ[p, m] = A[p, m] + 1", p=4, m=4), "Z") == CAUSAL
    assert pattern(parse("Z[m] = A[m] * (1 + 2)", m=4), "Z") == ()


def test_patterns_follow_the_names_of_an_access() -> None:
    cascade = parse("G[t, e]: per_row(e, 2)\nZ[u, x] = G[u, x] * 2", t=4, e=4, u=4, x=4)
    assert pattern(cascade, "Z") == (PerRow(("u",), "x", 2),)


def test_a_computed_index_loses_the_pattern() -> None:
    assert pattern(parse("A[m, p]: causal(p, m)\nZ[p, x] = A[x + 1, p]", m=5, p=4, x=4), "Z") == ()


def test_projection_of_a_sparse_product() -> None:
    cascade = parse("A[m, k]: uniform(0.1)\nB[k, n]: uniform(0.2)\nZ[m, n] = A[m, k] * B[k, n]", m=30, n=30, k=20)
    [found] = cascade.tensor("Z").patterns
    assert isinstance(found, Projected)
    sizes = cascade.bind()
    assert found.density(sizes) == pytest.approx(1 - (1 - 0.02) ** 20)
    rng = np.random.default_rng(0)
    drawn = [((rng.random((30, 20)) < 0.1) @ (rng.random((20, 30)) < 0.2)).mean() for _ in range(200)]
    error = 5 * np.std(drawn) / np.sqrt(200)  # fails for a right formula about once in two million seeds
    assert abs(np.mean(drawn) - found.density(sizes)) < error


def test_projection_of_one_pattern_is_its_occupancy() -> None:
    cascade = parse("A[m, k]: uniform(0.1)\nZ[m] = A[m, k]", m=3, k=4)
    [found] = cascade.tensor("Z").patterns
    assert found.density(cascade.bind()) == pytest.approx(1 - 0.9**4)
    assert found.mask(cascade.bind(), np.random.default_rng(0)).shape == (3,)
    assert found.rename({"m": "x"}).ranks == ("x",)
    assert not found.fills(("m",))
    assert found.occupied((), cascade.bind(), {"m": 2}) == pytest.approx(1 - 0.9**8)
