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


@pytest.mark.parametrize("name", engine_names())
def test_an_answer_names_the_engine_and_the_tested_error_of_its_first_tokens(name: str) -> None:
    import sim

    answer, other, plain = (
        sim.serve("llama-3-8b", on, engine=engine, prompt=512, output=32, batch=4, sensitive=False)
        for on, engine in (("1xh100", name), ("1xa100", name), ("1xh100", None))
    )
    one = software(name)
    assert any(note.startswith(f"engine {one.title}") for note in answer.notes)
    assert any(f"first token with {name}: {one.tested.median:.0%} median error" in note for note in answer.notes)
    assert "beyond what was tested: first tokens on a100_sxm_80gb" in other.notes
    assert any("no tested band" in note for note in plain.notes)
    assert answer.choice.deployment.reserve == one.kept


def test_hosts_and_front_ends_of_engines_are_added() -> None:
    import sim

    own = software("trtllm")
    lone, slower = (
        sim.serve("llama-3-8b", "1xh100", host=host, engine="trtllm", prompt=512, output=32, batch=1, sensitive=False)
        for host in (0.0, 1e-3)
    )
    assert lone.choice.deployment.host == own.host
    assert slower.choice.deployment.host == pytest.approx(own.host + 1e-3)
    assert lone.served.ttft.min() > own.front
    assert any(note.startswith("first tokens with trtllm hold 9.97 ms of server and client") for note in lone.notes)


def test_prompts_in_chunks_need_one_pool_without_stages() -> None:
    import sim

    with pytest.raises(WeirError, match="one pool without pipeline stages"):
        sim.serve("llama-3-8b", "2xh100", layout="pp=2", engine="vllm", sensitive=False)


KERNELS = {"vllm": True, "sglang": True, "trtllm": False}


@pytest.mark.parametrize("name", engine_names())
def test_an_engine_chooses_whose_attention_runs(name: str) -> None:
    import sim

    answer = sim.serve("llama-3-8b", "1xh100", engine=name, prompt=512, output=32, batch=4, sensitive=False)
    assert answer.choice.deployment.layout.flash == software(name).flash == KERNELS[name]
    how = "FlashAttention's" if KERNELS[name] else "its own"
    assert any(note.startswith(f"attention with {name}: {how}") for note in answer.notes)


def test_without_an_engine_none_is_named() -> None:
    import sim

    answer = sim.serve("llama-3-8b", "1xh100", prompt=512, output=32, batch=4, sensitive=False)
    assert answer.choice.deployment.layout.flash is None
