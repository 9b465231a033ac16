"""Placements per instance: size, method, CPU seconds to a placement within the capacity and in all, height, bound, gap.

python benchmarks/offsets.py                     generated instances: tight packings and training steps
python benchmarks/offsets.py a.csv b.csv         these (a number in the name, as in a.1048576.csv, is the capacity)
python benchmarks/offsets.py --seconds 20 ...    the most that each is worked on
python benchmarks/offsets.py --copies 5 ...      and five copies of each file, disturbed in ways that leave room
python benchmarks/offsets.py --mixed 40 --seed 7  forty small ones with alignments and gaps, and how many are proven
python benchmarks/offsets.py --mixed 40 --aligns 64,256,512     the same, aligned more coarsely

Each is placed by one greedy pass (first fit by size), by weir at the capacity, by weir without one, and, where OR-Tools
is installed (``pip install ortools``), by CP-SAT's two-dimensional no-overlap on one thread in a process of its own
(HiGHS and OR-Tools do not share one).
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
from dataclasses import dataclass, replace
from math import inf, isfinite
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from traces import disturbed, joined, mixed, tight, training

from einsum import Infeasible
from sim.planner import fit
from sim.planner.offsets import plan
from sim.planner.packing import pack
from sim.planner.problem import Problem, Tier
from sim.planner.tables import read

GO = np.zeros(1, np.int64)  # nobody says stop
GREEDY, WEIR, LOWEST, SAT = "greedy", "weir, at capacity", "weir, lowest", "CP-SAT"

SATISFY = """
import json, sys, time
from ortools.sat.python import cp_model
given = json.load(sys.stdin)
model, most = cp_model.CpModel(), given["capacity"]
top = model.new_int_var(0, most, "top")
across, along = [], []
for i, (size, align, live) in enumerate(zip(given["sizes"], given["aligns"], given["lives"])):
    low = align * model.new_int_var(0, (most - size) // align, f"a{i}")
    model.add(low + size <= top)
    for k, (start, stop) in enumerate(live):
        along.append(model.new_fixed_size_interval_var(start, stop - start, f"t{i}_{k}"))
        across.append(model.new_fixed_size_interval_var(low, size, f"s{i}_{k}"))
model.add_no_overlap_2d(along, across)
model.minimize(top)
class First(cp_model.CpSolverSolutionCallback):
    at = None
    def on_solution_callback(self):
        self.at = self.user_time if self.at is None else self.at
first, solver = First(), cp_model.CpSolver()
solver.parameters.max_time_in_seconds = given["seconds"]
solver.parameters.num_workers = 1
solver.solve(model, first)
found = first.at is not None
print(json.dumps([solver.value(top) if found else None, solver.best_objective_bound, first.at, solver.user_time]))
"""


@dataclass(frozen=True)
class Row:
    """One method on one instance: CPU seconds until a placement was within the capacity, and in all."""

    problem: Problem
    method: str
    first: float
    used: float
    height: float
    bound: float

    def __str__(self) -> str:
        gap = f"{self.height / self.bound - 1:7.2%}" if self.bound > 0 and self.height < inf else "      -"
        height = f"{self.height:14.0f}" if self.height < inf else " " * 13 + "-"
        first = f"{self.first:7.2f}" if self.first < inf else "      -"
        head = f"{self.problem.name:28} {len(self.problem.buffers):7}  {self.method:44}"
        return f"{head} {first} {self.used:7.2f} {height} {self.bound:14.0f} {gap}"


def problems(asked: argparse.Namespace) -> Iterator[Problem]:
    """The files given, each with disturbed copies, or generated instances."""
    aligns = tuple(map(int, asked.aligns.split(",")))
    yield from (mixed(seed=asked.seed + n, aligns=aligns) for n in range(asked.mixed))
    for name in asked.files:
        capacity = re.search(r"\.(\d+)\.csv$", name)
        problem = read(Path(name), float(capacity[1]) if capacity else inf)
        yield problem
        if capacity and asked.copies:
            known = plan(problem, seconds=60)
            yield from (disturbed(problem, known, seed=seed) for seed in range(asked.copies))
    if not asked.files and not asked.mixed:
        yield from (tight(count, seed=seed) for seed, count in enumerate((100, 150, 200, 250, 300, 450)))
        yield from (joined(count, seed=seed) for seed, count in enumerate((150, 250, 350)))
        yield from (training(layers, seed=layers) for layers in (6, 100, 200, 300))


def rows(problem: Problem, seconds: float) -> Iterator[Row]:
    """One instance by every method."""
    yield once(problem)
    if isfinite(problem.tiers[0].capacity):
        yield timed(problem, WEIR, seconds)
    yield timed(problem, LOWEST, seconds)
    if importlib.util.find_spec("ortools"):
        yield satisfied(problem, seconds)


def once(problem: Problem) -> Row:
    """First fit by size."""
    packing, began = pack(problem), time.process_time()
    height = packing.height(fit.fit(packing.shape, packing.order("Z"), False, GO)) * packing.unit
    used = time.process_time() - began
    first = used if height <= problem.tiers[0].capacity else inf
    return Row(problem, GREEDY, first, used, height, packing.bound * packing.unit)


def timed(problem: Problem, method: str, seconds: float) -> Row:
    """weir's own answer; a height of infinity where none was found within the capacity that was asked for."""
    asked = problem if method == WEIR else replace(problem, tiers=(Tier("memory"),))
    began, times = time.process_time(), [inf]

    def progress(_: float, height: float, __: float) -> None:
        if height <= problem.tiers[0].capacity:
            times[0] = min(times[0], time.process_time() - began)

    try:
        found = plan(asked, seconds=seconds, progress=progress)
    except Infeasible:
        packing = pack(problem)
        return Row(problem, method, inf, time.process_time() - began, inf, packing.bound * packing.unit)
    name = f"{method}: {found.method}{', proven' if found.proven else ''}"
    return Row(problem, name, times[0], time.process_time() - began, found.value, found.bound)


def satisfied(problem: Problem, seconds: float) -> Row:
    """CP-SAT's answer on one thread, in another process; without a capacity, below the greedy one."""
    packing, capacity = pack(problem), problem.tiers[0].capacity
    height = packing.height(fit.fit(packing.shape, packing.order("Z"), False, GO))
    shape = packing.shape
    lives = [
        [[int(shape.begin[k]), int(shape.end[k])] for k in range(shape.at[i], shape.at[i + 1])]
        for i in range(shape.size.size)
    ]
    given = {
        "sizes": shape.size.tolist(), "aligns": shape.align.tolist(), "lives": lives, "seconds": seconds,
        "capacity": int(capacity // packing.unit) if isfinite(capacity) else height,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SATISFY], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    top, bound, first, used = json.loads(done.stdout)
    least = max(bound, 0) * packing.unit
    return Row(problem, SAT, first or inf, used, inf if top is None else top * packing.unit, least)


def main() -> None:
    """Print a line per instance and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--copies", type=int, default=0)
    parser.add_argument("--mixed", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--aligns", default="1,1,4,8")
    asked = parser.parse_args()
    plan(tight(10, seed=0))  # compiles the kernels
    columns = f"{'first s':>7} {'CPU s':>7} {'height':>14} {'bound':>14} {'gap':>7}"
    print(f"{'instance':28} {'buffers':>7}  {'method':44} {columns}")
    proven: list[bool] = []
    for problem in problems(asked):
        for row in rows(problem, asked.seconds):
            print(row, flush=True)
            proven += [row.height == row.bound] if row.method.startswith(LOWEST) else []
    print(f"{sum(proven)} of {len(proven)} proven the lowest by weir")


if __name__ == "__main__":
    main()
