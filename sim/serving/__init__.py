"""Requests, batching and traces: from step times to latency percentiles and throughput per dollar."""

from __future__ import annotations

from sim.serving.served import Served
from sim.serving.service import Service
from sim.serving.simulate import Rules, respecting, simulate
from sim.serving.steady import Steady, largest_batch, largest_within, steady
from sim.serving.trace import Trace, constant, read, trace, trace_names

__all__ = [
    "Rules",
    "Served",
    "Service",
    "Steady",
    "Trace",
    "constant",
    "largest_batch",
    "largest_within",
    "read",
    "respecting",
    "simulate",
    "steady",
    "trace",
    "trace_names",
]
