"""Times of whole models beside published measurements: requests under continuous batching, and lone batches.

Nothing is fitted end to end. A measured run is served again, request by request: an engine with its published defaults,
and a client that keeps so many requests in flight from an empty engine on. The columns are means over its requests.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from einsum import Program
from mappings.parallel import layout
from sim.arch import Tier, cluster
from sim.model.step import Work
from sim.serving import Rules, Served, Service, Trace, constant, simulate
from sim.serving.deploy import Deployment
from sim.serving.engines import Software
from sim.serving.launches import launching
from sim.serving.strain import Strain, strained
from sim.silicon.measured import known
from sim.silicon.recipes import engine as configured
from sim.silicon.recipes import level as kernels
from workloads.transformer import model

FILE = "e2e_inferencex_agg.csv"
TURNS = "e2e_splitwise.csv"  # prompt and token times of single batches, measured without recorded graphs
BATCHES = {"llama2-70b": "llama-2-70b", "bloom-176b": "bloom-176b"}  # as Splitwise names a model: in weir's catalogue
MODELS = {  # as a Hugging Face name: in weir's catalogue (Llama 3.1's layers are those of Llama 3)
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3-8b", "meta-llama/Llama-3.1-70B": "llama-3-70b",
    "Qwen/Qwen3-32B": "qwen3-32b", "Qwen/Qwen3-235B-A22B-FP8": "qwen3-235b-a22b",
    "openai/gpt-oss-120b": "gpt-oss-120b", "MiniMaxAI/MiniMax-M2.5": "minimax-m2",
}  # fmt: skip
ROUNDS = 10  # requests of each user: both clients send ten times the concurrency (InferenceX, aiconfigurator)
SHORTEST = (
    0.8  # of the stated lengths: InferenceX draws from there (random-range-ratio); the other client has one length
)

RAY = (
    "cannot: the whole of Splitwise's lone tokens: beyond launching kernels one by one, that engine sent its control"
    " messages through Ray (vllm-project/vllm#2221), and how long they took in a step is not published"
)

Errors = dict[str, NDArray[np.float64]]  # by tier


def errors(folder: Path, levels: Mapping[str, Tier]) -> Iterator[tuple[str, str, Errors]]:
    """Relative errors of each tier by what was measured and on what; models that the catalogue lacks are left out."""
    found = dict[tuple[str, str], list[dict[str, float]]]()
    for row in _rows(folder / FILE):
        if row["model_path"] in MODELS and not lacking(row):
            for label, error in _of_run(row, levels):
                found.setdefault((label, row["system"]), []).append(error)
    for row in _rows(folder / TURNS):
        if row["model"] in BATCHES:
            for what, column in (("prompt", "prompt_time_ms"), ("lone token", "token_time_ms")):
                theirs = float(row[column]) * 1e-3
                ours = {name: turn_seconds(row, what == "prompt", level) / theirs - 1 for name, level in levels.items()}
                found.setdefault((f"{what} of {BATCHES[row['model']]}", row["hardware"]), []).append(ours)
    for (name, device), rows in found.items():
        yield name, device, {tier: np.array([one[tier] for one in rows]) for tier in levels}


def _of_run(row: Mapping[str, str], levels: Mapping[str, Tier]) -> Iterator[tuple[str, dict[str, float]]]:
    """Errors of one measured run by what was measured, and whether the last tier sees it near saturation."""
    runs = {name: measured_run(row, level) for name, level in levels.items()}
    served = {name: one.served() for name, one in runs.items()}
    off = {name: _off(row, one) for name, one in served.items()}
    last = list(levels)[-1]
    near = runs[last].strain(served[last]) is not None
    apart = f"first token, {'' if near else 'un'}saturated"
    yield f"token of {MODELS[row['model_path']]}", {name: pair[0] for name, pair in off.items()}
    for label in (f"first token, {row['backend']}", apart, "first token"):
        yield label, {name: pair[1] for name, pair in off.items()}


def cannot(folder: Path) -> tuple[str, ...]:
    """Why some measured runs are not compared, a sentence for each reason."""
    reasons = [_reason(row) for row in _rows(folder / FILE)]
    runs = tuple(f"cannot: {reasons.count(one)} runs of {one}" for one in dict.fromkeys(reasons) if one)
    return runs + ((RAY,) if (folder / TURNS).is_file() else ())


def _reason(row: Mapping[str, str]) -> str:
    if row["model_path"] not in MODELS:
        return f"{row['model_path']}: not in the catalogue"
    return lacking(row) and f"{row['model_path']}: {lacking(row)}"


def lacking(row: Mapping[str, str]) -> str:
    """What a measured run does not say that its times depend on, or has that is not modelled; empty if nothing."""
    if not row["concurrency"]:
        return "the requests in flight are not named, only the engine's largest batch"
    if float(row["attention_dp_size"] or 1) > 1:
        return "attention by requests on several groups of devices, whose number is not said"
    if float(row["batch_size"]) < float(row["concurrency"]):
        return "more requests in flight than the engine's batch; on how many replicas is not said"
    return ""


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a file, none where it is not there."""
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as lines:
            yield from csv.DictReader(lines)


