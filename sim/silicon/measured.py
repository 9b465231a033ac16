"""Measured kernels from CSV files, one operation a file, as columns of plain values."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einsum.errors import WeirError
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
        rows = list(zip(*keys, strict=True))
        for key in dict.fromkeys(rows):
            yield key, np.flatnonzero([row == key for row in rows])


def load(folder: Path) -> tuple[Measured, ...]:
    """The files of measured kernels in a folder; refuses a folder without any."""
    found = [read(path, name) for name in FILES if (path := folder / f"{name}.csv").is_file()]
    if not found:
        raise WeirError(f"{folder}: none of {', '.join(f'{name}.csv' for name in FILES)} is there")
    return tuple(found)


def read(path: Path, operation: str, adapt: Mapping[str, str] | None = None) -> Measured:
    """One file: its columns must be there, and every latency a positive number of microseconds.

    ``adapt`` gives columns that the file lacks: the name of another one in their place, or a text for every row.
    """
    if path.stat().st_size > LARGEST:
        raise WeirError(f"{path.name}: larger than {LARGEST >> 20} MiB")
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        row |= {name: row.get(other, other) for name, other in (adapt or {}).items() if name not in row}
    need = ("device", *FILES[operation], "latency_us")
    if missing := [name for name in need if not rows or rows[0].get(name) is None]:
        raise WeirError(f"{path.name}: needs columns {', '.join(missing)}")
    columns = {name: tuple(row[name] or "" for row in rows) for name in rows[0]}
    return Measured(operation, columns, _seconds(columns["latency_us"], path.name))


def _seconds(cells: tuple[str, ...], where: str) -> Array:
    try:
        micro = np.array([float(cell) for cell in cells])
    except ValueError as problem:
        raise WeirError(f"{where}: latency_us: {problem}") from None
    if not (np.isfinite(micro) & (micro > 0)).all():
        raise WeirError(f"{where}: latency_us must be positive")
    return micro * 1e-6


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
