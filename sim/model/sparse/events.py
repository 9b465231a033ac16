"""A discrete-event simulation of the row-wise hash kernel: every instruction burst, request and probe as it happens.

It shares with the analytical model only the figures of components and mapping. Threads fetch tokens (rows, or entries
of A), load A and B line by line from DRAM, probe a real table in the scratchpad and update it; a window ends when all
are done, and is then written back by the threads or by an engine. Pipelines, the DRAM channel and the scratchpad's
banks are servers that take requests first come, first served.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from einsum.errors import WeirError
from mappings.tree import Spatial
from sim.model.sparse.count import Counter
from sim.model.sparse.hashing import slot_of, tagged, widths
from sim.model.sparse.heap import popped, pushed
from sim.model.sparse.share import block
from sim.model.sparse.structure import Floats, Ints
from sim.model.sparse.units import latency
from workloads.kernels.core.jit import jit

MOST = 4_000_000  # products that are simulated at most
CAP = 4096  # probes after which one product goes no further
TAKE, FETCH, LOAD, WORK, PROBE, READ, UPDATE, ENGINE = range(8)  # what a thread is about to do
STATE, TOKEN, ENTRY, PLACE, LINES, SLOT, PROBES, GOES = range(8)  # fields of a thread
PIPELINES, CHANNEL, EVENTS, PROBED, HELD = range(5)  # totals: two servers' seconds, events, probes, places in the table


@dataclass(frozen=True, slots=True)
class Simulated:
    """Seconds until the last line is written, and of each server's work over that time."""

    seconds: float
    pipelines: float
    dram: float
    events: int
    probes: float


class Matrices(NamedTuple):
    """Both operands row by row, and the row of each entry of A."""

    ap: Ints
    ai: Ints
    bp: Ints
    bi: Ints
    rows: Ints


class Times(NamedTuple):
    """Seconds of an instruction, of a line through the channel and on its way, of a bank for a read and an update, and
    from the scratchpad."""

    cycle: float
    line: float
    latency: float
    read: float
    hold: float
    near: float


class Costs(NamedTuple):
    """Instructions of each product, probe, entry of A, row, entry written and row copied."""

    product: float
    probe: float
    entry: float
    row: float
    written: float
    copied: float


class Shape(NamedTuple):
    """Pipelines, threads of each, requests of the engine in flight, bytes of a line and of an entry of the result."""

    pipelines: int
    contexts: int
    flight: int
    line: int
    entry: int
    by_row: bool  # tokens are rows, not entries of A
    dynamic: bool  # threads poll, tokens are not dealt out
    hash: int
    wide: int  # bits of a column in a tag
    high: int  # bits of a row
    outside: bool  # the column is in a tag's high bits
    bits: int  # of the table's number of slots


class Now(NamedTuple):
    """What changes: threads (and the engine's requests behind them), tokens, the table, servers, who goes on when."""

    threads: Ints
    tokens: Ints  # the next and the one after the last
    own: Ints  # as many, thread by thread
    tags: Ints
    free: Floats  # pipelines and the channel
    banks: Floats
    totals: Floats
    heap: Floats
    who: Ints


def simulate(counter: Counter) -> Simulated:
    """One run of a mapping with a hash table on one core, event by event."""
    mapping, product, device = counter.mapping, counter.product, counter.device
    leaf, table = counter.leaves[-1], counter.table
    if table is None or table.drain != "entries" or len(counter.leaves) != 1:
        raise WeirError(f"{mapping.name}: only products row by row with a hash table of entries are simulated")
    if product.products > MOST:
        raise WeirError(f"{product.products} products; at most {MOST} are simulated")
    if device.instances("dram") != 1:
        raise WeirError(f"{device.name}: one core is simulated, not {device.instances('dram')}")
    given = mapping.instructions.get(leaf.einsum.name, {})
    costs = Costs(*(given.get(name, 0.0) for name in Costs._fields))
    times, shape, banks = _machine(counter, table.hash, table.tag)
    a, b = product.a, product.b
    matrices = Matrices(a.indptr, a.indices, b.indptr, b.indices, a.rows)
    now = _begun(shape, banks)
    seconds = _run(matrices, counter.windows(counter.held), times, costs, shape, now)
    busy, channel, events, probes, _ = now.totals.tolist()
    return Simulated(seconds, busy / shape.pipelines, channel, int(events), probes / max(product.products, 1))


