"""The same nest gives the same rows in the same order, whatever seed Python hashes text with."""

from __future__ import annotations

import os
import subprocess
import sys

ASK = """
from einsum import parse
from mappings.text import parse as read
from sim.model.counts import counts
nest = read("keep A, B, Z in dram\\nfor m tile 4\\n  for k tile 2\\n    keep A, B, Z in buffer\\n    Z on mac")
print(counts(parse("Z[m, n] = A[m, k] * B[k, n]", m=8, n=6, k=4), nest).table())
"""


def test_counts_come_in_the_order_written() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", ASK],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": s},
        ).stdout
        for s in ("0", "1", "2", "3")
    }
    assert len(printed) == 1
