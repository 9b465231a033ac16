"""FlashAttention on a GPU: a block of queries on each multiprocessor, keys and values streaming past it.

Levels are called ``hbm``, ``l2``, ``smem`` and ``registers``, the multiprocessors ``sm``, the units ``tensor`` and
``vector``. The cascade is ``attention.one_pass``, whose own ``block`` is the block of keys.
"""

from __future__ import annotations

from mappings.text import parse
from mappings.tree import Nest

__all__ = ["flash_attention"]

_FIRST = ("RM.init", "RD.init", "RNV.init")
_STEP = ("LM", "RM", "SLN", "SLD", "PRM", "SPD", "RD")  # softmax of one block of keys, and its correction
_LAST = ("SPNV", "RNV")
_BLOCK = "QK, LM, SLN, SLD, SLNV, PRM, SPD, SPNV"  # what lives for one block of keys


def flash_attention(
    *, block_q: int = 128, blocks: int = 1, heads: int = 1, resident: bool = True, overlap: bool = True
) -> Nest:
    """FlashAttention-2: ``heads`` heads x ``blocks`` blocks of ``block_q`` queries at a time, one on each processor.

    With keys and values ``resident`` in the second-level cache they leave the memory once; else each wave of blocks
    reads them again, once for all blocks of one head. ``overlap`` lets products and softmax take turns (as two groups
    of warps do); without it each waits for the other.
    """
    how = "interleave" if overlap else "sequence"
    kept = ["keep K, V in l2"] if resident else []
    inner = [
        *kept,
        f"for p tile {block_q * blocks}",
        "  spatial h tile 1 over sm",
        f"    spatial p tile {block_q} over sm",
        "      keep Q, O in smem",
        "      keep Q, RM, RD, RNV, O in registers",
        "      sequence",
        *(f"        {name} on vector" for name in _FIRST),
        "        for m1 tile 1",
        "          keep K, V in smem double",
        "          keep K, V in registers double",
        f"          keep {_BLOCK} in registers",
        f"          {how}",
        "            QK on tensor",
        *(f"            {name} on vector" for name in _STEP),
        "            SLNV on tensor",
        *(f"            {name} on vector" for name in _LAST),
        "        O on vector",
    ]
    outer = ["keep Q, K, V, O in hbm", "for b tile 1", f"  for h tile {heads}"]
    return parse("\n".join([*outer, *(f"    {line}" for line in inner)]))
