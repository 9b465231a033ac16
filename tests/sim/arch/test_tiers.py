from __future__ import annotations

from pathlib import Path

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


@pytest.mark.parametrize("name", ["compute", "blend", "launch"])
def test_what_is_divided_by_is_not_nothing_in_a_calibration(name: str, tmp_path: Path) -> None:
    known = tier("physical").constants
    assert known is not None
    numbers = known.table()["product"] | {name: 0.0}
    path = tmp_path / "mine.toml"
    path.write_text("[product]\n" + "\n".join(f"{key} = {value}" for key, value in numbers.items()), encoding="utf-8")
    if name == "launch":
        assert tier(str(path)).constants.table()["product"]["launch"] == 0  # type: ignore[union-attr]
    else:
        with pytest.raises(WeirError, match=rf"product\.{name}: 0.0 is zero; it must be more"):
            tier(str(path))
