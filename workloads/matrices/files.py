"""Matrices from files, by the ending of their names."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from einsum.errors import WeirError, hint
from einsum.files import regular
from workloads.matrices import market
from workloads.matrices.bounds import LARGEST, contents, fits
from workloads.matrices.lines import parse

EDGES = (".txt", ".el", ".tsv", ".edges")
SUFFIXES = (".mtx", ".npz", *EDGES)
_FIELDS = ("format", "shape", "data", "indices", "indptr")


def read(path: str | Path) -> Any:
    """The matrix in a file, as a ``scipy.sparse.csr_array``: .mtx, a SNAP edge list, either with .gz, or scipy's .npz.

    Raises :class:`WeirError` with file and line for what is not one, :class:`Infeasible` for what memory cannot hold.
    """
    path = Path(path)
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if kind == ".npz" and path.suffix == ".npz":
        return _archive(path)
    if kind not in SUFFIXES or kind == ".npz":
        raise WeirError(
            f"{path.name}: a matrix file ends in {', '.join(SUFFIXES)}{hint(kind, SUFFIXES)}; .mtx and edge lists may "
            "be followed by .gz"
        )
    text = contents(path)
    return market.matrix(text, path.name) if kind == ".mtx" else edges(text, path.name)


def edges(text: bytes, where: str) -> Any:
    """A SNAP edge list: comments from ``#``, then a source and a target a line (a third column is a weight).

    Nodes keep their numbers, from 0; an edge given more than once is one edge.
    """
    from scipy import sparse

    head, number = 0, 1
    while text[head : head + 1] in (b"#", b"%", b"\n", b"\r"):
        end = text.find(b"\n", head)
        head, number = (len(text) if end < 0 else end + 1), number + 1
    body = text[head:]
    width = len(body.split(b"\n", 1)[0].split())
    if width not in (2, 3):
        raise WeirError(f"{where}: line {number}: expected a source and a target, or those and a weight")
    lines = parse(body, where, number, width, 2, "source, target" + (", weight" if width == 3 else ""))
    nodes = int(lines.index.max()) + 1
    if nodes >= 2**31:
        at = int(np.argmax(lines.index.max(axis=0)))
        raise WeirError(f"{where}: line {lines.number(at)}: node {nodes - 1} is more than 2^31 - 1")
    fits(where, nodes, nodes, len(lines))
    rows, columns = lines.index
    keys, first = np.unique(rows * nodes + columns, return_index=True)
    data = np.ones(len(keys)) if lines.values is None else lines.values[first]
    return sparse.csr_array((data, (keys // nodes, keys % nodes)), shape=(nodes, nodes))


def _archive(path: Path) -> Any:
    """What ``scipy.sparse.save_npz`` wrote of a CSR matrix; pickled objects are refused."""
    regular(path, "matrix", LARGEST)
    try:
        with zipfile.ZipFile(path) as packed:
            sizes = {entry.filename: entry.file_size for entry in packed.infolist()}
            missing = [name for name in _FIELDS if f"{name}.npy" not in sizes]
            if missing:
                raise WeirError(f"{path.name}: no {missing[0]!r} in the archive; expected a CSR matrix of scipy's")
            fits(path.name, 0, 0, sum(sizes[f"{name}.npy"] for name in _FIELDS) // 12)
            found = {name: _array(packed.read(f"{name}.npy")) for name in _FIELDS}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, SyntaxError) as problem:
        if isinstance(problem, WeirError):
            raise
        raise WeirError(f"{path.name}: not an archive of scipy's: {problem}") from None
    return _csr(path.name, found)


def _array(packed: bytes) -> Any:
    return np.lib.format.read_array(io.BytesIO(packed), allow_pickle=False)


def _csr(where: str, found: dict[str, Any]) -> Any:
    from scipy import sparse

    form = found["format"].item()
    if form not in (b"csr", "csr"):
        raise WeirError(f"{where}: holds a {form!r} matrix, expected csr; save it with .tocsr()")
    shape, indptr, indices, data = (found[name] for name in ("shape", "indptr", "indices", "data"))
    if shape.shape != (2,) or not all(a.ndim == 1 and a.dtype.kind in "iu" for a in (shape, indptr, indices)):
        raise WeirError(f"{where}: shape, indptr and indices must be vectors of whole numbers")
    rows, columns = (int(n) for n in shape)
    rises = len(indptr) == rows + 1 and indptr[0] == 0 and bool((np.diff(indptr.astype(np.int64)) >= 0).all())
    if not rises or indptr[-1] != len(indices) or len(data) != len(indices):
        raise WeirError(f"{where}: indptr, indices and data do not describe {rows} rows")
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < columns:
        raise WeirError(f"{where}: a column lies outside 0 to {columns - 1}")
    if data.dtype.kind not in "biuf" or not np.isfinite(data).all():
        raise WeirError(f"{where}: the values must be finite real numbers, not {data.dtype}")
    made = sparse.csr_array(
        (data.astype(np.float64), indices.astype(np.int64), indptr.astype(np.int64)), (rows, columns)
    )
    made.sum_duplicates()
    return made
