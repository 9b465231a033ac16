"""Rematerialisation on graphs of a folder: size, eviction, Checkmate's programme, its bound and gap, CPU seconds.

Run as ``python -m benchmarks.rematerialise [FOLDER] [--layers N]... [--drawn SEED]... [--share X]... [--seconds S]``.
Graphs are node-link JSON (a list of nodes with bytes and seconds, a list of links) as Checkmate's and MOCCASIN's
repositories have them; weir ships none. With ``--layers`` a step of so many layers of Llama-2-7B on eight A100 at 16K
tokens is one too, with ``--drawn`` a network drawn at random.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from einsum import Infeasible, WeirError
from sim.arch import cluster
from sim.planner.graph import Graph, graph, peak, spent, within
from sim.planner.passes import Setting
from sim.planner.problem import Buffer, Problem, Task, Tier
from sim.planner.rematerialise import improve, quick, smallest
from sim.planner.steps import step
from workloads.transformer import model

SECONDS, BYTES = ("cost_cpu", "duration"), ("cost_ram", "out_cost")  # as different repositories call them
ENDS = (("source", "target"), ("0", "1"))


def problem(path: Path) -> Problem:
    """A node-link graph as a problem: a node is a task that makes one buffer from its predecessors'."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    nodes = {node.get("id", node["name"]): node for node in raw["nodes"]}
    links = [tuple(link[k] for k in next(e for e in ENDS if e[0] in link)) for link in raw["links"]]
    order = _order(list(nodes), links, raw["graph"].get("order"))
    seconds = {n: float(_first(nodes[n], SECONDS)) for n in order}
    unit = 0.0 if any(seconds.values()) else 1.0  # no times given: count runs
    buffers = tuple(Buffer(f"b{n}", int(_first(nodes[n], BYTES))) for n in order)
    reads: dict[Any, list[Any]] = {n: [] for n in order}
    for source, target in links:
        reads[target].append(source)
    tasks = tuple(
        Task(f"t{n}", seconds[n] + unit, tuple(f"b{r}" for r in dict.fromkeys(reads[n])), (f"b{n}",)) for n in order
    )
    return Problem(path.stem, buffers, (Tier("memory"),), tasks)


def _first(node: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next(node[name] for name in names if name in node)


def _order(nodes: list[Any], links: list[tuple[Any, ...]], given: list[Any] | None) -> list[Any]:
    """The order given, if there is one, else a topological one that stays near the file's."""
    if given is not None and sorted(given) == sorted(nodes):
        return given
    missing = {n: {s for s, t in links if t == n} for n in nodes}
    found: list[Any] = []
    while missing:
        ready = next(n for n in missing if not missing[n])
        found.append(ready)
        del missing[ready]
        for needs in missing.values():
            needs.discard(ready)
    return found


def measure(made: Graph, share: float, seconds: float) -> str:
    """One line: a graph at a share of the memory that keeping everything takes."""
    tight = within(made, int(made.full * share))
    head = f"{made.problem.name:26} {len(made.reads):5} {sum(map(len, made.reads)):5} {share:5.2f}"
    began = time.process_time()
    try:
        known = quick(tight)
        first = time.process_time() - began
        found = improve(tight, known, seconds, "highs", None)
    except Infeasible:
        return f"{head}  nothing fits; {smallest(made).fits / made.full:.2f} would do"
    except WeirError as why:
        return f"{head}  {why}"
    start = f"{spent(made, known.order) / made.once - 1:9.3%}" if known else "        -"
    over, bound = spent(made, found.order) / made.once - 1, found.bound / made.once - 1
    gap = max(over - bound, 0.0) / (1 + over)
    took = time.process_time() - began
    used = peak(made, found.order) / made.full
    return f"{head} {start} {first:7.2f} {over:9.3%} {bound:9.3%} {gap:8.3%} {took:7.1f} {used:6.3f}  {found.method}"


def trained(layers: int) -> Problem:
    """A model's training step, so many of its layers."""
    return step(Setting(model("llama-2-7b").spec, cluster("8xa100"), 16384), layers)


def drawn(seed: int) -> Problem:
    """A network's training step drawn at random: a chain of unlike tasks with skips over a few of them (residual), or
    across the middle (a U-net); every task's backward run reads its operands and the gradient of its result."""
    rng = Random(seed)  # noqa: S311  a benchmark's graphs
    count = rng.randint(20, 60)
    reads: list[tuple[int, ...]] = [()]
    for i in range(1, count):
        skip = rng.randint(max(i - 5, 0), i - 1) if seed % 2 else max(count - 2 - i, 0)
        reads.append((i - 1, skip) if skip < i - 1 and rng.random() < 0.4 else (i - 1,))
    sizes = [round(2**20 * 2 ** rng.uniform(0, 4)) for _ in reads]
    work = [2 ** rng.uniform(0, 4) for _ in reads]
    tasks = [Task(f"f{i}", work[i], tuple(f"x{r}" for r in own), (f"x{i}",)) for i, own in enumerate(reads)]
    buffers = [Buffer(f"{kind}{i}", size) for kind in "xg" for i, size in enumerate(sizes)]
    users: dict[int, list[int]] = {i: [u for u, own in enumerate(reads) if i in own] for i in range(count)}
    for i in reversed(range(count)):
        others = [name for u in users[i] for name in (f"g{u}", f"x{u}")] or [f"x{i}"]
        own = [f"x{r}" for r in reads[i]]
        tasks.append(Task(f"b{i}", 2 * work[i], tuple(dict.fromkeys([*others, *own])), (f"g{i}",)))
    return Problem(f"drawn {seed}", tuple(buffers), (Tier("memory"),), tuple(tasks), (), ("g0",))


def main() -> None:
    """Print a line for each graph and share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--layers", type=int, action="append", default=[])
    parser.add_argument("--drawn", type=int, action="append", default=[], help="seed of a network drawn at random")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--share", type=float, action="append")
    parser.add_argument("--only", default="", help="part of a file's name")
    given = parser.parse_args()
    print(f"{'graph':26} nodes edges share  eviction CPU s       found     bound      gap   CPU s   used  method")
    files = sorted(given.folder.glob("*.json")) if given.folder else []
    for made in (
        *(problem(f) for f in files if given.only in f.name),
        *map(trained, given.layers),
        *map(drawn, given.drawn),
    ):
        for share in given.share or (0.9, 0.6):
            print(measure(graph(made), share, given.seconds), flush=True)


if __name__ == "__main__":
    main()
