"""A training step as a graph of kernels: what may be dropped, computed again or paged, from the model's own cascades.

Each layer's forward kernels, the loss, and the backward kernels derived from them are tasks; what passes from one to
another is a buffer. Weights and their states stay where they are and are no part of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable

from einsum import Cascade
from einsum.counts import footprint
from mappings.kernels import kernels
from mappings.training import gradients
from sim.planner.parts import Part
from sim.planner.passes import Setting, Work, stack, work
from sim.planner.problem import Buffer, Problem, Task, Tier
from sim.planner.skeleton import inside


def step(setting: Setting, layers: int | None = None) -> Problem:
    """The step of one device: buffers in bytes, tasks in seconds, what a kernel waits for counted with it.

    ``layers`` of the model, else all; the tier is the device's memory less weights, gradients and optimiser states.
    """
    made, works = work(setting), stack(setting)
    count = setting.layers if layers is None else layers
    parts = _Parts(works)
    for i in range(count):
        parts.add(f"f{i}", works[i].part, False, {"X": f"x{i}", "XO": f"x{i + 1}"}, f".{i}")
    parts.add("loss", made.last, False, {"X": f"x{count}", "LOSS": "loss"}, ".loss")
    parts.add("dloss", made.last, True, {"X": f"x{count}", "DX": f"g{count}"}, ".loss")
    for i in reversed(range(count)):
        parts.add(f"b{i}", works[i].part, True, {"X": f"x{i}", "DXO": f"g{i + 1}", "DX": f"g{i}"}, f".{i}")
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
        self.tasks: list[Task] = []
        self.sizes: dict[str, int] = {}

    def add(self, name: str, part: Part, backward: bool, known: dict[str, str], suffix: str) -> None:
        """The kernels of one pass; tensors are called as ``known`` says, others have the suffix of their layer."""
        cascade, hidden = part.step, inside(part.step, kernels(part.step, part.layout))
        for names, seconds in part.kernels_ended(backward):
            own = [cascade.einsum(e) for e in names]
            made = [e.output.tensor for e in own]
            read = dict.fromkeys(n for e in own for n in e.inputs if n not in made)
            writes = self._named(cascade, (n for n in dict.fromkeys(made) if n not in hidden), known, suffix)
            reads = self._named(cascade, read, known, suffix)
            self.tasks.append(Task(f"{name} {names[0]}", seconds, reads, writes))

    def _named(
        self, cascade: Cascade, tensors: Iterable[str], known: dict[str, str], suffix: str
    ) -> tuple[str, ...]:  # fmt: skip
        names, makes = [], gradients(cascade)
        for tensor in tensors:
            if cascade.tensor(tensor).kind in ("weight", "state") or makes(tensor):
                continue  # gradients of weights are counted with the weights' states
            names.append(known.get(tensor, f"{tensor}{suffix}"))
            self.sizes.setdefault(names[-1], max(1, round(float(footprint(cascade, tensor)) / self.ways)))
        return tuple(names)
