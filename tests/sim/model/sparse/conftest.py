from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sim.model.sparse.structure import Structure


@pytest.fixture
def drawn() -> Callable[..., Structure]:
    """A random structure."""

    def make(rows: int, columns: int, seed: int, density: float = 0.3) -> Structure:
        return Structure.of(np.random.default_rng(seed).random((rows, columns)) < density)

    return make
