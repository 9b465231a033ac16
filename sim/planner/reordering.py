"""Orders of runs improved by simulated annealing: runs inserted, taken out and moved, bytes over the budget priced.

An order of runs says all: a value lives from a run that writes it to its last use before it is written anew. First runs
stay in the order listed. The price of bytes over the budget rises while orders do not fit and falls while they do, so
that the search stays at the edge of what fits. Kernels only below ``anneal``; they call none of another file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.planner.graph import Graph, peak
from sim.planner.halting import until
from sim.planner.kernel import Ints, compiled, inside

Reals = NDArray[np.float64]

LONGEST = 8  # runs a task, on average
HOT, COLD = 1.0, 0.003  # temperatures at the start and at the end, in mean tasks
EACH = 2_000  # orders tried at most, for each run of the first one
CHECKED = 200  # orders tried between two looks at the time and at the price
DEARER, CHEAPER = 1.15, 0.87  # the price's change at such a look, while orders do not fit and while they do
PRICES = 0.01, 1e6  # the least and the most of it, in mean tasks for a budget
TAKEN, MOVED = 0.35, 0.2  # of all changes, that take runs out and that move one; the others give a value up
NEXT = 0.3  # how often one that takes a run out takes the one after it too
LOOKS = 30  # lives looked at for one that spans where many bytes are alive
CHAIN = 64  # tasks inserted together, at most


class Net(NamedTuple):
    """A graph as the kernels see it: the operands of task i are reads[read_at[i]] to reads[read_at[i + 1]]."""

    read_at: Ints  # (tasks + 1)
    reads: Ints
    write_at: Ints  # (tasks + 1)
    writes: Ints
    writer: Ints  # (buffers) -1 for what is given
    size: Ints  # (buffers) bytes
    kept: Ints  # (buffers) 1 for what must be there at the end
    given: Ints  # (buffers) 1 for what is there at the start
    cost: Reals  # (tasks) seconds, as parts of one plain pass
    budget: float  # bytes


class _Line(NamedTuple):
    """An order of runs and what is known of it."""

    runs: Ints  # (room) tasks
    used: Ints  # (room + 2) bytes during each
    spans: Ints  # (room, 3) buffer, first and last place of each life
    seen: Ints  # (tasks) the place of each first run
    now: Ints  # LENGTH, SPANS
    scratch: Ints  # (2, buffers)
    chain: Ints  # tasks to be inserted together, at most


LENGTH, SPANS = range(2)


def anneal(graph: Graph, order: Sequence[int], work: int, seconds: float = 60.0, seed: int = 0) -> list[int] | None:
    """The quickest order found from ``order`` that fits the budget, in so much work (runs and operands gone through) or
    so many seconds; None where none was found. The same each time, as long as the seconds last."""
    net = net_of(graph)
    tries = min(work // (len(order) + net.reads.size + 1), EACH * len(order))
    found = until(partial(_anneal, net, np.array(order, np.int64), tries, seed), seconds)
    best = [int(task) for task in found]
    return best if best and peak(graph, best) <= graph.budget else None


def net_of(graph: Graph) -> Net:
    """A graph's arrays."""
    read_at, reads = _flat(graph.reads)
    write_at, writes = _flat(graph.writes)
    writer = np.array(graph.writer, np.int64)
    kept = np.array([b in graph.kept for b in range(len(writer))], np.int64)
    used = np.array([bool(u) for u in graph.users], np.int64)
    given = (writer < 0) & ((used > 0) | (kept > 0))
    cost = np.array(graph.seconds, float) / (graph.once or 1.0)
    budget = float(min(graph.budget, 2.0**62))
    return Net(read_at, reads, write_at, writes, writer, np.array(graph.sizes, np.int64), kept,
               given.astype(np.int64), cost, budget)  # fmt: skip


