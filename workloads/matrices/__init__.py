"""Sparse matrices from files and from generators, as ``scipy.sparse.csr_array``.

``read(path)`` takes Matrix Market (plain or gzip), SNAP edge lists and scipy's archives; ``named(text)`` takes a path
or a generator such as ``"rmat:scale=14,draws=262144"``.
"""

from __future__ import annotations

from workloads.matrices.files import SUFFIXES, read
from workloads.matrices.generate import GENERATORS, named

__all__ = ["GENERATORS", "SUFFIXES", "named", "read"]
