"""A GPT of any size, as papers on training describe them."""

from collections.abc import Callable

import pytest

from workloads.pieces import Norm
from workloads.spec import Attention, FeedForward, Layer, Spec


@pytest.fixture(scope="session")
def gpt() -> Callable[..., Spec]:
    """A function of width, heads, layers and vocabulary."""

    def make(width: int = 1024, heads: int = 16, layers: int = 8, vocabulary: int = 32_000, tied: bool = True) -> Spec:
        norm = Norm("layer", 1e-5, True)
        attention = Attention(heads, heads, width // heads, 0.5, rotary=False, bias=True, out_bias=True)
        kind = Layer("layer", layers, attention, FeedForward(4 * width, "gelu", False, True), norm)
        return Spec("gpt", width, vocabulary, (kind,), norm, tied, 0)

    return make
