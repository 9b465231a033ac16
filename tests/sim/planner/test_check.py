"""A right plan passes; broken in any one way it is refused, and the refusal says how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim.planner.check import WrongPlan, check
from sim.planner.problem import Buffer, Move, Plan, Problem, Run, Stay, Task, Tier

Pair = tuple[Problem, Plan]


@st.composite
def stacks(draw: st.DrawFn) -> Pair:
    """Buffers with fixed live intervals, each at addresses of its own."""
    buffers, stays, top = [], [], 0
    for place in range(draw(st.integers(2, 6))):
        size, align = draw(st.integers(1, 9)), draw(st.sampled_from([1, 2, 4]))
        times = sorted(draw(st.sets(st.integers(0, 20), min_size=4, max_size=4)))
        live = ((times[0], times[1]), (times[2], times[3]))[: draw(st.integers(1, 2))]
        top += -top % align
        buffers.append(Buffer(f"b{place}", size, live, align))
        stays += [Stay(f"b{place}", "hbm", start, stop, top) for start, stop in live]
        top += size
    problem = Problem("stack", tuple(buffers), (Tier("hbm", top),))
    return problem, Plan(
        "stack", "peak", top, draw(st.integers(0, top - 1)), False, "one above another", 0, tuple(stays)
    )


@st.composite
def swaps(draw: st.DrawFn) -> Pair:
    """``a`` makes x from w, b makes y; x is swapped out meanwhile, comes back and is used; w is updated and kept."""
    size, work, out, back = (draw(st.integers(1, 9)) for _ in range(4))
    buffers = (Buffer("w", 2), Buffer("x", size), Buffer("y", 3))
    tasks = (
        Task("a", work, ("w",), ("x",)),
        Task("b", work, ("w",), ("y",)),
        Task("c", work, ("x", "y", "w"), ("w",)),
    )
    tiers = (Tier("hbm", size + 5), Tier("host", size, write=size / out, read=size / back))
    problem = Problem("swap", buffers, tiers, tasks, given=("w",), kept=("w",))
    left, due = work + out, max(2 * work, work + out) + back
    stays = (
        Stay("w", "hbm", 0, due + work),
        Stay("x", "hbm", 0, left),
        Stay("x", "host", work, due),
        Stay("y", "hbm", work, due + work),
        Stay("x", "hbm", due - back, due + work),
    )
    runs = (Run("a", 0, work), Run("b", work, 2 * work), Run("c", due, due + work))
    moves = (Move("x", "hbm", "host", work, left), Move("x", "host", "hbm", due - back, due))
    return problem, Plan("swap", "time", due + work, 3 * work, False, "by hand", 0, stays, runs, moves)


def changed(plan: Plan, field: str, place: int, **new: Any) -> Plan:
    """The plan with one of its stays, runs or moves changed."""
    items = list(getattr(plan, field))
    items[place] = replace(items[place], **new)
    values: dict[str, Any] = {field: tuple(items)}
    return replace(plan, **values)


def shifted(plan: Plan, field: str, place: int, **by: float) -> Plan:
    """The plan with the start or stop of one of its items later by so much."""
    place %= len(getattr(plan, field))
    old = getattr(plan, field)[place]
    return changed(plan, field, place, **{name: getattr(old, name) + more for name, more in by.items()})


def without(plan: Plan, field: str, place: int) -> Plan:
    items = getattr(plan, field)
    return replace(plan, **{field: items[:place] + items[place + 1 :]})


@given(pair=st.one_of(stacks(), swaps()))
def test_right_plans_pass(pair: Pair) -> None:
    check(*pair)


def onto_another(problem: Problem, plan: Plan, n: int) -> Plan:
    """Put a buffer where another that lives at the same time is."""
    clashes = [
        (i, other.offset)
        for i, one in enumerate(plan.stays)
        for other in plan.stays
        if one.buffer < other.buffer and one.start < other.stop and other.start < one.stop
        and (other.offset or 0) % problem.buffers[int(one.buffer[1:])].align == 0
    ]  # fmt: skip
    assume(clashes)
    place, offset = clashes[n % len(clashes)]
    moved = [i for i, s in enumerate(plan.stays) if s.buffer == plan.stays[place].buffer]
    for i in moved:
        plan = changed(plan, "stays", i, offset=offset)
    return plan


def unaligned(problem: Problem, plan: Plan, n: int) -> Plan:
    assume(any(b.align > 1 for b in problem.buffers))
    odd = [i for i, s in enumerate(plan.stays) if problem.buffers[int(s.buffer[1:])].align > 1]
    place = odd[n % len(odd)]
    return changed(plan, "stays", place, offset=(plan.stays[place].offset or 0) + 1)


def split(problem: Problem, plan: Plan, n: int) -> Plan:
    """Two addresses for one interval."""
    long = [i for i, s in enumerate(plan.stays) if s.stop - s.start >= 2]
    assume(long)
    stay = plan.stays[long[n % len(long)]]
    halves = (replace(stay, stop=stay.start + 1), replace(stay, start=stay.start + 1, offset=1000))
    return replace(plan, stays=tuple(s for s in plan.stays if s != stay) + halves)


def two_addresses(problem: Problem, plan: Plan, n: int) -> Plan:
    """Another address after a gap."""
    again = [i for i, s in enumerate(plan.stays) if any(s.buffer == t.buffer for t in plan.stays[:i])]
    assume(again)
    return changed(plan, "stays", again[n % len(again)], offset=0 if plan.stays[again[n % len(again)]].offset else 8)


STACK_BREAKS: dict[str, tuple[str, Callable[[Problem, Plan, int], Plan]]] = {
    "missing": ("not kept over", lambda q, p, n: without(p, "stays", n % len(p.stays))),
    "late": ("not kept over", lambda q, p, n: shifted(p, "stays", n, start=0.5)),
    "early": ("not kept over", lambda q, p, n: shifted(p, "stays", n, stop=-0.5)),
    "overlap": ("share addresses|several addresses|capacity", onto_another),
    "unaligned": ("not aligned", unaligned),
    "split": ("not kept over", split),
    "two addresses": ("several addresses|share addresses|not aligned|capacity", two_addresses),
    "negative": ("negative", lambda q, p, n: changed(p, "stays", n % len(p.stays), offset=-8)),
    "too high": ("capacity", lambda q, p, n: changed(p, "stays", n % len(p.stays), offset=8 * 100)),
    "no offset": ("no offset", lambda q, p, n: changed(p, "stays", n % len(p.stays), offset=None)),
    "unknown buffer": ("no buffer", lambda q, p, n: changed(p, "stays", n % len(p.stays), buffer="nobody")),
    "unknown tier": ("no tier", lambda q, p, n: changed(p, "stays", n % len(p.stays), tier="nowhere")),
    "backwards": ("a span", lambda q, p, n: changed(p, "stays", n % len(p.stays), start=99)),
    "endless": ("a span", lambda q, p, n: changed(p, "stays", n % len(p.stays), stop=float("inf"))),
    "twice": ("share addresses|twice", lambda q, p, n: replace(p, stays=(*p.stays, p.stays[n % len(p.stays)]))),
    "another problem": ("is for", lambda q, p, n: replace(p, problem="other")),
    "low claim": ("claims", lambda q, p, n: replace(p, value=p.value - 1, bound=0)),
    "high claim": ("claims", lambda q, p, n: replace(p, value=p.value + 1)),
    "bound": ("above the value", lambda q, p, n: replace(p, bound=p.value + 1)),
    "proof": ("called proven", lambda q, p, n: replace(p, proven=True)),
    "objective": ("cannot check", lambda q, p, n: replace(p, objective="beauty")),
}  # fmt: skip

SWAP_BREAKS: dict[str, tuple[str, Callable[[Problem, Plan, int], Plan]]] = {
    "reads what left": ("not whole", lambda q, p, n: without(p, "moves", 1)),
    "reads too soon": ("not whole|all that time", lambda q, p, n: shifted(p, "moves", 1, stop=0.5)),
    "moves nothing": ("moves from host", lambda q, p, n: without(p, "moves", 0)),
    "moves into no room": ("no room", lambda q, p, n: without(p, "stays", 2)),
    "leaves while moving": ("moves from hbm", lambda q, p, n: shifted(p, "stays", 1, stop=-0.5)),
    "before it is written": ("moves from hbm", lambda q, p, n: shifted(p, "moves", 0, start=-0.5)),
    "faster than the link": ("faster", lambda q, p, n: shifted(p, "moves", n % 2, start=0.5)),
    "no such link": ("no link", lambda q, p, n: changed(p, "moves", 0, source="host")),
    "too short": ("shorter", lambda q, p, n: shifted(p, "runs", 0, stop=-0.5)),
    "two at once": ("two things", lambda q, p, n: shifted(p, "runs", 1, start=-0.5)),
    "never runs": ("never runs", lambda q, p, n: without(p, "runs", 1)),
    "no room to write": ("no room", lambda q, p, n: shifted(p, "stays", 3, start=0.5)),
    "not kept": ("must be kept", lambda q, p, n: shifted(p, "stays", 0, stop=-0.5)),
    "not given": ("from the start", lambda q, p, n: changed(p, "stays", 0, start=0.5)),
    "holds nothing": ("nothing|host holds", lambda q, p, n: replace(p, stays=(*p.stays, Stay("y", "host", 0, 1)))),
    "link taken": ("two things", lambda q, p, n: replace(p, moves=(*p.moves, p.moves[n % 2]))),
    "time": ("claims", lambda q, p, n: replace(p, value=p.value - 0.5, bound=0)),
    "unknown task": ("no task", lambda q, p, n: changed(p, "runs", 0, task="nothing")),
}  # fmt: skip


@pytest.mark.parametrize("how", STACK_BREAKS)
@settings(max_examples=15)
@given(pair=stacks(), n=st.integers(0, 20))
def test_a_broken_placement_is_refused(how: str, pair: Pair, n: int) -> None:
    why, broken = STACK_BREAKS[how]
    plan = broken(*pair, n)
    assume(plan != pair[1])
    with pytest.raises(WrongPlan, match=why if how != "twice" else ".*"):
        check(pair[0], plan)


@pytest.mark.parametrize("how", SWAP_BREAKS)
@settings(max_examples=15)
@given(pair=swaps(), n=st.integers(0, 20))
def test_a_broken_schedule_is_refused(how: str, pair: Pair, n: int) -> None:
    why, broken = SWAP_BREAKS[how]
    with pytest.raises(WrongPlan, match=".*" if how in LENIENT else why):
        check(pair[0], broken(*pair, n))


LENIENT = {"two at once", "link taken", "no such link", "not kept", "not given"}  # break another rule first, at times


@given(pair=swaps())
def test_capacity_is_of_every_moment(pair: Pair) -> None:
    problem, plan = pair
    tiers = (replace(problem.tiers[0], capacity=problem.buffers[1].size + 4), problem.tiers[1])
    with pytest.raises(WrongPlan, match="hbm holds"):
        check(replace(problem, tiers=tiers), plan)


def test_a_stale_copy_is_found_out() -> None:
    """``w`` is copied out, updated, and the copy brought back: the task after the update must not read it."""
    buffers = (Buffer("w", 1), Buffer("y", 1))
    tasks = (Task("update", 1, ("w",), ("w",)), Task("use", 1, ("w",), ("y",)))
    problem = Problem("stale", buffers, (Tier("hbm"), Tier("host")), tasks, given=("w",))
    stays = (
        Stay("w", "hbm", 0, 2), Stay("w", "host", 0, 3), Stay("w", "hbm", 2, 4), Stay("y", "hbm", 3, 4),
    )  # fmt: skip
    runs, out, back = (
        (Run("update", 1, 2), Run("use", 3, 4)),
        Move("w", "hbm", "host", 0, 1),
        Move("w", "host", "hbm", 2, 3),
    )
    plan = Plan("stale", "time", 4, 0, False, "by hand", 0, stays, runs, (out, back))
    with pytest.raises(WrongPlan, match="a version of w"):
        check(problem, plan)
    fresh = (
        replace(stays[0], stop=3),
        stays[1],
        replace(stays[2], start=3, stop=5),
        replace(stays[3], start=4, stop=5),
    )
    runs, out, back = (runs[0], Run("use", 4, 5)), replace(out, start=2, stop=3), replace(back, start=3, stop=4)
    stays = (fresh[0], replace(fresh[1], start=2, stop=4), *fresh[2:])
    check(problem, replace(plan, value=5, stays=stays, runs=runs, moves=(out, back)))


def test_the_last_digits_of_a_time_do_not_matter() -> None:
    buffers = tuple(Buffer(f"b{i}", 1, ((0.1 * i, 0.1 * (i + 1)),)) for i in range(10))
    stays = tuple(Stay(b.name, "hbm", sum([0.1] * i), sum([0.1] * (i + 1)), 0) for i, b in enumerate(buffers))
    check(Problem("p", buffers, (Tier("hbm", 1),)), Plan("p", "peak", 1, 1, True, "by hand", 0, stays))


@st.composite
def thrown(draw: st.DrawFn) -> Pair:
    """Buffers at any offsets over their live intervals or a little longer: most such plans are wrong somewhere."""
    buffers, stays, capacity = [], [], draw(st.integers(6, 12))
    for place in range(draw(st.integers(1, 4))):
        times = sorted(draw(st.sets(st.integers(0, 9), min_size=4, max_size=4)))
        live = ((times[0], times[1]), (times[2], times[3]))[: draw(st.integers(1, 2))]
        buffers.append(Buffer(f"b{place}", draw(st.integers(0, 5)), live, draw(st.sampled_from([1, 1, 2, 4]))))
        offset = draw(st.integers(-1, 11)) if draw(st.booleans()) else 4 * draw(st.integers(0, 2))
        later = [draw(st.sampled_from([0, 0, 0, 1])) for _ in live]
        stays += [Stay(f"b{place}", "hbm", a, b + more, offset) for (a, b), more in zip(live, later, strict=True)]
    sizes = {b.name: b.size for b in buffers}
    value = max(sizes[s.buffer] + (s.offset or 0) for s in stays)
    problem = Problem("thrown", tuple(buffers), (Tier("hbm", capacity),))
    return problem, Plan("thrown", "peak", value, 0, False, "by chance", 0, tuple(stays))


def right(problem: Problem, plan: Plan) -> bool:
    """Whether a placement is right, byte by byte and step by step."""
    taken: set[tuple[int, float]] = set()
    there: dict[str, set[float]] = {b.name: set() for b in problem.buffers}
    buffers = {b.name: b for b in problem.buffers}
    for stay in plan.stays:
        buffer, low = buffers[stay.buffer], stay.offset or 0
        steps = set(range(int(stay.start), int(stay.stop)))
        cells = {(byte, step) for byte in range(low, low + buffer.size) for step in steps}
        if low < 0 or low % buffer.align or low + buffer.size > problem.tiers[0].capacity:
            return False
        if cells & taken or steps & there[buffer.name]:
            return False
        taken |= cells
        there[buffer.name] |= steps
    return all(set(range(int(a), int(b))) <= there[buf.name] for buf in problem.buffers for a, b in buf.live)


@settings(max_examples=400, deadline=None)
@given(pair=thrown())
def test_a_placement_passes_just_when_no_byte_is_taken_twice(pair: Pair) -> None:
    problem, plan = pair
    if right(problem, plan):
        check(problem, plan)
        return
    with pytest.raises(WrongPlan):
        check(problem, plan)


def pile(count: int) -> Pair:
    """Buffers of one byte, one upon the other, a few live at each moment."""
    buffers = tuple(Buffer(f"b{i}", 1, ((i, i + 5),)) for i in range(count))
    stays = tuple(Stay(b.name, "hbm", *b.live[0], i % 5) for i, b in enumerate(buffers))
    return Problem("pile", buffers, (Tier("hbm", 5),)), Plan("pile", "peak", 5, 5, True, "by hand", 0, stays)


@pytest.mark.parametrize("place", [0, 1, 499, 998, 999])
def test_one_wrong_byte_among_many_is_found(place: int) -> None:
    problem, plan = pile(1000)
    check(problem, plan)
    with pytest.raises(WrongPlan, match="share addresses"):
        check(problem, changed(plan, "stays", place, offset=((plan.stays[place].offset or 0) + 1) % 5))
