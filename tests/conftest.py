"""How examples are drawn: anew on a person's machine, the same ones each time in the pipeline."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A busy machine is no failure; and a pipeline that fails fails again for whoever looks into it.
settings.register_profile("weir", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("weir")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update-golden='a line of CHANGELOG.md'`` keeps the answers of ``test_golden.py`` as they are now."""
    parser.addoption("--update-golden", metavar="LINE", help="keep today's answers; LINE is the changelog's reason")
