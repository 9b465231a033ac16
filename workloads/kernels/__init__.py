"""Reference kernels: arrays in, arrays out, each the fast twin of a cascade.

A family of kernels is a module of this folder and a kernel a name in its ``__all__``. They import nothing else of this
distribution, and Numba only when a family is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any


def catalogue() -> dict[str, Callable[..., Any]]:
    """Every kernel by name, ``family.kernel``."""
    families = [info.name for info in iter_modules(__path__) if not info.ispkg]
    modules = {family: import_module(f"{__name__}.{family}") for family in families}
    return {f"{family}.{name}": getattr(module, name) for family, module in modules.items() for name in module.__all__}