def _machine(counter: Counter, hash_: str, tag: str) -> tuple[Times, Shape, int]:
    """Figures of the device and the mapping, and banks of the scratchpad."""
    device, mapping, leaf = counter.device, counter.mapping, counter.leaves[-1]
    computes = {unit.name: unit for unit in device.computes}
    unit, spad, dram = computes[leaf.unit], counter.memories[counter.held.node.level], counter.memories["dram"]
    banks = max(spad.banks, 1)
    read = 8.0 / spad.bandwidth * banks
    cycle = 1.0 / (unit.rate("map", "fp64") or 1.0)
    far = latency(device, dram)
    times = Times(cycle, dram.line / dram.bandwidth, far, read, max(spad.hold, read), spad.latency)
    engine = next(iter(mapping.via), "")
    shape = Shape(
        device.instances(unit.name), int(unit.contexts), int(computes[engine].contexts) if engine else 0,
        int(dram.line), int(mapping.format(leaf.einsum.output.tensor).parts[0].size),
        any(isinstance(one.node, Spatial) and one.node.rank == counter.ranks[0] for one in leaf.loops),
        mapping.share == "dynamic", ("low", "high", "multiplicative").index(hash_),
        *widths(counter.product.b.shape[1], counter.windows(counter.held)), tag == "column row",
        (counter.slots(spad) - 1).bit_length(),
    )  # fmt: skip
    return times, shape, banks


def _begun(shape: Shape, banks: int) -> Now:
    """Before the first event."""
    count = shape.pipelines * shape.contexts
    everyone = count + shape.flight
    return Now(
        np.zeros((everyone, 8), np.int64), np.zeros(2, np.int64), np.zeros((count, 2), np.int64),
        np.full(1 << shape.bits, -1, np.int64), np.zeros(shape.pipelines + 1), np.zeros(banks), np.zeros(5),
        np.zeros(everyone + 1), np.zeros(everyone + 1, np.int64),
    )  # fmt: skip


@jit
def _run(matrices: Matrices, edges: Ints, times: Times, costs: Costs, shape: Shape, now: Now) -> float:
    """Window after window, each begun when the one before is out of the threads' way; seconds until all is written."""
    count = shape.pipelines * shape.contexts
    begin, engine = 0.0, 0.0
    for window in range(len(edges) - 1):
        first, stop = edges[window], edges[window + 1]
        last, done = _window(begin, engine, first, stop, matrices, times, costs, shape, now)
        engine = max(engine, done)
        begin = _written(last, first, stop, times, costs, shape, now)
    for thread in range(count, count + shape.flight):  # what the engine has left at the end
        pace = max(times.line * shape.flight, times.line + times.latency)
        engine = max(engine, begin + now.threads[thread, LINES] * pace)
    return max(begin, engine)


@jit
def _window(
    begin: float, engine: float, first: int, stop: int, matrices: Matrices, times: Times, costs: Costs, shape: Shape,
    now: Now,
) -> tuple[float, float]:  # fmt: skip
    """All events of one window: when the last thread is done, and when the engine was last at work."""
    count = shape.pipelines * shape.contexts
    now.tokens[0], now.tokens[1] = first, stop
    if not shape.by_row:
        now.tokens[0], now.tokens[1] = matrices.ap[first], matrices.ap[stop]
    now.tags[:] = -1
    now.totals[HELD] = 0
    _deal(count, now)
    size = _lined_up(begin, engine, count, shape, now)
    last, done = begin, 0.0
    while size > 0:
        time, thread = now.heap[0], now.who[0]
        size = popped(now.heap, now.who, size)
        after = _step(time, thread, first, matrices, times, costs, shape, now)
        now.totals[EVENTS] += 1
        if after >= 0:
            size = pushed(now.heap, now.who, size, after, thread)
        elif thread < count:
            last = max(last, time)
        else:
            done = max(done, time)
    return last, done


