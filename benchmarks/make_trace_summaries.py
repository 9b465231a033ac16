"""Write the summary of a request trace that weir ships.

``python -m benchmarks.make_trace_summaries TRACE.csv TITLE > sim/serving/data/NAME.toml``
"""

from __future__ import annotations

import sys

import numpy as np

from einsum.files import quoted
from sim.serving.trace import Trace, read

STRATA = 16  # of prompt, and of output within each: 256 cells at most
LICENCE = "CC-BY-4.0, Azure/AzurePublicDataset"


def cells(trace: Trace) -> list[tuple[int, int, int]]:
    """Requests, prompt tokens and output tokens of each cell: equal counts by prompt, then by output within."""
    rows: list[tuple[int, int, int]] = []
    for stratum in np.array_split(np.argsort(trace.prompt, kind="stable"), STRATA):
        by_output = stratum[np.argsort(trace.output[stratum], kind="stable")]
        parts = [cell for cell in np.array_split(by_output, STRATA) if len(cell)]
        rows += [(len(cell), int(trace.prompt[cell].sum()), int(trace.output[cell].sum())) for cell in parts]
    return rows


def summary(trace: Trace, title: str) -> str:
    """The text of the summary file; totals are whole numbers, so the means are those of the trace, exactly."""
    lines = [
        f"# {title}: mean prompt {trace.mean_prompt:.2f}, output {trace.mean_output:.2f},"
        f" decode-weighted context {trace.mean_context:.2f} tokens.",
        "# Made by benchmarks/make_trace_summaries.py from the CSV as published.",
        f"title = {quoted(title)}",
        f"source = {quoted(f'Azure/AzurePublicDataset, {title} (Splitwise, ISCA 2024)')}",
        f'licence = "{LICENCE}"',
        f"requests = {len(trace)}",
        f"seconds = {trace.arrival[-1]:.3f}  # first arrival to last",
        f"burstiness = {trace.burstiness:.4f}  # squared coefficient of variation of the gaps between arrivals",
        "# [requests, prompt tokens, output tokens] in total: equal counts by prompt, then by output within each.",
        "cells = [",
    ]
    rows = [f"[{n},{p},{o}]," for n, p, o in cells(trace)]
    lines += ["".join(rows[i : i + 6]) for i in range(0, len(rows), 6)]
    return "\n".join([*lines, "]"])


if __name__ == "__main__":
    print(summary(read(sys.argv[1]), sys.argv[2]))
