"""Mixed-integer programmes: the only importer of PuLP. HiGHS by default, CBC where it is asked for.

A solver's word is not taken: values are rounded to integers where they must be, every row is checked, and a solution is
*proven* only when the solver finished (PuLP calls the incumbent of a time limit "Optimal").
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import pulp

from einsum import Infeasible, WeirError

SOLVERS = ("highs", "cbc")
LATE = 5.0  # seconds that a solver may overrun its time before it is ended
TOLERANCE = 1e-6  # how far a row may be missed, relative to the size of its terms

Variable = Any  # pulp.LpVariable: an affine expression of one term
Row = Any  # pulp.LpConstraint
Progress = Callable[[float, float, float], None]  # seconds, incumbent, bound

total = pulp.lpSum


class Unfinished(WeirError):  # noqa: N818  a state of affairs
    """The solver found nothing within the seconds it had; there may be a solution."""


@dataclass(frozen=True)
class Solved:
    """The best values found for the variables (by name), their objective, and a bound that none can pass."""

    values: Mapping[str, float]
    objective: float
    bound: float
    proven: bool
    seconds: float
    solver: str

    def __getitem__(self, variable: Variable) -> float:
        return self.values[variable.name]


@dataclass
class Model:
    """A programme to minimise, built from variables and families of rows; the one mutable thing of the planner."""

    name: str
    _problem: Any = field(init=False)
    _rows: list[tuple[str, Row]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._problem = pulp.LpProblem(self.name, pulp.LpMinimize)

    def number(self, name: str, low: float | None = 0.0, high: float | None = None) -> Variable:
        """A continuous variable between two bounds (None: unbounded)."""
        return self._problem.add_variable(name, low, high)

    def integer(self, name: str, low: float | None = 0.0, high: float | None = None) -> Variable:
        """An integer variable between two bounds."""
        return self._problem.add_variable(name, low, high, pulp.LpInteger)

    def binary(self, name: str) -> Variable:
        """A variable that is 0 or 1."""
        return self._problem.add_variable(name, 0, 1, pulp.LpInteger)

    def add(self, family: str, rows: Iterable[Row]) -> None:
        """Add a family of constraints; one without variables is checked at once."""
        for row in rows:
            if isinstance(row, bool):  # an inequality between numbers: Python has decided it already
                if not row:
                    raise Infeasible(f"{self.name}: no solution, {family} cannot hold whatever is chosen")
                continue
            self._rows.append((family, row))
            self._problem.addConstraint(row)

    def minimise(self, expression: Any) -> None:
        """What to make small; maximise by its negative."""
        self._problem.setObjective(pulp.LpAffineExpression(expression))

    @property
    def names(self) -> tuple[str, ...]:
        """The variables' names."""
        return tuple(v.name for v in self._problem.variables())

    @property
    def size(self) -> tuple[int, int]:
        """Variables and rows."""
        return len(self._problem.variables()), len(self._rows)

    def solve(
        self, *, seconds: float = 60.0, start: Mapping[str, float] | None = None, solver: str = "highs",
        threads: int = 1, progress: Progress | None = None,
    ) -> Solved:  # fmt: skip
        """The best solution found in ``seconds``, from ``start`` (values by name) where the solver takes one.

        Raises :class:`Infeasible` when there is none, :class:`Unfinished` when none was found in time or the solver is
        not there or broke off, and :class:`WeirError` when there is no such solver.
        """
        began = monotonic()
        engine = _engine(solver, seconds, start or {}, threads, progress)
        try:
            self._problem.solve(engine)
        except pulp.PulpSolverError as error:  # killed, out of memory, too late
            raise Unfinished(f"{self.name}: {solver} broke off ({str(error)[:200]})") from None
        return self._read(engine, monotonic() - began, solver, seconds)

    def _read(self, engine: Any, seconds: float, solver: str, limit: float) -> Solved:
        status = self._problem.sol_status
        if status == pulp.LpSolutionInfeasible:
            raise Infeasible(f"{self.name}: no solution satisfies all constraints")
        if status == pulp.LpSolutionUnbounded:
            raise WeirError(f"{self.name}: the objective can be made as small as one likes; a bound is missing")
        values = {v.name: _settled(v) for v in self._problem.variables()}
        missed = None if status == pulp.LpSolutionNoSolutionFound else self._missed(values)
        if status == pulp.LpSolutionNoSolutionFound or missed:
            why = f"; its last answer breaks {missed}" if missed else ""
            raise Unfinished(f"{self.name}: {solver} found no solution in {seconds:.0f} s{why}; give it more seconds")
        value = _value(self._problem.objective, values)
        # CBC stops at its limit without saying so: what took all its time is not proof.
        done = status == pulp.LpSolutionOptimal and (solver == "highs" or seconds < limit)
        bound = min(value, engine.bound if solver == "highs" else value if done else -inf)
        proven = done and value - bound <= TOLERANCE * max(1.0, abs(value))
        return Solved(values, value, bound, proven, seconds, solver)

    def _missed(self, values: Mapping[str, float]) -> str | None:
        """The family of a row that the values break, if there is one."""
        return next((family for family, row in self._rows if not holds(row, values)), None)


def holds(row: Row | bool, values: Mapping[str, float]) -> bool:
    """Whether an inequality holds at values by name, to within the tolerance; one between numbers is its own answer."""
    if isinstance(row, bool):
        return row
    terms = [c * values[v.name] for v, c in row.items()]
    slack = sum(terms) + row.constant
    allowed = TOLERANCE * max(1.0, abs(row.constant), *map(abs, terms))
    return bool({1: slack >= -allowed, -1: slack <= allowed, 0: abs(slack) <= allowed}[row.sense])


