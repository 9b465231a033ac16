"""Kernels timed on one's own GPU, as the CSV files that ``weir calibrate`` reads.

Each kernel is recorded as a CUDA graph after a warm-up, replayed with the cache flushed before every replay, and timed
with events; the median counts. PyTorch is given as an argument: nothing here imports it before a GPU is asked for.
"""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from einsum.errors import WeirError
from einsum.files import write as whole
from sim.silicon.measured import FILES

Make = Callable[[Any, str], Callable[[], object]]  # PyTorch and where to run: what runs the kernel once
FLUSHED = 512 << 20  # bytes written before every replay: more than any last cache holds
WARM = 3  # runs before the recording
BF16 = (8, 0)  # compute capability from which matrix units take it: CUDA C programming guide
MODEL, HIDDEN, WIDE = "meta-llama/Meta-Llama-3-8B", 4096, 14336


@dataclass(frozen=True)
class Kernel:
    """One kernel: the file it belongs to, its columns there, and how to make it."""

    operation: str
    columns: Mapping[str, object]
    make: Make


def kernels() -> Iterator[Kernel]:
    """A short set: some minutes on any GPU."""
    for n, k in ((4096, 4096), (1024, 8192), (14336, 4096)):
        for m in (1, 16, 64, 256, 1024, 4096):
            yield Kernel("gemm", {"dtype": "bfloat16", "m": m, "n": n, "k": k}, _gemm(m, n, k))
    for batch, seq, heads, kept in ((1, 512, 32, 8), (4, 1024, 32, 8), (1, 4096, 32, 8), (8, 2048, 16, 16)):
        yield Kernel("attention_prefill", _attended(batch, seq, heads, kept), _attention(batch, seq, seq, heads, kept))
    for batch, seq, heads, kept in ((1, 1024, 32, 8), (16, 2048, 32, 8), (64, 4096, 32, 8), (32, 2048, 32, 32)):
        yield Kernel("attention_decode", _attended(batch, seq, heads, kept), _attention(batch, 1, seq, heads, kept))
    for m in (16, 256, 1024, 4096):
        for op, make in (("add", _add), ("input_layernorm", _norm), ("mlp_act", _activation)):
            yield Kernel("elementwise_vidur", {"op": op, "m": m, "hidden": HIDDEN, "model": MODEL}, make(m))


def _attended(batch: int, seq: int, heads: int, kept: int) -> dict[str, object]:
    sizes = {"batch": batch, "seq": seq, "heads": heads, "kv_heads": kept, "head_dim": 128}
    return {**sizes, "attn_dtype": "bfloat16", "kv_dtype": "bfloat16"}


def _random(torch: Any, where: str, *shape: int) -> Any:
    return torch.randn(*shape, device=where, dtype=torch.bfloat16)


def _gemm(m: int, n: int, k: int) -> Make:
    def make(torch: Any, where: str) -> Callable[[], object]:
        a, w = _random(torch, where, m, k), _random(torch, where, n, k)
        return lambda: torch.nn.functional.linear(a, w)

    return make


def _attention(batch: int, fresh: int, seq: int, heads: int, kept: int) -> Make:
    def make(torch: Any, where: str) -> Callable[[], object]:
        q = _random(torch, where, batch, heads, fresh, 128)
        k, v = (_random(torch, where, batch, kept, seq, 128) for _ in range(2))
        attend = torch.nn.functional.scaled_dot_product_attention
        return lambda: attend(q, k, v, is_causal=fresh > 1, enable_gqa=heads != kept)

    return make


def _add(m: int) -> Make:
    def make(torch: Any, where: str) -> Callable[[], object]:
        x, z = (_random(torch, where, m, HIDDEN) for _ in range(2))
        return lambda: x + z

    return make


def _norm(m: int) -> Make:
    def make(torch: Any, where: str) -> Callable[[], object]:
        x, w = _random(torch, where, m, HIDDEN), _random(torch, where, HIDDEN)
        return lambda: torch.nn.functional.rms_norm(x, (HIDDEN,), w)

    return make