def _off(row: Mapping[str, str], ours: Served) -> tuple[float, float]:
    """Relative errors of the mean time per output token, and to the first one."""
    means = (ours.tpot.mean() / float(row["silicon_tpot_ms"]), ours.ttft.mean() / float(row["silicon_ttft_ms"]))
    return means[0] * 1e3 - 1, means[1] * 1e3 - 1


def turn_seconds(row: Mapping[str, str], prompt: bool, level: Tier) -> float:
    """Seconds of a batch's prompt, or of each token after it (at the mean context), of one row of Splitwise's file.

    That engine recorded no graphs: its host launches every kernel. The bound of the hardware (tier limit) has no host.
    """
    ways, fresh = int(row["tensor_parallel"]), float(row["prompt_size"])
    where = f"{ways}x{known(row['hardware'].removesuffix('-80gb')).name}"
    phase = ("prefill", 0.0, fresh) if prompt else ("decode", fresh + float(row["output_tokens"]) / 2, 1.0)
    program = model(BATCHES[row["model"]]).program(phase[0])
    laid = layout(program, {"model": ways}, tp=ways)
    work = Work.of(program, laid, b=float(row["batch_size"]), c=phase[1], p=phase[2])
    device = float(work.on(cluster(where), level).latency)
    return max(device, launching(work)) if level.constants is not None else device


@dataclass(frozen=True)
class MeasuredRun:
    """One row of the file, to be served again by its engine on its tensor-parallel group."""

    service: Service
    load: Trace
    rules: Rules
    users: int

    def served(self) -> Served:
        """Its requests, from an empty engine on."""
        n = len(self.load)
        return simulate(self.service, self.load, concurrency=self.users, requests=n, rules=self.rules, cold=True)

    def strain(self, served: Served) -> Strain | None:
        """What it presses on, if its first tokens depend on that sharply."""
        return strained(self.service, self.load, self.rules, served, users=self.users, cold=True)


def measured_run(row: Mapping[str, str], level: Tier) -> MeasuredRun:
    """One row of the file with its engine as it was configured."""
    users, engine = int(float(row["concurrency"])), configured(row)
    service = _deployed(row, engine, kernels(row, level)).service()
    return MeasuredRun(service, _load(row, ROUNDS * users), engine.rules, users)


def _load(row: Mapping[str, str], n: int) -> Trace:
    """The requests that the row's client sends: of its lengths, or (InferenceX, whose rows are dated) random ones."""
    most = int(row["isl"]), int(row["osl"])
    if not row["measured"]:
        return constant(*most, n=n)
    rng = np.random.default_rng(0)
    prompt, output = (rng.integers(int(SHORTEST * m), m, n, endpoint=True).astype(float) for m in most)
    return Trace("uniform lengths", np.empty(0), prompt, output, np.ones(n), "drawn as the client does", True)


@dataclass(frozen=True)
class _Typed:
    """A model's programs in the types it was measured in."""

    name: str
    prefill: Program
    decode: Program
    notes: tuple[str, ...] = ()


def _deployed(row: Mapping[str, str], engine: Software, level: Tier) -> Deployment:
    """The row's model in its types on its devices."""
    ways, name = int(row["tp_size"]), MODELS[row["model_path"]]
    types = _types(row, engine)
    prefill, decode = (model(name).program(phase, **types) for phase in ("prefill", "decode"))
    whole = row["moe_tp_size"] == "1"  # experts are not divided themselves; where they also are, only that is modelled
    laid = layout(decode, {"model": ways}, tp=ways, ep=max(int(row["moe_ep_size"] or 1), 1) if whole else 1)
    laid = replace(laid, flash=engine.flash)
    where = cluster(f"{ways}x{known(row['system']).name}")
    typed = _Typed(name, prefill, decode)
    return Deployment(typed, where, laid, level, 0.0, **engine.terms)


def _types(row: Mapping[str, str], engine: Software) -> dict[str, str]:
    """Data types of the row: as published unless it says fp8, scaled by blocks or not."""
    given = row["gemm_quant_mode"] or row["precision"]
    if not given.startswith("fp8"):
        return {}
    narrow = "bfp8" if given == "fp8_block" else "fp8"
    types = {"dtype_weights": narrow, "dtype_products": narrow}
    return types | {"dtype_state": "fp8"} if engine.narrow_state and given == "fp8" else types
