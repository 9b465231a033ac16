"""Attention on a two-dimensional array with a row of lanes beside it: unfused, FLAT's fusion, and FuseMax's.

Levels are called ``dram``, ``buffer`` and ``registers``; the units ``array`` (over ``columns`` and ``rows``) and
``vector`` (over ``lanes``). Each tile that is passed on is ``side`` wide, as the array is. The ``block`` of queries
that stays resident is the first loop over p: ``p.0`` for those who evaluate many blocks at once.
"""

from __future__ import annotations

from mappings.text import parse
from mappings.tree import Nest

__all__ = ["flat", "interleaved", "product", "spilled", "staged", "unfused"]


def _nest(*parts: str) -> str:
    """Lines and nests from the outermost inwards, those after a loop indented below it."""
    lines: list[str] = []
    depth = 0
    for part in parts:
        lines += [" " * depth + line for line in part.split("\n")]
        depth += 2 * part.startswith(("for ", "spatial ")) * ("\n" not in part)
    return "\n".join(lines)


def _branch(how: str, *nests: str) -> str:
    return "\n".join([how, *("  " + line for nest in nests for line in nest.split("\n"))])


def _two(einsum: str, column: str = "p", row: str = "m0") -> str:
    """An Einsum on the array, one of its ranks along the columns and one along the rows."""
    return _nest(f"spatial {column} tile 1 over columns", f"spatial {row} tile 1 over rows", f"{einsum} on array")


def _one(*einsums: str, rank: str = "p") -> str:
    """Einsums on the lanes, one rank spread over them."""
    runs = [f"{name} on vector" for name in einsums]
    return _nest(f"spatial {rank} tile 1 over lanes", _branch("interleave", *runs) if runs[1:] else runs[0])


def _follow(einsum: str, column: str = "p", row: str = "m") -> str:
    """An Einsum alone on the array, whose tiles follow each other without waiting for the last wavefront."""
    return _branch("interleave", _two(einsum, column, row))


def _one_pass(how: str, inner: str, *, block: int, side: int, kept: tuple[str, ...]) -> Nest:
    """The one-pass cascade with a block of queries resident while keys and values stream by, a step of m1 at a time.

    ``how`` joins the stream with what comes before and after it; ``inner`` is done for each tile of queries, with the
    last of ``kept`` held for the tile and those before it for the block.
    """
    tiles = f"for p tile {side}"
    *outer, registers = kept
    return parse(
        _nest(
            "keep Q, K, V, O in dram", "for b tile 1", "for h tile 1", f"for p tile {block}",
            "keep Q in buffer double", "keep RM, RD, RNV in buffer",
            _branch(
                how,
                _nest(tiles, _one("RM.init", "RD.init", "RNV.init")),
                _nest("for m1 tile 1", "keep K, V in buffer double", *outer, tiles, registers, inner),
                _nest(tiles, _one("O")),
            ),
        )
    )  # fmt: skip


_ALL = "keep QK, SLN, LM, SLD, SLNV, PRM, SPD, SPNV in registers"
_REST = "keep LM, SLD, SLNV, PRM, SPD, SPNV in registers"


def interleaved(*, block: int, side: int = 256) -> Nest:
    """FuseMax: every Einsum takes turns on its unit with the others, so that the busiest unit sets the pace."""
    qk, lm, sln, sld, slnv = (_two(name) for name in ("QK", "LM", "SLN", "SLD", "SLNV"))
    inner = _branch("interleave", qk, lm, _one("RM"), sln, sld, slnv, _one("PRM", "SPD", "RD", "SPNV", "RNV"))
    return _one_pass("interleave", inner, block=block, side=side, kept=(_ALL,))


def staged(*, block: int, side: int = 256) -> Nest:
    """FuseMax's array without its binding: the lanes wait for a tile's maxima to leave the array, and it for them."""
    inner = _branch(
        "sequence", _two("QK"), _two("LM"), _one("RM"),
        _branch("interleave", _two("SLN"), _two("SLD"), _one("PRM", "SPD")),
        _branch("interleave", _two("SLNV"), _one("SPNV", "RNV", "RD")),
    )  # fmt: skip
    return _one_pass("pipeline", inner, block=block, side=side, kept=(_ALL,))


