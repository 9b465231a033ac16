"""Time of top-k, of the loss over a vocabulary and of a product with two-bit weights, next to their best peers.

``python benchmarks/kernels_peers.py``: one thread, float32; the least CPU time of several calls, in the same process.
Peers are NumPy's and, where it is installed, torch's; each table ends with our time over that of the fastest of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks.kernels_attention import least, one_threaded_torch  # first: it keeps NumPy to one thread
from workloads.kernels import lookup, selection, vocabulary

Call = Callable[[], Any]


def top_k(rows: int = 8, count: int = 65536, keep: int = 1024) -> tuple[dict[str, Call], dict[str, Call]]:
    """The largest scores of each row; only NumPy's partition leaves them in no order."""
    scores = np.random.default_rng(0).standard_normal((rows, count)).astype(np.float32)

    def partition() -> Any:
        return np.argpartition(scores, -keep, axis=1)[:, -keep:]

    def ordered() -> Any:
        places = partition()
        order = np.argsort(-np.take_along_axis(scores, places, 1), axis=1)
        return np.take_along_axis(places, order, 1)

    peers: dict[str, Call] = {"numpy argpartition": partition, "numpy, then in order": ordered}
    if torch := one_threaded_torch():
        tensor = torch.from_numpy(scores)
        peers["torch topk"] = lambda: torch.topk(tensor, keep)
    return {"weir top_k": lambda: selection.top_k(scores, keep=keep)}, peers


Text = tuple[Any, Any, Any]


def text(tokens: int = 1024, words: int = 32000, width: int = 512) -> Text:
    """Embeddings, classifier, labels."""
    rng = np.random.default_rng(0)
    e = rng.standard_normal((tokens, width)) / np.sqrt(width)
    return e.astype(np.float32), rng.standard_normal((words, width)).astype(np.float32), rng.integers(0, words, tokens)


def tiled(e: Any, c: Any, labels: Any, step: int = 2048) -> Any:
    """NumPy's loss, the words in tiles."""
    peak, total = np.full(len(e), -np.inf, e.dtype), np.zeros(len(e), e.dtype)
    for word in range(0, len(c), step):
        logits = e @ c[word : word + step].T
        top = np.maximum(peak, logits.max(axis=1))
        logits -= top[:, None]
        np.exp(logits, out=logits)
        total, peak = total * np.exp(peak - top) + logits.sum(axis=1), top
    return peak + np.log(total) - np.einsum("nd,nd->n", e, c[labels])


def loss() -> tuple[dict[str, Call], dict[str, Call]]:
    """The loss alone."""
    e, c, labels = text()
    peers: dict[str, Call] = {"numpy, tiled": lambda: tiled(e, c, labels)}
    if torch := one_threaded_torch():
        te, tc, ty = (torch.from_numpy(a) for a in (e, c, labels))
        peers["torch cross_entropy"] = lambda: torch.nn.functional.cross_entropy(te @ tc.T, ty, reduction="none")
    return {"weir cross_entropy": lambda: vocabulary.cross_entropy(e, c, labels)}, peers


def tiled_gradients(e: Any, c: Any, labels: Any, lse: Any, step: int = 2048) -> Any:
    """NumPy's gradients of the losses' sum, logits computed anew in tiles of words."""
    de, dc = np.zeros_like(e), np.empty_like(c)
    for word in range(0, len(c), step):
        slope = e @ c[word : word + step].T
        slope -= lse[:, None]
        np.exp(slope, out=slope)
        mine = np.flatnonzero((labels >= word) & (labels < word + step))
        slope[mine, labels[mine] - word] -= 1
        de += slope @ c[word : word + step]
        dc[word : word + step] = slope.T @ e
    return de, dc


def gradients() -> tuple[dict[str, Call], dict[str, Call]]:
    """The loss and its gradients, no tile left out."""
    e, c, labels = text()
    ones = np.ones(len(e), e.dtype)

    def ours() -> Any:
        _, lse = vocabulary.cross_entropy(e, c, labels)
        return vocabulary.cross_entropy_gradients(e, c, labels, lse, ones, least=0.0)

    def numpy() -> Any:
        lse = tiled(e, c, labels) + np.einsum("nd,nd->n", e, c[labels])
        return tiled_gradients(e, c, labels, lse)

    peers: dict[str, Call] = {"numpy, tiled": numpy}
    if torch := one_threaded_torch():
        te, tc = (torch.from_numpy(a).requires_grad_() for a in (e, c))
        ty = torch.from_numpy(labels)

        def autograd() -> Any:
            torch.nn.functional.cross_entropy(te @ tc.T, ty, reduction="sum").backward()

        peers["torch autograd"] = autograd
    return {"weir, both passes": ours}, peers


def two_bit(size: int = 4096) -> tuple[dict[str, Call], dict[str, Call]]:
    """A square matrix of two-bit weights times a vector; peers hold the same weights in float32."""
    rng = np.random.default_rng(0)
    codes, x = rng.integers(0, 4, (size, size)).astype(np.uint8), rng.standard_normal((1, size)).astype(np.float32)
    packed, scale, matrix = lookup.pack_two_bit(codes), np.ones(size, np.float32), 2 * codes.astype(np.float32) - 3
    planes = lookup.pack(np.stack([(codes & 1) * 2.0 - 1, (codes >> 1) * 2.0 - 1]).astype(np.float32))
    scales = np.array([[1], [2]], np.float32).repeat(size, axis=1)
    ours: dict[str, Call] = {
        "weir two_bit": lambda: lookup.two_bit(x, packed, scale),
        "weir t_mac": lambda: lookup.t_mac(x, planes, scales),
    }
    peers: dict[str, Call] = {"numpy sgemv": lambda: matrix @ x[0]}
    if torch := one_threaded_torch():
        tm, tx = torch.from_numpy(matrix), torch.from_numpy(x[0])
        peers["torch sgemv"] = lambda: tm @ tx
    return ours, peers


CASES = {
    "top-k, 1024 of 8 x 65,536": top_k,
    "loss, 1,024 tokens, 32,000 words, width 512": loss,
    "loss and gradients, the same": gradients,
    "two-bit weights, 4,096 x 4,096, one vector": two_bit,
}


def main() -> None:
    """One table a case."""
    for title, case in CASES.items():
        ours, peers = case()
        seconds = {name: least(call) for name, call in {**ours, **peers}.items()}
        best = min(peers, key=seconds.__getitem__)
        print(f"\n{title}\n{'':22}{'ms':>9}{'x ' + best:>24}")
        for name, spent in seconds.items():
            print(f"{name:22}{spent * 1e3:9.2f}{spent / seconds[best]:24.2f}", flush=True)


if __name__ == "__main__":
    main()
