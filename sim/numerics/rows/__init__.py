"""Which cascade each kernel is the twin of, and how close it must come: one module a family, each with its ``ROWS``."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from sim.numerics.draw import Row


def table() -> dict[str, Row]:
    """Every row by kernel, ``family.kernel``, as in :func:`workloads.kernels.catalogue`."""
    modules = [import_module(f"{__name__}.{info.name}") for info in iter_modules(__path__)]
    return {kernel: row for module in modules for kernel, row in module.ROWS.items()}
