"""Flows of pipeline-parallel training, and the orders that papers write down for them.

1F1B: PipeDream-Flush / Megatron-LM (arXiv 2104.04473); GPipe (arXiv 1811.06965); weights' gradients apart, and V-shaped
chunks: Qi et al. (arXiv 2401.10241, 2405.15362); vocabulary parallelism: Yeung et al. (arXiv 2411.05288), sections 4
and 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from einsum.errors import WeirError
from sim.planner.pipeline import Flow, Hold, Node, Orders, Schedule, listed, timed
from sim.planner.repeating import EDGE, Pattern, repeating


@dataclass(frozen=True)
class Stages:
    """Seconds of the forward and backward pass on each device, for one microbatch.

    ``weights`` are those of the backward pass that only make weights' gradients: passes of their own, which nothing
    waits for (zero bubble, Qi et al., arXiv 2401.10241); none where the backward pass is whole.
    """

    forward: tuple[float, ...]
    backward: tuple[float, ...]
    lag: float | tuple[float, ...] = 0.0  # s, from a device to the next; of a tuple each device's, round to the first
    weights: tuple[float, ...] = ()

    def between(self, one: int, other: int) -> float:
        """Seconds from one device to a neighbour; none to itself."""
        if one == other:
            return 0.0
        ends = sorted((one, other))
        return self.lag[ends[0] if ends[1] - ends[0] == 1 else -1] if isinstance(self.lag, tuple) else self.lag

    def __post_init__(self) -> None:
        """Refuse lists of different lengths."""
        if not self.forward or len(self.forward) != len(self.backward):
            raise WeirError(f"{len(self.forward)} forward and {len(self.backward)} backward times; one of each a stage")
        if self.weights and len(self.weights) != len(self.backward):
            raise WeirError(f"weights' gradients take {len(self.weights)} times for {len(self.backward)} stages")
        for part, whole in zip(self.weights, self.backward, strict=False):
            if not 0 <= part <= whole:
                raise WeirError(f"weights' gradients take {part:g} s of a backward pass of {whole:g} s")

    def repeated(self, ways: int, turned: bool = False) -> Stages:
        """So many chunks of an equal share of each stage's layers; every other time round backwards if ``turned``."""

        def dealt(times: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(t / ways for way in range(ways) for t in (times[::-1] if turned and way % 2 else times))

        return Stages(dealt(self.forward), dealt(self.backward), self.lag, dealt(self.weights))


def chain(stages: Stages) -> Flow:
    """Forward through the devices and back; each holds a microbatch from its forward to its backward pass."""
    return chunks(stages, range(len(stages.forward)))


def one_f_one_b(stages: Stages, microbatches: int, extra: int = 0) -> Schedule:
    """1F1B: device i of p runs p - i forward passes (and ``extra``), then backward and forward by turns."""
    flow, p = chain(stages), len(stages.forward)
    orders = []
    for i in range(p):
        ahead = min(microbatches, p - i + extra)
        f, b = flow.index[f"F{i}"], flow.index[f"B{i}"]
        order = [(f, k) for k in range(ahead)]
        for k in range(microbatches):
            order.append((b, k))
            if k + ahead < microbatches:
                order.append((f, k + ahead))
        orders.append(tuple(order))
    return timed(flow, tuple(orders), method="1F1B")


def gpipe(stages: Stages, microbatches: int) -> Schedule:
    """All forward passes, then all backward passes, the youngest microbatch held longest."""
    flow = chain(stages)
    names = range(len(stages.forward))
    orders: Orders = tuple(
        tuple((flow.index[f"{kind}{i}"], k) for kind in "FB" for k in range(microbatches)) for i in names
    )
    return timed(flow, orders, method="GPipe")


def chunks(parts: Stages, devices: Sequence[int]) -> Flow:
    """Chunks of layers on the devices named, in the order a microbatch passes them; each holds its share.

    Devices 0, 1, .., 0, 1, .. are interleaved 1F1B; 0, 1, .., 1, 0 the V shape. A chunk's share is one over the chunks
    of its device, held until its weights' gradients are made.
    """
    forward, backward = parts.forward, parts.backward
    if len(forward) != len(devices):
        raise WeirError(f"{len(forward)} chunks on {len(devices)} devices; name each chunk's")
    last = len(forward) - 1
    nodes = []
    for c, (t, where) in enumerate(zip(forward, devices, strict=True)):
        late = parts.between(devices[c - 1], where) if c else 0.0
        nodes.append(Node(f"F{c}", where, t, (f"F{c - 1}",) if c else (), late))
    for c in reversed(range(last + 1)):
        after = (f"B{c + 1}", f"F{c}") if c < last else (f"F{c}",)
        late = parts.between(devices[c + 1], devices[c]) if c < last else 0.0
        own = parts.weights[c] if parts.weights else 0.0
        nodes.append(Node(f"B{c}", devices[c], backward[c] - own, after, late))
    nodes += [Node(f"W{c}", devices[c], t, (f"B{c}",)) for c, t in reversed(list(enumerate(parts.weights)))]
    share = 1 / max(1, list(devices).count(devices[0]))
    end = "W" if parts.weights else "B"
    return Flow(tuple(nodes), tuple(Hold(f"F{c}", f"{end}{c}", share) for c in range(last + 1)))


def interleaved(stages: Stages, microbatches: int, ways: int = 2) -> Schedule:
    """Interleaved 1F1B: each device has ``ways`` chunks of an equal share of its layers (Megatron-LM's order)."""
    if ways < 2:
        raise WeirError(f"{ways} chunk a device; interleaving needs at least two (1F1B has one)")
    return interleaved_chunks(stages.repeated(ways), microbatches, ways)


def interleaved_chunks(parts: Stages, microbatches: int, ways: int = 2) -> Schedule:
    """Interleaved 1F1B of chunks with seconds of their own, dealt to the devices ``ways`` times round."""
    p = len(parts.forward) // ways
    if microbatches % p:
        raise WeirError(f"{microbatches} microbatches are not a multiple of {p} devices, which interleaving needs")
    flow = chunks(parts, [i for _ in range(ways) for i in range(p)])
    orders = []
    for i in range(p):
        ahead = min(microbatches * ways, (p - i - 1) * 2 + (ways - 1) * p + 1)
        passes = [_turn(n, p, ways) for n in range(microbatches * ways)]
        fs = [(flow.index[f"F{c * p + i}"], k) for c, k in passes]
        bs = [(flow.index[f"B{(ways - 1 - c) * p + i}"], k) for c, k in passes]
        order = fs[:ahead]
        for n, back in enumerate(bs):
            order.append(back)
            order += fs[ahead + n : ahead + n + 1]
        orders.append(tuple(order))
    return timed(flow, tuple(orders), method="interleaved 1F1B")


def _turn(n: int, devices: int, ways: int) -> tuple[int, int]:
    """The chunk and the microbatch of pass number ``n``: p microbatches through a chunk, then the next chunk."""
    group, within = divmod(n, devices * ways)
    return within // devices, group * devices + within % devices


def v_shape(stages: Stages) -> Flow:
    """Two chunks a device, each half of its layers, down the devices and up again."""
    return v_chunks(stages.repeated(2, turned=True))


def v_chunks(parts: Stages) -> Flow:
    """The V shape of chunks with seconds of their own."""
    p = len(parts.forward) // 2
    return chunks(parts, [*range(p), *reversed(range(p))])


def v_half(stages: Stages, microbatches: int, *, seconds: float = 20.0) -> Schedule:
    """The V shape in the repeating pattern that holds least: about half of 1F1B's microbatches, on all devices."""
    return filled(repeating(v_shape(stages), seconds=seconds), microbatches)


def filled(pattern: Pattern, microbatches: int) -> Schedule:
    """The pattern run for so many microbatches; where weights' gradients are apart, a list schedule that holds no more
    on any device if that is shorter: they then fill the waiting before the pattern settles, and after."""
    made = pattern.unrolled(microbatches)
    if not any(node.name.startswith("W") for node in pattern.flow.nodes):
        return made
    other = listed(pattern.flow, microbatches, [most + EDGE for most in made.held], urgent=_weights_last)
    return min(made, replace(other, method="list within the pattern's room"), key=lambda found: found.seconds)


def _weights_last(node: Node, microbatch: int) -> tuple[int, int, str]:
    """Backward passes first, older microbatches first; weights' gradients when nothing else can run."""
    return "BSTFW".index(node.name[0]), microbatch, node.name


@dataclass(frozen=True)
class Vocabulary:
    """Seconds of the output layer's passes S and T on each device, and of an all-reduce.

    ``barriers`` one: S computes what the last stage's backward pass needs, T may come later; two: T comes before too.
    """

    s: tuple[float, ...]
    t: tuple[float, ...]
    reduce: float = 0.0
    barriers: int = 1

    def __post_init__(self) -> None:
        """Refuse other numbers of barriers."""
        if self.barriers not in (1, 2):
            raise WeirError(f"{self.barriers} barriers; the output layer is divided with one or two")


def vocabulary(stages: Stages, vocab: Vocabulary) -> Flow:
    """The chain with the output layer divided over all devices, between forward and backward."""
    return divided(chain(stages), vocab)


def divided(plain: Flow, vocab: Vocabulary) -> Flow:
    """A flow of forward and backward passes with the output layer divided over all its devices between them."""
    down, up, rest = ([n for n in plain.nodes if n.name.startswith(kind)] for kind in "FBW")
    outs = [Node(f"S{i}", i, vocab.s[i], (down[-1].name,)) for i in range(plain.devices)]
    every = tuple(node.name for node in outs)
    tees = [Node(f"T{i}", i, vocab.t[i], every, vocab.reduce) for i in range(plain.devices)]
    gate = every if vocab.barriers == 1 else tuple(node.name for node in tees)
    up[0] = Node(up[0].name, up[0].device, up[0].seconds, gate, vocab.reduce)
    between, after = (outs, tees) if vocab.barriers == 1 else ([*outs, *tees], [])
    return Flow((*down, *between, *up, *after, *rest), plain.holds)


def vocabulary_parallel(
    stages: Stages, vocab: Vocabulary, microbatches: int, *, seconds: float = 20.0
) -> Schedule:  # fmt: skip
    """The vocabulary's layer on all devices, in the repeating pattern that holds least."""
    return repeating(vocabulary(stages, vocab), seconds=seconds).unrolled(microbatches)
