"""How often each rank must be traversed: the published counts, derived from the cascades alone."""

from __future__ import annotations

import pytest

from einsum import Passes, WeirError, parse, passes, split

SIZES = {"e": 4, "f": 3, "p": 5}


def of(attention: dict[str, str], way: str) -> Passes:
    """Passes of one of the attention cascades."""
    ranks = {"m1": 3, "m0": 2} if "m1" in attention[way] else {"m": 6}
    return passes(parse(attention[way], **SIZES, **ranks))


def test_reading_a_vector_again_after_its_sum_takes_two() -> None:
    found = passes(parse("Y = A[k] * B[k]\nZ = Y * A[k]", k=4))
    assert (found.of("A", "k"), found.of("B", "k"), found.rank("k")) == (2, 1, 2)
    assert [str(e) for e in found.why("k")] == ["pass 2 over k: Z reads Y, known only once all of k has been visited"]


def test_deferring_the_product_takes_one() -> None:
    found = passes(parse("Y = A[k] * B[k]\nX = A[k]\nZ = Y * X", k=4))
    assert (found.of("A", "k"), found.rank("k"), found.why("k")) == (1, 1, ())


def test_building_the_sum_iteratively_takes_one() -> None:
    text = """
        R[0] = 0
        S[0] = 0
        R[k + 1] = R[k] + A[k] * B[k]
        S[k + 1] = S[k] * R[k + 1] / R[k] + R[k + 1] * A[k]
        Z = S[K]
    """
    assert passes(parse(text, k=4)).of("A", "k") == 1


@pytest.mark.parametrize(
    ("way", "rank", "count"),
    [
        ("naive", "m", 2),
        ("three-pass", "m", 3),
        ("deferred", "m", 2),
        ("two-pass", "m", 2),
        ("one-pass", "m", 1),
        ("one-pass", "m1", 1),
        ("one-pass", "m0", 2),
    ],
)
def test_attention(attention: dict[str, str], way: str, rank: str, count: int) -> None:
    found = of(attention, way)
    assert found.rank(rank) == found.of("K", rank) == count
    assert len(found.why(rank)) == count - 1


def test_no_other_rank_of_attention_is_traversed_twice(attention: dict[str, str]) -> None:
    for way in attention:
        assert [of(attention, way).rank(r) for r in SIZES] == [1, 1, 1]


def test_what_is_used_once_is_read_once(attention: dict[str, str]) -> None:
    found = of(attention, "three-pass")
    assert found.of("V", "m") == 1
    assert found.of("QK", "m") == 3
    assert found.of("SN", "m") == 2
    assert [found.einsum(e, "m") for e in ("QK", "GM", "SN", "SD", "A", "AV")] == [1, 1, 2, 2, 3, 3]
    assert [(e.einsum, e.tensor) for e in found.why("m")] == [("SN", "GM"), ("A", "SD")]


def test_summaries_of_tiles_deepen_the_dependency_but_do_not_traverse(attention: dict[str, str]) -> None:
    found = of(attention, "two-pass")
    assert found.einsum("PLM", "m") == 2
    assert found.einsum("A", "m") == 3
    assert found.rank("m") == 2


@pytest.mark.parametrize("way", ["naive", "three-pass", "deferred"])
def test_splitting_a_rank_keeps_its_passes(attention: dict[str, str], way: str) -> None:
    tiled = split(parse(attention[way], m=6, **SIZES), m=("m1", "m0", 2))
    assert passes(tiled).rank("m") == of(attention, way).rank("m")


def test_a_split_rank_has_its_declared_name(attention: dict[str, str]) -> None:
    text = "K[e, keys]: bf16\n" + attention["one-pass"]
    found = passes(parse(text, keys="M1*M0", m1=3, m0=2, **SIZES))
    assert found.of("K", "keys") == 1


def test_a_window_is_not_a_split() -> None:
    found = passes(parse("Z[x] = A[x + r] * B[r]", x=6, r=3))
    assert found.ranks == ("x", "r")


def test_queries_and_keys_of_one_sequence_are_two_traversals() -> None:
    text = "K[e, p] = W[e, d] * X[d, p]\nQ[e, p] = V[e, d] * X[d, p]\nS[m, p] = Q[e, p] * K[e, m]"
    found = passes(parse(text, e=2, d=2, p=3, m=3))
    assert found.einsum("S", "p") == 2  # the first query needs the keys of the last place
    assert found.why("p")[0].tensor == "K"


def test_sorting_needs_all_before_any() -> None:
    assert passes(parse("S[m] = sort[m](A[m])\nZ[m] = S[m] * A[m]", m=4)).of("A", "m") == 2
    assert passes(parse("S[m] = scan[m](A[m])\nZ[m] = S[m] * A[m]", m=4)).of("A", "m") == 1


def test_reading_anywhere_needs_everything() -> None:
    text = "Y[t] = exp(A[t])\nZ[t] = Y[I[t]]"
    assert passes(parse(text, t=4)).einsum("Z", "t") == 2


def test_one_place_is_known_early_unless_it_ends_a_recurrence() -> None:
    assert passes(parse("Y[k] = exp(A[k])\nZ[k] = Y[0] * A[k]", k=4)).of("A", "k") == 1
    running = "S[0] = 0\nS[k + 1] = S[k] + A[k]\nZ[k] = S[{}] * A[k]"
    assert passes(parse(running.format("K"), k=4)).of("A", "k") == 2
    assert passes(parse(running.format("0"), k=4)).of("A", "k") == 1


def test_table(attention: dict[str, str]) -> None:
    assert str(of(attention, "three-pass")).split("\n") == [
        "rank  passes  because",
        "m          3  SN reads GM; A reads SD",
        "p          1",
        "e          1",
        "f          1",
    ]


def test_unknown_names() -> None:
    found = passes(parse("Z = A[k]\nY = B[m]", k=2, m=2))
    with pytest.raises(WeirError, match="no rank 'kk'; did you mean 'k'"):
        found.rank("kk")
    with pytest.raises(WeirError, match="A has no rank 'm'; its ranks: k"):
        found.of("A", "m")
    with pytest.raises(WeirError, match="no Einsum 'X'"):
        found.einsum("X", "k")
