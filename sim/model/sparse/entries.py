"""Entries of a sparse product: counted exactly, from a sample of rows, or expected from degrees alone."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from einsum.errors import WeirError, hint
from sim.model.sparse.structure import Entries, Floats, Ints, Structure

ROWS = 256  # rows of a sample
CONFIDENCE = 0.95


def exact(a: Structure, b: Structure, *, threads: int = 1) -> Entries:
    """Every row's different columns, counted by the kernel that sizes a product before it is computed."""
    if b.dense:
        return Entries(np.where(a.lengths > 0, float(b.shape[1]), 0.0), "exact")
    from workloads.kernels.core.csr import Csr
    from workloads.kernels.spgemm import symbolic

    blank = [Csr(s.indptr, s.indices, np.empty(s.entries), s.shape) for s in (a, b)]
    return Entries(np.diff(symbolic(*blank, threads=threads)).astype(np.float64), "exact")


def sampled(a: Structure, b: Structure, *, rows: int = ROWS, seed: int = 0) -> Entries:
    """Horvitz-Thompson: rows drawn in proportion to their products; other rows by the sample's mean compression.

    The interval is the normal one of the ratio's mean, at ``CONFIDENCE``.
    """
    products = _products(a, b).astype(np.float64)
    total = products.sum()
    if total == 0:
        return Entries(np.zeros(a.shape[0]), "exact")
    drawn = np.random.default_rng(seed).choice(len(products), rows, p=products / total)
    chosen, back = np.unique(drawn, return_inverse=True)
    counted = exact(_rows(a, chosen), b).rows
    ratios = (counted / products[chosen])[back]
    made = np.minimum(products * ratios.mean(), b.shape[1])
    made[chosen] = counted
    made *= total * ratios.mean() / made.sum()  # unbiased as a whole
    width = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * ratios.std(ddof=1) / np.sqrt(rows)
    return Entries(made, "sampled", float(width / ratios.mean()), CONFIDENCE)


def expected(a: Structure, b: Structure) -> Entries:
    """Degrees only (Chung and Lu): a row's products fall on columns in proportion to how often all products do.

    What it does not know is clustering: it is too high by little on social and peer-to-peer graphs, several times on
    meshes.
    """
    products = _products(a, b)
    weights = np.repeat(a.heights, b.lengths).astype(np.float64)  # of B's entries: how many products use each
    popular = np.bincount(b.indices, weights, minlength=b.shape[1])
    total = popular.sum()
    if total == 0:
        return Entries(np.zeros(a.shape[0]), "exact")
    chances, columns = np.unique(popular / total, return_counts=True)
    draws, back = np.unique(products, return_inverse=True)
    missed = np.array([np.sum(columns * -np.expm1(n * np.log1p(-np.minimum(chances, 1 - 1e-16)))) for n in draws])
    return Entries(missed[back], "expected")


HOW: dict[str, Callable[[Structure, Structure], Entries]] = {"exact": exact, "sampled": sampled, "expected": expected}


def entries(how: str, a: Structure, b: Structure) -> Entries:
    """Entries of A B, found in the way named."""
    if how not in HOW:
        raise WeirError(f"unknown way to count {how!r:.40}{hint(how, HOW)}")
    return HOW[how](a, b)


def _products(a: Structure, b: Structure) -> Floats:
    before = np.concatenate([[0], np.cumsum(b.lengths[a.indices])])
    made: Floats = np.diff(before[a.indptr])
    return made


def _rows(a: Structure, chosen: Ints) -> Structure:
    """Some rows of a matrix."""
    lengths = a.lengths[chosen]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(a.indptr[chosen] - indptr[:-1], lengths) + np.arange(indptr[-1])
    return Structure(indptr, a.indices[places], (len(chosen), a.shape[1]))