def spilled(*, block: int, side: int = 256) -> Nest:
    """The one-pass cascade where only the lanes can do more than products: scores and numerators pass by the buffer."""
    inner = _branch(
        "interleave",
        _nest("keep QK in registers", _branch("interleave", _two("QK"), _one("LM"))),
        _one("RM"),
        _nest("keep RM, SLN in registers", _branch("interleave", _one("SLN"), _one("SLD"))),
        _nest("keep SLN in registers", _two("SLNV")),
        _one("PRM", "SPD", "RD", "SPNV", "RNV"),
    )
    return _one_pass("interleave", inner, block=block, side=side, kept=("keep QK, SLN in buffer", _REST))


# What a row of softmax keeps in the buffer, by where its scores and quotients live.
_ROWS = {
    "buffer": ("keep GM, SD, SN in buffer",),
    "rows": ("keep GM, SD, SN in buffer", "keep QK in buffer double"),
    "dram": ("keep GM, SD in buffer",),
}
_AWAY = {"buffer": "", "rows": ", QK, A", "dram": ", QK, SN, A"}


def _softmax(side: int, scores: str) -> str:
    """Softmax row by row, keys spread over the lanes."""
    lanes = f"for m tile {side}"
    fused = _nest(lanes, "keep SN in registers", _one("SN", "SD", rank="m"))
    passes = (_nest(lanes, _one("GM", rank="m")), fused, _nest(lanes, _one("A", rank="m")))
    return _nest("for p tile 1", *_ROWS[scores], _branch("interleave", *passes))


def unfused(*, block: int, side: int = 256) -> Nest:
    """Scores, softmax and output one after another through memory, each with the overlap it has by itself.

    The second block of queries, of the output, is ``p.4``.
    """
    heads = ("for b tile 1", "for h tile 1")
    outer, keys, tiles = f"for p tile {block}", f"for m tile {side}", f"for p tile {side}"
    qk = (outer, "keep Q in buffer", keys, "keep K in buffer double", tiles, "keep QK in registers")
    av = (outer, "keep O in buffer", keys, "keep V in buffer double", tiles, "keep A in registers double")
    inner = ((*qk, _follow("QK")), (_softmax(side, "rows"),), (*av, _follow("O")))
    stages = [_nest(*heads, *stage) for stage in inner]
    return parse(_nest("keep Q, K, V, QK, A, O in dram", _branch("sequence", *stages)))


def flat(
    *, block: int, on_chip: tuple[str, ...] = (), stationary: str = "output", scores: str = "buffer", side: int = 256
) -> Nest:
    """FLAT: a block of queries goes through scores, softmax and output before the next, the three overlapped.

    ``on_chip`` are those of Q, K, V and O that pass by the buffer. Scores and quotients wait for the next step in the
    ``buffer``, in memory with the row at work in the buffer (``rows``), or in memory alone (``dram``). The array keeps
    a tile of its results, or (``stationary="weight"``) of keys and values, in its registers.
    """
    heads = [name for name in ("K", "V") if name in on_chip]
    rows = [name for name in ("Q", "O") if name in on_chip]
    qk, av = _weights(side) if stationary == "weight" else _outputs(side)
    return parse(
        _nest(
            f"keep Q, K, V, O{_AWAY[scores]} in dram", "for b tile 1", "for h tile 1",
            *([f"keep {', '.join(heads)} in buffer double"] if heads else []),
            f"for p tile {block}",
            *([f"keep {', '.join(rows)} in buffer double"] if rows else []),
            *(["keep QK, A in buffer"] if scores == "buffer" else []),
            _branch("interleave", qk, _softmax(side, scores), av),
        )
    )  # fmt: skip


def _outputs(side: int) -> tuple[str, str]:
    """Scores and output with their results in the array until they are complete."""
    keys, queries = f"for m tile {side}", f"for p tile {side}"
    qk = _nest(keys, queries, "keep QK in registers", _two("QK", row="m"))
    return qk, _nest(queries, "keep O in registers", _two("O", column="f", row="p"))


def _weights(side: int) -> tuple[str, str]:
    """Scores and output with keys and values in the array while all queries of the block stream past."""
    keys = f"for m tile {side}"
    qk = _nest(keys, "keep K in registers double", _two("QK", column="e", row="m"))
    return qk, _nest(keys, "keep V in registers double", _two("O", column="f", row="m"))


def product(*, block: int, side: int = 256) -> Nest:
    """Z[t, n] = X[t, k] * W[k, n], ``block`` columns of W resident, each tile of results complete in the array."""
    weights = ("keep X, W, Z in dram", f"for n tile {block}", "keep W in buffer")
    rows = (f"for t tile {side}", "keep X in buffer double", f"for n tile {side}", "keep Z in registers")
    return parse(_nest(*weights, *rows, _follow("Z", "t", "n")))
