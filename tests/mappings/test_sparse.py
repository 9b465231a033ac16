from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from einsum import WeirError, interpret
from mappings.formats import ALL, parse_format, sizes
from mappings.sparse import FOLDER, names, read

GOOD = (FOLDER / "piuma_row.toml").read_text()


def test_every_file_reads_and_says_where_it_comes_from() -> None:
    for name in names():
        one = read(name)
        assert one.title
        assert one.source
        assert {f.tensor for f in one.formats} == {t.name for t in one.cascade.tensors}


def operands(workload: str, a: np.ndarray) -> tuple[dict[str, Any], Any]:
    """Dense inputs of a workload on a matrix, and what scipy makes of them."""
    m = csr_array(a)
    x, w = np.random.default_rng(1).normal(size=(5, 3)), np.random.default_rng(2).normal(size=(3, 2))
    edges = csr_array(np.tril(a != 0, -1).astype(float))
    if workload == "triangles":
        return dict.fromkeys("LBE", edges.toarray()), (edges @ edges).multiply(edges).sum(axis=1)
    if workload == "bfs":
        seen = np.array([1.0, 0, 0, 0, 0])
        found = (m.T @ seen != 0) & (seen == 0)
        return {"F": np.ma.array(seen, mask=seen == 0), "G": m, "V": seen}, found
    return {
        "spgemm": ({"A": a, "B": a}, (m @ m).toarray()),
        "spmv": ({"A": a, "X": x[:, 0]}, m @ x[:, 0]),
        "spmm": ({"A": a, "X": x}, m @ x),
        "gcn": ({"A": a, "X": x, "W": w}, np.maximum(m @ x @ w, 0)),
    }[workload]


@pytest.mark.parametrize("name", names())
def test_every_cascade_computes_what_scipy_does(name: str) -> None:
    one = read(name)
    rng = np.random.default_rng(0)
    a = rng.random((5, 5)) * (rng.random((5, 5)) < 0.5)
    given, want = operands(one.workload, a)
    cascade = one.cascade.with_sizes(**{r: {"f": 3, "g": 2}.get(r, 5) for r in one.cascade.ranks})
    if one.workload == "spmm":
        cascade = cascade.with_sizes(n=3)
    turned = {"A": ("k", "m"), "B": ("n", "k")}  # ranks of operands that some hold the other way round
    for tensor, ranks in turned.items():
        if one.workload == "spgemm" and cascade.tensor(tensor).ranks == ranks:
            given[tensor] = given[tensor].T
    made = interpret(cascade, given)[one.cascade.outputs[-1]]
    np.testing.assert_allclose(np.nan_to_num(np.ma.filled(np.ma.asarray(made, float), 0.0)), want, atol=1e-12)


def test_a_format() -> None:
    made = parse_format("A", ["12", "4 every k all", "8 each m 128 k 128"], ("m", "k"))
    entry, pointer, tile = made.parts
    assert entry.extents(("m", "k")) == (1, 1)
    assert (pointer.extents(("m", "k")), pointer.every) == ((1, ALL), True)
    assert tile.extents(("m", "k")) == (128, 128)
    assert sizes([made]) == {"A": 12.0, "A.k": 4.0, "A.m.k": 8.0}


def test_other_tiles() -> None:
    one = read("extensor").with_tiles({"m.0": 4096, "k.1": 64})
    assert "for m tile 4096" in str(one.nest)
    assert str(one.nest).count("for k tile 64") == 1
    with pytest.raises(WeirError, match=r"no loop 'm.7' in the nest; did you mean 'm\.\d'"):
        one.with_tiles({"m.7": 2})
    with pytest.raises(WeirError, match="a tile is 1 or more"):
        one.with_tiles({"m.0": 0})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("share =", "chair =", "chair: unknown key; did you mean 'share'"),
        ('share = "dynamic"', 'share = "dynamc"', "share: unknown share 'dynamc'; did you mean 'dynamic'"),
        ("title =", "# title =", "title: is missing"),
        ("product = 12", "produkt = 12", "instructions.Z.produkt: unknown key; did you mean 'product'"),
        ("product = 12", "product = -1", "instructions.Z.product: must be a number from 0"),
        ('hash = "multiplicative"', 'hash = "md5"', "table.hash: unknown hash 'md5'"),
        ("load = 0.5", "load = 1.5", "table.load: must lie between 0 and 1"),
        ('Z = "hash"', 'Z = "hush"', "work.Z: unknown 'hush'; did you mean 'hash'"),
        ('Z = "hash"', 'Z = "merge"', "work.Z: is not add, hash, intersect, skip or 'merge RADIX'"),
        ('Z = "hash"', 'Z = "merge 1"', "of a radix from 2"),
        ('Z = "hash"', 'Y = "hash"', "work.Y: unknown key"),
        ('"8 each n all"', '"8 each q all"', "format.B: no rank 'q'"),
        ('"8 each n all"', '"8 for n all"', "is not BYTES, or BYTES each"),
        ('B = ["12"', 'B = ["4 each n all"', "the first part is the bytes of an entry"),
        ('dma = ["Z"]', 'dma = "Z"', "via.dma: must be a list of texts"),
        (
            "for m tile 64",
            "fro m tile 64",
            "nest: 'fro m tile 64' is not a node; did you mean 'for'",
        ),
        ('cascade = "Z', 'cascade = "z', "z"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = tmp_path / "piuma.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(WeirError) as error:
        read(path)
    assert message in str(error.value)


def test_unknown_names() -> None:
    with pytest.raises(WeirError, match="unknown sparse mapping 'gama'; did you mean 'gamma'"):
        read("gama")
