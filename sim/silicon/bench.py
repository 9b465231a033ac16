"""Kernels timed on one's own GPU, as the CSV files that ``weir calibrate`` reads.

Each kernel is recorded as a CUDA graph after a warm-up, replayed with the cache flushed before every replay, and timed
with events; the median counts. PyTorch is given as an argument: nothing here imports it before a GPU is asked for.
What is called is one kernel in every version from 2.3 on, which ``rms_norm`` (before 2.9) and ``silu(x) * z`` are not.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from einsum.errors import WeirError
from einsum.files import write as whole
from sim.silicon.measured import FILES, columns

Make = Callable[[Any, str], Callable[[], object]]  # PyTorch and where to run: what runs the kernel once
FLUSHED = 512 << 20  # bytes written before every replay: more than any last cache holds
WARM = 3  # runs before the recording
BF16 = (8, 0)  # compute capability from which matrix units take it: CUDA C programming guide
OLDEST = (2, 3)  # PyTorch that has torch.nn.attention.sdpa_kernel
GROUPED = (2, 5)  # and enable_gqa: the documentation of scaled_dot_product_attention
FUSED = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")  # not the plain products of MATH
MODEL, HIDDEN, WIDE = "meta-llama/Meta-Llama-3-8B", 4096, 14336


@dataclass(frozen=True)
class Kernel:
    """One kernel: the file it belongs to, its columns there, how to make it, and the PyTorch that has it."""

    operation: str
    columns: Mapping[str, object]
    make: Make
    since: tuple[int, int] = OLDEST

    def __str__(self) -> str:
        return " ".join((self.operation, *(f"{name}={value}" for name, value in self.columns.items())))


@dataclass(frozen=True)
class Timed:
    """A kernel with its row, or the reason why it has none."""

    kernel: Kernel
    row: Mapping[str, object] | None = None
    reason: str = ""


def kernels() -> Iterator[Kernel]:
    """A short set: some minutes on any GPU."""
    for n, k in ((4096, 4096), (1024, 8192), (14336, 4096)):
        for m in (1, 16, 64, 256, 1024, 4096):
            yield Kernel("gemm", {"dtype": "bfloat16", "m": m, "n": n, "k": k}, _gemm(m, n, k))
    for batch, seq, heads, kept in ((1, 512, 32, 8), (4, 1024, 32, 8), (1, 4096, 32, 8), (8, 2048, 16, 16)):
        yield _attending("attention_prefill", batch, seq, seq, heads, kept)
    for batch, seq, heads, kept in ((1, 1024, 32, 8), (16, 2048, 32, 8), (64, 4096, 32, 8), (32, 2048, 32, 32)):
        yield _attending("attention_decode", batch, 1, seq, heads, kept)
    for m in (16, 256, 1024, 4096):
        for op, make in (("add", _add), ("input_layernorm", _norm), ("mlp_act", _activation)):
            yield Kernel("elementwise_vidur", {"op": op, "m": m, "hidden": HIDDEN, "model": MODEL}, make(m))


def _attending(operation: str, batch: int, fresh: int, seq: int, heads: int, kept: int) -> Kernel:
    sizes = {"batch": batch, "seq": seq, "heads": heads, "kv_heads": kept, "head_dim": 128}
    columns = {**sizes, "attn_dtype": "bfloat16", "kv_dtype": "bfloat16"}
    since = GROUPED if heads != kept else OLDEST
    return Kernel(operation, columns, _attention(batch, fresh, seq, heads, kept), since)


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
        from torch.nn.attention import SDPBackend, sdpa_kernel  # which older versions do not import by themselves

        options = {"is_causal": fresh > 1} | ({"enable_gqa": True} if heads != kept else {})

        def run() -> object:
            with sdpa_kernel([getattr(SDPBackend, name) for name in FUSED]):
                return torch.nn.functional.scaled_dot_product_attention(q, k, v, **options)

        return run

    return make


def _add(m: int) -> Make:
    def make(torch: Any, where: str) -> Callable[[], object]:
        x, z = (_random(torch, where, m, HIDDEN) for _ in range(2))
        return lambda: x + z

    return make


def _norm(m: int) -> Make:
    def make(torch: Any, where: str) -> Callable[[], object]:
        x, w = _random(torch, where, m, HIDDEN), _random(torch, where, HIDDEN)
        return lambda: torch.nn.functional.layer_norm(x, (HIDDEN,), w)

    return make


def _activation(m: int) -> Make:
    def make(torch: Any, where: str) -> Callable[[], object]:
        x = _random(torch, where, m, 2 * WIDE)
        return lambda: torch.nn.functional.glu(x)  # a half times the sigmoid of the other

    return make


def pytorch() -> Any:
    """PyTorch with a GPU, or one line on what is missing."""
    try:
        import torch
    except ImportError:
        raise WeirError("measuring needs PyTorch with CUDA: pip install 'weir[measure]'") from None
    if _version(torch) < OLDEST:
        raise WeirError(f"measuring needs PyTorch {OLDEST[0]}.{OLDEST[1]} or later, not {torch.__version__}")
    if not torch.cuda.is_available():
        raise WeirError(f"no CUDA device was found by PyTorch {torch.__version__}; nothing can be measured here")
    if torch.cuda.get_device_capability(0) < BF16:
        raise WeirError(f"{torch.cuda.get_device_name(0)} emulates bf16, which is what is measured; nothing was")
    return torch


def _version(torch: Any) -> tuple[int, int]:
    """The first two numbers of PyTorch's version; zeros if it begins otherwise."""
    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def timed(torch: Any, run: Callable[[], object], repeats: int) -> float:
    """Median seconds of a kernel over replays of its recording, each with a cold cache.

    Flushing takes longer than the host needs to send what follows it, so that nothing waits between the two events.
    """
    cuda, spare = torch.cuda, torch.empty(FLUSHED, dtype=torch.int8, device="cuda")
    graph = _recorded(cuda, run)
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


