"""When each tensor must be held, and how many bytes at once."""

from __future__ import annotations

from einsum import Live, live_ranges, parse, peak
from einsum.live import profile

TEXT = """
W[m]: weight
K[m]: (state, fp8)
Y[m] = W[m] * X[m]
K[m] = Y[m]
U[m] = exp(K[m])
Z = U[m] * V[m]
"""


def test_by_hand() -> None:
    assert live_ranges(parse(TEXT, m=8)) == (
        Live("W", 16, 0, 3),  # a weight stays for the next run
        Live("X", 16, 0, 0),
        Live("Y", 16, 0, 1),
        Live("K", 8, 0, 3),  # so does state
        Live("U", 16, 2, 3),
        Live("V", 16, 0, 3),  # an input waits for its use
        Live("Z", 2, 3, 3),
    )


def test_peak_is_the_worst_step() -> None:
    lives = live_ranges(parse(TEXT, m=8))
    assert profile(lives) == (16 + 16 + 16 + 8 + 16, 16 + 16 + 8 + 16, 16 + 8 + 16 + 16, 16 + 8 + 16 + 16 + 2)
    assert peak(lives) == 72
    assert peak(()) == 0


def test_tensors_that_nothing_touches_are_not_held() -> None:
    assert [live.tensor for live in live_ranges(parse("B[m]: fp8\nZ = A[m]", m=2))] == ["A", "Z"]


def test_absent_places_take_no_bytes() -> None:
    [live, *_] = live_ranges(parse("A[p, m]: causal(p, m)\nZ[p] = A[p, m]", p=4, m=4))
    assert live.bytes == 10 * 2


def test_fewer_passes_hold_less(attention: dict[str, str]) -> None:
    three = parse(attention["three-pass"], e=4, f=3, p=5, m=64)
    deferred = parse(attention["deferred"], e=4, f=3, p=5, m=64)
    assert peak(live_ranges(deferred)) <= peak(live_ranges(three))
