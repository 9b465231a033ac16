"""Schedules under a budget: eviction, Checkmate's programme and its relaxation against exhaustive searches."""

from dataclasses import replace
from heapq import heappop, heappush
from itertools import product
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Infeasible, WeirError
from sim.planner.check import check
from sim.planner.checkmate import build, order_of, start_of
from sim.planner.evict import best, evict, gaps, scores, trim
from sim.planner.graph import Graph, graph, lives, peak, spent, within
from sim.planner.problem import Buffer, Problem, Task, Tier
from sim.planner.rematerialise import improve, quick, rematerialise, steps
from sim.planner.timeline import timed

CHEAP = settings(max_examples=25, deadline=None)


def chain(length: int, *, budget: float = inf, seconds: float = 1.0) -> Problem:
    """A network of equal layers forward and backward: each backward task reads its layer's activation."""
    names = [f"a{i}" for i in range(length + 1)]
    forward = [Task(f"f{i}", seconds, (names[i],), (names[i + 1],)) for i in range(length)]
    grads = [f"g{i}" for i in range(length + 1)]
    backward = [
        Task(
            f"b{i}", 2 * seconds, (names[i], grads[i + 1]) if i < length - 1 else (names[i], names[length]), (grads[i],)
        )
        for i in reversed(range(length))
    ]
    buffers = tuple(Buffer(n, 10) for n in (*names, *grads[:-1]))
    return Problem("chain", buffers, (Tier("hbm", budget),), (*forward, *backward), (names[0],), (grads[0],))


@st.composite
def problems(draw: st.DrawFn, most: int = 5) -> Problem:
    """Small graphs: every task reads some earlier results, writes one, sometimes two."""
    count = draw(st.integers(2, most))
    given_ = draw(st.booleans())
    buffers, tasks, made = [], [], []
    if given_:
        buffers.append(Buffer("in", draw(st.integers(1, 5))))
        made.append("in")
    for i in range(count):
        reads = tuple(n for n in made if draw(st.booleans()))
        writes = tuple(f"x{i}{j}" for j in range(draw(st.sampled_from([1, 1, 2]))))
        buffers += [Buffer(w, draw(st.integers(1, 5))) for w in writes]
        tasks.append(Task(f"t{i}", float(draw(st.integers(1, 4))), reads, writes))
        made += writes
    kept = tuple(n for n in made if draw(st.integers(0, 3)) == 0)
    return Problem("drawn", tuple(buffers), (Tier("hbm"),), tuple(tasks), ("in",) if given_ else (), kept)


def staged(made: Graph) -> float:
    """Least seconds over every choice of what each stage runs again."""
    count = len(made.reads)
    best_ = inf
    for chosen in product(*(product((0, 1), repeat=t) for t in range(count))):
        order = [k for t in range(count) for k in (*(i for i in range(t) if chosen[t][i]), t)]
        if peak(made, order) <= made.budget:
            best_ = min(best_, spent(made, order))
    return best_


def anyhow(made: Graph) -> float:
    """Least seconds over every order of runs and drops whatever, by Dijkstra's search over what is done and held."""
    start = frozenset(b for b, w in enumerate(made.writer) if w < 0 and (made.users[b] or b in made.kept))
    queue: list[tuple[float, int, frozenset[int], frozenset[int]]] = [(0.0, 0, frozenset(), start)]
    seen, number = set(), 0
    while queue:
        cost, _, done, held = heappop(queue)
        if len(done) == len(made.reads) and made.kept <= held:
            return cost
        if (done, held) in seen:
            continue
        seen.add((done, held))
        options = [(0.0, done, held - {b}) for b in held]
        for task, (reads, writes) in enumerate(zip(made.reads, made.writes, strict=True)):
            after = held | set(writes)
            if set(reads) <= held and sum(made.sizes[b] for b in after) <= made.budget:
                options.append((made.seconds[task], done | {task}, after))
        for more, now, kept in options:
            number += 1
            heappush(queue, (cost + more, number, now, kept))
    return inf


@CHEAP
@given(problems(), st.floats(0.3, 1.0))
def test_the_programme_finds_what_exhaustion_finds(problem: Problem, share: float) -> None:
    made = graph(problem)
    made = within(made, max(int(made.full * share), made.least))
    expected, floor = staged(made), anyhow(made)
    limited = made.problem
    try:
        plan = rematerialise(limited)
    except Infeasible:
        assert expected == inf
        return
    check(limited, plan)
    assert floor - 1e-9 <= plan.value <= expected + 1e-9
    assert plan.bound <= plan.value + 1e-9
    assert (
        plan.proven or plan.value < expected or expected == inf
    )  # only an order that leaves the stages goes unproven here


