"""What an answer follows from, as hashes: weir's sources, and the things that a point's values stand for."""

from __future__ import annotations

import hashlib
import inspect
import numbers
import platform
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = ("einsum", "workloads", "mappings", "sim")
CODE, DATA = (".py",), (".toml", ".json", ".txt")


def digest(*parts: str | bytes) -> bytes:
    """Sixteen bytes that stand for the parts, in their order."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        made.update(len(raw).to_bytes(8, "little") + raw)
    return made.digest()


@cache
def sources(*, data: bool) -> str:
    """A hash of the four packages' code, and of the data files that come with them if ``data``."""
    from importlib.util import find_spec

    kinds = CODE + (DATA if data else ())
    parts: list[str | bytes] = []
    for package in PACKAGES:
        spec = find_spec(package)
        for root in spec.submodule_search_locations or () if spec else ():
            files = sorted(f for f in Path(root).rglob("*") if f.suffix in kinds and "__pycache__" not in f.parts)
            parts += [piece for f in files for piece in (f.relative_to(root).as_posix(), f.read_bytes())]
    return digest(*parts).hex()


def version(*, data: bool) -> str:
    """What code gives the answers: weir's sources, and the libraries that its figures may hang on."""
    import numpy as np

    return f"{sources(data=data)} python {platform.python_version()} numpy {np.__version__}"


def identity(value: Any) -> str:
    """Text that is the same for values that mean the same, and differs where the meaning does.

    Numbers are themselves, whatever their type; the path of a file is what the file holds; hardware, models and tiers
    are every number in them.
    """
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, numbers.Real):
        return repr(float(value))
    if isinstance(value, str | Path):
        return _named(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key!r}:{identity(item)}" for key, item in sorted(value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(identity, value)) + "]"
    if callable(value):
        return _function(value)
    inner = getattr(value, "spec", None)  # a model is its specification
    return f"{type(value).__qualname__}:{inner if inner is not None else value!r}"


def _named(value: str | Path) -> str:
    path = Path(value)
    try:
        if path.is_file():
            return f"file:{digest(path.read_bytes()).hex()}"
    except (OSError, ValueError):  # no path at all, or one that may not be looked at: then it is a name
        pass
    return repr(str(value))


def _function(value: Callable[..., Any]) -> str:
    """A function by its name and its text; one without text, by its compiled code."""
    name = f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    try:
        return f"{name}:{digest(inspect.getsource(value)).hex()}"
    except (OSError, TypeError):
        code = getattr(value, "__code__", None)
        return f"{name}:{code.co_code.hex() if code else ''}"