def _activation(m: int) -> Make:
    def make(torch: Any, where: str) -> Callable[[], object]:
        x, z = (_random(torch, where, m, WIDE) for _ in range(2))
        return lambda: torch.nn.functional.silu(x) * z

    return make


def pytorch() -> Any:
    """PyTorch with a GPU, or one line on what is missing."""
    try:
        import torch
    except ImportError:
        raise WeirError("measuring needs PyTorch with CUDA: pip install 'weir[measure]'") from None
    if not torch.cuda.is_available():
        raise WeirError(f"no CUDA device was found by PyTorch {torch.__version__}; nothing can be measured here")
    if torch.cuda.get_device_capability(0) < BF16:
        raise WeirError(f"{torch.cuda.get_device_name(0)} emulates bf16, which is what is measured; nothing was")
    return torch


def timed(torch: Any, run: Callable[[], object], repeats: int) -> float:
    """Median seconds of a kernel over replays of its recording, each with a cold cache.

    Flushing takes longer than the host needs to send what follows it, so that nothing waits between the two events.
    """
    cuda, spare = torch.cuda, torch.empty(FLUSHED, dtype=torch.int8, device="cuda")
    for _ in range(WARM):
        run()
    cuda.synchronize()
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        run()
    graph.replay()  # the first one uploads the recording
    found = []
    for _ in range(repeats):
        spare.zero_()
        begin, end = (cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        cuda.synchronize()
        found.append(begin.elapsed_time(end) * 1e-3)
    return float(median(found))


def clock(torch: Any) -> str:
    """The GPU's clock in MHz as nvidia-smi tells it, or nothing where it does not.

    Its numbers need not be CUDA's, which hides and reorders devices: the device is asked for by its own identity.
    """
    identity = getattr(torch.cuda.get_device_properties(0), "uuid", None)
    which = "0" if identity is None else f"GPU-{identity}"
    asked = ("nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits", f"--id={which}")
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""


def measure(
    torch: Any, device: str, chosen: tuple[Kernel, ...], repeats: int, where: str = "cuda"
) -> Iterator[tuple[Kernel, dict[str, object] | None]]:
    """Each kernel with its row, as it is timed, ``clock_mhz`` read right after it; None for one that does not fit."""
    for kernel in chosen:
        try:
            seconds = timed(torch, kernel.make(torch, where), repeats)
        except torch.cuda.OutOfMemoryError:
            yield kernel, None
            continue
        except (RuntimeError, TypeError) as problem:  # TypeError: a version that lacks an option
            what = str(problem).partition("\n")[0]
            raise WeirError(f"PyTorch {torch.__version__} does not run {kernel.operation}: {what:.200}") from None
        notes = {"cache": "cold", "clock_mhz": clock(torch), "source": f"torch {torch.__version__}"}
        yield kernel, {"device": device, **kernel.columns, "latency_us": f"{seconds * 1e6:.4g}", **notes}


def folder(path: Path) -> Path:
    """The folder that rows will go to, made before anything is timed for it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as problem:  # ValueError: a NUL character in the path
        raise WeirError(f"--out {str(path)!r:.200}: no such folder can be made: {problem}") from None
    return path


def write(home: Path, rows: Mapping[str, list[dict[str, object]]]) -> tuple[Path, ...]:
    """One CSV file for each operation, whole or not there."""
    written = []
    for operation, found in rows.items():
        if missing := set(FILES[operation]) - set(found[0]):
            raise AssertionError(f"{operation}: no {', '.join(sorted(missing))}")
        lines = io.StringIO(newline="")
        table = csv.DictWriter(lines, list(found[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(found)
        written.append(home / f"{operation}.csv")
        whole(written[-1], lines.getvalue().encode(), "measurements")
    return tuple(written)
