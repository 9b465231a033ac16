from __future__ import annotations

import pytest

from einsum.errors import WeirError
from sim.arch import tier, tier_names


def test_the_limit_credits_everything() -> None:
    limit = tier("limit")
    assert (limit.launch, limit.compute, limit.memory, limit.collective) == (0.0, 1.0, 1.0, 0.0)


def test_the_physical_tier_is_never_faster_than_the_limit() -> None:
    physical = tier("physical")
    assert (physical.launch, physical.compute, physical.memory) == (4e-6, 0.75, 0.75)
    assert physical.collective > 0
    assert tier_names() == ("limit", "physical")


def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(WeirError, match=r"unknown tier 'fysical'; did you mean 'physical'\?"):
        tier("fysical")