@jit
def _lined_up(begin: float, engine: float, count: int, shape: Shape, now: Now) -> int:
    """Threads that ask for tokens, and the engine's requests, which write the window before meanwhile."""
    size = 0
    for thread in range(count):
        now.threads[thread, STATE] = TAKE
        size = pushed(now.heap, now.who, size, begin, thread)
    for thread in range(count, count + shape.flight):
        if now.threads[thread, LINES] > 0:
            now.threads[thread, STATE] = ENGINE
            size = pushed(now.heap, now.who, size, max(begin, engine), thread)
    return size


@jit
def _deal(count: int, now: Now) -> None:
    """Shares of a window's tokens in blocks, for threads that do not poll."""
    share = block(now.tokens[1] - now.tokens[0], count)
    for thread in range(count):
        now.own[thread, 0] = min(now.tokens[0] + thread * share, now.tokens[1])
        now.own[thread, 1] = min(now.own[thread, 0] + share, now.tokens[1])


@jit
def _next(thread: int, shape: Shape, now: Now) -> bool:
    """Give a thread its next token: from the common queue, or of its own share."""
    queue = now.tokens if shape.dynamic else now.own[thread]
    if queue[0] >= queue[1]:
        return False
    now.threads[thread, TOKEN] = queue[0]
    queue[0] += 1
    return True


@jit
def _written(last: float, first: int, stop: int, times: Times, costs: Costs, shape: Shape, now: Now) -> float:
    """When the next window may begin: at once if an engine writes this one back, else when the threads have."""
    count, held = shape.pipelines * shape.contexts, now.totals[HELD]
    lines = (int(held) * shape.entry + 8 * (stop - first) + shape.line - 1) // shape.line
    if shape.flight:
        for thread in range(shape.flight):
            now.threads[count + thread, LINES] += lines // shape.flight + (thread < lines % shape.flight)
        work = costs.copied * (stop - first) * times.cycle
        now.totals[PIPELINES] += work
        return float(last + work / shape.pipelines)
    # Each thread's share in turn: instructions, then a line at a time through the channel.
    work = costs.written * held * times.cycle / shape.pipelines
    now.totals[PIPELINES] += work * shape.pipelines
    now.totals[CHANNEL] += lines * times.line
    waits = lines / count * (times.line + times.latency) + work / shape.contexts
    return float(last + max(lines * times.line, max(work, waits)))


@jit
def _asked(time: float, server: int, free: Floats, service: float, wait: float) -> float:
    """When a request is answered that a server takes up in turn."""
    free[server] = max(free[server], time) + service
    return float(free[server] + wait)


@jit
def _issued(time: float, thread: int, instructions: float, times: Times, shape: Shape, now: Now) -> float:
    """When a thread's instructions are through its pipeline."""
    now.totals[PIPELINES] += instructions * times.cycle
    return _asked(time, thread % shape.pipelines, now.free, instructions * times.cycle, 0.0)


@jit
def _loaded(time: float, me: Ints, times: Times, shape: Shape, now: Now) -> float:
    """When one line is there."""
    me[LINES] -= 1
    now.totals[CHANNEL] += times.line
    return _asked(time, shape.pipelines, now.free, times.line, times.latency)


