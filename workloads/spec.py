"""What a transformer is, as published: widths, counts and variants, whatever file they were read from."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.gates import Gate
from workloads.pieces import Norm


@dataclass(frozen=True, slots=True)
class Attention:
    """Grouped-query attention: ``heads`` queries share ``kv_heads`` pairs of key and value of width ``head_dim``.

    ``window`` zero sees all keys; ``softcap`` and ``clip`` zero leave scores and projections as they are. A rotary
    embedding turns the first ``turned`` values of a head (zero: all). ``sinks`` adds a learned score for each head,
    which takes its share of the softmax. ``head_norm`` is within a head, or (``joint``) over all heads together.
    ``alibi`` lowers scores linearly with distance.
    """

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    rotary: bool = True
    bias: bool = False
    out_bias: bool = False
    head_norm: Norm | None = None
    softcap: float = 0.0
    window: int = 0
    clip: float = 0.0
    turned: int = 0
    sinks: bool = False
    joint: bool = False
    alibi: bool = False


@dataclass(frozen=True, slots=True)
class Latent:
    """Multi-head latent attention: keys and values of all heads in ``kv_rank`` values, positions in ``rope`` more.

    ``q_rank`` zero projects queries directly; ``nope`` and ``value`` are a head's position-free and value widths.
    """

    heads: int
    q_rank: int
    kv_rank: int
    nope: int
    rope: int
    value: int
    scale: float
    norm: Norm


@dataclass(frozen=True, slots=True)
class FeedForward:
    """A dense feed-forward network of width ``hidden``."""

    hidden: int
    activation: str = "silu"
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class Experts:
    """``count`` gated networks of width ``hidden``, and one of width ``shared`` for every token, perhaps gated.

    ``limit`` clips both projections and adds one to the second (GPT-OSS's SwiGLU); zero does neither. ``dtype`` is the
    type of the routed networks' weights where it is not the model's.
    """

    count: int
    hidden: int
    gate: Gate
    activation: str = "silu"
    shared: int = 0
    shared_gate: bool = False
    limit: float = 0.0
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """One kind of layer and how many of it there are.

    ``parallel`` runs attention and network side by side, with one norm (``one``) or one each (``two``); ``post_norm``
    also normalises what each adds to the stream.
    """

    name: str
    times: int
    attention: Attention | Latent
    network: FeedForward | Experts
    norm: Norm
    parallel: str = ""
    post_norm: bool = False


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole transformer; ``longest`` context as stated (0: not stated); learned positions, if any, in
    ``rows`` rows, read from ``first_row`` on."""

    name: str
    model: int
    vocabulary: int
    layers: tuple[Layer, ...]
    norm: Norm
    tied: bool
    longest: int
    rows: int = 0
    first_row: int = 0
    embed_scale: float = 1.0
    embed_norm: Norm | None = None
    softcap: float = 0.0
    dtype: str = "bf16"
    source: str = ""
    unverified: str = ""  # what nobody has checked, in words
