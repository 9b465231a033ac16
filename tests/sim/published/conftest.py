from __future__ import annotations

import pytest

from sim.published import Report, validate


@pytest.fixture(scope="session")
def everything() -> Report:
    """All papers recomputed once."""
    return validate()
