"""Matrices that published figures are about and that do not come with weir: found in a folder, if one is given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from einsum import WeirError

VARIABLE = "WEIR_MATRICES"  # the folder, where the command line names none
_FOLDER: ContextVar[str | None] = ContextVar("folder", default=None)


class Absent(WeirError):  # noqa: N818 - a state of affairs
    """A figure cannot be recomputed because the matrix it is about is not here."""


@contextmanager
def folder(path: str | Path | None) -> Iterator[None]:
    """Look for matrices there while the block runs."""
    if path is not None and not Path(path).is_dir():
        raise WeirError(f"no such folder of matrices: {path}")
    token = _FOLDER.set(None if path is None else str(path))
    try:
        yield
    finally:
        _FOLDER.reset(token)


def matrix(name: str) -> Any:
    """The matrix of that name, as .npz, .mtx or an edge list; raises :class:`Absent` if there is none."""
    where = _FOLDER.get() or os.environ.get(VARIABLE)
    if not where:
        raise Absent(f"needs the matrix {name}: weir validate --data FOLDER (or {VARIABLE}) says where it is")
    from workloads.matrices import SUFFIXES

    for suffix in (*SUFFIXES, ".mtx.gz", ".txt.gz"):
        path = Path(where) / f"{name}{suffix}"
        if path.is_file():
            return _read(str(path))
    raise Absent(f"needs the matrix {name}, which is not in {where}")


@lru_cache(maxsize=4)
def _read(path: str) -> Any:
    from workloads.matrices import read

    return read(path)
