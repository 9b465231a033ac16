"""What one device does, or what must travel: operations by class and type, bytes; amounts may be arrays over points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sim.model.products import Product

Ops = tuple[tuple[str, str, Any], ...]  # (operation class, data type, count on one device)


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that a pool, or the network between pools, does.

    ``kind`` is ``kernel``, a collective (``all-reduce``, ``reduce-scatter``, ``all-gather``, ``all-to-all``) or
    ``transfer``. ``size`` is bytes: through one device's memory for a kernel; held by one device before a collective
    reduces it, or after it gathers or exchanges it; received by one device in a transfer.
    """

    name: str
    kind: str
    pool: str
    size: Any
    ops: Ops = ()
    ways: int = 1  # devices that take part
    span: int = 1  # neighbouring devices among which they are, if these are more
    groups: int = 1  # of so many neighbours, that do the same
    source: str = ""  # of a transfer: the sending pool
    senders: int = 1
    receivers: int = 1
    after: tuple[int, ...] = ()
    einsums: tuple[str, ...] = ()
    shot: bool = True  # of an all-reduce: a serving engine's own, in one step, is open to it
    divided: bool = False  # of latent attention: its engine divides the context on every device
    flash: bool | None = None  # of attention: FlashAttention's kernel alone; None: where it is the better one
    products: tuple[Product, ...] = ()  # the matrix products in a kernel
    again: Any = 0.0  # bytes that pass until it runs again on the same operands, as in benchmarks; 0: it never does
    attends: bool = False  # its products are between activations or with state: attention
    fresh: Any = 1.0  # new positions that its queries come from
    prompt: bool = False  # which are prompts, however few they are
    wide: Any = 1.0  # elements in a row of what a kernel without products writes
    rows: Any = 1.0  # such rows
    work: str = "map"  # what such a kernel does: map, reduce, curve (transcendental), turn (positions) or narrow

    @property
    def reach(self) -> int:
        """Neighbouring devices among which those that take part are."""
        return max(self.ways, self.span)
