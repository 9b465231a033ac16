"""The exact simulator against Timeloop's published exercises: every count, to the element.

Source: NVlabs, timeloop-accelergy-exercises, workspace/exercises/timeloop ("00-model-conv1d-1level" to
"04-model-conv1d+oc-3levelspatial"), reference outputs timeloop-model.stats.txt and timeloop-model.map.txt. Timeloop
prints counts per instance, which are multiplied here by the instances used; it does not count drains.
"""

from __future__ import annotations

import pytest

from einsum import parse
from mappings import text
from sim.model.exact import simulate

CONV = ("O[p] = W[r] * I[p + r]", {"p": 16, "r": 3})
CHANNELS = ("O[k, p] = W[k, r] * I[p + r]", {"k": 32, "p": 16, "r": 3})
BOTH = ("O[k, p] = W[c, k, r] * I[c, p + r]", {"c": 32, "k": 32, "p": 16, "r": 3})

ONE_LEVEL = """
keep W, I, O in buffer
for p tile 1
  for r tile 1
    O on mac
"""
OUTPUT_STATIONARY = """
keep W, I, O in dram
for p tile 1
  keep W, I, O in buffer
  for r tile 1
    O on mac
"""
WEIGHT_STATIONARY = """
keep W, I, O in dram
for r tile 1
  keep W, I, O in buffer
  for p tile 1
    O on mac
"""
UNTILED = """
keep W, I, O in dram
for k tile 1
  for p tile 1
    keep W, I, O in buffer
    for r tile 1
      O on mac
"""
TILED = """
keep W, I, O in dram
for k tile 2
  for p tile 1
    keep W, I, O in buffer
    for k tile 1
      for r tile 1
        O on mac
"""
BYPASS = """
keep W, I, O in dram
keep W, I in buffer
for k tile 2
  for p tile 1
    keep O in registers
    for k tile 1
      for r tile 1
        O on mac
"""
NO_BYPASS = """
keep W, I, O in dram
keep W, I, O in buffer
for k tile 2
  for p tile 1
    keep W, I, O in registers
    for k tile 1
      for r tile 1
        O on mac
"""
SPATIAL = """
keep W, I, O in dram
spatial k tile 2 over pes
  keep W, I, O in buffer
  for c tile 1
    for k tile 1
      for r tile 1
        keep W, I, O in registers
        for p tile 1
          O on mac
"""

# level, tensor: reads, fills, updates of one instance; then the instances
CASES = {
    "00": (
        CONV,
        ONE_LEVEL,
        {("buffer", "W"): (48, 0, 0, 1), ("buffer", "I"): (48, 0, 0, 1), ("buffer", "O"): (32, 0, 48, 1)},
    ),
    "01-os": (
        CONV,
        OUTPUT_STATIONARY,
        {
            ("buffer", "W"): (48, 3, 0, 1),
            ("buffer", "I"): (48, 18, 0, 1),
            ("buffer", "O"): (32, 0, 48, 1),
            ("dram", "W"): (3, 0, 0, 1),
            ("dram", "I"): (18, 0, 0, 1),
            ("dram", "O"): (0, 0, 16, 1),
        },
    ),
    "01-ws": (
        CONV,
        WEIGHT_STATIONARY,
        {
            ("buffer", "W"): (48, 3, 0, 1),
            ("buffer", "I"): (48, 18, 0, 1),
            ("buffer", "O"): (32, 0, 48, 1),
            ("dram", "W"): (3, 0, 0, 1),
            ("dram", "I"): (18, 0, 0, 1),
            ("dram", "O"): (0, 0, 16, 1),
        },
    ),
    "02-no-tiling": (
        CHANNELS,
        UNTILED,
        {
            ("buffer", "W"): (1536, 96, 0, 1),
            ("buffer", "I"): (1536, 576, 0, 1),
            ("buffer", "O"): (1024, 0, 1536, 1),
            ("dram", "W"): (96, 0, 0, 1),
            ("dram", "I"): (576, 0, 0, 1),
            ("dram", "O"): (0, 0, 512, 1),
        },
    ),
    "02-tiling": (
        CHANNELS,
        TILED,
        {
            ("buffer", "W"): (1536, 96, 0, 1),
            ("buffer", "I"): (1536, 288, 0, 1),
            ("buffer", "O"): (1024, 0, 1536, 1),
            ("dram", "W"): (96, 0, 0, 1),
            ("dram", "I"): (288, 0, 0, 1),
            ("dram", "O"): (0, 0, 512, 1),
        },
    ),
    "03-bypass": (
        CHANNELS,
        BYPASS,
        {
            ("registers", "O"): (1024, 0, 1536, 1),
            ("buffer", "W"): (1536, 96, 0, 1),
            ("buffer", "I"): (1536, 18, 0, 1),
            ("dram", "W"): (96, 0, 0, 1),
            ("dram", "I"): (18, 0, 0, 1),
            ("dram", "O"): (0, 0, 512, 1),
        },
    ),
    "03-no-bypass": (
        CHANNELS,
        NO_BYPASS,
        {
            ("registers", "W"): (1536, 96, 0, 1),
            ("registers", "I"): (1536, 288, 0, 1),
            ("registers", "O"): (1024, 0, 1536, 1),
            ("buffer", "W"): (96, 96, 0, 1),
            ("buffer", "I"): (288, 18, 0, 1),
            ("buffer", "O"): (0, 0, 512, 1),
            ("dram", "W"): (96, 0, 0, 1),
            ("dram", "I"): (18, 0, 0, 1),
            ("dram", "O"): (0, 0, 512, 1),
        },
    ),
    "04-kp": (
        BOTH,
        SPATIAL,
        {
            ("registers", "W"): (3072, 192, 0, 16),
            ("registers", "I"): (3072, 1152, 0, 16),
            ("registers", "O"): (3040, 992, 3072, 16),
            ("buffer", "W"): (192, 192, 0, 16),
            ("buffer", "I"): (1152, 576, 0, 16),
            ("buffer", "O"): (992, 0, 1024, 16),
            ("dram", "W"): (3072, 0, 0, 1),
            ("dram", "I"): (576, 0, 0, 1),
            ("dram", "O"): (0, 0, 512, 1),
        },
    ),
}
COMPUTES = {"00": 48, "01-os": 48, "01-ws": 48, "04-kp": 49152}  # the others: 1536


@pytest.mark.parametrize("case", CASES)
def test_published_counts(case: str) -> None:
    (expression, sizes), nest, published = CASES[case]
    found = simulate(parse(expression, **sizes), text.parse(nest))
    expected = {
        (level, tensor, kind): count * instances
        for (level, tensor), (*counts, instances) in published.items()
        for kind, count in zip(("reads", "fills", "updates"), counts, strict=True)
        if count
    }
    assert {key: count for key, count in found.table().items() if key[2] != "drains"} == expected
    assert found.points("O") == COMPUTES.get(case, 1536)
