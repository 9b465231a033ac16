"""A training step as a graph of kernels: what may be dropped, computed again or paged, from the model's own cascades.

Each layer's forward kernels, the loss, and the backward kernels derived from them are tasks; what passes from one to
another is a buffer. Weights and their states stay where they are and are no part of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from einsum import Cascade
from einsum.counts import footprint
from sim.model.estimate import Estimate
from sim.planner.passes import Setting, Work, stack, work
from sim.planner.problem import Buffer, Problem, Task, Tier
from sim.planner.skeleton import inside


def step(setting: Setting, layers: int | None = None) -> Problem:
    """The step of one device: buffers in bytes, tasks in seconds, collectives counted with the kernel they precede.

    ``layers`` of the model, else all; the tier is the device's memory less weights, gradients and optimiser states.
    """
    made, works = work(setting), stack(setting)
    count = setting.layers if layers is None else layers
    parts = _Parts(works)
    for i in range(count):
        one = works[i]
        parts.add(f"f{i}", one.layer.forward, one.ahead, {"X": f"x{i}", "XO": f"x{i + 1}"}, f".{i}")
    ahead, behind = made.loss.forward, made.loss.backward
    parts.add("loss", ahead, made.timed(ahead), {"X": f"x{count}", "LOSS": "loss"}, ".loss")
    parts.add("dloss", behind, made.timed(behind), {"X": f"x{count}", "DX": f"g{count}"}, ".loss")
    for i in reversed(range(count)):
        one = works[i]
        parts.add(f"b{i}", one.layer.backward, one.behind, {"X": f"x{i}", "DXO": f"g{i + 1}", "DX": f"g{i}"}, f".{i}")
    room = setting.cluster.pools[0].device.memory.capacity - setting.state_bytes * made.parameters / setting.ways
    written = {name for task in parts.tasks for name in task.writes}
    given = tuple(n for n in parts.sizes if n not in written)
    buffers = tuple(Buffer(name, size) for name, size in parts.sizes.items())
    return Problem(f"{setting.spec.name} step", buffers, (Tier("device", float(room)),), tuple(parts.tasks), given,
                   ("g0", "loss"))  # fmt: skip


class _Parts:
    """Tasks and buffers while passes are strung together."""

    def __init__(self, works: tuple[Work, ...]) -> None:
        self.ways = works[0].setting.ways
        layers = {made.kind: made.layer for made in works}
        self.weights = {name for layer in (*layers.values(), works[0].loss) for name in layer.weights}
        self.stored = {name for layer in (*layers.values(), works[0].loss) for name in layer.backward.inputs}
        self.tasks: list[Task] = []
        self.sizes: dict[str, int] = {}

    def add(self, name: str, cascade: Cascade, found: Estimate, known: dict[str, str], suffix: str) -> None:
        """The kernels of one pass; tensors are called as ``known`` says, others have the suffix of their layer."""
        kernels = list(_kernels(cascade, found))
        groups = tuple(tuple(cascade.einsum(e) for e in names) for names, _ in kernels)
        hidden = inside(cascade, groups) - self.stored
        for names, seconds in kernels:
            own = [cascade.einsum(e) for e in names]
            made = [e.output.tensor for e in own]
            read = dict.fromkeys(n for e in own for n in e.inputs if n not in made)
            writes = self._named(cascade, (n for n in dict.fromkeys(made) if n not in hidden), known, suffix)
            reads = self._named(cascade, read, known, suffix)
            self.tasks.append(Task(f"{name} {names[0]}", seconds, reads, writes))

    def _named(
        self, cascade: Cascade, tensors: Iterable[str], known: dict[str, str], suffix: str
    ) -> tuple[str, ...]:  # fmt: skip
        names = []
        for tensor in tensors:
            if tensor in self.weights or (tensor.startswith("D") and tensor[1:] in self.weights):
                continue  # gradients of weights are counted with the weights' states
            names.append(known.get(tensor, f"{tensor}{suffix}"))
            self.sizes.setdefault(names[-1], max(1, round(float(footprint(cascade, tensor)) / self.ways)))
        return tuple(names)


def _kernels(cascade: Cascade, found: Estimate) -> Iterator[tuple[list[str], float]]:
    """The Einsums of each kernel and its seconds, with those of collectives before it; what follows the last goes
    with it."""
    waiting = 0.0
    kernels: list[tuple[list[str], float]] = []
    for row in found.rows:
        if row.kind == "kernel":
            kernels.append((row.name.split(), float(row.seconds) + waiting))
            waiting = 0.0
        else:
            waiting += float(row.seconds)
    names, seconds = kernels[-1]
    yield from kernels[:-1]
    yield names, seconds + waiting
