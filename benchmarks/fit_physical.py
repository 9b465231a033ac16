"""Fit the physical tier to a folder of measured kernels, and write the constants with their tested errors.

python benchmarks/fit_physical.py FOLDER            print errors, joint and with each device left out
python benchmarks/fit_physical.py FOLDER --write    also write sim/arch/data/physical.toml and the shipped sample
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from sim.arch.files import DATA
from sim.silicon.cases import cases, predict
from sim.silicon.fit import CLASSES, Sample, fit, left_out, with_constants
from sim.silicon.measured import FILES, Measured, load
from sim.silicon.report import row
from sim.silicon.store import SHIPPED, sample, save

SOURCE = "measured kernels on A100, H100 and L40S: ai-dynamo/aiconfigurator (Apache-2.0), microsoft/vidur (MIT)"


def facts(rows: Measured, errors: np.ndarray) -> dict[str, object]:
    """What was tested: the kernels' number, devices, types and range, and the errors on a device left out."""
    found = row(rows.operation, "", "", errors)
    types = sorted(
        {t for name in ("dtype", "attn_dtype", "moe_dtype") if name in rows.columns for t in rows.dtypes(name)}
    )
    return {
        "kernels": found.kernels, "median": found.median, "p90": found.p90, "bias": found.bias,
        "shortest": float(rows.seconds.min()), "longest": float(rows.seconds.max()),
        "devices": sorted(set(rows.text("device"))), "dtypes": types or ["bf16"],
    }  # fmt: skip


def main(folder: str, write: bool) -> None:
    table, tested, text = {}, {}, [f'source = "{SOURCE}; one in so many, evenly through their latencies"\n']
    for rows in load(Path(folder)):
        start = time.process_time()
        data = Sample(rows.operation, cases(rows), rows.seconds, rows.text("device"))
        found = fit(data)
        spent = time.process_time() - start
        joint = predict(data.cases, with_constants(found), len(rows)) / rows.seconds - 1
        unseen = left_out(data) / rows.seconds - 1
        table |= found
        tested |= {name: facts(rows, unseen) for name in CLASSES[rows.operation]}
        text.append(
            sample(rows, FILES[rows.operation] + (("source",) if rows.operation == "mla_attention" else ()), 12)
        )
        errors = f"joint {np.median(abs(joint)):6.1%}  left out {np.median(abs(unseen)):6.1%}"
        print(f"{rows.operation:20} fit {spent:5.1f} s  {errors}", flush=True)
    if write:
        save(DATA / "physical.toml", SOURCE, table, tested)
        SHIPPED.write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], "--write" in sys.argv)
