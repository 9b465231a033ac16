"""Counts and means of the request traces that ship with weir."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.serving.trace import trace as shipped

__all__ = ["mean_output", "mean_prompt", "requests"]


def requests(inputs: Mapping[str, Any], *, trace: str) -> float:
    """Requests in the trace."""
    return len(shipped(trace))


def mean_prompt(inputs: Mapping[str, Any], *, trace: str) -> float:
    """Mean prompt in tokens."""
    return shipped(trace).mean_prompt


def mean_output(inputs: Mapping[str, Any], *, trace: str) -> float:
    """Mean number of generated tokens."""
    return shipped(trace).mean_output
