"""Fifty answers as they were when somebody last looked: whatever moves one says so in the changelog.

``pytest tests/test_golden.py --update-golden='a line of CHANGELOG.md'`` prints what moved, and keeps it with that line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import sim
from sim.space.sweep import sweep
from sim.sparse import spgemm
from workloads.matrices import named

ROOT = Path(__file__).resolve().parents[1]
KEPT = Path(__file__).with_name("golden.json")
CLOSE = 1e-9  # relative; libraries may add up in another order
Answer = Mapping[str, float | str]

SERVED = [
    *(("llama-3-70b", on, {"trace": "azure_conv"}) for on in ("4xh100", "2xh100_4xh20", "8xh20", "8xh100")),
    *(("llama-3-8b", on, {"prompt": 512, "output": 64}) for on in ("1xh100", "1xh20", "1xa100", "2xa100", "1xh200")),
    *(("mixtral-8x7b", on, {"trace": "azure_code"}) for on in ("4xh100", "2xh200")),
    *(("gpt2-xl", "1xh100", {"prompt": 64, "output": 8, "tier": tier}) for tier in ("limit", "physical")),
    ("qwen2-7b", "2xh100", {"prompt": 1024, "output": 256, "batch": 16}),
    ("llama-3-70b", "lamina_2_4", {"prompt": 4096, "output": 512, "prices": "lamina_2024"}),
]
STEPPED = [
    (model, on, batch, length)
    for model, on in (("llama-3-8b", "1xh100"), ("llama-3-70b", "4xh100"), ("llama-3-70b", "2xh100_4xh20"))
    for batch in (1, 32)
    for length in ({"context": 100}, {"context": 4000}, {"prompt": 2000})
]
MULTIPLIED = [
    (matrix, on)
    for matrix in ("uniform:n=300,density=0.02", "rmat:scale=9,draws=4096", "banded:n=400,width=5")
    for on in ("piuma_die", "piuma_core", "gamma", "extensor", "outerspace", "cpu_64b")
]


def served(model: str, on: str, asked: Mapping[str, Any]) -> Answer:
    found = sim.serve(model, on, sensitive=False, **asked).frame().iloc[0]
    keys = (
        "layout",
        "batch",
        "tokens_per_second",
        "usd_per_million_tokens",
        "ttft_p95",
        "tpot_mean",
        "joules_per_token",
    )
    return {key: found[key] for key in keys}


def stepped(model: str, on: str, batch: int, length: Mapping[str, int]) -> Answer:
    found = sweep(model, on=on, batch=batch, **length).iloc[0]
    return {key: found[key] for key in ("seconds", "joules_per_token", "usd_per_million_tokens", "bound")}


def multiplied(matrix: str, on: str) -> Answer:
    found = spgemm(named(matrix), on=on).best
    return {"mapping": found.mapping.name, "seconds": found.seconds, "joules": found.joules}


CASES: dict[str, Callable[[], Answer]] = {
    **{f"serve {m} {o} {json.dumps(a)}": lambda m=m, o=o, a=a: served(m, o, a) for m, o, a in SERVED},
    **{f"step {m} {o} {b} {n}": lambda m=m, o=o, b=b, n=n: stepped(m, o, b, n) for m, o, b, n in STEPPED},
    **{f"product {m} {o}": lambda m=m, o=o: multiplied(m, o) for m, o in MULTIPLIED},
}


def moved(was: Answer, now: Answer) -> list[str]:
    """Every figure that is not what it was."""
    return [
        f"{key}: {was.get(key)} -> {now.get(key)}"
        for key in sorted({*was, *now})
        if not _same(was.get(key), now.get(key))
    ]


def _same(a: Any, b: Any) -> bool:
    numbers = isinstance(a, float | int) and isinstance(b, float | int)
    return math.isclose(a, b, rel_tol=CLOSE) if numbers else a == b


def test_fifty_answers_are_what_they_were(pytestconfig: pytest.Config) -> None:
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    now = {name: ask() for name, ask in CASES.items()}
    changed = {
        name: moved(kept["answers"].get(name, {}), now.get(name, {})) for name in sorted({*now, *kept["answers"]})
    }
    said = "\n".join(f"{name}\n  " + "\n  ".join(lines) for name, lines in changed.items() if lines)
    line = pytestconfig.getoption("--update-golden")
    if line is None:
        assert not said, f"{said}\nIf that is meant, say why in CHANGELOG.md, and give --update-golden that line."
        return
    print(said or "nothing moved")
    KEPT.write_text(json.dumps({"changelog": line, "answers": now}, indent=1, default=float) + "\n", encoding="utf-8")


def test_the_last_change_is_in_the_changelog() -> None:
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    assert kept["changelog"].strip()
    assert kept["changelog"] in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert len(kept["answers"]) >= 50