def _settled(variable: Variable) -> float:
    """A variable's value, whole where it must be; one the solver never saw takes its nearest to zero."""
    value = variable.varValue
    if value is None:
        value = min(max(0.0, variable.lowBound or 0.0), inf if variable.upBound is None else variable.upBound)
    return float(round(value)) if variable.cat == pulp.LpInteger else float(value)


def _value(expression: Any, values: Mapping[str, float]) -> float:
    return float(expression.constant + sum(c * values[v.name] for v, c in expression.items()))


def _engine(solver: str, seconds: float, start: Mapping[str, float], threads: int, progress: Progress | None) -> Any:
    if solver not in SOLVERS:
        raise WeirError(f"no solver {solver!r}; there are {', '.join(SOLVERS)}")
    if solver == "cbc":
        return _cbc(seconds, threads)
    if pulp.HiGHS.hscb is None:
        raise Unfinished("no HiGHS on this machine: install it (the package 'highspy'), or use --solver cbc")
    return _Highs(seconds, start, threads, progress)


def _cbc(seconds: float, threads: int) -> Any:
    """CBC on the path, or the one that PuLP brings."""
    from shutil import which

    bundled = pulp.apis.coin_api.pulp_cbc_path
    path = which("cbc") or bundled
    engine = _Cbc(path=path, msg=False, timeLimit=seconds, threads=threads)
    if not path or not engine.available():
        raise Unfinished("no CBC on this machine: install one (the command 'cbc'), or use --solver highs")
    return engine


class _Cbc(pulp.COIN_CMD):  # type: ignore[misc]
    """CBC in a process that is ended when it overruns its time, its files gone however it ends."""

    def solve_CBC(self, lp: Any, use_mps: bool = True) -> int:  # noqa: N802  PuLP's name
        with TemporaryDirectory() as folder:
            model, answer = f"{folder}/model.mps", f"{folder}/answer"
            variables, names, rows, _ = lp.writeMPS(model, rename=1)
            options = [word for option in self.getOptions() for word in f"-{option}".split()]
            self._run(model, "-sec", str(self.timeLimit), *options, "-solve", "-printingOptions", "all",
                      "-solution", answer)  # fmt: skip
            try:
                status, values, *_, solution = self.readsol_MPS(answer, lp, variables, names, rows)
            except FileNotFoundError:
                raise pulp.PulpSolverError("without an answer") from None
            except (ValueError, IndexError):
                raise pulp.PulpSolverError("its answer cannot be read") from None
        lp.assignVarsVals(values)
        lp.assignStatus(status, solution)
        return int(status)

    def _run(self, *words: str) -> None:
        """The process, to its end or the end of its time; an interrupt ends it too."""
        nowhere = subprocess.DEVNULL
        try:
            done = subprocess.run(  # noqa: S603  CBC
                [self.path, *words], stdin=nowhere, stdout=nowhere, stderr=nowhere, check=False,
                timeout=self.timeLimit + LATE,
            )  # fmt: skip
        except OSError as error:
            raise pulp.PulpSolverError(error.strerror or str(error)) from None
        except subprocess.TimeoutExpired:
            raise pulp.PulpSolverError(f"it did not end within {self.timeLimit + LATE:.0f} s") from None
        if done.returncode:
            how = "exit status" if done.returncode > 0 else "killed by signal"
            raise pulp.PulpSolverError(f"{how} {abs(done.returncode)}")


class _Highs(pulp.HiGHS):  # type: ignore[misc]
    """HiGHS in this process, with a starting point, progress, and its bound in the programme's own terms."""

    def __init__(self, seconds: float, start: Mapping[str, float], threads: int, progress: Progress | None) -> None:
        super().__init__(msg=False, timeLimit=seconds, gapRel=0.0, threads=threads)
        self.start, self.progress, self.bound = start, progress, -inf

    def callSolver(self, lp: Any) -> None:  # noqa: N802  PuLP's name
        import numpy as np

        highs, constant = lp.solverModel, lp.objective.constant
        if self.start:
            known = [v for v in lp.variables() if v.name in self.start]
            where = np.array([v.index for v in known], np.int32)
            highs.setSolution(len(known), where, np.array([self.start[v.name] for v in known], float))
        if self.progress is not None:
            self._listen(highs, constant, self.progress)
        self._run(highs)
        info = highs.getInfo()
        bound = info.mip_dual_bound if info.mip_node_count >= 0 else info.objective_function_value
        self.bound = bound + constant if isfinite(bound) else -inf

    def _run(self, highs: Any) -> None:
        """Solve in another thread, which is told to stop by an interrupt or when it is late; it may not listen."""
        highs.HandleUserInterrupt = True
        until = monotonic() + self.timeLimit + LATE
        highs.startSolve()
        try:
            ended = _ended(highs, until)
        except KeyboardInterrupt:  # what it has found by then is its answer
            ended = False
        if not ended:
            highs.cancelSolve()
            if not _ended(highs, monotonic() + LATE):
                raise pulp.PulpSolverError(f"it did not end within {self.timeLimit + 2 * LATE:.0f} s")

    @staticmethod
    def _listen(highs: Any, constant: float, progress: Progress) -> None:
        def heard(event: Any) -> None:
            data = event.data_out
            progress(data.running_time, data.mip_primal_bound + constant, data.mip_dual_bound + constant)

        highs.cbMipImprovingSolution.subscribe(heard)
        highs.cbMipLogging.subscribe(heard)


def _ended(highs: Any, until: float) -> bool:
    """Whether HiGHS ended before a time; an interrupt is heard meanwhile."""
    while monotonic() < until:
        if highs.wait(0.1)[0]:
            return True
    return False
