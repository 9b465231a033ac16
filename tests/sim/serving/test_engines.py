from __future__ import annotations

import pytest

from einsum.errors import WeirError
from sim.serving.engines import engine_names, software


@pytest.mark.parametrize("name", engine_names())
def test_every_engine_says_how_it_schedules_and_where_that_is_from(name: str) -> None:
    one = software(name)
    assert one.rules.token_budget >= 1
    assert 0 <= one.kept < 1
    assert one.source


def test_a_wrong_name_is_refused_with_a_near_one() -> None:
    with pytest.raises(WeirError, match=r"unknown engine 'vlm'.*vllm"):
        software("vlm")
