"""Matrices drawn: uniform, R-MAT, banded, and the mesh of a finite-element problem; named in a line of text."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from einsum.errors import WeirError, hint
from workloads.matrices.bounds import fits
from workloads.matrices.files import read

MILD = (0.4726, 0.1126, 0.1126, 0.3021)  # scale 14, 2^18 draws: 254,211 entries expected, 5.17 M in the square
ANY = (0, 2**40 - 1)  # what an option may be that stands below with no range of its own
RANGES = {
    **dict.fromkeys(("density", "a", "b", "c", "d"), (0, 1)), **dict.fromkeys(("n", "draws"), (1, ANY[1])),
    "scale": (1, 30), "side": (2, ANY[1]), "dofs": (1, 64),
}  # fmt: skip
STOCHASTIC = 1e-3  # how far from 1 the four probabilities may sum, rounded as papers print them


def uniform(*, n: int, density: float, seed: int = 0) -> Any:
    """``n`` x ``n``, every place as likely as any other."""
    from scipy import sparse

    _check("uniform", n=n, density=density, seed=seed)
    rng = np.random.default_rng(seed)
    entries = int(rng.binomial(n * n, density))
    fits("uniform", n, n, entries)
    keys = np.unique(rng.integers(0, n * n, entries))
    while len(keys) < entries:  # places drawn twice are drawn again
        keys = np.unique(np.concatenate([keys, rng.integers(0, n * n, entries - len(keys))]))
    return sparse.csr_array((rng.random(entries) + 0.5, (keys // n, keys % n)), shape=(n, n))


def rmat(
    *,
    scale: int,
    draws: int,
    a: float = MILD[0],
    b: float = MILD[1],
    c: float = MILD[2],
    d: float = MILD[3],
    seed: int = 0,
) -> Any:
    """``2**scale`` nodes, ``draws`` entries that fall into one of four quarters again and again; repeats are merged.

    Chakrabarti, Zhan and Faloutsos, "R-MAT: a recursive model for graph mining", SDM 2004.
    """
    from scipy import sparse

    _check("rmat", scale=scale, draws=draws, a=a, b=b, c=c, d=d, seed=seed)
    corners = corners_of(a, b, c, d)
    n = 1 << scale
    fits("rmat", n, n, draws)
    rng = np.random.default_rng(seed)
    rows, columns = np.zeros(draws, np.int64), np.zeros(draws, np.int64)
    edges = np.cumsum(corners)[:3]
    for _ in range(scale):
        quarter = np.searchsorted(edges, rng.random(draws), side="right")
        rows, columns = 2 * rows + (quarter >> 1), 2 * columns + (quarter & 1)
    keys = np.unique(rows * n + columns)
    return sparse.csr_array((rng.random(len(keys)) + 0.5, (keys // n, keys % n)), shape=(n, n))


def corners_of(a: float, b: float, c: float, d: float) -> tuple[float, float, float, float]:
    """The four probabilities, checked, and scaled to sum to one."""
    total = a + b + c + d
    if min(a, b, c, d) < 0 or abs(total - 1) > STOCHASTIC:
        raise WeirError(f"rmat: a, b, c, d are {a}, {b}, {c}, {d}, which do not sum to 1")
    return a / total, b / total, c / total, d / total


def banded(*, n: int, width: int, seed: int = 0) -> Any:
    """``n`` x ``n``, every place within ``width`` of the diagonal."""
    from scipy import sparse

    _check("banded", n=n, seed=seed)
    if not 0 <= width < n:
        raise WeirError(f"banded: width is {width}, expected 0 to {n - 1}")
    fits("banded", n, n, n * (2 * width + 1))
    rng = np.random.default_rng(seed)
    offsets = list(range(-width, width + 1))
    diagonals: Any = [rng.random(n - abs(offset)) + 0.5 for offset in offsets]
    return sparse.csr_array(sparse.diags_array(diagonals, offsets=offsets, shape=(n, n)))


def mesh(*, side: int, dofs: int = 3, seed: int = 0) -> Any:
    """``side ** 3`` nodes of a cube meshed in bricks, ``dofs`` unknowns each: 27 blocks a row inside, as a solid's
    stiffness matrix has."""
    from scipy import sparse

    _check("mesh", side=side, dofs=dofs, seed=seed)
    fits("mesh", side**3 * dofs, side**3 * dofs, 27 * side**3 * dofs**2)
    ones: Any = [np.ones(side - 1), np.ones(side), np.ones(side - 1)]
    line = sparse.diags_array(ones, offsets=[-1, 0, 1])
    nodes = sparse.kron(sparse.kron(line, line), line)
    made = sparse.csr_array(sparse.kron(nodes, np.ones((dofs, dofs))))
    made.eliminate_zeros()  # of blocks that scipy fills up
    made.data = np.random.default_rng(seed).random(made.nnz) + 0.5
    made.sort_indices()
    return made


def _check(kind: str, **given: float) -> None:
    """Refuse the first option that is out of its range, NaN too."""
    for name, value in given.items():
        low, high = RANGES.get(name, ANY)
        if not low <= value <= high:
            raise WeirError(f"{kind}: {name} is {value!r:.40}, expected {low} to {high:,}")


GENERATORS: dict[str, Callable[..., Any]] = {"uniform": uniform, "rmat": rmat, "banded": banded, "mesh": mesh}


def named(text: str) -> Any:
    """The matrix in a file, or drawn: ``"cora.mtx"``, ``"rmat:scale=14,draws=262144"``, ``"mesh:side=12"``.

    Raises :class:`WeirError` for an unknown generator or option, naming the nearest.
    """
    kind, colon, options = text.partition(":")
    if not colon or kind not in GENERATORS:
        known = [f"{name}:" for name in GENERATORS]
        if colon and not Path(text).exists():
            raise WeirError(f"unknown generator {kind!r:.60}{hint(kind + ':', known)}")
        return read(text)
    build = GENERATORS[kind]
    parameters = inspect.signature(build).parameters
    given = dict(_option(kind, item, parameters) for item in options.split(",") if item)
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in given]
    if missing:
        raise WeirError(f"{kind}: {missing[0]!r} is missing, as in {kind}:{missing[0]}=...")
    return build(**given)


def _option(kind: str, item: str, parameters: Any) -> tuple[str, float]:
    name, _, value = item.partition("=")
    if name not in parameters:
        raise WeirError(f"{kind}: unknown option {name!r:.40}{hint(name, parameters)}")
    whole = parameters[name].annotation == "int"
    try:
        return name, int(value) if whole else float(value)
    except ValueError:
        raise WeirError(f"{kind}: {name} is {value!r:.40}, expected a {'whole ' if whole else ''}number") from None
