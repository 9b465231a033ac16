"""Attention on a two-dimensional array with a row of lanes beside it: unfused, FLAT's fusion, and FuseMax's.

Levels are called ``dram``, ``buffer`` and ``registers``; the units ``array`` (over ``columns`` and ``rows``) and
``vector`` (over ``lanes``). Each tile that is passed on is ``side`` wide, the side of the array. The ``block`` of
queries that stays resident is the first loop over p, ``p.0`` for those who evaluate many blocks at once.
"""

from __future__ import annotations

from mappings.text import parse
from mappings.tree import Nest

__all__ = ["flat", "interleaved", "product", "spilled", "staged", "unfused"]


def _indented(text: str, depth: int) -> str:
    return "\n".join(" " * depth + line for line in text.strip("\n").split("\n"))


def _two(einsum: str, column: str = "p", row: str = "m0") -> str:
    """An Einsum on the array, one of its ranks along the columns and one along the rows."""
    return f"spatial {column} tile 1 over columns\n  spatial {row} tile 1 over rows\n    {einsum} on array"


def _one(*einsums: str, rank: str = "p") -> str:
    """Einsums on the lanes, one rank spread over them."""
    runs = [f"{name} on vector" for name in einsums]
    return f"spatial {rank} tile 1 over lanes\n" + _indented(_branch("interleave", *runs) if runs[1:] else runs[0], 2)


def _branch(how: str, *nests: str) -> str:
    return "\n".join([how, *(_indented(nest, 2) for nest in nests)])


def _follow(einsum: str) -> str:
    """An Einsum alone on the array, whose tiles follow each other without waiting for the last wavefront."""
    return _branch("interleave", _two(einsum, row="m"))


def _one_pass(how: str, inner: str, *, block: int, side: int, buffered: str = "", registers: str) -> Nest:
    """The one-pass cascade with a block of queries resident while keys and values stream by, a block of m1 at a time.

    ``how`` joins the stream with what comes before and after it; ``inner`` is done for each tile of queries.
    """
    tiles = f"for p tile {side}\n"
    first = tiles + _indented(_one("RM.init", "RD.init", "RNV.init"), 2)
    last = tiles + _indented(_one("O"), 2)
    kept = f"  keep {buffered} in buffer\n" if buffered else ""
    stream = f"for m1 tile 1\n  keep K, V in buffer double\n{kept}  {tiles}    keep {registers} in registers\n"
    return parse(
        f"keep Q, K, V, O in dram\nfor b tile 1\n  for h tile 1\n    for p tile {block}\n"
        "      keep Q in buffer double\n      keep RM, RD, RNV in buffer\n"
        + _indented(_branch(how, first, stream + _indented(inner, 4), last), 6)
    )


_SHARED = "LM, SLD, SLNV, PRM, SPD, SPNV"


def interleaved(*, block: int, side: int = 256) -> Nest:
    """FuseMax: every Einsum takes turns on its unit with the others, so that the busiest unit sets the pace."""
    qk, lm, sln, sld, slnv = (_two(name) for name in ("QK", "LM", "SLN", "SLD", "SLNV"))
    inner = _branch("interleave", qk, lm, _one("RM"), sln, sld, slnv, _one("PRM", "SPD", "RD", "SPNV", "RNV"))
    return _one_pass("interleave", inner, block=block, side=side, registers=f"QK, SLN, {_SHARED}")


def staged(*, block: int, side: int = 256) -> Nest:
    """FuseMax's array without its binding: the lanes wait for a tile's maxima, and the array for them."""
    inner = _branch(
        "sequence", _two("QK"), _two("LM"), _one("RM"),
        _branch("interleave", _two("SLN"), _two("SLD"), _one("PRM", "SPD")),
        _branch("interleave", _two("SLNV"), _one("SPNV", "RNV", "RD")),
    )  # fmt: skip
    return _one_pass("pipeline", inner, block=block, side=side, registers=f"QK, SLN, {_SHARED}")


