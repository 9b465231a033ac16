"""Cascades by name, from the catalogue or from text."""

from __future__ import annotations

from pathlib import Path

import pytest

from einsum import WeirError
from workloads.attention import one_pass
from workloads.catalogue import build, builders, named

SIZES = {"query": 8, "context": 512, "head_dim": 4}


def test_a_name_builds_what_its_function_does() -> None:
    assert build("attention.one_pass", SIZES) == one_pass(**SIZES)
    assert builders()["attention.one_pass"] is one_pass


def test_a_file_of_text_is_a_cascade(tmp_path: Path) -> None:
    path = tmp_path / "sum.txt"
    path.write_text("Z[m] = A[m, k]\n")
    made = build(str(path), {"m": 3, "k": 5})
    assert (made.name, dict(made.sizes)) == ("sum", {"m": 3, "k": 5})


def test_what_names_a_cascade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("attention.one_pass", "attention.one_pas", "gemm.txt", "llama-3-8b", "moe.json", "attention")
    assert [named(name) for name in names] == [True, True, True, False, True, False]
    Path("moe.json").write_text("{}")  # a model's configuration
    assert not named("moe.json")


@pytest.mark.parametrize(
    ("what", "sizes", "message"),
    [
        ("attention.one_pas", SIZES, "did you mean 'attention.one_pass'"),
        ("attention.one_pass", {**SIZES, "quer": 1}, "has no size 'quer'; did you mean 'query'"),
        ("attention.one_pass", {"query": 8}, "attention.one_pass needs context=..., head_dim=..."),
        ("absent.txt", {}, "no such cascade file: absent.txt"),
    ],
)
def test_mistakes(what: str, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(WeirError, match=message.replace(".", r"\.")):
        build(what, sizes)
