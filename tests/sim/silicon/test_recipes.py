"""How engines of measured runs were configured: which recipe a row meets, and what it changes."""

from __future__ import annotations

import pytest

from einsum.errors import WeirError
from sim.arch import tier
from sim.serving.engines import software
from sim.silicon.recipes import _recipe, engine, level, recipes

ROW = {"backend": "trtllm", "measured": "", "model_path": "some/model", "batch_size": "32.0", "isl": "1024"}
GPT = ROW | {"backend": "vllm", "measured": "2026-04-06", "model_path": "openai/gpt-oss-120b"}


def test_every_recipe_is_of_a_known_engine_and_says_where_it_is_from() -> None:
    assert all(software(one.backend) and one.source for one in recipes())


def test_a_budget_follows_the_prompt_and_the_batch() -> None:
    whole = engine(ROW)
    assert whole.token_budget == 32 + 1024 + 1500
    assert not whole.rules.divided
    assert engine(ROW | {"backend": "sglang"}).token_budget == 1024 + 1500


def test_a_run_without_a_recipe_has_the_defaults_of_its_engine() -> None:
    assert engine(ROW | {"backend": "vllm", "measured": "2026-04-06"}) == software("vllm")


def test_what_was_on_by_default_only_later_is_off_before() -> None:
    assert software("vllm").ahead == 1
    assert engine(ROW | {"backend": "vllm"}).ahead == 0
    assert engine(GPT).rules.ahead == 1
    assert engine(GPT).recorded == 2048


def test_a_grouped_kernel_changes_the_launches_of_experts_alone() -> None:
    physical = tier("physical")
    assert level(ROW, physical) is physical
    before, after = (one.constants.table() for one in (physical, level(GPT, physical)) if one.constants)
    assert after.pop("experts") == before.pop("experts") | {"slow": 1.0}
    assert after == before


def test_a_wrong_key_is_refused_with_a_near_one() -> None:
    with pytest.raises(WeirError, match=r"unknown key 'divide'.*divided"):
        _recipe({"backend": "vllm", "dated": True, "source": "me", "divide": True})
