"""Fit the physical tier to a folder of measured kernels, and write the constants with their tested errors.

python benchmarks/fit_physical.py FOLDER            print errors: joint, with each device left out, and from one alone
python benchmarks/fit_physical.py FOLDER --write    also write sim/arch/data/physical.toml and the shipped sample
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from sim.arch.files import DATA
from sim.silicon.cases import cases, predict, running
from sim.silicon.fit import CLASSES, Array, Sample, Table, fit, left_out, prior, priors, with_constants
from sim.silicon.measured import FILES, load
from sim.silicon.store import SHIPPED, facts, sample, save

SOURCE = "measured kernels on A100, H100 and L40S: ai-dynamo/aiconfigurator (Apache-2.0), microsoft/vidur (MIT)"

MORE = {  # columns that a file may lack
    "attention_decode": ("source",), "mla_attention": ("source",), "moe_layer": ("distribution",),
}  # fmt: skip


def from_one(data: Sample) -> Array:
    """Relative errors on all other devices of constants fitted to one, each in turn."""
    found = []
    for name in sorted(set(data.devices)):
        own = [device == name for device in data.devices]
        _, logs = data.only([not kept for kept in own]).errors(with_constants(fit(data.only(own))))
        found.append(np.expm1(logs))
    return np.concatenate(found)


def main(folder: str, write: bool) -> None:
    table: Table = prior([name for name in priors() if not any(name in found for found in CLASSES.values())])
    tested: dict[str, dict[str, object]] = {}
    text = [f'source = "{SOURCE}; one in so many, evenly through their latencies"\n']
    for rows in load(Path(folder)):
        start = time.process_time()
        data = Sample(rows.operation, cases(rows), rows.seconds, rows.text("device"))
        found = fit(data)
        spent = time.process_time() - start
        joint = predict(data.cases, with_constants(found), len(rows)) / rows.seconds - 1
        unseen = left_out(data) / rows.seconds - 1
        table |= found
        for name in CLASSES[rows.operation]:
            own = running(data.cases, name, len(rows))
            tested[name] = facts(rows.only(own), unseen[own])
        text.append(sample(rows, FILES[rows.operation] + MORE.get(rows.operation, ()), 12))
        sizes = {"joint": joint, "left out": unseen, "from one": from_one(data)}
        errors = "  ".join(f"{name} {np.median(abs(error)):6.1%}" for name, error in sizes.items())
        print(f"{rows.operation:20} fit {spent:5.1f} s  {errors}", flush=True)
    if write:
        save(DATA / "physical.toml", SOURCE, table, tested)
        SHIPPED.write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], "--write" in sys.argv)