@CHEAP
@given(problems(8), st.floats(0.3, 1.0))
def test_eviction_keeps_to_the_budget_whatever_the_score(problem: Problem, share: float) -> None:
    made = graph(problem)
    made = within(made, max(int(made.full * share), made.least))
    for _, score in scores(made):
        order = evict(made, score)
        if order is not None:
            assert peak(made, order) <= made.budget
            shorter = trim(made, order)
            assert spent(made, shorter) <= spent(made, order)
            check(made.problem, timed(made.problem, steps(made, shorter), "", made.once))


@CHEAP
@given(problems(8))
def test_the_peak_is_that_of_the_values_alive(problem: Problem) -> None:
    made = graph(problem)
    order = list(range(len(made.reads)))
    slow = [sum(made.sizes[b] for b, first, last in lives(made, order) if first <= p <= last) for p in order]
    assert peak(made, order) == max(slow)
    plan = rematerialise(replace(problem, tiers=(Tier("hbm", made.full),)))
    assert plan.value == made.once
    assert plan.proven
    assert plan.gap == 0.0


def test_a_chain_by_hand() -> None:
    """Six activations of 10 bytes, all but the last needed backward; in 50 bytes some layers run twice."""
    full = rematerialise(chain(5))
    assert full.value == 15.0
    assert graph(chain(5)).full == 70
    tight = rematerialise(chain(5, budget=50))
    assert tight.proven
    assert tight.value == anyhow(within(graph(chain(5)), 50))
    assert len(tight.runs) > 10


def test_nothing_fits_and_the_message_says_what_would() -> None:
    with pytest.raises(Infeasible, match=r"one task alone needs 30 bytes, 20 are given; 4[0-9] would do"):
        rematerialise(chain(5, budget=20))


def test_cbc_and_highs_agree() -> None:
    problem = chain(6, budget=50)
    values = {solver: rematerialise(problem, solver=solver).value for solver in ("highs", "cbc")}
    assert values["highs"] == values["cbc"]


def test_a_start_is_never_made_worse() -> None:
    made = within(graph(chain(12)), 60)
    known = quick(made)
    assert known
    assert spent(made, improve(made, known, 0.05, "highs", None).order) <= spent(made, known.order)


@CHEAP
@given(problems(8), st.floats(0.5, 1.0))
def test_gaps_given_up_keep_to_the_budget(problem: Problem, share: float) -> None:
    made = graph(problem)
    made = within(made, max(int(made.full * share), made.least))
    order = gaps(made)
    if order is not None:
        assert peak(made, order) <= made.budget
        check(made.problem, timed(made.problem, steps(made, order), "", made.once))


def test_shaken_scores_only_help_and_are_the_same_each_time() -> None:
    made = within(graph(chain(10)), 60)
    plain, shaken_ = best(made, scores(made)), best(made)
    assert plain
    assert shaken_
    assert shaken_ == best(made)
    assert spent(made, shaken_[1]) <= spent(made, plain[1])
    assert peak(made, shaken_[1]) <= made.budget


def test_the_start_of_the_programme_is_the_order_given() -> None:
    made = within(graph(chain(6)), 50)
    _, order = best(made) or ("", [])
    s = build(made)
    values = start_of(s, order)
    assert sorted(order_of(s, values)) == sorted(order)


def test_the_relaxation_guides_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.planner.rematerialise.LARGE", 8)
    problem = chain(8, budget=60)
    plan = rematerialise(problem)
    check(problem, plan)
    monkeypatch.undo()
    assert rematerialise(problem).value <= plan.value
    assert plan.bound <= rematerialise(problem).value + 1e-9


def test_progress_names_the_method_with_the_best_and_the_bound_so_far() -> None:
    heard = list[tuple[str, float, float]]()
    plan = rematerialise(within(graph(chain(6)), 50).problem, seconds=20, heard=lambda *said: heard.append(said))
    assert [heard[0][0], heard[1][0]] == ["eviction", "one cut"]
    once = graph(chain(6)).once
    assert all(least <= plan.bound / once + 1e-9 and best >= plan.value / once - 1e-9 for _, best, least in heard)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ((Task("t", 1, ("x",), ("y",)),), "'t' reads 'x' before any task has written it"),
        ((Task("t", 1, (), ("x",)), Task("u", 1, (), ("x",))), "'u' writes 'x' again"),
        ((Task("t", 1, (), ("z",)),), "'t' names no buffer 'z'"),
        ((), "nothing to schedule"),
    ],
)
def test_bad_graphs(tasks: tuple[Task, ...], message: str) -> None:
    with pytest.raises(WeirError, match=message):
        graph(Problem("bad", (Buffer("x", 1), Buffer("y", 1)), (Tier("hbm"),), tasks))
