"""Time per output token of whole models under continuous batching, beside published measurements.

Nothing is fitted end to end: a decode step of all requests at their mean context, into which new prompts are merged as
old requests end, concurrency / osl of them in a step.  Weights are read once for the merged tokens; attention is not
shared.  TPOT is the mean of steps with and without prompts.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mappings.parallel import layout
from sim.arch import Tier, cluster
from sim.model.step import Step, Work
from sim.silicon.measured import known
from workloads.transformer import model

FILE = "e2e_inferencex_agg.csv"
MODELS = {  # as a Hugging Face name: in weir's catalogue (Llama 3.1's layers are those of Llama 3)
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3-8b", "meta-llama/Llama-3.1-70B": "llama-3-70b",
    "Qwen/Qwen3-32B": "qwen3-32b", "Qwen/Qwen3-235B-A22B-FP8": "qwen3-235b-a22b",
}  # fmt: skip


def errors(folder: Path, levels: Mapping[str, Tier]) -> Iterator[tuple[str, str, dict[str, NDArray[np.float64]]]]:
    """Relative errors of each tier by model and device; models that the catalogue lacks are left out."""
    path, found = folder / FILE, dict[tuple[str, str], list[dict[str, float]]]()
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["model_path"] in MODELS:
                theirs = float(row["silicon_tpot_ms"]) * 1e-3
                ours = {name: token_seconds(row, level) / theirs - 1 for name, level in levels.items()}
                found.setdefault((MODELS[row["model_path"]], row["system"]), []).append(ours)
    for (name, device), rows in found.items():
        yield f"token of {name}", device, {tier: np.array([one[tier] for one in rows]) for tier in levels}


def token_seconds(row: Mapping[str, str], level: Tier) -> float:
    """Seconds per output token of one row of the file, on its tensor-parallel group."""
    batch, prompt, output = (
        float(row[n]) for n in ("concurrency" if row["concurrency"] else "batch_size", "isl", "osl")
    )
    ways = int(row["tp_size"])
    whole = row["moe_tp_size"] == "1"  # experts are not divided themselves; where they also are, only that is modelled
    experts = max(int(row["moe_ep_size"] or 1), 1) if whole else 1
    where, given = f"{ways}x{known(row['system']).name}", (MODELS[row["model_path"]], _narrow(row), ways, experts)
    on, each = cluster(where), max(1.0, batch / output)  # prompts in a step that has any
    decode, prompts, merged = (
        _work(*given, phase, requests, context, fresh).on(on, level)
        for phase, requests, context, fresh in (
            ("decode", batch, prompt + output / 2, 1.0), ("prefill", each, 0.0, prompt),
            ("prefill", 1.0, 0.0, batch + each * prompt),
        )
    )  # fmt: skip
    alone = float(decode.latency)
    together = _attending(decode) + _attending(prompts) + float(merged.latency) - _attending(merged)
    return alone + min(1.0, batch / output) * (together - alone)


def _attending(step: Step) -> float:
    """Seconds of a step's attention, which requests do not share."""
    found = ((part.times, one) for part, timed in step.rows for one in timed)
    return sum(times * float(one.seconds) for times, one in found if one.task.attends and one.task.products)


def _narrow(row: Mapping[str, str]) -> bool:
    return (row["gemm_quant_mode"] or row["precision"]).startswith("fp8")


@cache
def _work(
    name: str, narrow: bool, ways: int, experts: int, phase: str, requests: float, context: float, fresh: float
) -> Work:
    """So many requests with a context and new positions, counted."""
    types = {"dtype_weights": "fp8", "dtype_products": "fp8"} if narrow else {}
    program = model(name).program(phase, **types)
    laid = layout(program, {"model": ways}, tp=ways, ep=experts)
    return Work.of(program, laid, b=requests, c=context, p=fresh)
