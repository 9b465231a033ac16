"""Feed-forward cascades against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einsum import Cascade, WeirError, interpret
from einsum.counts import parameters, total_operations
from workloads import ffn


def drawn(cascade: Cascade) -> dict[str, Any]:
    """Random inputs of a cascade."""
    rng = np.random.default_rng(2)
    return {name: rng.normal(size=cascade.shape(name)) for name in cascade.inputs}


def silu(x: Any) -> Any:
    """Sigmoid-weighted linear unit."""
    return x / (1 + np.exp(-x))


def test_gated_network() -> None:
    cascade = ffn.gated(batch=2, query=3, model=4, hidden=5)
    x = drawn(cascade)
    want = (silu(x["X"] @ x["WG"]) * (x["X"] @ x["WU"])) @ x["WD"]
    np.testing.assert_allclose(interpret(cascade, x)["Z"], want, rtol=1e-12)


def test_plain_network_with_biases() -> None:
    cascade = ffn.plain(query=3, model=4, hidden=5, activation="relu", bias=True)
    x = drawn(cascade)
    want = np.maximum(x["X"] @ x["WU"] + x["BU"], 0) @ x["WD"] + x["BZ"]
    np.testing.assert_allclose(interpret(cascade, x)["ZB"], want, rtol=1e-12)


def test_sizes_and_work_by_hand() -> None:
    assert parameters(ffn.gated(query=1, model=4, hidden=5)) == 3 * 4 * 5
    assert parameters(ffn.plain(query=1, model=4, hidden=5, bias=True)) == 2 * 4 * 5 + 4 + 5
    assert total_operations(ffn.gated(batch=2, query=3, model=4, hidden=5))["mac"] == 2 * (3 * 4 * 5) * 6


def test_unknown_activation() -> None:
    with pytest.raises(WeirError, match=r"^ffn.gated: unknown activation 'silo'; did you mean 'silu'\?$"):
        ffn.gated(query=1, model=2, hidden=2, activation="silo")
