"""Cascades over matrices in hand: what each Einsum multiplies or goes through, by scipy's count and by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse as scipy_sparse

import sim
from einsum import Infeasible, WeirError, parse
from mappings.sparse import read
from sim.arch import device
from sim.model.sparse.estimate import estimate
from sim.model.sparse.figures import InTurn
from sim.model.sparse.stages import stages
from sim.model.sparse.structure import Structure
from workloads.graphs import runs
from workloads.matrices import named

GRAPH = named("rmat:scale=8,draws=1500")
LINE = scipy_sparse.csr_array(scipy_sparse.diags_array([np.ones(9)], offsets=[1], shape=(10, 10)))
Drawn = Callable[..., Structure]


def test_a_matrix_times_a_dense_one(drawn: Drawn) -> None:
    a = drawn(12, 9, 3)
    [one] = stages(read("piuma_spmm").cascade, {"A": a}, {"n": 5})
    assert one.products == 5 * a.entries
    assert one.entries.rows.tolist() == [5.0 * (n > 0) for n in a.lengths]
    found = estimate(read("piuma_spmm"), one, device("piuma_core"))
    assert found.counted.moved("dram", "X") == a.entries * 5 * 8  # a row of X for each entry, nothing held
    assert found.counted.moved("dram", "A") == 12 * a.entries + 8 * 12


def test_a_vector_is_gathered_in_lines(drawn: Drawn) -> None:
    a = drawn(40, 64, 1)
    products = stages(read("cpu_spmv").cascade, {"A": a}, {})
    found = estimate(read("cpu_spmv"), products, device("cpu_64b"))
    assert found.counted.moved("dram", "X") == 8 * 64  # eight lines of eight, each once: the cache holds them all
    assert found.operations == 2 * a.entries
    fine = estimate(read("piuma_spmv"), stages(read("piuma_spmv").cascade, {"A": a}, {}), device("piuma_core"))
    assert fine.counted.moved("dram", "X") == 8 * a.entries


def test_triangles_keep_their_paths_on_chip() -> None:
    [tensors] = runs("triangles", GRAPH)
    lower = tensors["L"]
    paths = scipy_sparse.csr_array((lower != 0).astype(int) @ (lower != 0).astype(int))
    made = sim.spgemm(GRAPH, on="piuma_core", workload="triangles").best
    first, last = made.products
    assert first.entries.total == paths.nnz
    assert last.products == paths.multiply(lower != 0).nnz
    assert made.counted.moved("dram", "P") == 0
    assert made.counted.counts.get("spad", "P", "updates") == first.products


def test_triangles_whose_paths_do_not_fit() -> None:
    small = device("piuma_core").with_("spad.capacity", "2 KiB")
    with pytest.raises(Infeasible, match=r"piuma_triangles: .* in spad"):
        sim.spgemm(GRAPH, on=small, workload="triangles")


def test_levels_of_a_search_come_one_after_another() -> None:
    found = sim.spgemm(LINE, on="piuma_core", workload="bfs", source=2).best
    assert isinstance(found, InTurn)
    assert len(found.runs) == 8  # seven nodes further on, and a level that finds none
    assert found.multiplies == 7
    assert found.made == 7
    assert found.seconds == pytest.approx(sum(run.seconds for run in found.runs))
    assert found.traffic == pytest.approx(sum(found.summary()["tensors"].values()))
    assert found.joules == pytest.approx(sum(run.joules for run in found.runs))


def test_a_layer_reads_features_by_edges_and_weights_once(drawn: Drawn) -> None:
    a = drawn(16, 16, 2)
    products = stages(read("piuma_gcn").cascade, {"A": a}, {"f": 6, "g": 3})
    nodes = int((a.lengths > 0).sum())
    assert [one.products for one in products] == [6 * a.entries, nodes * 6 * 3, nodes * 3]
    found = estimate(read("piuma_gcn"), products, device("piuma_core"))
    assert found.multiplies == 6 * a.entries + nodes * 6 * 3
    assert found.counted.moved("dram", "W") == 8 * 6 * 3
    assert found.counted.moved("dram", "H") == found.counted.moved("dram", "Z") == 0
    assert found.counted.moved("dram", "Y") == 8 * nodes * 3


def test_a_product_in_stages_is_the_product() -> None:
    """Two ways to the same counts: :func:`sim.spgemm`, and the stages of its cascade."""
    a = Structure.of(GRAPH)
    for name, on in (("gamma", "gamma"), ("piuma_outer", "piuma_core"), ("piuma_row", "piuma_core")):
        mapping = read(name)
        held = {"A": a.transposed if name == "piuma_outer" else a, "B": a}
        other = estimate(mapping, stages(mapping.cascade, held, {}), device(on))
        assert sim.spgemm(GRAPH, on=on, dataflow=name).best.summary() | {"matrix": ""} == other.summary()


@pytest.mark.parametrize(
    ("text", "given", "sizes", "message"),
    [
        ("Z[m] = A[m, k] * X[k]", {"Q": (3, 4)}, {}, "no tensor 'Q'"),
        ("Z[m] = A[m, k] * X[k]", {"A": (3, 4)}, {"q": 2}, "no rank 'q'"),
        ("Z[m] = A[m, k] * X[k]", {"A": (3, 4), "X": (5, 1)}, {}, "X has 5 along k, others have 4"),
        ("Z[m, n] = A[m, k] * X[k, n]", {"A": (3, 4)}, {}, "no matrix has rank 'n'; give its size, as n=64"),
        ("Z[m, n] = A[m, n] + B[m, n]", {"A": (3, 4), "B": (3, 4)}, {}, "only mul and where go through two sparse"),
        ("Z[m, n] = A[m, n] + B[m]", {"A": (3, 4), "B": (3, 1)}, {}, "is no product of two matrices"),
    ],
)
def test_what_is_no_product(
    drawn: Drawn, text: str, given: dict[str, tuple[int, int]], sizes: dict[str, int], message: str
) -> None:
    cascade = parse(text, m=2, **({"k": 2} if "k" in text else {}), **({"n": 2} if "n" in text else {}))
    held = {tensor: drawn(*shape, 0) for tensor, shape in given.items()}
    with pytest.raises(WeirError, match=message):
        stages(cascade, held, sizes)