def _flat(lists: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    at = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return at, np.array([b for one in lists for b in one], np.int64)


@inside
def _weigh(net: Net, line: _Line) -> float:
    """Bytes over the budget summed over runs, in budgets; below zero where a run misses an operand."""
    birth, last = line.scratch[0], line.scratch[1]
    count, spans = line.now[LENGTH], 0
    for b in range(birth.size):
        birth[b], last[b] = net.given[b] - 1, 0
    line.used[: count + 1] = 0
    for place in range(count):
        task = line.runs[place]
        for k in range(net.read_at[task], net.read_at[task + 1]):
            if birth[net.reads[k]] < 0:
                return -1.0
            last[net.reads[k]] = place
        for k in range(net.write_at[task], net.write_at[task + 1]):
            b = net.writes[k]
            if birth[b] >= 0:
                spans = _close(net, line, spans, b, birth[b], last[b])
            birth[b] = last[b] = place
    for b in range(birth.size):
        if birth[b] >= 0:
            spans = _close(net, line, spans, b, birth[b], count - 1 if net.kept[b] else last[b])
    line.now[SPANS] = spans
    return _over(net, line)


@inside
def _close(net: Net, line: _Line, spans: int, b: int, first: int, last: int) -> int:
    """Note a life of a buffer; how many there are then."""
    line.used[first] += net.size[b]
    line.used[last + 1] -= net.size[b]
    line.spans[spans, 0], line.spans[spans, 1], line.spans[spans, 2] = b, first, last
    return spans + 1


@inside
def _over(net: Net, line: _Line) -> float:
    total, over = np.int64(0), 0.0
    for place in range(line.now[LENGTH]):
        total += line.used[place]
        line.used[place] = total
        over += max(total - net.budget, 0.0)
    return over / net.budget


@inside
def _draw() -> float:
    return np.random.random()  # noqa: NPY002  Numba's own, a state for each thread


@inside
def _pick(count: int) -> int:
    return int(_draw() * count)


@inside
def _again(line: _Line) -> int:
    """The place of a run that is not its task's first, -1 for none; a few places are looked at."""
    count = line.now[LENGTH]
    extra = count - line.seen.size
    if extra <= 0:
        return -1
    for _ in range(8 * count // extra + 8):
        place = _pick(count)
        if line.seen[line.runs[place]] != place:
            return place
    return -1


@inside
def _insert(line: _Line, place: int, task: int) -> None:
    for p in range(line.now[LENGTH], place, -1):
        line.runs[p] = line.runs[p - 1]
    line.runs[place] = task
    line.now[LENGTH] += 1


@inside
def _remove(line: _Line, place: int) -> None:
    for p in range(place, line.now[LENGTH] - 1):
        line.runs[p] = line.runs[p + 1]
    line.now[LENGTH] -= 1


@inside
def _gap(net: Net, line: _Line, now: _Line, wish: float) -> None:
    """Give a value up over a gap between two uses, where many bytes are alive, and run its task again before the next;
    with what that needs and is not at hand, more or less of it."""
    count = now.now[LENGTH]
    top = _pick(count)
    for _ in range(_pick(4)):
        other = _pick(count)
        if now.used[other] > now.used[top]:
            top = other
    for _ in range(LOOKS):
        k = _pick(now.now[SPANS])
        b, first, last = now.spans[k, 0], now.spans[k, 1], now.spans[k, 2]
        if first <= top < last and net.writer[b] >= 0:
            place = top + 1
            while place <= last and not _reads(net, now.runs[place], b):
                place += 1
            if place > last:
                if not net.kept[b]:
                    continue
                place = count
            _anew(net, line, now, net.writer[b], top, place, wish)
            return


@inside
def _reads(net: Net, task: int, b: int) -> bool:
    for k in range(net.read_at[task], net.read_at[task + 1]):  # noqa: SIM110  Numba has no any() of a generator
        if net.reads[k] == b:
            return True
    return False


@inside
def _anew(net: Net, line: _Line, now: _Line, task: int, top: int, place: int, wish: float) -> None:
    """Insert a task before a place, and perhaps those of operands that nothing touches between ``top`` and there."""
    chain = now.chain
    chain[0] = task
    size = 1
    done = 0
    while done < size:
        one = chain[done]
        done += 1
        for k in range(net.read_at[one], net.read_at[one + 1]):
            b = net.reads[k]
            wanted = net.writer[b] >= 0 and size < chain.size and _draw() < wish
            if wanted and not _touched(net, now, b, top, place):
                size = _listed(chain, size, net.writer[b])
    for k in range(size):  # the latest task first: earlier ones come before it
        if line.now[LENGTH] < line.runs.size - 1 and now.seen[chain[k]] < place:
            _insert(line, place, chain[k])


@inside
def _listed(chain: Ints, size: int, task: int) -> int:
    """Put a task among others, the latest first, unless it is there; how many there are then."""
    at = size
    for k in range(size):
        if chain[k] == task:
            return size
        if chain[k] < task:
            at = min(at, k)
    for k in range(size, at, -1):
        chain[k] = chain[k - 1]
    chain[at] = task
    return size + 1


@inside
def _touched(net: Net, now: _Line, b: int, top: int, place: int) -> bool:
    for p in range(top, place):
        task = now.runs[p]
        if _reads(net, task, b):
            return True
        for k in range(net.write_at[task], net.write_at[task + 1]):
            if net.writes[k] == b:
                return True
    return False


@inside
def _shift(line: _Line, now: _Line) -> bool:
    """Move a run that is not its task's first elsewhere after that."""
    place = _again(now)
    if place < 0:
        return False
    task, count = now.runs[place], now.now[LENGTH]
    near = max(count // 10, 3)
    to = min(max(place + _pick(2 * near + 1) - near, now.seen[task] + 1), count - 1)
    _remove(line, place)
    _insert(line, to, task)
    return bool(to != place)


@inside
def _take(line: _Line, now: _Line) -> bool:
    """Take out a run that is not its task's first, and perhaps such ones right after it."""
    place = _again(now)
    if place < 0:
        return False
    _remove(line, place)
    removed = 1
    while place + removed < now.now[LENGTH] and _draw() < NEXT:
        if now.seen[now.runs[place + removed]] == place + removed:
            break
        _remove(line, place)
        removed += 1
    return True


@inside
def _change(net: Net, line: _Line, now: _Line) -> bool:
    kind = _draw()
    if kind < TAKEN:
        return _take(line, now)
    if kind < TAKEN + MOVED:
        return _shift(line, now)
    # The gap is found in the order as it is, so it comes before anything is taken out.
    _gap(net, line, now, _draw())
    return bool(line.now[LENGTH] > now.now[LENGTH])


@inside
def _copy(line: _Line, other: _Line) -> None:
    count = other.now[LENGTH]
    line.runs[:count] = other.runs[:count]
    line.now[LENGTH] = count


@inside
def _settle(net: Net, line: _Line) -> float:
    """Seconds of an order, as parts of a plain pass; first places are noted."""
    line.seen[:] = -1
    total = 0.0
    for place in range(line.now[LENGTH]):
        task = line.runs[place]
        total += net.cost[task]
        if line.seen[task] < 0:
            line.seen[task] = place
    return total


@inside
def _line(net: Net, room: int) -> _Line:
    tasks, buffers = net.cost.size, net.size.size
    most = 0
    for i in range(tasks):
        most = max(most, net.write_at[i + 1] - net.write_at[i])
    return _Line(np.zeros(room, np.int64), np.zeros(room + 2, np.int64), np.zeros((room * most + buffers, 3), np.int64),
                 np.zeros(tasks, np.int64), np.zeros(2, np.int64), np.zeros((2, buffers), np.int64),
                 np.zeros(CHAIN, np.int64))  # fmt: skip


@inside
def _tried(
    net: Net, line: _Line, now: _Line, over: float, cost: float, price: float, heat: float
) -> tuple[bool, float, float]:  # fmt: skip
    """A change of an order: whether it is taken, and what it, or else the order as it is, is over and takes."""
    _copy(line, now)
    if not _change(net, line, now):
        return False, over, cost
    over2 = _weigh(net, line)
    if over2 < 0:
        return False, over, cost
    cost2 = _settle(net, line)
    rise = cost2 - cost + price * (over2 - over)
    if rise <= 0 or _draw() < np.exp(-rise / heat):
        return True, over2, cost2
    return False, over, cost


@inside
def _priced(price: float, mean: float, over: float) -> float:
    """The price of bytes over the budget: higher while orders do not fit, lower while they do."""
    price *= DEARER if over > 0 else CHEAPER
    return min(max(price, mean * PRICES[0]), mean * PRICES[1])


@compiled
def _anneal(net: Net, order: Ints, tries: int, seed: int, stop: Ints) -> Ints:
    np.random.seed(seed)  # noqa: NPY002  as above
    room = max(LONGEST * net.cost.size, order.size) + CHAIN
    now, line = _line(net, room), _line(net, room)
    now.runs[: order.size] = order
    now.now[LENGTH] = order.size
    over, cost = _weigh(net, now), _settle(net, now)
    mean = 1.0 / net.cost.size
    price = mean
    best, least = now.runs[:0].copy(), np.inf
    for i in range(tries):
        if i % CHECKED == 0:
            if stop[0] != 0:
                break
            heat = mean * HOT * (COLD / HOT) ** (i / tries)
            price = _priced(price, mean, over)
        if over == 0 and cost < least - 1e-12:
            best, least = now.runs[: now.now[LENGTH]].copy(), cost
        taken, over, cost = _tried(net, line, now, over, cost, price, heat)
        if taken:
            now, line = line, now
    return best
