"""``weir import`` and ``weir schema``: files of other tools read, files of ours described."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from einsum.errors import WeirError


def imported(path: str, out: str | None) -> None:
    """Print, or write, the device file that another tool's architecture stands for; what was missed goes to stderr."""
    from sim.interop import timeloop

    found = timeloop.read(path)
    if out is None:
        print(found.toml, end="")
    else:
        _written(Path(out), found.toml)
    for line in found.missed:
        print(f"weir: {line}", file=sys.stderr)


def _written(path: Path, text: str) -> None:
    """Write a new file whole or not at all; one that is there stays."""
    if path.suffix != ".toml":
        raise WeirError(f"{path}: a device file's name ends in .toml")
    if path.exists():
        raise WeirError(f"{path} is there already; give another name")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise WeirError(f"cannot write {path}: {error.strerror or error}") from None


def schema(kind: str | None) -> None:
    """Print the JSON Schema of one kind of file, or the kinds there are."""
    import json

    from sim.interop import schemas

    if kind is None:
        print("\n".join(schemas.KINDS))
    else:
        print(json.dumps(schemas.schema(kind), indent=2))
