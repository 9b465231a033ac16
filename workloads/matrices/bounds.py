"""What a matrix may take of this machine's memory, and files read within it."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import IO, cast

from einsum.errors import Infeasible, WeirError
from einsum.files import regular

LARGEST = 1 << 34  # bytes of a file that is opened at all
SHARE = 0.5  # of the machine's memory that a matrix may take while it is read
WORKING = 64  # bytes an entry takes while it is read: text, three numbers, an order, and the matrix
PIECE = 1 << 24  # bytes read at a time


def budget() -> int:
    """Bytes that a matrix may take while it is read."""
    return int(SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def fits(where: str, rows: int, columns: int, entries: int) -> None:
    """Refuse a matrix that this machine could not hold; raises :class:`Infeasible` with both sizes."""
    needed = 8 * (rows + columns) + WORKING * entries
    if needed > budget():
        raise Infeasible(
            f"{where}: {rows} x {columns} with {entries} entries needs about {needed >> 20} MiB to be read; "
            f"{budget() >> 20} MiB of this machine's memory are given to it",
            needed / budget(),
        )


def contents(path: Path) -> bytes:
    """The file's bytes, unpacked if its name ends in .gz; refused where they would not fit in memory."""
    regular(path, "matrix", LARGEST)
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as packed:
                return _bounded(path, cast(IO[bytes], packed))
        with path.open("rb") as plain:
            return _bounded(path, plain)
    except EOFError:
        raise WeirError(f"{path.name}: truncated: the compressed data end too early") from None
    except (gzip.BadGzipFile, zlib.error) as problem:
        raise WeirError(f"{path.name}: not gzip data: {problem}") from None
    except OSError as problem:
        raise WeirError(f"cannot read the matrix file {str(path)!r:.200}: {problem.strerror or problem}") from None


def _bounded(path: Path, source: IO[bytes]) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := source.read(PIECE):
        size += len(piece)
        if size > budget() // 4:  # the text is at most a quarter of what reading takes
            raise Infeasible(f"{path.name}: more than {budget() >> 22} MiB of text, which this machine cannot hold")
        pieces.append(piece)
    return b"".join(pieces)
