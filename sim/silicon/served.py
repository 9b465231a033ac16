"""Time per output token of whole models under continuous batching, beside published measurements.

Nothing is fitted end to end: a decode step of all requests at their mean context, and for each token its share of the
prefills that interrupt decoding.  TPOT = step(concurrency, isl + osl / 2) + concurrency / osl x prefill(isl).
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
from sim.model.step import Work
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
    where, given = f"{int(row['tp_size'])}x{known(row['system']).name}", (MODELS[row["model_path"]], _narrow(row))
    decode, prefill = (_work(*given, phase, where, batch, prompt, output) for phase in ("decode", "prefill"))
    on = cluster(where)
    return float(decode.on(on, level).latency + batch / output * prefill.on(on, level).latency)


def _narrow(row: Mapping[str, str]) -> bool:
    return (row["gemm_quant_mode"] or row["precision"]).startswith("fp8")


@cache
def _work(name: str, narrow: bool, phase: str, where: str, batch: float, prompt: float, output: float) -> Work:
    """A decode step of all requests, or the prefill of one, counted."""
    types = {"dtype_weights": "fp8", "dtype_products": "fp8"} if narrow else {}
    program = model(name).program(phase, **types)
    ways = int(where.partition("x")[0])
    laid = layout(program, {"model": ways}, tp=ways)
    sizes = {"b": batch, "c": prompt + output / 2, "p": 1} if phase == "decode" else {"b": 1, "c": 0, "p": prompt}
    return Work.of(program, laid, **sizes)
