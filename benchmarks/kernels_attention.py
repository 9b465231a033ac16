"""Time of the attention kernels next to NumPy's and, where torch is installed, to its scaled dot-product attention.

``python benchmarks/kernels_attention.py``: one thread, float32, one sequence, eight heads of 64; the least CPU time of
several calls, in the same process, so that the ratios mean something on a busy machine too.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before NumPy and torch start their own

import importlib.util
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from workloads.kernels import exact, split

HEADS, WIDTH = 8, 64
TILE = 256, 512  # queries and keys in a tile of NumPy's one pass

Run = Callable[[Any, Any, Any, bool], Any]


def numpy_three_pass(q: Any, k: Any, v: Any, causal: bool) -> Any:
    """All scores at once, by ``matmul``."""
    s = np.matmul(q, k.swapaxes(-1, -2))
    if causal:
        hidden = np.arange(s.shape[3])[None] > np.arange(s.shape[2])[:, None] + s.shape[3] - s.shape[2]
        s[..., hidden] = -np.inf
    s -= s.max(-1, keepdims=True)
    np.exp(s, out=s)
    return np.matmul(s, v) / s.sum(-1, keepdims=True)


def numpy_einsum(q: Any, k: Any, v: Any, causal: bool) -> Any:
    """The definition, contracted by ``einsum``."""
    s = np.einsum("bhpe,bhme->bhpm", q, k, optimize=True)
    if causal:
        hidden = np.arange(s.shape[3])[None] > np.arange(s.shape[2])[:, None] + s.shape[3] - s.shape[2]
        s = np.where(hidden, -np.inf, s)
    w = np.exp(s - s.max(-1, keepdims=True))
    return np.einsum("bhpm,bhmf->bhpf", w, v, optimize=True) / w.sum(-1, keepdims=True)


def numpy_one_pass(q: Any, k: Any, v: Any, causal: bool) -> Any:
    """Tiles of queries and keys with a running maximum."""
    o = np.empty_like(q)
    rows, keys = q.shape[2], k.shape[2]
    for head in range(q.shape[1]):
        for p in range(0, rows, TILE[0]):
            o[0, head, p : p + TILE[0]] = _tile(q[0, head], k[0, head], v[0, head], p, keys - rows if causal else keys)
    return o


def _tile(q: Any, k: Any, v: Any, p: int, offset: int) -> Any:
    tile = q[p : p + TILE[0]]
    last = np.arange(p, p + len(tile)) + offset
    peak, total = np.full(len(tile), -np.inf, q.dtype), np.zeros(len(tile), q.dtype)
    out = np.zeros_like(tile)
    for m in range(0, min(int(last[-1]) + 1, len(k)), TILE[1]):
        s = tile @ k[m : m + TILE[1]].T
        if m + s.shape[1] - 1 > last[0]:
            s[np.arange(m, m + s.shape[1])[None] > last[:, None]] = -np.inf
        top = np.maximum(peak, s.max(1))
        s -= top[:, None]
        np.exp(s, out=s)
        fade = np.exp(peak - top)
        total, out, peak = total * fade + s.sum(1), out * fade[:, None] + s @ v[m : m + TILE[1]], top
    return out / total[:, None]


@cache
def one_threaded_torch() -> Any:
    """The module, told to use one thread; None, said in one line, where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed, so NumPy alone is compared with: pip install torch==2.13.0")
        return None
    import torch

    torch.set_num_threads(1)
    return torch


def torch_attention() -> dict[str, Run]:
    """Torch's kernel, if torch is there."""
    torch = one_threaded_torch()
    if torch is None:
        return {}
    attention = torch.nn.functional.scaled_dot_product_attention

    def run(q: Any, k: Any, v: Any, causal: bool) -> Any:
        return attention(*(torch.from_numpy(a) for a in (q, k, v)), is_causal=causal, scale=1.0).numpy()

    return {f"torch {torch.__version__}": run}


OURS: dict[str, Run] = {
    "weir one_pass": lambda q, k, v, causal: exact.one_pass(q, k, v, causal=causal),
    "weir two_pass": lambda q, k, v, causal: exact.two_pass(q, k, v, causal=causal),
    "weir three_pass": lambda q, k, v, causal: exact.three_pass(q, k, v, causal=causal),
}
THEIRS: dict[str, Run] = {
    "numpy one pass": numpy_one_pass,
    "numpy three pass": numpy_three_pass,
    "numpy einsum": numpy_einsum,
}
DECODE: dict[str, Run] = {
    "weir one_pass": OURS["weir one_pass"],
    "weir split 8": lambda q, k, v, causal: split.decode_split(q, k, v, splits=8),
    "weir stream_k": lambda q, k, v, causal: split.stream_k(q, k, v, workers=20),
}


def least(call: Callable[[], Any], seconds: float = 1.5) -> float:
    """Least CPU seconds of one call, after one to warm up."""
    call()
    times: list[float] = []
    while len(times) < 5 or (sum(times) < seconds and len(times) < 50):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def compare(title: str, runs: dict[str, Run], queries: int, keys: int, causal: bool) -> None:
    """One table: time, ratio to torch (or to the first run), rate, error against float64."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, HEADS, n, WIDTH)).astype(np.float32) for n in (queries, keys, keys))
    q /= np.float32(np.sqrt(WIDTH))
    truth = numpy_three_pass(*(a.astype(np.float64) for a in (q, k, v)), causal)
    seconds, errors = {}, {}
    for name, run in runs.items():
        seconds[name] = least(lambda run=run: run(q, k, v, causal))  # type: ignore[misc]
        errors[name] = np.linalg.norm(run(q, k, v, causal) - truth) / np.linalg.norm(truth)
    base = next((name for name in runs if name.startswith("torch")), next(iter(runs)))
    pairs = HEADS * queries * (keys - (queries - 1) / 2 if causal else keys)
    print(f"\n{title}\n{'':18}{'ms':>9}{'x ' + base:>20}{'GFLOP/s':>9}{'GB/s':>7}{'error':>10}")
    for name, spent in seconds.items():
        rate, moved = 4e-9 * pairs * WIDTH / spent, (k.nbytes + v.nbytes) / spent / 1e9
        print(f"{name:18}{spent * 1e3:9.2f}{spent / seconds[base]:20.2f}{rate:9.1f}{moved:7.1f}{errors[name]:10.1e}")


def main() -> None:
    """Causal prefill of 1K and 4K tokens, then one query over 64K keys."""
    torch = torch_attention()
    for tokens in (1024, 4096):
        compare(f"causal, {tokens} tokens", {**torch, **OURS, **THEIRS}, tokens, tokens, True)
    compare("decode, 65536 keys", {**torch, **DECODE, **THEIRS}, 1, 65536, False)


if __name__ == "__main__":
    main()
