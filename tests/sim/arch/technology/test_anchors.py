from __future__ import annotations

import pytest

from sim.arch.technology import Anchor, Check, Technology, anchors, checks


def test_every_error_that_is_claimed_holds() -> None:
    broken = [f"{check.anchor.name}: {check.error:+.1%}" for check in checks() if check.holds is False]
    assert broken == []


def test_every_anchor_states_a_claim_or_a_reason_for_none() -> None:
    for anchor in anchors():
        assert anchor.source
        assert anchor.within is not None or anchor.reason, anchor.name


def test_most_anchors_did_not_help_to_make_the_models() -> None:
    held = [anchor for anchor in anchors() if not anchor.fit]
    assert len(held) > len(anchors()) / 2
    assert sum(anchor.within is not None for anchor in held) >= 30


def test_names_are_unique() -> None:
    names = [anchor.name for anchor in anchors()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "theirs", "error"),
    [
        # the published buffer is 32 MiB read 64 bits at a time: 484.97 pJ
        ("FuseMax global buffer read", 484.97e-12, 0.252),
        ("FuseMax global buffer write", 451.30e-12, -0.061),
        ("cache 1 MiB x 64 bit", 100e-12, -0.113),
        ("mac fp16", 1.5e-12, 0.004),
        ("mul bf16 at 7 nm", 0.21e-12, 0.091),
        ("FuseMax multiply-add", 17.1645e-12, -0.942),
        ("wire 1 mm at 14 nm", 0.1e-12, -0.040),
        ("mul fp16 at 7 nm, stillmaker", 0.34e-12, -0.820),
    ],
)
def test_errors_as_documented(name: str, theirs: float, error: float) -> None:
    check = next(check for check in checks() if check.anchor.name == name)
    assert check.anchor.theirs == pytest.approx(theirs)
    assert check.error == pytest.approx(error, abs=0.0015)


def test_a_ratio_is_the_quotient_of_two_models() -> None:
    check = next(check for check in checks() if check.anchor.over)
    where = Technology(check.anchor.node)
    assert check.ours == pytest.approx(
        where.register_file(256, 16).read / where.arithmetic("mac", "int16").energy  # Eyeriss comes first
    )


def test_a_check_outside_its_claim_does_not_hold() -> None:
    anchor = Anchor("x", 45.0, (), (), 2.0, "J", "nobody", True, False, 0.1, "", "calibrated")
    assert Check(anchor, 2.1).holds is True
    assert Check(anchor, 2.3).holds is False
    assert Check(anchor, 1.0).error == -0.5
