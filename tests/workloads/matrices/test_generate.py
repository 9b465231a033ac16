from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from einsum.errors import WeirError
from workloads.matrices import named
from workloads.matrices.expected import rmat, uniform
from workloads.matrices.generate import MILD

CORNERS = (MILD, (0.57, 0.19, 0.19, 0.05), (0.25, 0.25, 0.25, 0.25), (0.5, 0.1, 0.1, 0.3))


def multiplies(a: sparse.csr_array) -> int:
    columns = np.bincount(a.indices, minlength=a.shape[1])
    return int((columns * np.diff(a.indptr)).sum())


@pytest.mark.parametrize("corners", CORNERS)
def test_the_closed_forms_of_an_rmat_are_within_half_a_per_cent_of_many_draws(corners: tuple[float, ...]) -> None:
    scale, draws, seeds = 10, 2**14, 60
    text = "rmat:scale=10,draws=16384," + ",".join(f"{k}={v}" for k, v in zip("abcd", corners, strict=True))
    drawn = [named(f"{text},seed={seed}") for seed in range(seeds)]
    found = np.array([(a.nnz, multiplies(a), (a @ a).nnz) for a in drawn], float)
    expected = rmat(scale, draws, corners)  # type: ignore[arg-type]
    noise = 4 * found.std(axis=0) / np.sqrt(seeds)  # four standard errors of the mean of the draws
    theirs = (expected.entries, expected.multiplies, expected.product)
    for ours, mean, slack in zip(theirs, found.mean(axis=0), noise, strict=True):
        assert ours == pytest.approx(mean, rel=5e-3, abs=slack)


def test_the_stand_in_for_smash() -> None:
    expected = rmat(14, 2**18)
    assert expected.entries == pytest.approx(254_211, rel=1e-4)
    assert expected.product == pytest.approx(5_174_841, rel=7e-3)  # theirs takes m-m-n and m-n-n as independent
    assert expected.multiplies == pytest.approx(5.70e6, rel=2e-3)


def test_uniform() -> None:
    made = named("uniform:n=2000,density=0.004,seed=1")
    expected = uniform(2000, 0.004)
    assert made.nnz == pytest.approx(expected.entries, rel=0.03)
    assert multiplies(made) == pytest.approx(expected.multiplies, rel=0.06)
    assert (made @ made).nnz == pytest.approx(expected.product, rel=0.06)


def test_banded_and_mesh() -> None:
    band = named("banded:n=50,width=2")
    assert band.nnz == 5 * 50 - 6
    assert (np.abs(np.subtract(*band.nonzero())) <= 2).all()
    mesh = named("mesh:side=5,dofs=2")
    assert mesh.shape == (250, 250)
    assert np.diff(mesh.indptr).max() == 54  # 27 nodes of 2 unknowns
    assert abs(mesh - mesh.T).nnz > 0  # values are drawn
    assert (mesh != 0).toarray().tolist() == (mesh.T != 0).toarray().tolist()


def test_same_seed_same_matrix() -> None:
    one, other, third = (named(f"rmat:scale=6,draws=200,seed={seed}") for seed in (1, 1, 2))
    assert (one != other).nnz == 0
    assert (one != third).nnz > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rmatt:scale=3", "unknown generator 'rmatt'; did you mean 'rmat:'"),
        ("rmat:scale=3", "rmat: 'draws' is missing"),
        ("rmat:scale=3,draws=x", "rmat: draws is 'x', expected a whole number"),
        ("rmat:scale=3,drawz=1", "rmat: unknown option 'drawz'; did you mean 'draws'"),
        ("rmat:scale=3,draws=9,a=0.9", "do not sum to 1"),
        ("rmat:scale=31,draws=9", "scale is 31"),
        ("uniform:n=10,density=2", "density is 2.0, expected 0 to 1"),
        ("uniform:n=10,density=nan", "density is nan, expected 0 to 1"),
        ("uniform:n=0,density=1", "uniform: n is 0, expected 1 to 1,099,511,627,775"),
        ("rmat:scale=-1,draws=9", "rmat: scale is -1, expected 1 to 30"),
        ("rmat:scale=3,draws=9,seed=-1", "rmat: seed is -1, expected 0 to 1,099,511,627,775"),
        ("rmat:scale=3,draws=9,d=nan", "rmat: d is nan, expected 0 to 1"),
        ("mesh:side=5,dofs=65", "mesh: dofs is 65, expected 1 to 64"),
        ("banded:n=-4,width=0", "banded: n is -4, expected 1"),
        ("banded:n=4,width=4", "width is 4, expected 0 to 3"),
        ("mesh:side=1", "side is 1, expected 2 to"),
        ("mesh:side=99999", "needs about"),
        ("nothing.mtx", "no such matrix file"),
    ],
)
def test_bad_names(text: str, message: str) -> None:
    with pytest.raises(WeirError, match=r".") as error:
        named(text)
    assert message in str(error.value)