def spilled(*, block: int, side: int = 256) -> Nest:
    """The one-pass cascade where only the lanes can do more than products: scores and numerators pass by the buffer."""
    inner = _branch(
        "interleave",
        "keep QK in registers\n" + _branch("interleave", _two("QK"), _one("LM")),
        _one("RM"),
        "keep RM, SLN in registers\n" + _branch("interleave", _one("SLN"), _one("SLD")),
        "keep SLN in registers\n" + _two("SLNV"),
        _one("PRM", "SPD", "RD", "SPNV", "RNV"),
    )
    return _one_pass("interleave", inner, block=block, side=side, buffered="QK, SLN", registers=_SHARED)


def _softmax(side: int, kept: str) -> str:
    """Softmax row by row, keys spread over the lanes; ``kept`` is what a row keeps in the buffer."""
    lanes = f"for m tile {side}\n"

    def over(*einsums: str) -> str:
        return lanes + _indented(_one(*einsums, rank="m"), 2)

    fused = lanes + "  keep SN in registers\n" + _indented(_one("SN", "SD", rank="m"), 2)
    return f"for p tile 1\n{kept}" + _indented(_branch("interleave", over("GM"), fused, over("A")), 2)


# What a row of softmax keeps in the buffer, by where its scores and quotients live.
_ROWS = {
    "buffer": "  keep GM, SD, SN in buffer\n",
    "rows": "  keep GM, SD, SN in buffer\n  keep QK in buffer double\n",
    "dram": "  keep GM, SD in buffer\n",
}


def unfused(*, block: int, side: int = 256) -> Nest:
    """Scores, softmax and output one after another through memory, each with the overlap it has by itself."""
    head = "for b tile 1\n  for h tile 1\n"
    outer = f"for p tile {block}\n"
    tiles = f"    for p tile {side}\n"
    qk = (
        f"{outer}  keep Q in buffer\n  for m tile {side}\n    keep K in buffer double\n{tiles}"
        "      keep QK in registers\n" + _indented(_follow("QK"), 6)
    )
    av = (
        f"{outer}  keep O in buffer\n  for m tile {side}\n    keep V in buffer double\n{tiles}"
        "      keep A in registers double\n" + _indented(_follow("O"), 6)
    )
    softmax = _softmax(side, _ROWS["rows"])
    nests = (head + _indented(nest, 4) for nest in (qk, softmax, av))
    return parse("keep Q, K, V, QK, A, O in dram\n" + _branch("sequence", *nests))


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
    kept = f"      keep {', '.join(heads)} in buffer double\n" if heads else ""
    kept += f"      for p tile {block}\n"
    kept += f"        keep {', '.join(rows)} in buffer double\n" if rows else ""
    kept += "        keep QK, A in buffer\n" if scores == "buffer" else ""
    qk, av = _weights(side) if stationary == "weight" else _outputs(side)
    stages = _branch("interleave", qk, _softmax(side, _ROWS[scores]), av)
    outermost = "Q, K, V, O" + {"buffer": "", "rows": ", QK, A", "dram": ", QK, SN, A"}[scores]
    return parse(f"keep {outermost} in dram\nfor b tile 1\n  for h tile 1\n{kept}" + _indented(stages, 8))


def _outputs(side: int) -> tuple[str, str]:
    """Scores and output with their results in the array until they are complete."""
    qk = f"for m tile {side}\n  for p tile {side}\n    keep QK in registers\n" + _indented(_two("QK", row="m"), 4)
    av = f"for p tile {side}\n  keep O in registers\n" + _indented(_two("O", column="f", row="p"), 2)
    return qk, av


def _weights(side: int) -> tuple[str, str]:
    """Scores and output with keys and values in the array while all queries of the block stream past."""
    qk = f"for m tile {side}\n  keep K in registers double\n" + _indented(_two("QK", column="e", row="m"), 2)
    av = f"for m tile {side}\n  keep V in registers double\n" + _indented(_two("O", column="f", row="m"), 2)
    return qk, av


def product(*, block: int, side: int = 256) -> Nest:
    """Z[t, n] = X[t, k] * W[k, n], ``block`` columns of W resident, each tile of results complete in the array."""
    return parse(
        f"keep X, W, Z in dram\nfor n tile {block}\n  keep W in buffer\n  for t tile {side}\n"
        f"    keep X in buffer double\n    for n tile {side}\n      keep Z in registers\n"
        + _indented(_two("Z", column="t", row="n"), 6)
    )
