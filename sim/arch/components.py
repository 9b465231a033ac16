"""Components: the only things that know physics. Each turns a count of actions into seconds, joules or watts."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Amount = TypeVar("Amount", float, Array)  # one number, or an array of design points

OPERATIONS = ("mac", "add", "mul", "div", "max", "exp", "compare", "lookup", "atomic", "map")


@dataclass(frozen=True, slots=True)
class Quantity:
    """One numeric attribute of a component: its unit in text, whether zero is refused or fractions are, and its largest
    value."""

    unit: str
    positive: bool = False
    whole: bool = False
    most: float = inf


@dataclass(frozen=True, slots=True)
class Memory:
    """A store under ``under`` ("" is the outermost); infinite where a file states no capacity or bandwidth limit."""

    name: str
    under: str = ""
    capacity: float = inf  # B
    bandwidth: float = inf  # B/s
    write_bandwidth: float | None = None  # B/s of a port of its own for writing; reads and writes share unless given
    latency: float = 0.0  # s, from a request to its data
    concurrency: float = inf  # requests that may be outstanding
    line: float = 0.0  # B, moved by one request
    energy: float = 0.0  # J/B read
    write_energy: float | None = None  # J/B written; as for reading unless given
    area: float = 0.0  # mm^2 of one instance
    leakage: float = 0.0  # W of one instance, whatever it does
    partitions: int = 1  # parts that each keep their own copy of what their units read
    banks: int = 0  # that atomic updates fall on at random, one at a time each; 0: without limit
    hold: float = 0.0  # s that an atomic update holds its bank
    replacement: str = ""  # "lru" for a cache; else it holds what the mapping keeps there
    interleaved: bool = False  # its instances are one address space, whose addresses go round them in turn

    REPLACEMENTS: ClassVar[tuple[str, ...]] = ("", "lru")
    QUANTITIES: ClassVar[dict[str, Quantity]] = {
        "capacity": Quantity("B", positive=True),
        "bandwidth": Quantity("B/s", positive=True),
        "write_bandwidth": Quantity("B/s", positive=True),
        "latency": Quantity("s"),
        "concurrency": Quantity("1", positive=True),
        "line": Quantity("B", positive=True),
        "energy": Quantity("J/B"),
        "write_energy": Quantity("J/B"),
        "area": Quantity("mm^2"),
        "leakage": Quantity("W"),
        "partitions": Quantity("1", positive=True, whole=True),
        "banks": Quantity("1", positive=True, whole=True),
        "hold": Quantity("s"),
    }

    @property
    def rate(self) -> float:
        """Bytes per second: the bandwidth, or what the outstanding requests can cover (Little's law)."""
        if self.latency == 0.0 or self.line == 0.0 or self.concurrency == inf:
            return self.bandwidth
        return min(self.bandwidth, self.concurrency * self.line / self.latency)

    def seconds(self, size: Amount) -> Amount:
        """Seconds to stream ``size`` bytes."""
        return size / self.rate

    def scattered(self, chunk: Amount) -> Amount:
        """Bytes a second of requests of ``chunk`` bytes at random places, as many at once as the memory takes.

        Each waits ``latency`` for its first byte; then it streams. LLM in a flash (arXiv 2312.11514), section 2.2.
        """
        return chunk / (self.latency / self.concurrency + chunk / self.bandwidth)

    def busy(self, read: Amount, written: Amount) -> Amount:
        """Seconds to read and write so many bytes, through one port or through one of each."""
        if self.write_bandwidth is None:
            return (read + written) / self.rate
        out, into = read / self.rate, written / self.write_bandwidth
        return np.maximum(out, into) if isinstance(out, np.ndarray) else max(out, into)

    def atomics(self, updates: float, collisions: float) -> float:
        """Seconds of one instance's atomic updates: spread over the banks, those of one place after one another.

        ``collisions`` is the sum over places of the square of their share of the updates: the chance that two meet.
        """
        return updates * self.hold * max(1.0 / self.banks, collisions) if self.banks else 0.0

    def joules(self, size: Amount, written: bool = False) -> Amount:
        """Joules to read, or to write, ``size`` bytes."""
        each = self.write_energy if written and self.write_energy is not None else self.energy
        return size * each


@dataclass(frozen=True, slots=True)
class Compute:
    """A unit that executes operations: rows of (operation class, data type, operations per second) per instance.

    A multiply-accumulate is the class ``mac`` and counts as two operations; ``exp`` is every transcendental function;
    ``map`` stands for the elementwise classes that no unit of the device lists by name. A unit of several ``contexts``
    (hardware threads of a barrel, or the requests that an engine keeps in flight) has each wait for its own request.
    """

    name: str
    under: str = ""
    rates: tuple[tuple[str, str, float], ...] = ()
    energies: tuple[tuple[str, str, float], ...] = ()  # J per operation
    chained: bool = False  # operations of one point run in a chain, so that a point takes as long as the slowest
    area: float = 0.0  # mm^2 of one instance
    asynchronous: bool = False  # works by itself on operands in shared memory while other units go on
    apart: bool = False  # and adds up in a memory of its own, not in the registers of who waits for it
    contexts: float = inf  # requests of one instance that may be in flight, one each; without limit unless given

    CONTEXTS: ClassVar[Quantity] = Quantity("1", positive=True)

    def elapsed(self, busy: Amount, waited: Amount) -> Amount:
        """Seconds of one instance that works for ``busy`` and whose contexts together wait ``waited`` for memory.

        In-order threads issue in turn: the unit is never quicker than its work, nor than one thread's share of work and
        waiting (Little's law, with one request outstanding a thread).
        """
        shared = (busy + waited) / self.contexts
        return np.maximum(busy, shared) if isinstance(shared, np.ndarray) else max(busy, shared)

    def rate(self, op: str, dtype: str) -> float | None:
        """Operations per second of one instance, or None where the unit does not list the pair."""
        return next((rate for kind, bits, rate in self.rates if (kind, bits) == (op, dtype)), None)

    def joules(self, op: str, dtype: str, count: Amount) -> Amount:
        """Joules of ``count`` operations; zero where no energy is given."""
        return count * next((each for kind, bits, each in self.energies if (kind, bits) == (op, dtype)), 0.0)


@dataclass(frozen=True, slots=True)
class Fanout:
    """``count`` copies of whatever stands under it; ``skew`` is how much later the last one starts than the first.

    What stays in the copies while other operands pass (a systolic array's weights) is handed on from one to the next:
    ``shift`` is how long that takes. Memory interleaved over the copies is reached over their ``network``.
    """

    name: str
    under: str = ""
    count: int = 1
    skew: float = 0.0  # s, the wavefront's way along a systolic row or column
    shift: float = 0.0  # s, to hand a new operand on to all copies
    clock: float = 0.0  # Hz, at which rates are stated; 0 if not stated
    base_clock: float = 0.0  # Hz, kept within the power limit whatever runs; 0 if not stated
    boost_clock: float = 0.0  # Hz, which light work runs at; 0 if it is the one at which rates are stated
    threads: int = 0  # that one copy keeps at once; 0 if not stated
    network: str = ""  # "mesh" (two-dimensional) or "hyperx" (all in a row or column are neighbours); "" for none
    hop: float = 0.0  # s, one way, from a copy to its neighbour
    port: float = inf  # B/s, one direction, into or out of one copy
    topology: str = ""  # of the wires by which a loop nest's words reach the copies; "" where hops are not counted
    pitch: float = 0.0  # m, from a copy to its neighbour; 0 if not stated
    bandwidth: float = inf  # B/s, one direction, where these wires begin

    NETWORKS: ClassVar[tuple[str, ...]] = ("", "mesh", "hyperx")
    TOPOLOGIES: ClassVar[tuple[str, ...]] = ("", "bus", "chain", "mesh", "tree")
    QUANTITIES: ClassVar[dict[str, Quantity]] = {
        "count": Quantity("1", positive=True, whole=True),
        "skew": Quantity("s"),
        "shift": Quantity("s"),
        "clock": Quantity("Hz", positive=True),
        "base_clock": Quantity("Hz", positive=True),
        "boost_clock": Quantity("Hz", positive=True),
        "threads": Quantity("1", positive=True, whole=True),
        "hop": Quantity("s"),
        "port": Quantity("B/s", positive=True),
        "pitch": Quantity("m", positive=True),
        "bandwidth": Quantity("B/s", positive=True),
    }

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns of copies laid out as squarely as their number divides, the fewer rows."""
        high = int(np.sqrt(self.count))
        while self.count % high:
            high -= 1
        return high, self.count // high

    @property
    def crossing(self) -> float:
        """Share of requests that leave their copy, destinations being random."""
        return 1 - 1 / self.count

    @property
    def hops(self) -> float:
        """Mean hops, one way, to a random copy: of a mesh, a third of each side; of a HyperX, one a dimension."""
        if self.network == "mesh":
            return sum((side * side - 1) / (3 * side) for side in self.sides)
        return sum(1 - 1 / side for side in self.sides) if self.network == "hyperx" else 0.0


@dataclass(frozen=True, slots=True)
class Link:
    """A way out of the device: to its node's peers, to the network, or to its host."""

    name: str
    scope: str  # "node", "network" or "host"
    bandwidth: float  # B/s, one direction, per device
    latency: float = 0.0  # s, one way
    peers: int = 0  # devices in its largest domain; 0 is unbounded
    reduces: bool = False  # its switch adds up what passes and sends the sum to everyone
    payload: float = 0.8  # fraction of the bandwidth that is left for data; NCCL's of most NVLinks if none is stated

    SCOPES: ClassVar[tuple[str, ...]] = ("node", "network", "host")
    QUANTITIES: ClassVar[dict[str, Quantity]] = {
        "bandwidth": Quantity("B/s", positive=True),
        "latency": Quantity("s"),
        "peers": Quantity("1", whole=True),
        "payload": Quantity("1", positive=True, most=1.0),
    }

    def seconds(self, size: Amount) -> Amount:
        """Seconds for one message of ``size`` bytes: latency, then bytes over bandwidth."""
        return size / self.bandwidth + self.latency


@dataclass(frozen=True, slots=True)
class Process:
    """What a device is made in, for models of what its file leaves out."""

    node: float  # nm
    dram: str = ""  # kind of its outermost memory, "" if not stated
    clock: float = 0.0  # Hz; 0 if not stated


@dataclass(frozen=True, slots=True)
class Power:
    """Board power: an idle part, what any running kernel adds, and what each kind of work adds at its full rate."""

    tdp: float  # W, the limit
    idle: float  # W
    compute: float  # W at full compute utilisation, of values of 16 bits and more
    memory: float  # W at full memory bandwidth
    link: float  # W at full link bandwidth
    active: float = 0.0  # W while a kernel runs, whatever it does

    QUANTITIES: ClassVar[dict[str, Quantity]] = {
        name: Quantity("W", positive=name == "tdp") for name in ("tdp", "idle", "compute", "memory", "link", "active")
    }

    def watts(self, compute: Amount, memory: Amount, link: Amount, active: Amount) -> Amount:
        """Watts at the given utilisations (0 to 1), never above the board's limit."""
        drawn = self.idle + active * self.active + compute * self.compute + memory * self.memory + link * self.link
        return np.minimum(drawn, self.tdp) if isinstance(drawn, np.ndarray) else min(drawn, self.tdp)
