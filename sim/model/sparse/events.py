"""A discrete-event simulation of the row-wise hash kernel: every instruction burst, request and probe as it happens.

It shares with the analytical model only the figures of components and mapping. Threads fetch tokens (rows, or entries
of A), load A and B line by line from DRAM, probe a real table in the scratchpad and update it; a window ends when all
are done, and is then written back by the threads or by an engine. Pipelines, the DRAM channel and the scratchpad's
banks are servers that take requests first come, first served.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from einsum.errors import WeirError
from mappings.tree import Spatial
from sim.model.sparse.count import Counter
from sim.model.sparse.hashing import _slot
from sim.model.sparse.structure import Floats, Ints
from sim.model.sparse.units import latency
from workloads.kernels.core.jit import jit

MOST = 4_000_000  # products that are simulated at most
LIMIT = 1e6  # s; nobody waits longer
TAKE, FETCH, LOAD, WORK, PROBE, READ, UPDATE, BACK, ENGINE, REST = range(10)
(STATE, TOKEN, ENTRY, PLACE, LINES, SLOT, PROBES, GOES) = range(8)  # fields of a thread


@dataclass(frozen=True, slots=True)
class Simulated:
    """Seconds until the last line is written, and of each server's work over that time."""

    seconds: float
    pipelines: float
    dram: float
    events: int
    probes: float


def simulate(counter: Counter) -> Simulated:
    """One run of a mapping with a hash table on one core, event by event."""
    mapping, product, device = counter.mapping, counter.product, counter.device
    leaf = counter.leaves[-1]
    table, given = mapping.table, mapping.instructions.get(leaf.einsum.name, {})
    if table is None or table.drain != "entries" or len(counter.leaves) != 1:
        raise WeirError(f"{mapping.name}: only products row by row with a hash table of entries are simulated")
    if product.products > MOST:
        raise WeirError(f"{product.products} products; at most {MOST} are simulated")
    unit = next(c for c in device.computes if c.name == leaf.unit)
    spad, dram = counter.memories[counter.held.node.level], counter.memories["dram"]
    if device.instances(dram.name) != 1:
        raise WeirError(f"{device.name}: one core is simulated, not {device.instances(dram.name)}")
    rows = counter.ranks[0]
    by_row = any(isinstance(one.node, Spatial) and one.node.rank == rows for one in leaf.loops)
    pipelines, contexts = device.instances(unit.name), int(unit.contexts)
    engine = next(iter(mapping.via), "")
    flight = int(next(c.contexts for c in device.computes if c.name == engine)) if engine else 0
    cycle = 1.0 / (unit.rate("map", "fp64") or 1.0)
    times = np.array([
        cycle, dram.line / dram.bandwidth, latency(device, dram), 8.0 / spad.bandwidth * max(spad.banks, 1),
        max(spad.hold, 8.0 / spad.bandwidth * max(spad.banks, 1)), spad.latency,
    ])  # fmt: skip
    costs = np.array([given.get(name, 0.0) for name in ("product", "probe", "entry", "row", "written", "copied")])
    edges = counter.windows(counter.held)
    wide, high = _widths(product.b.shape[1], edges)
    kind = ("low", "high", "multiplicative").index(table.hash)
    layout = np.array([counter.slots(spad), kind, wide, high, table.tag == "column row", max(spad.banks, 1)], np.int64)
    shape = np.array([pipelines, contexts, flight, by_row, mapping.share == "dynamic", int(dram.line)], np.int64)
    entry = int(sum(part.size for part in mapping.format("Z").parts[:1]))
    found = _run(
        product.a.indptr, product.a.indices, product.b.indptr, product.b.indices, edges, times, costs, layout, shape,
        entry,
    )  # fmt: skip
    seconds, busy, channel, events, probes = found
    return Simulated(seconds, busy / pipelines, channel, int(events), probes / max(product.products, 1))


def _widths(columns: int, edges: Ints) -> tuple[int, int]:
    """Bits of a column and of a row in a window."""
    return max(columns - 1, 1).bit_length(), max(int(np.diff(edges).max(initial=1)) - 1, 1).bit_length()