def _recorded(cuda: Any, run: Callable[[], object]) -> Any:
    """A graph of one run, after some on the stream that it is captured on: libraries make their handles and
    workspaces for each stream, which they cannot do during a capture (of ROCm: pytorch issue 179961)."""
    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())  # what is read was made there
    with cuda.stream(side):
        for _ in range(WARM):
            run()
    cuda.current_stream().wait_stream(side)
    cuda.synchronize()
    graph = cuda.CUDAGraph()
    with cuda.graph(graph, stream=side):
        run()
    return graph


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
    torch: Any, device: str, chosen: Iterable[Kernel], repeats: int, where: str = "cuda"
) -> Iterator[Timed]:  # fmt: skip
    """Each kernel as it is timed, ``clock_mhz`` read right after it, or why it was not: what PyTorch and its libraries
    raise is a reason, anything else a mistake of ours."""
    for kernel in chosen:
        if _version(torch) < kernel.since:
            needs = ".".join(map(str, kernel.since))
            yield Timed(kernel, reason=f"needs PyTorch {needs} or later, not {torch.__version__}")
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # why each kind of attention is not there: the error says that none is
                seconds = timed(torch, kernel.make(torch, where), repeats)
        except torch.cuda.OutOfMemoryError:
            yield Timed(kernel, reason="needs more memory than is free")
        except RuntimeError as problem:  # all errors of CUDA and its libraries
            what = str(problem).strip().partition("\n")[0] or type(problem).__name__
            yield Timed(kernel, reason=f"PyTorch {torch.__version__} does not run it: {what:.200}")
        else:
            notes = {"cache": "cold", "clock_mhz": clock(torch), "source": source(torch)}
            yield Timed(kernel, {"device": device, **kernel.columns, "latency_us": f"{seconds * 1e6:.4g}", **notes})


def source(torch: Any) -> str:
    """What rows say of where they come from."""
    return f"torch {torch.__version__} on {torch.cuda.get_device_name(0)}"


def folder(path: Path) -> Path:
    """The folder that rows will go to, made before anything is timed for it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as problem:  # ValueError: a NUL character in the path
        raise WeirError(f"--out {str(path)!r:.200}: no such folder can be made: {problem}") from None
    return path


@dataclass(frozen=True)
class Kept:
    """Measurements in a folder: rows of text by operation, each file written anew as a row is added to it."""

    home: Path
    rows: Mapping[str, tuple[Mapping[str, str], ...]]

    @classmethod
    def at(cls, home: Path, chosen: Iterable[Kernel]) -> Kept:
        """What earlier runs left there of the chosen operations; files with other columns are refused, not replaced."""
        found = {}
        for operation in dict.fromkeys(kernel.operation for kernel in chosen):
            path = home / f"{operation}.csv"
            there = columns(path) if path.is_file() else {}
            found[operation] = _rows(there)
            own = ("device", *next(k.columns for k in chosen if k.operation == operation), *NOTES)
            if there and tuple(there) != own:
                raise WeirError(f"{path.name} in {home} has other columns than those measured; name another --out")
        return cls(home, found)

    def has(self, kernel: Kernel, device: str, origin: str) -> bool:
        """Whether a kernel was measured on a device, with the same PyTorch on the same GPU."""
        return any(row["source"] == origin and self._same(row, kernel, device) for row in self.rows[kernel.operation])

    def _same(self, row: Mapping[str, str], kernel: Kernel, device: str) -> bool:
        columns = {"device": device, **kernel.columns}
        return all(row[name] == str(value) for name, value in columns.items())

    def with_(self, one: Timed) -> Kept:
        """The same with a kernel's row in its file, in place of an older one of the device."""
        kernel, row = one.kernel, {name: str(value) for name, value in (one.row or {}).items()}
        old = (r for r in self.rows[kernel.operation] if not self._same(r, kernel, row["device"]))
        rows = (*old, row)
        write(self.home, {kernel.operation: rows})
        return Kept(self.home, {**self.rows, kernel.operation: rows})


NOTES = ("latency_us", "cache", "clock_mhz", "source")


def _rows(found: Mapping[str, tuple[str, ...]]) -> tuple[Mapping[str, str], ...]:
    """The rows of measurements by column."""
    return tuple(dict(zip(found, cells, strict=True)) for cells in zip(*found.values(), strict=True))


def write(home: Path, rows: Mapping[str, Iterable[Mapping[str, object]]]) -> tuple[Path, ...]:
    """One CSV file for each operation, whole or not there."""
    written = []
    for operation, some in rows.items():
        found = tuple(some)
        if missing := set(FILES[operation]) - set(found[0]):
            raise AssertionError(f"{operation}: no {', '.join(sorted(missing))}")
        lines = io.StringIO(newline="")
        table = csv.DictWriter(lines, list(found[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(found)
        written.append(home / f"{operation}.csv")
        whole(written[-1], lines.getvalue().encode(), "measurements")
    return tuple(written)
