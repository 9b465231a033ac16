"""Counts and times of mapped sparse products, by hand-sized sums and by their limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import sim
from einsum import Infeasible, WeirError
from mappings.sparse import names, read
from mappings.text import parse as nest
from sim.arch import device
from sim.model.sparse.count import counts, product
from sim.model.sparse.entries import exact
from sim.model.sparse.estimate import SparseEstimate, estimate
from sim.model.sparse.hashing import probes, theory
from sim.model.sparse.structure import Structure
from sim.model.sparse.work import merged
from sim.sparse import usable
from workloads.matrices import named

RMAT = "rmat:scale=10,draws=12000"


@pytest.fixture(scope="module")
def graph() -> Structure:
    return Structure.of(named(RMAT))


def run(mapping: str, on: str, a: Structure, **changes: str) -> SparseEstimate:
    where = device(on)
    for path, value in changes.items():
        where = where.with_(path.replace("__", "."), value)
    made = read(mapping)
    return estimate(made, product(made, a, a, exact(a, a)), where)


def test_outer_products_by_hand(graph: Structure) -> None:
    """Products written and read: 12 bytes each, a pointer for each entry of A that meets a row, 8 bytes a row."""
    found = run("outerspace", "outerspace", graph)
    f, z, m = found.product.products, found.product.entries.total, graph.shape[0]
    met = int((graph.lengths[graph.indices] > 0).sum())
    assert found.counted.moved("dram", "T") == 2 * (12 * f + 4 * met + 8 * m)
    assert found.counted.moved("dram", "Z") == 12 * z + 4 * m
    assert found.counted.counts.get("dram", "T", "updates") == f
    assert found.units[1].operations["add"] == f - z


def test_row_by_row_with_everything_cached(graph: Structure) -> None:
    found = run("gamma", "gamma", graph)
    touched = np.unique(graph.indices)
    assert (
        found.counted.moved("dram", "B") == 12 * graph.lengths[touched].sum() + 4 * (graph.lengths[touched] > 0).sum()
    )
    assert found.counted.moved("dram", "A") == 12 * graph.entries + 4 * graph.shape[0]
    small = run("gamma", "gamma", graph, fibre_cache__capacity="1 KiB")
    assert found.traffic < small.traffic
    most = 12 * small.product.products + 4 * graph.entries
    assert small.counted.moved("dram", "B") <= most


def test_a_merger_is_as_slow_as_its_elements_or_its_memory(graph: Structure) -> None:
    """A unit that waits for nothing leaves writing back to the level, which goes on meanwhile."""
    found = run("gamma", "gamma", graph)
    assert found.seconds == pytest.approx(max(merged(found.product, 64) / 32e9, found.traffic / (128 * 2**30)))


def test_inner_products_read_b_once_a_row(graph: Structure) -> None:
    found = run("piuma_inner", "piuma_core", graph)
    rows = (graph.lengths > 0).sum()
    columns = (graph.heights > 0).sum()
    assert found.counted.counts.get("dram", "B", "reads") == rows * graph.entries
    least = rows * (12 * graph.entries + 8 * columns)
    assert least <= found.counted.moved("dram", "B") <= least + rows * columns * 8  # each column in whole lines


def test_lines_of_64_bytes_are_filled_up(graph: Structure) -> None:
    fine = run("cpu_row", "cpu_64b", graph, cache__capacity="1 KiB", dram__line="4 B")
    coarse = run("cpu_row", "cpu_64b", graph, cache__capacity="1 KiB")
    assert coarse.counted.moved("dram", "B") > 1.2 * fine.counted.moved("dram", "B")
    assert coarse.counted.moved("dram", "A") == fine.counted.moved("dram", "A")  # a stream wastes none


def test_one_request_a_thread(graph: Structure) -> None:
    """Time waiting for memory falls with threads until something else sets the pace (Little's law)."""
    times = [run("piuma_row", "piuma_core", graph, mtp__contexts=str(n)).seconds for n in (1, 2, 4, 8, 16, 64, 512)]
    assert times[0] / times[1] == pytest.approx(2, rel=0.05)
    assert times == sorted(times, reverse=True)
    assert times[-2] / times[-1] < 1.3
    far = run("piuma_row", "piuma_core", graph, mtp__contexts="1", dram__latency="180 ns")
    assert far.seconds == pytest.approx(1.8 * times[0], rel=0.12)


def test_remote_memory_is_further_away(graph: Structure) -> None:
    from sim.model.sparse.units import latency

    near, far = device("piuma_core"), device("piuma_die")
    [one], [other] = ([m for m in d.memories if m.name == "dram"] for d in (near, far))
    assert latency(near, one) == pytest.approx(90e-9)
    assert latency(far, other) == pytest.approx(90e-9 + 2 * 2e-9 * (3 / 6 + 15 / 12))  # a mesh of 2 x 4
    whole = far.with_("sockets.count", 16)
    assert latency(whole, other) == pytest.approx(latency(far, other) + 2 * 100e-9 * (1 - 1 / 4) * 2)


def test_scaling_from_one_thread_to_8448(graph: Structure) -> None:
    a = Structure.of(named("rmat:scale=13,draws=131072"))
    mapping = read("piuma_row")
    one = product(mapping, a, a, exact(a, a))
    die = device("piuma_die")
    steps = [(1, 1, 1, 1), (1, 1, 1, 16), (1, 1, 4, 16), (1, 8, 4, 16), (4, 8, 4, 16), (16, 8, 4, 16)]
    times = []
    for sockets, cores, pipelines, contexts in steps:
        where = die.with_("sockets.count", sockets).with_("cores.count", cores)
        where = where.with_("pipelines.count", pipelines).with_("mtp.contexts", contexts)
        times.append(estimate(mapping, one, where).seconds)
    assert times[:5] == sorted(times[:5], reverse=True)  # on 16 sockets there is a window a core, and memory is far
    assert times[0] / times[1] > 8
    assert times[0] / times[-1] < 8192  # 512 multi-threaded pipelines of 16


def test_the_three_versions_of_smash_come_in_order(graph: Structure) -> None:
    a = Structure.of(named("rmat:scale=14,draws=262144"))
    first, second, third = (run(f"smash_v{n}", "piuma_core", a) for n in (1, 2, 3))
    assert first.seconds > second.seconds > third.seconds
    assert first.utilisation < second.utilisation < third.utilisation
    assert first.traffic > 2 * third.traffic
    assert first.balance < 0.5 < 0.9 < second.balance
    assert first.probed is not None
    assert third.probed is not None
    assert first.probed.mean > 10 * third.probed.mean


def test_probes_follow_the_textbook_where_the_hash_is_good() -> None:
    a = Structure.of(named("uniform:n=2048,density=0.004"))
    rows = exact(a, a).rows
    for slots in (1 << 14, 1 << 15):
        found = probes(a, a, np.arange(0, 2049, 64), slots, "multiplicative", "row column")
        load = float(np.mean(rows.reshape(-1, 64).sum(axis=1))) / slots
        assert found.mean == pytest.approx(theory(load), rel=0.12)
        assert found.capped == 0
    bad = probes(a, a, np.arange(0, 2049, 64), 1 << 14, "high", "row column")
    assert bad.mean > found.mean


def test_a_window_that_does_not_fit(graph: Structure) -> None:
    with pytest.raises(Infeasible, match=r"smash_v1: row \d+ of the result has \d+ entries; a table in spad \(4 KiB"):
        run("smash_v1", "piuma_core", graph, spad__capacity="4 KiB")
    tight, roomy = (run("piuma_row", "piuma_core", graph, spad__capacity=c) for c in ("64 KiB", "4 MiB"))
    assert tight.counted.moved("dram", "Z", "reads") > 0 == roomy.counted.moved("dram", "Z", "reads")


def test_atomic_updates_of_one_place_go_one_after_another() -> None:
    spad = next(m for m in device("piuma_core").memories if m.name == "spad")
    assert spad.atomics(800, 0.0) == pytest.approx(100e-9)
    assert spad.atomics(800, 1.0) == pytest.approx(800e-9)


def test_merging_by_hand() -> None:
    a = Structure.of(np.array([[1, 1, 1], [0, 1, 0], [0, 0, 0]]))
    one = product(read("gamma"), a, a, exact(a, a))
    assert one.row_products.tolist() == [4, 1, 0]
    assert merged(one, 2) == 4 * 2 + 1  # three runs: two levels
    assert merged(one, 64) == 5


def test_an_energy_is_actions_times_energy_each(graph: Structure) -> None:
    found = run("piuma_row", "piuma_core", graph)
    dram = next(m for m in found.device.memories if m.name == "dram")
    assert found.joules_by["dram"] == pytest.approx(found.traffic * dram.energy)
    assert found.joules_by["mtp"] == pytest.approx(found.operations * 250e-12)


@pytest.mark.parametrize("name", names())
def test_every_mapping_that_comes_with_weir_runs_somewhere(name: str) -> None:
    from sim.arch import accelerator_names

    workload = read(name).workload
    where = [d for d in accelerator_names() if name in usable(device(d), workload)]
    assert where
    sizes = dict.fromkeys({"spmm": "n", "gcn": "fg"}.get(workload, ""), 8)
    found = sim.spgemm(named("mesh:side=3"), on=where[0], dataflow=name, workload=workload, sizes=sizes).best
    assert found.seconds > 0
    assert found.traffic >= found.compulsory
    assert found.frame()["bytes"].min() >= 0
    assert name in str(found)


def test_any_nest_over_the_levels_of_a_device(graph: Structure, drawn: Callable[..., Structure]) -> None:
    """A mapping nobody thought of: tiles of everything, partial results among them."""
    text = """
keep A, B, Z in dram
for k tile 256
  for m tile 128
    keep A in llb
    for n tile 128
      keep B, Z in llb
      Z on pe
"""
    made = replace(read("extensor"), nest=nest(text), formats=read("gamma").formats)
    found = counts(made, product(made, graph, graph, exact(graph, graph)), device("extensor"))
    back = found.counts.get("dram", "Z", "reads")
    assert back > 0
    assert found.counts.get("dram", "Z", "updates") == back + exact(graph, graph).total
    assert found.counts.get("dram", "A", "reads") <= graph.entries


def test_the_front_door() -> None:
    a = named(RMAT)
    made = sim.spgemm(a, on="piuma_core", dataflow=["piuma_row", "piuma_outer"], name="r")
    assert [e.mapping.name for e in made.estimates] == ["piuma_row", "piuma_outer"]
    assert made.best.seconds == made.frame()["seconds"].min()
    assert str(made).startswith("r on piuma_core")
    assert sim.spgemm(a[:100], on="gamma").best.product.b.shape == (1024, 100)  # by its transpose
    sampled = sim.spgemm(a, on="gamma", count="sampled")
    assert sampled.best.product.entries.how == "sampled"
    with pytest.raises(WeirError, match="they do not meet"):
        sim.spgemm(a, a[:100], on="gamma")
    with pytest.raises(WeirError, match="nothing to multiply"):
        sim.spgemm(type(a)((4, 4)), on="gamma")
    with pytest.raises(WeirError, match="no loop"):
        sim.spgemm(a, on="gamma", tiles={"q.0": 3})
