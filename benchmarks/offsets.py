"""Placements per instance: size, method, CPU seconds to a placement within the capacity, height, bound and gap.

python benchmarks/offsets.py                     generated instances: tight packings and training steps
python benchmarks/offsets.py a.csv b.csv         these (a number in the name, as in a.1048576.csv, is the capacity)
python benchmarks/offsets.py --seconds 20 ...    the most that each is worked on

Each is placed by one greedy pass (first fit by size), by weir at the capacity, by weir without one, and, where OR-Tools
is installed, by CP-SAT's two-dimensional no-overlap in a process of its own (HiGHS and OR-Tools do not share one).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from math import inf, isfinite
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from traces import tight, training

from einsum import Infeasible
from sim.planner import fit
from sim.planner.offsets import plan
from sim.planner.packing import pack
from sim.planner.problem import Problem, Tier
from sim.planner.tables import read

Row = tuple[str, int, str, float, float, float]  # instance, buffers, method, CPU seconds, height, bound

SAT = """
import json, sys
from ortools.sat.python import cp_model
given = json.load(sys.stdin)
model, most = cp_model.CpModel(), given["capacity"]
top = model.new_int_var(0, most, "top")
across, along = [], []
for i, (size, live) in enumerate(zip(given["sizes"], given["lives"])):
    low = model.new_int_var(0, most - size, f"a{i}")
    model.add(low + size <= top)
    for k, (start, stop) in enumerate(live):
        along.append(model.new_fixed_size_interval_var(start, stop - start, f"t{i}_{k}"))
        across.append(model.new_fixed_size_interval_var(low, size, f"s{i}_{k}"))
model.add_no_overlap_2d(along, across)
solver = cp_model.CpSolver()
solver.parameters.max_time_in_seconds = given["seconds"]
solver.parameters.num_workers = 1
status = solver.solve(model)
found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
print(json.dumps([solver.value(top) if found else None, solver.user_time]))
"""


def problems(files: list[str]) -> Iterator[Problem]:
    """The files given, or generated instances."""
    for name in files:
        capacity = re.search(r"\.(\d+)\.csv$", name)
        yield read(Path(name), float(capacity[1]) if capacity else inf)
    if not files:
        yield from (tight(count, seed=seed) for seed, count in enumerate((100, 150, 200, 250, 300, 450)))
        yield from (training(layers, seed=layers) for layers in (6, 100, 200, 300))


def rows(problem: Problem, seconds: float) -> Iterator[Row]:
    """One instance by every method."""
    name, n, packing = problem.name, len(problem.buffers), pack(problem)
    bound = float(packing.bound * packing.unit)
    began = time.process_time()
    height = packing.height(fit.fit(packing.shape, packing.order("Z"), False)) * packing.unit
    yield name, n, "greedy", time.process_time() - began, height, bound
    capacity = problem.tiers[0].capacity
    if isfinite(capacity):
        yield timed(problem, "weir, at capacity", seconds)
    yield timed(replace(problem, tiers=(Tier("memory"),)), "weir, lowest", seconds)
    if importlib.util.find_spec("ortools"):
        yield satisfied(problem, seconds, bound)


def timed(problem: Problem, what: str, seconds: float) -> Row:
    """weir's own answer; a height of infinity where none was found."""
    began = time.process_time()
    try:
        found = plan(problem, seconds=seconds)
    except Infeasible:
        return problem.name, len(problem.buffers), what, time.process_time() - began, inf, 0.0
    name = f"{what}: {found.method}{', proven' if found.proven else ''}"
    return problem.name, len(problem.buffers), name, time.process_time() - began, found.value, found.bound


def satisfied(problem: Problem, seconds: float, bound: float) -> Row:
    """CP-SAT's answer, in another process."""
    packing = pack(problem)
    height = packing.height(fit.fit(packing.shape, packing.order("Z"), False))
    capacity = problem.tiers[0].capacity
    shape = packing.shape
    lives = [
        [[int(shape.begin[k]), int(shape.end[k])] for k in range(shape.at[i], shape.at[i + 1])]
        for i in range(shape.size.size)
    ]
    given = {
        "sizes": shape.size.tolist(), "lives": lives, "seconds": seconds,
        "capacity": int(capacity // packing.unit) if isfinite(capacity) else height,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SAT], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    top, used = json.loads(done.stdout)
    return problem.name, len(problem.buffers), "CP-SAT", used, inf if top is None else top * packing.unit, bound


def main() -> None:
    """Print a line per instance and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    plan(tight(10, seed=0))  # compiles the kernels
    print(f"{'instance':28} {'buffers':>7}  {'method':46} {'CPU s':>7} {'height':>14} {'bound':>14} {'gap':>7}")
    for problem in problems(asked.files):
        for name, n, method, used, height, bound in rows(problem, asked.seconds):
            gap = f"{height / bound - 1:7.2%}" if bound and height < inf else "      -"
            print(f"{name:28} {n:7}  {method:46} {used:7.2f} {height:14.0f} {bound:14.0f} {gap}", flush=True)


if __name__ == "__main__":
    main()
