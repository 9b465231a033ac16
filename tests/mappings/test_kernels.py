"""Which Einsums share a kernel around attention, whose own kernel may hold what is before it or stand alone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from einsum import Cascade, parse
from mappings.kernels import cached, kernels
from mappings.layout import Layout, Place
from workloads.transformer import model

STATE = "K[b, g, m, e]: state\nV[b, g, m, u]: state\n"
TURNED = """
Q[b, g, r, p, i] = QN[b, g, r, p, i] * COS[C + p, i] + QN[b, g, r, p, I - 1 - i] * SIN[C + p, i]
K[b, g, C + p, i] = KN[b, g, p, i] * COS[C + p, i] + KN[b, g, p, I - 1 - i] * SIN[C + p, i]
V[b, g, C + p, u] = VN[b, g, p, u]
"""
COPIED = "K[b, g, C + p, e] = KN[b, g, p, e]\nV[b, g, C + p, u] = VN[b, g, p, u]\n"
CORE = """
QK[b, g, r, p, m] = Q[b, g, r, p, e] * K[b, g, m, e]
GM[b, g, r, p] = max[m](QK[b, g, r, p, m])
SN[b, g, r, p, m] = exp(QK[b, g, r, p, m] - GM[b, g, r, p])
AV[b, g, r, p, u] = SN[b, g, r, p, m] * V[b, g, m, u]
"""
ALONE = ["QK", "GM", "SN", "AV"]
LATENT = """
L[b, m, e]: state
L[b, C + p, e] = KN[b, p, e]
QK[b, r, p, m] = Q[b, r, p, e] * L[b, m, e]
SN[b, r, p, m] = exp(QK[b, r, p, m])
AV[b, r, p, e] = SN[b, r, p, m] * L[b, m, e]
"""
LINEAR = """
S[b, e, u]: state
T[b, e, u]: state
A[b, p, u] = Q[b, p, e] * S[b, e, u]
O[b, p, u] = Q[b, p, e] * T[b, e, u] + A[b, p, u]
"""
SIZES: dict[str, Any] = {"b": 2, "g": 2, "r": 4, "p": 8, "c": 16, "m": "C + P", "e": 4, "u": 4, "i": 4}


def made(text: str) -> Cascade:
    used = set(re.findall(r"\b[a-z]\b", text)) | ({"c"} if "C + p" in text else set())
    return parse(text, name="attention", **{rank: SIZES[rank] for rank in used})


def groups(text: str, flash: bool | None) -> list[list[str]]:
    cut = kernels(made(text), Layout((Place("model", 1),), flash=flash))
    return [[e.name for e in group] for group in cut]


@pytest.mark.parametrize("flash", [None, False])
def test_a_kernel_of_its_own_turns_positions_and_writes_the_cache(flash: bool | None) -> None:
    assert groups(STATE + TURNED + CORE, flash) == [["Q", "K", "V", *ALONE]]


def test_before_flash_attention_one_kernel_turns_positions_and_another_copies() -> None:
    assert groups(STATE + TURNED + CORE, True) == [["Q", "K"], ["V"], ALONE]


def test_what_is_copied_alone_is_one_kernel() -> None:
    assert groups(STATE + COPIED + CORE, True) == [["K", "V"], ALONE]


@pytest.mark.parametrize("text", [LATENT, LINEAR], ids=["latent", "linear"])
def test_other_attention_is_nobodys_flash_attention(text: str) -> None:
    cascade = made(text)
    assert cached(cascade, cascade.einsums) is None
    assert groups(text, True) == groups(text, None)


@pytest.mark.parametrize("name", ["qwen3-32b", "gpt-oss-120b", "minimax-m2", "opt-6.7b", "gemma-2-9b"])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_every_cached_attention_of_a_model_stands_alone(name: str, phase: str) -> None:
    for part in model(name).program(phase).parts:
        fused, cut = (kernels(part.cascade, Layout((Place("model", 1),), flash=flash)) for flash in (None, True))
        assert [e for group in fused for e in group] == [e for group in cut for e in group]
        around = [group for group in fused if cached(part.cascade, group)]
        alone = [group for group in cut if cached(part.cascade, group)]
        assert len(cut) == len(fused) + 2 * len(around)
        assert all(group[0] == cached(part.cascade, group) for group in alone)
        assert len(alone) == len(around) == (part.times > 1)