@jit
def _step(
    time: float, thread: int, first: int, matrices: Matrices, times: Times, costs: Costs, shape: Shape, now: Now
) -> float:
    """What a thread does now, and when it goes on; -1 if it is done."""
    me = now.threads[thread]
    if me[STATE] == ENGINE:
        return _loaded(time, me, times, shape, now) if me[LINES] > 0 else -1.0
    if me[STATE] == LOAD:  # one line after another
        if me[LINES] > 0:
            return _loaded(time, me, times, shape, now)
        me[STATE] = me[GOES]
    if me[STATE] == READ or me[STATE] == UPDATE:
        service = times.read if me[STATE] == READ else times.hold
        me[STATE] = PROBE if me[STATE] == READ else WORK
        return _asked(time, me[SLOT] % len(now.banks), now.banks, service, times.near)
    if me[STATE] == TAKE:
        if not _next(thread, shape, now):
            return -1.0
        me[ENTRY] = matrices.ap[me[TOKEN]] if shape.by_row else me[TOKEN]
        me[STATE] = FETCH
        begins = shape.by_row or me[ENTRY] == matrices.ap[matrices.rows[me[ENTRY]]]
        if begins and costs.row > 0:
            return _issued(time, thread, costs.row, times, shape, now)
    if me[STATE] == FETCH:
        return _fetched(time, thread, matrices, times, costs, shape, now)
    if me[STATE] == WORK:
        return _begins(time, thread, first, matrices, times, costs, shape, now)
    return _probe(time, thread, first, matrices, times, costs, shape, now)


@jit
def _crossed(start: int, size: int, line: int) -> int:
    """Lines that a run of bytes begins, of those that runs before it in the same array do not end in."""
    return (start + size + line - 1) // line - (start + line - 1) // line


@jit
def _fetched(time: float, thread: int, matrices: Matrices, times: Times, costs: Costs, shape: Shape, now: Now) -> float:
    """The next entry of A, and where its row of B begins."""
    me = now.threads[thread]
    end = matrices.ap[me[TOKEN] + 1] if shape.by_row else me[TOKEN] + 1
    if me[ENTRY] >= end:
        me[STATE] = TAKE
        return time
    row = matrices.ai[me[ENTRY]]
    me[LINES] = _crossed(12 * me[ENTRY], 12, shape.line) + (matrices.bp[row + 1] > matrices.bp[row])
    me[PLACE] = matrices.bp[row]
    me[STATE], me[GOES], me[PROBES] = LOAD, WORK, 0
    return _issued(time, thread, costs.entry, times, shape, now)


@jit
def _tag(me: Ints, first: int, matrices: Matrices, shape: Shape) -> int:
    local, column = matrices.rows[me[ENTRY]] - first, matrices.bi[me[PLACE]]
    return tagged(local, column, shape.wide, shape.high, shape.outside)


@jit
def _begins(
    time: float, thread: int, first: int, matrices: Matrices, times: Times, costs: Costs, shape: Shape, now: Now
) -> float:
    """One product: its line of B if it is a new one, and where its probes begin."""
    me = now.threads[thread]
    row = matrices.ai[me[ENTRY]]
    if me[PLACE] >= matrices.bp[row + 1]:
        me[ENTRY] += 1
        me[STATE] = FETCH
        return time
    start, line = 12 * me[PLACE], shape.line
    anew = me[PLACE] == matrices.bp[row]
    me[LINES] = (start + 11) // line - start // line + 1 if anew else (start + 11) // line - (start - 1) // line
    me[SLOT] = slot_of(_tag(me, first, matrices, shape), shape.hash, shape.bits, shape.wide + shape.high)
    me[STATE], me[GOES], me[PROBES] = LOAD, PROBE, 0
    return _issued(time, thread, costs.product, times, shape, now)


@jit
def _probe(
    time: float, thread: int, first: int, matrices: Matrices, times: Times, costs: Costs, shape: Shape, now: Now
) -> float:
    """The next slot of a product, or its update if the one that was read is its own or free."""
    me = now.threads[thread]
    if me[PROBES] > 0:  # the answer is here
        tag, found = _tag(me, first, matrices, shape), now.tags[me[SLOT]]
        if found == tag or found < 0 or me[PROBES] >= CAP:
            if found < 0:
                now.tags[me[SLOT]] = tag
                now.totals[HELD] += 1
            me[PLACE] += 1
            me[STATE] = UPDATE
            return time
        me[SLOT] = (me[SLOT] + 1) & (len(now.tags) - 1)
    me[PROBES] += 1
    now.totals[PROBED] += 1
    me[STATE] = READ
    return _issued(time, thread, costs.probe, times, shape, now)
