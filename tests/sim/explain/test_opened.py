"""Every figure of every command, opened, is the figure that was printed, and its unfolded history evaluates to it."""

from __future__ import annotations

import io
import json
from contextlib import chdir, redirect_stdout
from functools import reduce
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.cli import again, main
from sim.cli.remade import COMMANDS, remade, row
from sim.explain.figures import explained, found, numbers_of, unit
from sim.explain.opened import Opened, opened
from sim.explain.scalars import Resolver, Scalar
from sim.explain.traced import Traced
from sim.explain.units import derived, in_order

SMALL = "gpt2-xl --on 1xh100 --prompt 64 --output 16 --batch 8"
SPARSE = "spgemm uniform:n=60,density=0.05"
ASKED = {
    "estimate": f"estimate {SMALL}",
    "compare": f"compare {SMALL} --on 1xh20 --price h20=1.5",
    "map": "map attention.one_pass query=64 context=64 head_dim=64 --on fusemax_cloud",
    "spgemm": f"{SPARSE} --on piuma_core --dataflow piuma_row --dataflow smash_v3",
    "search": f"{SPARSE} --on cpu_64b --workload bfs",
    "gamma": f"{SPARSE} --on gamma",
    "offload": "offload opt-30b --on t4 --host xeon_8380 --micro 8 --batches 2",
    "rent": "rent gpt2-xl --on 1xh100 --on 1xl40s --prompt 64 --output 16 --rate 400",
    "cache": "cache llama-3-8b --on a100 --trace azure_conv --requests 40",
    "plan": "plan buffers.csv",
    "graph": "plan graph.json --budget 20",
    "training": "plan llama-2-7b --on 8xa800 --sequence 64K --strategy recompute",
    "pipeline": "pipeline --stages 4 --forward 11ms --backward 22ms --microbatches 8 --lag 1ms --schedule 1f1b",
    "train": "train gpt2-xl --on 8xh100 --pp 2 --interleave 2 --batch 16 --sequence 512 --recompute selective",
    "replicas": (
        "train llama-3-8b --on 16xh100 --tp 4 --batch 8 --sequence 512 --sequence-parallel --distributed-optimiser"
        " --kernels megatron_2022 --set network.bandwidth=200Gb/s"
    ),
    "ranges": "ranges llama-2-7b --on 1xa100 --on 2xl4 --seconds 1",
    "step": "sweep gpt2-xl --on 1xh100 --axis batch=1,2,4 --axis context=100 --axis model.hbm.bandwidth=3TB/s",
    "prefill": "sweep gpt2-xl --on 1xh100 --axis batch=1,2 --axis prompt=100 --axis price.h100_sxm=2",
    "service": "sweep gpt2-xl --on 1xh100 --serve --axis prompt=64,128 --axis output=16 --axis batch=8",
    "run": "sweep attention.one_pass --on fusemax_cloud --axis query=64 --axis context=64,128 --axis head_dim=64",
}
SUMS = ("add", "subtract", "maximum", "minimum")
PLAIN = ("s", "B", "J")
KERNELS = "sim.model.physical"  # counts bytes by plain numbers, two for a value of 16 bits
BUFFERS = "id,lower,upper,size\na,0,4,5\nb,2,6,7\nc,4,9,3\n"
GRAPH = {
    "buffers": [{"name": name, "bytes": 10} for name in ("x", "y", "z")],
    "tasks": [
        {"name": "one", "seconds": 1, "writes": ["x"]},
        {"name": "two", "seconds": 2, "reads": ["x"], "writes": ["y"]},
        {"name": "three", "seconds": 3, "reads": ["y"], "writes": ["z"]},
    ],
}


@pytest.fixture(params=ASKED, scope="module")
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Opened]:
    """What a command printed, and its result (the second row of a sweep) opened."""
    text = io.StringIO()
    with chdir(tmp_path_factory.mktemp("asked")), redirect_stdout(text):
        Path("buffers.csv").write_text(BUFFERS)
        Path("graph.json").write_text(json.dumps(GRAPH))
        assert main([*ASKED[request.param].split(), "--json"]) == 0
        printed = json.loads(text.getvalue())
        command, given = again.asked(printed.pop("manifest"))
        if command == "sweep":
            cells = printed["data"][1]
            return cells, opened(*row(given, cells))
        return printed, opened(*remade(command, given))


def test_figures_are_what_was_printed_and_what_their_history_comes_to(asked: tuple[dict[str, Any], Opened]) -> None:
    printed, made = asked
    figures = dict(numbers_of(made.figures))
    traced = {name: value for name, value in figures.items() if isinstance(value, Traced)}
    assert traced or "tokens_per_second" in figures
    wanted = dict(numbers_of(printed))
    resolver = Resolver()
    for name, value in traced.items():
        root = resolver.at(value)
        assert root.value == wanted[name], name
        assert isclose(evaluated(root), wanted[name], rel_tol=1e-12), name
    for name in wanted.keys() & figures.keys() - traced.keys():
        timed = name.endswith("seconds")  # of weir's own run
        assert timed or float(figures[name]) == wanted[name], name


def test_figures_have_names_units_and_sources(asked: tuple[dict[str, Any], Opened]) -> None:
    _, made = asked
    got = explained(made, made.first, slight=0.0, depth=99)
    assert got.value == float(np.ravel(getattr(found(made.figures, made.first), "value", got.value))[-1])
    assert got.rests
    assert all(term.source for term in got.rests)
    assert all(abs(term.influence) < 1000 for term in got.rests)


def test_units_multiply_out(asked: tuple[dict[str, Any], Opened]) -> None:
    """What is added or compared has one unit, and parts and figures of seconds, bytes and joules have theirs."""
    _, made = asked
    resolver, known = Resolver(), dict[int, str]()
    named = {id(resolver.at(value)): unit_ for value, _, unit_ in made.parts() if isinstance(value, Traced)}
    for name, value in numbers_of(made.figures):
        if not isinstance(value, Traced):
            continue
        root = resolver.at(value)
        for one in in_order(root):
            if id(one) not in known and one.module != KERNELS:
                mixed = {derived(x) for x in one.operands if x.value and (x.operation or x.leaf)}
                assert one.operation not in SUMS or len(mixed) < 2, (one.module, one.function, mixed)
            known[id(one)] = derived(one)
            assert not one.value or named.get(id(one), "") not in PLAIN or known[id(one)] == named[id(one)], (
                one.function
            )
        wanted = made.units.get(name, unit(name))
        assert not root.value or wanted not in PLAIN or known[id(root)] == wanted, name


def test_every_command_with_figures_is_asked() -> None:
    assert {text.split()[0] for text in ASKED.values()} == {*COMMANDS, "sweep"}


def evaluated(root: Scalar) -> float:
    """A history worked out again from the numbers that were given."""
    values: dict[int, float] = {}
    for one in in_order(root):
        x = [values[id(operand)] for operand in one.operands]
        values[id(one)] = _made(one, x) if x and one.operation != "weighted" else one.value
    return values[id(root)]


def _made(one: Scalar, x: list[float]) -> float:
    if one.rule is not None:
        return float(one.rule(*x))
    if one.operation in ("least", "most"):
        return x[0]
    function = getattr(np, one.operation)
    return float(reduce(function, x) if function.nin == 2 else function(*x))
