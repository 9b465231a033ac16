"""Measured kernels from CSV files, one operation a file, as columns of plain values."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einsum.errors import WeirError, hint
from sim.arch import Device, canonical, device, device_names

Array = NDArray[np.float64]
LARGEST = 64 << 20  # bytes of one file
FILES = {  # file, without .csv: the columns that it must have
    "gemm": ("dtype", "m", "n", "k"),
    "attention_prefill": ("batch", "seq", "heads", "kv_heads", "head_dim", "attn_dtype", "kv_dtype"),
    "attention_decode": ("batch", "seq", "heads", "kv_heads", "head_dim", "attn_dtype", "kv_dtype"),
    "mla_attention": ("phase", "batch", "seq", "heads", "kv_cache_dtype"),
    "moe_layer": ("hidden_size", "inter_size", "topk", "num_experts", "moe_dtype", "num_tokens", "moe_tp_size",
                  "moe_ep_size"),
    "collectives": ("op_name", "num_gpus", "bytes"),
    "elementwise_vidur": ("op", "m", "hidden", "model"),
}  # fmt: skip
SIZES = {
    "m", "n", "k", "batch", "seq", "heads", "kv_heads", "head_dim", "hidden_size", "inter_size", "topk", "num_experts",
    "num_tokens", "moe_tp_size", "moe_ep_size", "num_gpus", "bytes", "hidden",
}  # fmt: skip
TYPES = ("fp32", "tf32", "bf16", "fp16", "fp8", "bfp8", "int8", "fp4", "int4")
MOST = 1e15  # of any size: a petabyte to send
SHORTEST = 0.3  # us, of what a GPU runs: a third of the shortest kernel measured
_WORDS = {"bfloat16": "bf16", "float16": "fp16", "fp8_block": "bfp8", "w4a16_mxfp4": "int4", "nvfp4": "fp4"}


@dataclass(frozen=True)
class Measured:
    """Rows of one file: text or numbers by column, and the seconds that each kernel took."""

    operation: str
    columns: Mapping[str, tuple[str, ...]]
    seconds: Array

    def __len__(self) -> int:
        return len(self.seconds)

    def text(self, name: str) -> tuple[str, ...]:
        """A column as it is written."""
        return self.columns[name]

    def numbers(self, name: str) -> Array:
        """A column of numbers."""
        return np.array([float(cell) for cell in self.columns[name]])

    def dtypes(self, name: str) -> tuple[str, ...]:
        """A column of data types, by weir's names for them."""
        return tuple(_WORDS.get(cell, cell) for cell in self.columns[name])

    def only(self, keep: NDArray[np.bool_]) -> Measured:
        """The rows where ``keep`` is true."""
        kept = {n: tuple(c for c, k in zip(cells, keep, strict=True) if k) for n, cells in self.columns.items()}
        return Measured(self.operation, kept, self.seconds[keep])

    def split(self, *keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], NDArray[np.int_]]]:
        """Places of the rows that agree in all of the given columns of text."""
        places: dict[tuple[str, ...], list[int]] = {}
        for at, key in enumerate(zip(*keys, strict=True)):
            places.setdefault(key, []).append(at)
        for key, found in places.items():
            yield key, np.array(found)


def load(folder: Path) -> tuple[Measured, ...]:
    """The files of measured kernels in a folder; refuses a folder without any."""
    found = [read(path, name) for name in FILES if (path := folder / f"{name}.csv").is_file()]
    if not found:
        raise WeirError(f"{folder}: none of {', '.join(f'{name}.csv' for name in FILES)} is there")
    return tuple(found)


def read(path: Path, operation: str, adapt: Mapping[str, str] | None = None) -> Measured:
    """One file: its columns must be there, sizes positive numbers, and every latency some microseconds.

    ``adapt`` gives columns that the file lacks: the name of another one in their place, or a text for every row.
    """
    found = columns(path)
    count = len(next(iter(found.values()), ()))
    for name, other in (adapt or {}).items():
        found.setdefault(name, found.get(other, (other,) * count))
    need = ("device", *FILES[operation], "latency_us")
    if missing := [name for name in need if name not in found]:
        other = next((f"; {n!r} is there, but times are read in microseconds" for n in found if "latency" in n), "")
        raise WeirError(f"{path.name}: needs columns {', '.join(missing)}{other}")
    if not count:
        raise WeirError(f"{path.name}: has no rows below its columns")
    for name in sorted(set(need) & SIZES):
        _check_sizes(found[name], f"{path.name}: {name}")
    for name in sorted(n for n in need if n.endswith("dtype")):
        _check_types(found[name], f"{path.name}: {name}")
    micro = positive(found["latency_us"], f"{path.name}: latency_us")
    if (micro < SHORTEST).any():
        line = 2 + int(np.flatnonzero(micro < SHORTEST)[0])
        raise WeirError(f"{path.name}: latency_us: line {line}: shorter than any launch; are they microseconds?")
    return Measured(operation, found, micro * 1e-6)


def _check_sizes(cells: tuple[str, ...], where: str) -> None:
    above = np.flatnonzero(positive(cells, where) > MOST)
    if len(above):
        raise WeirError(f"{where}: line {2 + above[0]}: {cells[above[0]]!r:.80} is more than any kernel has")


def _check_types(cells: tuple[str, ...], where: str) -> None:
    for cell in dict.fromkeys(cells):
        if _WORDS.get(cell, cell) not in TYPES:
            raise WeirError(f"{where}: unknown type {cell!r:.80}{hint(cell, (*TYPES, *_WORDS))}")


def columns(path: Path) -> dict[str, tuple[str, ...]]:
    """A CSV file by column; every row has as many cells as the first."""
    if path.stat().st_size > LARGEST:
        raise WeirError(f"{path.name}: larger than {LARGEST >> 20} MiB")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            head, *rows = [row for row in csv.reader(lines) if row] or [[]]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise WeirError(f"{path.name}: not a CSV file in UTF-8: {problem}") from None
    if twice := [name for name in dict.fromkeys(head) if head.count(name) > 1]:
        raise WeirError(f"{path.name}: column {twice[0]!r:.80} is there twice")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(head):
            raise WeirError(f"{path.name}: line {line}: {len(row)} cells under {len(head)} columns")
    return dict(zip(head, zip(*rows, strict=True) if rows else [()] * len(head), strict=True))


def positive(cells: tuple[str, ...], where: str) -> Array:
    """A column's numbers, positive and finite."""
    found = np.array([_number(cell) for cell in cells])
    wrong = np.flatnonzero(~(np.isfinite(found) & (found > 0)))
    if len(wrong):
        raise WeirError(f"{where}: line {2 + wrong[0]}: must be positive, not {cells[wrong[0]]!r:.80}")
    return found


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def known(name: str) -> Device:
    """The catalogue's device for a name as benchmarks write it (``a100_sxm``, ``b200_sxm``, ``h100``)."""
    for spelt in (name, name.removesuffix("_sxm"), name.removesuffix("_server"), f"{name}_80gb", f"{name}_sxm"):
        if canonical(spelt) is not None:
            return device(spelt)
    near = [other for other in device_names() if other.startswith(name.split("_", maxsplit=1)[0])]
    if len(near) == 1:
        return device(near[0])
    raise WeirError(f"unknown device {name!r:.80} in the measurements; weir list devices names those there are")


def column(rows: Measured, name: str, default: Any = "") -> tuple[str, ...]:
    """A column that may be absent."""
    return rows.columns.get(name, (str(default),) * len(rows))
