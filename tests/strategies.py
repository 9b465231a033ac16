"""Random cascades under random legal nests, for whatever must hold of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from einsum import Cascade, Einsum, parse
from mappings.tree import Branch, Keep, Nest, Node, Run, Spatial, Temporal

# text, and ranks with the largest size drawn
SINGLE = (
    ("Z[m, n] = A[m, k] * B[k, n]", {"m": 7, "n": 6, "k": 7}),
    ("O[k, p] = W[c, k, r] * I[c, p + r]", {"c": 3, "k": 4, "p": 7, "r": 3}),
    ("O[p] = W[r] * I[2*p + r]", {"p": 7, "r": 5}),
    ("O[k, p, q] = W[k, c, r, s] * I[c, p + r, q + s]", {"k": 2, "c": 2, "p": 4, "q": 4, "r": 3, "s": 2}),
    ("Y[m] = A[m, n]", {"m": 6, "n": 7}),
)
MLP = """
U[b, f] = X[b, d] * WU[d, f]
H[b, f] = relu(U[b, f])
Z[b, g] = H[b, f] * WD[f, g]
"""
THREE = """
QK[m, p] = Q[e, p] * K[e, m]
GM[p]    = max[m](QK[m, p])
SN[m, p] = exp(QK[m, p] - GM[p])
SD[p]    = SN[m, p]
A[m, p]  = SN[m, p] / SD[p]
AV[f, p] = A[m, p] * V[f, m]
"""
ONE = """
RM[0, p]        = -inf
RD[0, p]        = 0
RNV[f, 0, p]    = 0
QK[m1, m0, p]   = Q[e, p] * K[e, m1*M0 + m0]
LM[m1, p]       = max[m0](QK[m1, m0, p])
RM[m1 + 1, p]   = max(RM[m1, p], LM[m1, p])
SLN[m1, m0, p]  = exp(QK[m1, m0, p] - RM[m1 + 1, p])
SLD[m1, p]      = SLN[m1, m0, p]
SLNV[f, m1, p]  = SLN[m1, m0, p] * V[f, m1*M0 + m0]
PRM[m1, p]      = exp(RM[m1, p] - RM[m1 + 1, p])
SPD[m1, p]      = RD[m1, p] * PRM[m1, p]
RD[m1 + 1, p]   = SLD[m1, p] + SPD[m1, p]
SPNV[f, m1, p]  = RNV[f, m1, p] * PRM[m1, p]
RNV[f, m1+1, p] = SLNV[f, m1, p] + SPNV[f, m1, p]
AV[f, p]        = RNV[f, M1, p] / RD[M1, p]
"""
FUSED = (
    (MLP, {"b": 4, "f": 5, "d": 3, "g": 3}, ("b", "f"), ("g",)),
    (THREE, {"m": 5, "p": 4, "e": 2, "f": 3}, ("p",), ("f",)),
    (ONE, {"m1": 3, "m0": 3, "p": 3, "e": 2, "f": 2}, ("p",), ("f",)),
)
# Einsums that may be a branch of their own within these, by position, and the ranks that they may share loops over
INNER = {MLP: ((0, 2), ("b", "f")), THREE: ((2, 4), ("m", "p")), ONE: ((3, 14), ("m1", "p"))}
HOW = st.sampled_from(("sequence", "pipeline"))


@st.composite
def single(draw: st.DrawFn) -> tuple[Cascade, Nest]:
    """One Einsum under loops and keeps in any order."""
    cascade = draw(_cascades(SINGLE))
    [einsum] = cascade.einsums
    nodes = draw(_section(cascade, einsum.ranks, (*einsum.inputs, einsum.output.tensor), most=5))
    return cascade, Nest((_outermost(cascade), *nodes, Run(einsum.name, "unit")))


@st.composite
def fused(draw: st.DrawFn, recompute: bool = False) -> tuple[Cascade, Nest]:
    """Several Einsums that share outer loops, some of them inner ones too; with ``recompute`` also over ranks that
    some Einsums lack, which repeats these.
    """
    text, most, common, foreign = draw(st.sampled_from(FUSED))
    cascade = draw(_cascades(((text, most),)))
    everything = tuple(t.name for t in cascade.tensors)
    inside = draw(st.sets(st.sampled_from(cascade.intermediates)))
    shared = draw(_section(cascade, common + foreign * recompute, set(everything) - inside, most=3))
    first = Keep(tuple(t for t in everything if t not in inside), "dram")
    caught = (Keep(tuple(sorted(inside)), "shared"),) if inside else ()
    (start, stop), ranks = INNER[text]
    children = [draw(_alone(cascade, e)) for e in cascade.einsums]
    if draw(st.booleans()):
        touched = {t for e in cascade.einsums[start:stop] for t in (*e.inputs, e.output.tensor)}
        nodes = draw(_section(cascade, ranks + foreign * recompute, touched, most=2))
        children[start:stop] = [Nest((*nodes, Branch(draw(HOW), tuple(children[start:stop]))))]
    return cascade, Nest((first, *shared, *caught, Branch(draw(HOW), tuple(children))))


@st.composite
def _cascades(draw: st.DrawFn, choices: Sequence[tuple[str, dict[str, int]]]) -> Cascade:
    text, most = draw(st.sampled_from(choices))
    sizes = {rank: draw(st.integers(1, n)) for rank, n in most.items()}
    return parse(text, **sizes)


@st.composite
def _alone(draw: st.DrawFn, cascade: Cascade, einsum: Einsum) -> Nest:
    """One Einsum of a branch under loops and keeps of its own."""
    tensors = (*einsum.inputs, einsum.output.tensor)
    nodes = draw(_section(cascade, einsum.ranks, tensors, most=2))
    return Nest((*nodes, Run(einsum.name, draw(st.sampled_from(("mac", "alu"))))))


@st.composite
def _section(
    draw: st.DrawFn, cascade: Cascade, ranks: Sequence[str], tensors: Iterable[str], most: int
) -> tuple[Node, ...]:
    """Loops over some ranks, each followed or not by a keep of some tensors."""
    sizes = cascade.bind()
    nodes: list[Node] = []
    names = sorted(set(tensors))
    for _ in range(draw(st.integers(0, most)) if ranks else 0):
        rank = draw(st.sampled_from(sorted(ranks)))
        tile = draw(st.integers(1, sizes[rank]))
        space = rank not in cascade.iterative and draw(st.booleans())  # what is iterated goes one after another
        nodes.append(Spatial(rank, tile=tile, over=f"fan_{rank}") if space else Temporal(rank, tile))
        kept = draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
        if kept:
            nodes.append(Keep(tuple(kept), draw(st.sampled_from(("buffer", "registers")))))
    return tuple(nodes)


def _outermost(cascade: Cascade) -> Keep:
    return Keep(tuple(t.name for t in cascade.tensors), "dram")
