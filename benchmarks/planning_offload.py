"""What the planner's programmes cost: size, seconds, value, bound and gap, one line each.

python benchmarks/planning_offload.py [--seconds 20] [--data FOLDER]

With ``--data`` a folder that has vocabpar_onehost_stage_times.csv (the artefact's forty rows, not shipped), every row's
iteration is scheduled and compared.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import numpy as np

from sim.arch import device
from sim.planner.cache import compare, contiguous, paged, static, store
from sim.planner.flows import Stages, Vocabulary, chain, one_f_one_b, v_shape, vocabulary
from sim.planner.pipeline_mip import exact
from sim.planner.policy import Load, best, place
from sim.planner.purchase import Bucket, Template, rent
from sim.planner.ranges import Holder, Network
from sim.planner.ranges import place as ranges
from sim.planner.repeating import repeating
from sim.planner.shape import hardware, shape
from sim.serving.trace import trace
from workloads.transformer import model

Line = tuple[str, str, float, float, bool]  # what, size, value, bound, proven


def offloading(seconds: float) -> Iterator[Line]:
    where, load = hardware(device("t4"), device("xeon_8380")), Load(512, 32)
    for name in ("opt-30b", "mixtral-8x7b"):
        made = shape(model(name), 544)
        one = place(made, where, load, micro=16, batches=8)
        yield f"offload {name}", "1 block", one.block_seconds, one.block_seconds, one.proven
        found = best(made, where, load)
        yield f"offload {name}", f"{found.tried} blocks", found.tokens_per_second, float("nan"), False


def purchase(seconds: float) -> Iterator[Line]:
    for count, kinds, slices in ((100, 4, None), (400, 8, None), (100, 4, 8)):
        draw = np.random.default_rng(count)
        wanted = [Bucket(1000, 100, 1.0) for _ in range(count)]
        templates = [Template(f"t{n}", float(usd)) for n, usd in enumerate(draw.uniform(1, 8, kinds))]
        found = rent(wanted, templates, draw.uniform(0.02, 0.5, (count, kinds)), slices=slices, seconds=seconds)
        how = f"{count} x {kinds}" + (f" in 1/{slices}" if slices else "")
        yield "rent", how, found.usd_per_hour, found.bound, found.proven


def placement(seconds: float) -> Iterator[Line]:
    kinds = ((400.0, 12), (200.0, 6), (120.0, 4))
    for count, layers in ((6, 16), (10, 30), (24, 60)):
        picked = [kinds[n % 3] for n in range(count)]
        nodes = [Holder(f"n{n}", tuple(rate / (j + 1) for j in range(most))) for n, (rate, most) in enumerate(picked)]
        found = ranges(Network(layers, tuple(nodes), {}), seconds=seconds)
        yield "layer ranges", f"{count} nodes, {layers} layers", found.flow, found.bound, found.proven


def pipelines(seconds: float) -> Iterator[Line]:
    for p, batches in ((2, 4), (3, 6), (4, 8)):
        found = exact(chain(Stages((1.0,) * p, (2.0,) * p)), batches, [p - i for i in range(p)], seconds=seconds)
        yield "exact 1F1B", f"{p} x {batches}", found.seconds, found.bound, found.proven
    for p in (4, 8):
        stages = Stages((1.0,) * p, (2.0,) * p)
        flows = {"1F1B": chain(stages), "V": v_shape(stages)}
        flows |= {f"vocabulary {b}": vocabulary(stages, Vocabulary((0.3,) * p, (0.3,) * p, 0.0, b)) for b in (1, 2)}
        for name, flow in flows.items():
            pattern = repeating(flow, seconds=seconds)
            yield f"repeating {name}", f"{len(flow.nodes)} nodes", pattern.held, pattern.bound, pattern.proven


def caches() -> None:
    held = store(shape(model("llama-3-8b"), 2000), 40e9)
    ways = (static(16384), paged(16), contiguous(held, 2**16), contiguous(held, 2**21))
    began = process_time()
    for usage in compare(held, trace("azure_conv"), ways, requests=1000):
        print(
            f"{usage.allocator.name:24} batch {usage.batch:6.1f}, waste {usage.waste:6.1%}, stall {usage.stall:.2e} s"
        )
    print(f"{process_time() - began:.1f} s of CPU")


def artefact(folder: Path) -> None:
    """Every row of the artefact's stage times against its measured iteration."""
    kinds = {"vocab": (2 / 3, 1), "synctwice": (1 / 3, 2), "interlaced": (1 / 3, 2)}

    def times(row: dict[str, str], key: str) -> tuple[float, ...]:
        return tuple(float(t) * 1e-6 for t in row[key].split())

    with (folder / "vocabpar_onehost_stage_times.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            stages = Stages(times(row, "F_us_per_stage"), times(row, "B_us_per_stage"))
            measured, batches = float(row["iter_ms"]) * 1e-3, int(row["microbatches"])
            if row["method"] in kinds:
                share, barriers = kinds[row["method"]]
                out = times(row, "outS_us_inferred")
                flow = vocabulary(
                    stages,
                    Vocabulary(tuple(t * share for t in out), tuple(t * (1 - share) for t in out), 0.0, barriers),
                )
                made = repeating(flow, interval=flow.busiest * 1.0005, seconds=20).unrolled(batches)
            else:
                made = one_f_one_b(stages, batches)
            off = made.seconds / measured - 1
            print(f"{row['name']:52} {measured:9.3f} {made.seconds:9.3f} {off:+7.2%}  held {max(made.held):.0f}")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seconds", type=float, default=20.0)
    asked.add_argument("--data", type=Path)
    given = asked.parse_args()
    print(f"{'what':24} {'size':24} {'value':>12} {'bound':>12} {'gap':>7} {'CPU s':>7}")
    for lines in (offloading, purchase, placement, pipelines):
        began = process_time()
        for what, size, value, bound, proven in lines(given.seconds):
            gap = 0.0 if proven else abs(value - bound) / abs(value)
            now = process_time()
            print(f"{what:24} {size:24} {value:12.6g} {bound:12.6g} {gap:7.2%} {now - began:7.2f}", flush=True)
            began = now
    caches()
    if given.data:
        artefact(given.data)


if __name__ == "__main__":
    main()
