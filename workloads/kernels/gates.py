"""Gates of mixtures of experts: which experts a token visits, or which tokens an expert takes, and with what weight.

Scores are formed in double precision whatever type they arrive in: which experts are chosen should not hang on
rounding. Of equal scores the first is chosen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workloads.kernels.core.checks import Array, arrays, whole
from workloads.kernels.core.chosen import best
from workloads.kernels.core.jit import spread

__all__ = ["expert_choice", "gshard", "sigmoid", "soft", "x_moe"]


def gshard(
    logits: Array, *, chosen: int = 2, threads: int = 1
) -> tuple[Array, Array]:  # (b, p, x) -> int (b, p, k), (b, p, k)
    """The experts with the best scores; weights are a softmax over all experts, renormalised over those chosen."""
    size = arrays("gshard", logits=(logits, "b p x"))
    whole("gshard", least=1, most=size["x"], chosen=chosen)

    def gate(scores: Array) -> tuple[Array, Array]:
        scores = _spoilt(scores)
        experts = best(scores, chosen)
        return experts, _softmax(np.take_along_axis(scores, experts, -1)).astype(scores.dtype)

    return _by_token("gshard", gate, logits, threads)


def sigmoid(
    logits: Array, *, chosen: int = 1, threads: int = 1
) -> tuple[Array, Array]:  # (b, p, x) -> int (b, p, k), (b, p, k)
    """The experts with the best scores, each weighted by the sigmoid of its own (BASE layers, StableMoE)."""
    size = arrays("sigmoid", logits=(logits, "b p x"))
    whole("sigmoid", least=1, most=size["x"], chosen=chosen)

    def gate(scores: Array) -> tuple[Array, Array]:
        experts = best(scores, chosen)
        taken = np.take_along_axis(scores, experts, -1).astype(np.float64)
        return experts, (0.5 + 0.5 * np.tanh(0.5 * taken)).astype(scores.dtype)

    return _by_token("sigmoid", gate, logits, threads)


def x_moe(
    x: Array, down: Array, vectors: Array, *, temperature: float = 0.07, chosen: int = 1, threads: int = 1
) -> tuple[Array, Array]:  # (b, p, d), (d, a), (x, a) -> int (b, p, k), (b, p, k)
    """The experts closest by cosine in a space of ``a`` dimensions; weights are a softmax over all (X-MoE)."""
    size = arrays("x_moe", x=(x, "b p d"), down=(down, "d a"), vectors=(vectors, "x a"))
    whole("x_moe", least=1, most=size["x"], chosen=chosen)
    if not isinstance(temperature, int | float | np.floating) or not 0 < temperature < np.inf:
        raise ValueError(f"x_moe: temperature is {temperature!r}, expected a positive number")
    with np.errstate(invalid="ignore", divide="ignore"):
        logits = _unit(x.astype(np.float64) @ down) @ _unit(vectors.astype(np.float64)).T / float(temperature)

    def gate(scores: Array) -> tuple[Array, Array]:
        scores = _spoilt(scores)
        experts = best(scores, chosen)
        return experts, np.take_along_axis(_softmax(scores), experts, -1).astype(x.dtype)

    return _by_token("x_moe", gate, logits, threads)


def expert_choice(
    logits: Array, *, capacity: int, threads: int = 1
) -> tuple[Array, Array]:  # (b, p, x) -> int (b, x, q), (b, x, q)
    """The ``capacity`` tokens of a sequence that score an expert highest, by a softmax over the experts."""
    size = arrays("expert_choice", logits=(logits, "b p x"))
    whole("expert_choice", least=1, most=size["p"], capacity=capacity)
    whole("expert_choice", least=1, threads=threads)

    def gate(logits: Array) -> tuple[Array, Array]:
        scores = np.ascontiguousarray(_softmax(logits).swapaxes(-1, -2))
        tokens = best(scores, capacity)
        return tokens, np.take_along_axis(scores, tokens, -1).astype(logits.dtype)

    return spread(gate, threads, logits)


def soft(logits: Array, *, threads: int = 1) -> tuple[Array, Array]:  # (b, p, x, q) -> (b, p, x, q), (b, p, x, q)
    """What every slot takes of every token, and what every token takes of every slot (SoftMoE)."""
    size = arrays("soft", logits=(logits, "b p x q"))
    whole("soft", least=1, threads=threads)

    def gate(logits: Array) -> tuple[Array, Array]:
        across = np.ascontiguousarray(np.moveaxis(logits, 1, -1))
        dispatch = np.ascontiguousarray(np.moveaxis(_softmax(across), -1, 1)).astype(logits.dtype)
        flat = logits.reshape(len(logits), size["p"], size["x"] * size["q"])
        return dispatch, _softmax(flat).reshape(logits.shape).astype(logits.dtype)

    return spread(gate, threads, logits)


def _by_token(
    kernel: str, gate: Callable[[Array], tuple[Array, Array]], logits: Array, threads: int
) -> tuple[Array, Array]:  # (b, p, x) -> int (b, p, k), (b, p, k)
    """A gate that looks at one token at a time."""
    whole(kernel, least=1, threads=threads)
    tokens, experts = logits.shape[:2], logits.shape[2]
    chosen, weights = spread(gate, threads, logits.reshape(tokens[0] * tokens[1], experts))
    return chosen.reshape(*tokens, chosen.shape[1]), weights.reshape(*tokens, chosen.shape[1])


def _spoilt(scores: Array) -> Array:
    """The same, but all NaN where one is, as their softmax will be: no expert is better than another then."""
    return np.where(np.isnan(scores).any(-1, keepdims=True), scores.dtype.type(np.nan), scores)


def _softmax(logits: Array) -> Array:
    """Along the last rank, in double precision."""
    wide = logits.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        raised = np.exp(wide - wide.max(-1, keepdims=True, initial=-np.inf))
        return np.asarray(raised / raised.sum(-1, keepdims=True))


def _unit(vectors: Array) -> Array:
    """Each vector at length one."""
    return np.asarray(vectors / np.sqrt(np.square(vectors).sum(-1, keepdims=True)))