@jit
def _push(heap: Floats, who: Ints, size: int, time: float, thread: int) -> int:
    at = size
    while at > 0 and heap[(at - 1) // 2] > time:
        heap[at], who[at] = heap[(at - 1) // 2], who[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at], who[at] = time, thread
    return size + 1


@jit
def _pop(heap: Floats, who: Ints, size: int) -> int:
    """Move the last to the top and let it sink; the caller has read the top."""
    size -= 1
    time, thread, at = heap[size], who[size], 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= time:
            break
        heap[at], who[at] = heap[child], who[child]
        at = child
    heap[at], who[at] = time, thread
    return size


@jit
def _crossed(start: int, size: int, line: int) -> int:
    """Lines that a run of bytes begins, of those that runs before it in the same array do not end in."""
    return (start + size + line - 1) // line - (start + line - 1) // line


@jit
def _next(thread: int, threads: Ints, tokens: Ints, own: Ints, dynamic: bool) -> bool:
    """Give a thread its next token: from the common queue, or of its own share (own: next, end)."""
    if dynamic:
        if tokens[0] >= tokens[1]:
            return False
        threads[thread, TOKEN] = tokens[0]
        tokens[0] += 1
        return True
    if own[thread, 0] >= own[thread, 1]:
        return False
    threads[thread, TOKEN] = own[thread, 0]
    own[thread, 0] += 1
    return True


@jit
def _deal(count: int, tokens: Ints, own: Ints) -> None:
    """Shares of a window's tokens in blocks, for threads that do not poll."""
    block = (tokens[1] - tokens[0] + count - 1) // count
    for thread in range(count):
        own[thread, 0] = min(tokens[0] + thread * block, tokens[1])
        own[thread, 1] = min(own[thread, 0] + block, tokens[1])


@jit
def _run(
    ap: Ints,
    ai: Ints,
    bp: Ints,
    bi: Ints,
    edges: Ints,
    times: Floats,
    costs: Floats,
    layout: Ints,
    shape: Ints,
    entry: int,
) -> tuple[float, float, float, int, float]:
    count, flight = shape[0] * shape[1], shape[2]
    bits = 0
    while (1 << bits) < layout[0]:
        bits += 1
    rows = np.repeat(np.arange(len(ap) - 1), ap[1:] - ap[:-1])
    tags, threads = np.full(layout[0], -1, np.int64), np.zeros((count + flight, 8), np.int64)
    free, banks = np.zeros(shape[0] + 1), np.zeros(layout[5])  # pipelines and the channel; banks
    heap, who, own = (
        np.zeros(count + flight + 1),
        np.zeros(count + flight + 1, np.int64),
        np.zeros((count, 2), np.int64),
    )
    tokens, totals = np.zeros(2, np.int64), np.zeros(5)  # next and last token; pipelines, channel, events, probes, held
    begin, last, engine = 0.0, 0.0, 0.0
    for window in range(len(edges) - 1):
        first = edges[window]
        tokens[0], tokens[1] = first, edges[window + 1]
        if not shape[3]:
            tokens[0], tokens[1] = ap[first], ap[edges[window + 1]]
        tags[:] = -1
        totals[4] = 0
        _deal(count, tokens, own)
        size = 0
        for thread in range(count):
            threads[thread, STATE] = TAKE
            size = _push(heap, who, size, begin, thread)
        # Lines that the engine still has to write of the window before are written meanwhile.
        for thread in range(count, count + flight):
            if threads[thread, LINES] > 0:
                threads[thread, STATE] = ENGINE
                size = _push(heap, who, size, max(begin, engine), thread)
        last = begin
        while size > 0:
            time, thread = heap[0], who[0]
            size = _pop(heap, who, size)
            after = _step(
                time, thread, threads, tokens, own, ap, ai, bp, bi, rows, tags, free, banks, times, costs, layout,
                shape, totals, first, bits,
            )  # fmt: skip
            totals[2] += 1
            if after >= 0:
                size = _push(heap, who, size, after, thread)
            elif thread < count:
                last = max(last, time)
            else:
                engine = max(engine, time)
        begin = _written(
            last,
            int(totals[4]) * entry,
            int(totals[4]),
            first,
            edges[window + 1],
            threads,
            free,
            times,
            costs,
            shape,
            totals,
        )
    for thread in range(count, count + flight):  # what the engine has left at the end
        lines = threads[thread, LINES]
        pace = max(times[1] * flight, times[1] + times[2])
        engine = max(engine, begin + lines * pace)
    return max(begin, engine), totals[0], totals[1], int(totals[2]), totals[3]


@jit
def _written(
    now: float,
    size: int,
    held: int,
    first: int,
    stop: int,
    threads: Ints,
    free: Floats,
    times: Floats,
    costs: Floats,
    shape: Ints,
    totals: Floats,
) -> float:
    """When the next window may begin: at once if an engine writes this one back, else when the threads have."""
    count, flight = shape[0] * shape[1], shape[2]
    lines = (size + 8 * (stop - first) + shape[5] - 1) // shape[5]
    if flight:
        for thread in range(count, count + flight):
            threads[thread, LINES] += lines // flight + (thread - count < lines % flight)
        work = costs[5] * (stop - first) * times[0]
        totals[0] += work
        return float(now + work / shape[0])
    # Each thread's share in turn: instructions, then a line at a time through the channel.
    work = costs[4] * held * times[0] / shape[0]
    totals[0] += work * shape[0]
    totals[1] += lines * times[1]
    waits = lines / count * (times[1] + times[2]) + work / shape[1]
    return float(now + max(lines * times[1], max(work, waits)))


@jit
def _request(time: float, server: int, free: Floats, service: float, wait: float) -> float:
    """When a request is answered that a server takes up in turn."""
    free[server] = max(free[server], time) + service
    return float(free[server] + wait)


@jit
def _step(
    time: float,
    thread: int,
    threads: Ints,
    tokens: Ints,
    own: Ints,
    ap: Ints,
    ai: Ints,
    bp: Ints,
    bi: Ints,
    rows: Ints,
    tags: Ints,
    free: Floats,
    banks: Floats,
    times: Floats,
    costs: Floats,
    layout: Ints,
    shape: Ints,
    totals: Floats,
    first: int,
    bits: int,
) -> float:
    """What a thread does now, and when it goes on; -1 if it is done."""
    me, channel = threads[thread], shape[0]
    pipe = thread % shape[0]
    if me[STATE] == ENGINE:
        if me[LINES] == 0:
            return -1.0
        me[LINES] -= 1
        totals[1] += times[1]
        return _request(time, channel, free, times[1], times[2])
    if me[STATE] == LOAD:  # one line after another
        if me[LINES] > 0:
            me[LINES] -= 1
            totals[1] += times[1]
            return _request(time, channel, free, times[1], times[2])
        me[STATE] = me[GOES]
    if me[STATE] == READ or me[STATE] == UPDATE:
        slot = me[SLOT] % layout[5]
        service = times[3] if me[STATE] == READ else times[4]
        me[STATE] = PROBE if me[STATE] == READ else WORK
        return _request(time, slot, banks, service, times[5])
    if me[STATE] == TAKE:
        if not _next(thread, threads, tokens, own, shape[4] == 1):
            return -1.0
        me[ENTRY] = ap[me[TOKEN]] if shape[3] else me[TOKEN]
        me[STATE] = FETCH
        begins = shape[3] or me[ENTRY] == ap[rows[me[ENTRY]]]
        if begins and costs[3] > 0:
            totals[0] += costs[3] * times[0]
            return _request(time, pipe, free, costs[3] * times[0], 0.0)
    if me[STATE] == FETCH:
        return _fetch(time, me, ap, ai, bp, free, times, costs, shape, totals, pipe)
    return _product(time, me, ai, bp, bi, rows, tags, free, times, costs, layout, shape, totals, first, bits, pipe)


@jit
def _fetch(
    time: float,
    me: Ints,
    ap: Ints,
    ai: Ints,
    bp: Ints,
    free: Floats,
    times: Floats,
    costs: Floats,
    shape: Ints,
    totals: Floats,
    pipe: int,
) -> float:
    """The next entry of A, and where its row of B begins."""
    end = ap[me[TOKEN] + 1] if shape[3] else me[TOKEN] + 1
    if me[ENTRY] >= end:
        me[STATE] = TAKE
        return time
    row = ai[me[ENTRY]]
    me[LINES] = _crossed(12 * me[ENTRY], 12, shape[5]) + (bp[row + 1] > bp[row])
    me[PLACE] = bp[row]
    me[STATE], me[GOES], me[PROBES] = LOAD, WORK, 0
    totals[0] += costs[2] * times[0]
    return _request(time, pipe, free, costs[2] * times[0], 0.0)


@jit
def _product(
    time: float,
    me: Ints,
    ai: Ints,
    bp: Ints,
    bi: Ints,
    rows: Ints,
    tags: Ints,
    free: Floats,
    times: Floats,
    costs: Floats,
    layout: Ints,
    shape: Ints,
    totals: Floats,
    first: int,
    bits: int,
    pipe: int,
) -> float:
    """One product: its line of B if it is a new one, its probes, its update."""
    if me[STATE] == WORK:
        row = ai[me[ENTRY]]
        if me[PLACE] >= bp[row + 1]:
            me[ENTRY] += 1
            me[STATE] = FETCH
            return time
        begins = me[PLACE] == bp[row]
        start, line = 12 * me[PLACE], shape[5]
        lines = (start + 11) // line - start // line + 1 if begins else (start + 11) // line - (start - 1) // line
        local, n = rows[me[ENTRY]] - first, bi[me[PLACE]]
        tag = (n << layout[3]) | local if layout[4] else (local << layout[2]) | n
        me[SLOT] = _slot(tag, layout[1], bits, layout[2] + layout[3])
        me[STATE], me[GOES], me[LINES] = LOAD, PROBE, lines
        me[PROBES] = 0
        totals[0] += costs[0] * times[0]
        return _request(time, pipe, free, costs[0] * times[0], 0.0)
    local, n = rows[me[ENTRY]] - first, bi[me[PLACE]]
    tag = (n << layout[3]) | local if layout[4] else (local << layout[2]) | n
    if me[PROBES] > 0:  # the answer is here
        found = tags[me[SLOT]]
        if found == tag or found < 0 or me[PROBES] >= 4096:
            if found < 0:
                tags[me[SLOT]] = tag
                totals[4] += 1
            me[PLACE] += 1
            me[STATE] = UPDATE
            return time
        me[SLOT] = (me[SLOT] + 1) & (layout[0] - 1)
    me[PROBES] += 1
    totals[3] += 1
    totals[0] += costs[1] * times[0]
    me[STATE] = READ
    return _request(time, pipe, free, costs[1] * times[0], 0.0)
