"""Which cases a benchmark's sweep ran before a measured one on the same board, by the order of its published loops.

AIConfigurator's ``collector/vllm/collect_gemm.py`` goes through tokens, outputs and inputs, each from the largest down,
and types. ``collect_attn.py`` goes through heads; of prompts through lengths from the longest and batches from the
largest down, of decoding through batches and lengths from the shortest up; and last through types of cache. One process
a board takes its next case from a queue that all share (``collector/collect.py``), so the order on one board is known
only as far as cases last alike: of n boards, each then has every n-th case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sim.silicon.measured import Measured, column

Cells = tuple[int, int, str]  # both sizes that inner loops go through, and a type
Turn = tuple[Cells, ...]
SOURCE = "aiconfigurator:vllm"  # as a row's source begins that this sweep made
BOARDS = 8  # a node, as other tables of H200 were collected on (ai-dynamo/aiconfigurator, pull requests 1142 and 1343)
FEATURES = (  # ``collector/cases/base_ops/gemm.yaml``
    65536, 51200, 16384, 12288, 10240, 8192, 7168, 6144, 5120, 4096, 3584, 3072, 2560, 2048, 1536, 1024, 768, 512, 256,
    128, 64, 32,
)  # fmt: skip
WHOLE = 128  # outputs and inputs of block-scaled values are multiples of it
LENGTHS = (  # ``attention_context.yaml``
    262144, 16384, 12288, 10240, 8192, 6144, 4096, 3072, 2048, 1536, 1024, 512, 256, 128, 64, 32, 16, 1,
)  # fmt: skip
MOST_PROMPTS = 256
TOKENS = {True: 65536, False: 131072}  # in a batch of prompts, with a key head a query head and with fewer
MOST_VALUES = 2**31 - 1  # bytes of keys, two each, stay below
DECODED, BATCHES = 17, 12  # powers of two: lengths from 2 on, batches from 1 on (``attention_generation.yaml``)
CACHED = {True: 2**23, False: 2**24}  # tokens times query heads of 128
FEWEST, LARGE = 4, 256  # batches that a length must allow; a batch from which the longest length is left out
CACHES = ("bf16", "fp8")


@cache
def products() -> Turn:
    """Outputs, inputs and types of the products with one number of tokens."""
    shapes = ((n, k) for n in FEATURES for k in FEATURES if n * k < FEATURES[0] ** 2)
    whole = ((n, k, ("bf16", "fp8", "bfp8") if n % WHOLE == k % WHOLE == 0 else ("bf16", "fp8")) for n, k in shapes)
    return tuple((n, k, dtype) for n, k, dtypes in whole for dtype in dtypes)


@cache
def prompts(heads: int, keys: int, width: int) -> Turn:
    """Batches, lengths and types of cache of the prompts with some query heads, key heads and values a head."""
    batches = [2**power for power in range(MOST_PROMPTS.bit_length() - 1, -1, -1)]
    alone = heads == keys
    found = (
        (batch, length)
        for length in LENGTHS
        for batch in batches
        if batch * length <= TOKENS[alone]
        and (batch < MOST_PROMPTS or not alone)
        and batch * length * keys * width * 2 < MOST_VALUES
    )
    return tuple((batch, length, stored) for batch, length in found for stored in CACHES)


@cache
def decoding(heads: int, keys: int, width: int) -> Turn:
    """The same of decoding, whose length counts what is in the cache: one less than a power of two."""
    lengths = [2**power for power in range(1, DECODED + 1)]
    order = {2**power for power in range(BATCHES)}  # as CPython goes through a set, which the loops do
    room = CACHED[heads == keys] * 128 // width
    allowed = {s: {b for b in order if b <= room // s // heads} for s in lengths}
    fits = {b: [s for s in lengths if b in allowed[s] and len(allowed[s]) >= FEWEST] for b in order}
    kept = ((b, s) for b, found in fits.items() for s in (found[:-1] if b >= LARGE else found))
    return tuple((b, s, stored) for b, s in kept for stored in CACHES)


_LOOPS: dict[str, tuple[Callable[..., Turn], tuple[str, ...], tuple[str, str], str]] = {
    "gemm": (products, (), ("n", "k"), "dtype"),
    "attention_prefill": (prompts, ("heads", "kv_heads", "head_dim"), ("batch", "seq"), "kv_dtype"),
    "attention_decode": (decoding, ("heads", "kv_heads", "head_dim"), ("batch", "seq"), "kv_dtype"),
}  # operation: what one turn of its outer loops runs, the sizes of that turn, and what the inner loops go through


def places(rows: Measured) -> NDArray[np.int_]:
    """The place of every row in its turn of the outer loops; -1 of another benchmark's rows, or if no case is alike."""
    ours = [source.startswith(SOURCE) for source in column(rows, "source")]
    found = zip(_turns(rows), ours, strict=True)
    return np.array([turn.index(own) if mine and own in turn else -1 for (turn, own), mine in found], int)


def before(rows: Measured, boards: int, deep: int) -> Measured:
    """The ``deep`` cases before every row on its board, the latest first, row after row; seconds are not known.

    A turn of the outer loops begins where the one before, which is taken for alike, ends.
    """
    _, _, sizes, dtype = _LOOPS[rows.operation]
    earlier = [
        turn[(at - boards * back) % len(turn)]
        for (turn, _), at in zip(_turns(rows), places(rows), strict=True)
        for back in range(1, deep + 1)
    ]
    columns = {name: tuple(cell for cell in cells for _ in range(deep)) for name, cells in rows.columns.items()}
    inner = dict(zip((*sizes, dtype), (tuple(map(str, cells)) for cells in zip(*earlier, strict=True)), strict=True))
    return Measured(rows.operation, columns | inner, np.full(len(earlier), np.nan))


def _turns(rows: Measured) -> Iterator[tuple[Turn, Cells]]:
    """Every row's turn of the outer loops, none if its sizes are not whole numbers, and the row as a case of it."""
    turn, outer, sizes, dtype = _LOOPS[rows.operation]
    columns = {name: rows.numbers(name) for name in (*outer, *sizes)}
    for at, stored in enumerate(rows.dtypes(dtype)):
        cells = {name: int(column[at]) for name, column in columns.items()}
        whole = all(cells[name] == column[at] for name, column in columns.items())
        first, second = (cells[name] for name in sizes)
        yield turn(*(cells[name] for name in outer)) if whole else (), (first, second, stored)
