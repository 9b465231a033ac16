"""Mixed-integer programmes: small ones by hand, and what is said of unfinished and impossible ones."""

from __future__ import annotations

import itertools
import os
import random
import tempfile
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from einsum import Infeasible, WeirError
from sim.planner import milp


def knapsack(values: list[int], weights: list[int], room: int) -> tuple[milp.Model, list[Any]]:
    """Choose things of the greatest value whose weights fit."""
    model = milp.Model("knapsack")
    chosen = [model.binary(f"x{i}") for i in range(len(values))]
    model.add("weights fit", [milp.total(w * x for w, x in zip(weights, chosen, strict=True)) <= room])
    model.minimise(5 - milp.total(v * x for v, x in zip(values, chosen, strict=True)))
    return model, chosen


@pytest.mark.parametrize("solver", milp.SOLVERS)
def test_a_knapsack_by_hand(solver: str) -> None:
    model, chosen = knapsack([6, 10, 12], [1, 2, 3], 5)
    found = model.solve(solver=solver)
    assert [found[x] for x in chosen] == [0, 1, 1]
    assert (found.objective, found.bound, found.proven) == (5 - 22, 5 - 22, True)


@pytest.mark.parametrize("solver", milp.SOLVERS)
@pytest.mark.parametrize("seed", range(5))
def test_brute_force_finds_no_better(solver: str, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    values, weights = ([draw.randint(1, 20) for _ in range(8)] for _ in range(2))
    model, _ = knapsack(values, weights, 30)
    pairs = list(zip(values, weights, strict=True))
    sets = (s for n in range(9) for s in itertools.combinations(pairs, n) if sum(w for _, w in s) <= 30)
    assert model.solve(solver=solver).objective == 5 - max(sum(v for v, _ in s) for s in sets)


def hard() -> tuple[milp.Model, list[int]]:
    """Forty blocks with random conflicts, whose lowest stacking takes longer to prove than anybody waits."""
    draw = random.Random(1)  # noqa: S311
    sizes = [draw.randint(1, 50) for _ in range(40)]
    model = milp.Model("stacking")
    top, low = model.number("top"), [model.number(f"a{i}") for i in range(40)]
    for i, j in itertools.combinations(range(40), 2):
        if draw.random() < 0.35:
            below = model.binary(f"z{i}_{j}")
            big = sum(sizes)
            model.add(
                "apart", [low[i] + sizes[i] <= low[j] + big * below, low[j] + sizes[j] <= low[i] + big - big * below]
            )
    model.add("under the top", (a + s <= top for a, s in zip(low, sizes, strict=True)))
    model.minimise(top + 0)
    return model, sizes


@pytest.mark.parametrize("solver", milp.SOLVERS)
def test_a_linear_programme_has_its_value_as_bound(solver: str) -> None:
    model = milp.Model("diet")
    x, y = model.number("x"), model.number("y", 0, 3)
    model.add("enough", [x + 2 * y >= 10])
    model.minimise(3 * x + 4 * y + 1)
    found = model.solve(solver=solver)
    assert (found[x], found[y], found.objective) == (4, 3, 25)
    assert found.bound == 25
    assert found.proven


@pytest.mark.parametrize("solver", milp.SOLVERS)
def test_an_unfinished_search_is_not_proof_and_its_start_is_kept(solver: str) -> None:
    model, sizes = hard()
    heights = list(itertools.accumulate(sizes))
    start: dict[str, float] = {f"a{i}": h - s for i, (h, s) in enumerate(zip(heights, sizes, strict=True))}
    start |= {"top": heights[-1]}
    start |= {v: 0.0 for v in model.names if v.startswith("z")}
    heard: list[tuple[float, float, float]] = []
    found = model.solve(seconds=1, start=start, solver=solver, progress=lambda *said: heard.append(said))
    assert not found.proven
    assert found.bound < found.objective <= heights[-1]
    assert solver == "cbc" or heard[-1][1] >= heard[-1][2]


def test_what_cannot_be_is_infeasible() -> None:
    model = milp.Model("narrow")
    x = model.number("x", 0, 1)
    model.add("wide", [x >= 2])
    model.minimise(x)
    with pytest.raises(Infeasible, match="narrow: no solution"):
        model.solve()
    with pytest.raises(Infeasible, match="sum cannot hold"):
        model.add("sum", [1 + 1 == 3])


def test_an_objective_without_end_is_refused() -> None:
    model = milp.Model("open")
    x = model.number("x", None)
    model.minimise(x)
    with pytest.raises(WeirError, match="a bound is missing"):
        model.solve()


def test_a_solver_that_is_not_there() -> None:
    model, _ = knapsack([1], [1], 1)
    with pytest.raises(WeirError, match="no solver 'gurobi'"):
        model.solve(solver="gurobi")


FAKES = {
    "exit 7": "exit status 7",
    "kill -9 $$": "killed by signal 9",
    "exit 0": "without an answer",
    "exec sleep 60": "did not end within 1 s",
    'for last; do :; done; printf "what\\nis this\\n" > "$last"': "cannot be read",
    'for last; do :; done; printf "\\377\\376\\n" > "$last"': "cannot be read",
    'for last; do :; done; : > "$last"': "cannot be read",
    'for last; do :; done; echo "Optimal - objective value 0" > "$last"': "its last answer breaks apart",
    'for last; do :; done; echo "Stopped on time (no solution)" > "$last"': "found no solution in",
}


@pytest.mark.parametrize(("script", "why"), FAKES.items())
def test_a_solver_that_fails_is_one_line(
    script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exits, is killed, says nothing, does not end, writes rubbish, or claims what is not so."""
    command = tmp_path / "cbc"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(milp, "LATE", 0.5)
    model, _ = hard()
    before = set(Path(tempfile.gettempdir()).glob("*.mps"))
    with pytest.raises(milp.Unfinished, match=f"stacking: cbc .*{why}") as said:
        model.solve(solver="cbc", seconds=0.5)
    assert "\n" not in str(said.value)
    assert set(Path(tempfile.gettempdir()).glob("*.mps")) <= before  # nothing is left behind


def test_what_is_no_programme_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "cbc"
    command.write_bytes(b"\x7fELF and nothing more")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(milp.Unfinished, match=r"cbc broke off .*[Ee]xec format error"):
        hard()[0].solve(solver="cbc", seconds=1)


def test_solvers_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = knapsack([1], [1], 1)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(milp.pulp.apis.coin_api, "pulp_cbc_path", None)
    monkeypatch.setattr(milp.pulp.HiGHS, "hscb", None)
    for solver, other in (("cbc", "highs"), ("highs", "cbc")):
        with pytest.raises(milp.Unfinished, match=f"(?i)no {solver} on this machine: .* use --solver {other}"):
            model.solve(solver=solver)


def without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """HiGHS that does not know its time limit."""
    configure = milp.pulp.HiGHS.createAndConfigureSolver

    def forgetful(self: Any, lp: Any) -> None:
        configure(self, lp)
        lp.solverModel.setOptionValue("time_limit", inf)

    monkeypatch.setattr(milp.pulp.HiGHS, "createAndConfigureSolver", forgetful)
    monkeypatch.setattr(milp, "LATE", 1.0)


def test_highs_that_overruns_is_stopped_and_keeps_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    without_a_limit(monkeypatch)
    model, sizes = hard()
    found = model.solve(seconds=0.5)
    assert not found.proven
    assert max(sizes) <= found.bound < found.objective <= sum(sizes)


def test_highs_that_does_not_listen_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    without_a_limit(monkeypatch)
    monkeypatch.setattr(milp, "_ended", lambda *_: False)
    model, _ = hard()
    with pytest.raises(milp.Unfinished, match=r"stacking: highs broke off .it did not end within 2 s"):
        model.solve(seconds=0.5)


def test_an_interrupt_makes_what_highs_found_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter(range(100))

    def interrupted(highs: Any, until: float) -> bool:
        if next(turns) == 0:
            assert not ended(highs, monotonic() + 1)
            raise KeyboardInterrupt
        return ended(highs, until)

    ended = milp._ended
    monkeypatch.setattr(milp, "_ended", interrupted)
    found = hard()[0].solve(seconds=60)
    assert (found.proven, found.seconds < 30) == (False, True)


def test_no_other_module_imports_pulp() -> None:
    import sim

    root = Path(sim.__file__).parent
    users = {str(f.relative_to(root)) for f in root.rglob("*.py") if "import pulp" in f.read_text()}
    assert users == {"planner/milp.py"}
