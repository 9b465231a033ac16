"""One placement programme: fractions of tensor classes over tiers, so that a unit of work takes the least time.

A *method* is a file: classes and the tiers each may lie in, quantities as formulas, stages with their seconds, and what
each memory holds. Formulas are sums, products and largest-ofs of the model's shape, the hardware's rates and the
fractions, which are written ``class.tier``. FlexGen, MoE-Lightning and MoE-Lens are such files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import count
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum.errors import Infeasible, WeirError, hint
from einsum.tables import Table
from sim.planner.affine import Convex, evaluate
from sim.units import fmt, si

if TYPE_CHECKING:
    from sim.planner.milp import Row

FOLDER = Path(__file__).parent / "methods"
TOLERANCE = 1e-6
Fractions = Mapping[str, float]  # by "class.tier"


@dataclass(frozen=True, slots=True)
class Stage:
    """Work done ``runs`` times, each in ``seconds``; both are formulas."""

    name: str
    runs: str
    seconds: str


@dataclass(frozen=True, slots=True)
class Store:
    """A memory that may hold ``most`` bytes; each of ``holds`` is what is in it at some moment."""

    name: str
    most: str
    holds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Method:
    """A placement programme before a model and hardware are put in."""

    name: str
    title: str
    source: str
    notes: str
    classes: tuple[tuple[str, tuple[str, ...]], ...]
    settings: tuple[tuple[str, str, str], ...]  # name, unit, formula
    quantities: tuple[tuple[str, str], ...]
    stages: tuple[Stage, ...]
    stores: tuple[Store, ...]

    @property
    def fractions(self) -> tuple[str, ...]:
        """Every fraction that is sought, as ``class.tier``."""
        return tuple(f"{name}.{tier}" for name, tiers in self.classes for tier in tiers)


def method_names() -> tuple[str, ...]:
    """The methods that come with weir."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def method(name_or_path: str | Path) -> Method:
    """A method by name, or from a ``.toml`` file of the user's own; all of the file's problems are raised together."""
    text = str(name_or_path)
    if text.endswith(".toml"):
        return _read(Path(text))
    if text not in method_names():
        raise WeirError(f"unknown method {text!r:.80}{hint(text, method_names())}; or give the path of a .toml")
    return _shipped(text)


@cache
def _shipped(name: str) -> Method:
    return _read(FOLDER / f"{name}.toml")


def _read(path: Path) -> Method:
    known = ("title", "source", "notes", "classes", "settings", "quantities", "stages", "memory")
    top = Table.read(path, "method", known)
    classes, quantities = top.table("classes"), top.table("quantities")
    settings = _inner(top.table("settings"), ("unit", "value"))
    stages = _inner(top.table("stages"), ("runs", "seconds"))
    stores = _inner(top.table("memory"), ("most", "holds"))
    made = Method(
        name=path.stem, title=top.text("title"), source=top.text("source"), notes=top.text("notes", ""),
        classes=tuple((name, classes.texts(name)) for name in classes.raw),
        settings=tuple((name, t.text("unit"), t.text("value")) for name, t in settings.items()),
        quantities=tuple((name, quantities.text(name)) for name in quantities.raw),
        stages=tuple(Stage(name, t.text("runs"), t.text("seconds")) for name, t in stages.items()),
        stores=tuple(Store(name, t.text("most"), t.texts("holds")) for name, t in stores.items()),
    )  # fmt: skip
    if not made.fractions or not made.stages:
        top.refuse("[classes] with their tiers and [stages] are needed")
    top.finish()
    return made


def _inner(table: Table, known: tuple[str, ...]) -> dict[str, Table]:
    """The tables of a table whose own keys are free."""
    return {name: table.table(name, known) for name in table.raw}


@dataclass(frozen=True)
class Placement:
    """A method with every number put in: what a solver minimises, and what an answer is worth.

    ``fixed`` are fractions that are not sought.
    """

    method: Method
    numbers: Mapping[str, float]
    settings: Mapping[str, str | float]
    fixed: Fractions

    def __post_init__(self) -> None:
        """Refuse settings and fractions that the method does not have."""
        known = {name for name, _, _ in self.method.settings}
        for name in self.settings:
            if name not in known:
                raise WeirError(f"{self.method.name} has no setting {name!r}{hint(name, known)}")
        for name, value in self.fixed.items():
            if name not in self.method.fractions:
                raise WeirError(f"{self.method.name} has no fraction {name!r}{hint(name, self.method.fractions)}")
            if not 0 <= value <= 1:
                raise WeirError(f"{name} is {value:g}; fractions are between 0 and 1")

    @cached_property
    def known(self) -> dict[str, float]:
        """The model's, the load's and the hardware's numbers, and the settings."""
        names = dict(self.numbers)
        for name, unit, formula in self.method.settings:
            where = f"{self.method.name} {name}"
            given = self.settings.get(name)
            names[name] = evaluate(formula, names, where) if given is None else si(given, unit, name)
        return names

    def names(self, fractions: Mapping[str, Any]) -> dict[str, Any]:
        """Every name a formula may use, the method's quantities with the fractions put in."""
        names = {**self.known, **fractions}
        for name, formula in self.method.quantities:
            names[name] = evaluate(formula, names, f"{self.method.name} {name}")
        return names

    @cached_property
    def sought(self) -> dict[str, Any]:
        """The fractions as unknowns, or as the numbers they are fixed at."""
        return {name: self.fixed.get(name, Convex.unknown(name)) for name in self.method.fractions}

    def solve(self, seconds: float = 20.0) -> tuple[dict[str, float], float, bool]:
        """The fractions with which the stages take the least time together, that time, and whether it is proven.

        Raises :class:`Infeasible` with the memory that is short, and by how much at least.
        """
        from sim.planner import milp

        model = milp.Model(self.method.name)
        unknown = {name: model.number(name, 0.0, 1.0) for name in self.method.fractions if name not in self.fixed}
        names, peaks = self.names(self.sought), Peaks(model, unknown)
        model.add("each class lies somewhere", self.whole(unknown))
        model.add("memories hold what they must", self.within(names, peaks))
        total: Any = 0.0
        for stage in self.method.stages:
            runs = evaluate(stage.runs, names, stage.name)
            total = total + runs * evaluate(stage.seconds, names, stage.name)
        model.minimise(peaks.row(total))
        try:
            solved = model.solve(seconds=seconds)
        except Infeasible:
            raise self._short() from None
        found = {name: min(1.0, max(0.0, solved[variable])) for name, variable in unknown.items()}
        fractions = {name: self.fixed.get(name, found.get(name, 0.0)) for name in self.method.fractions}
        return fractions, solved.objective, solved.proven

    def whole(self, unknown: Mapping[str, Any]) -> Iterator[Row]:
        """The fractions of each class over its tiers sum to one: sum of class.tier = 1."""
        for name, tiers in self.method.classes:
            yield sum(self.fixed.get(f"{name}.{t}", unknown.get(f"{name}.{t}", 0.0)) for t in tiers) == 1

    def within(self, names: Mapping[str, Any], peaks: Peaks, besides: str = "") -> Iterator[Row]:
        """What a memory holds at any moment is no more than its capacity: bytes <= capacity, each scaled by it."""
        for store in (s for s in self.method.stores if s.name != besides):
            most = evaluate(store.most, names, store.name)
            for held in store.holds:
                size = evaluate(held, names, store.name)
                yield peaks.row(_convex(size) * (1.0 / max(most, 1.0))) <= most / max(most, 1.0)

    @staticmethod
    def topped(one: Store, names: Mapping[str, Any], peaks: Peaks, top: Any, scale: float) -> Iterator[Row]:
        """What one memory holds at any moment is no more than the top, both scaled: bytes / scale <= top."""
        for held in one.holds:
            yield peaks.row(_convex(evaluate(held, names, one.name)) * (1 / scale)) <= top

    def _short(self) -> Infeasible:
        """Why nothing fits: how much of which memory would do, as the others are, or at least with boundless others."""
        for others, how in ((True, "would do"), (False, "would do if the other memories were larger too")):
            lines, miss = [], inf
            for store in self.method.stores:
                need, most = self._least(store.name, others)
                if most * (1 + TOLERANCE) < need < inf:
                    lines.append(f"{fmt(need, 'B')} of {store.name} memory instead of {fmt(most, 'B')}")
                    miss = min(miss, need / most if most else inf)
            if lines:
                return Infeasible(f"{self.method.name}: no placement fits: {', or '.join(lines)} {how}", miss)
        return Infeasible(f"{self.method.name}: no placement fits these memories")

    def _least(self, store: str, others: bool) -> tuple[float, float]:
        """The fewest bytes of one memory that would do, with the other memories as they are or boundless; and what it
        may hold."""
        from sim.planner import milp

        model = milp.Model(self.method.name)
        unknown = {name: model.number(name, 0.0, 1.0) for name in self.method.fractions if name not in self.fixed}
        names, peaks = self.names(self.sought), Peaks(model, unknown)
        model.add("each class lies somewhere", self.whole(unknown))
        [one] = [s for s in self.method.stores if s.name == store]
        if others:
            model.add("the others hold what they must", self.within(names, peaks, besides=store))
        scale, top = 1e9, model.number("top")
        model.add("held", self.topped(one, names, peaks, top, scale))
        model.minimise(top)
        most = float(evaluate(one.most, names, store))
        try:
            return model.solve().objective * scale, most
        except Infeasible:
            return inf, most

    def cost(self, fractions: Fractions) -> dict[str, float]:
        """Seconds of one run of each stage, by plain arithmetic; shares nothing with the solver."""
        names = self.names(dict(fractions))
        return {s.name: evaluate(s.seconds, names, s.name) for s in self.method.stages}

    def runs(self, fractions: Fractions) -> dict[str, float]:
        """How often each stage runs for one block of batches."""
        names = self.names(dict(fractions))
        return {s.name: evaluate(s.runs, names, s.name) for s in self.method.stages}

    def held(self, fractions: Fractions) -> dict[str, tuple[float, float]]:
        """Bytes that each memory holds at its fullest moment, and may hold."""
        names = self.names(dict(fractions))
        return {
            s.name: (
                max((evaluate(h, names, s.name) for h in s.holds), default=0.0),
                evaluate(s.most, names, s.name),
            )
            for s in self.method.stores
        }

    def loads(self, fractions: Fractions) -> dict[str, float]:
        """Every quantity of the method at the fractions given: the seconds of each resource among them."""
        names = self.names(dict(fractions))
        return {name: names[name] for name, _ in self.method.quantities}

    def total(self, fractions: Fractions) -> float:
        """Seconds of all runs of all stages, by plain arithmetic."""
        runs = self.runs(fractions)
        return sum(runs[name] * each for name, each in self.cost(fractions).items())

    def check(self, fractions: Fractions, claimed: float | None = None) -> None:
        """Refuse fractions that do not sum to one, overfill a memory, or take another time than is ``claimed``."""
        if claimed is not None and abs(self.total(fractions) - claimed) > TOLERANCE * max(claimed, 1e-9):
            raise WeirError(f"{self.method.name}: {claimed:g} s claimed, {self.total(fractions):g} s recomputed")
        for name, tiers in self.method.classes:
            total = sum(fractions[f"{name}.{tier}"] for tier in tiers)
            if abs(total - 1) > TOLERANCE:
                raise Infeasible(f"{self.method.name}: fractions of {name} sum to {total:g}, not one")
        for name, (held, most) in self.held(fractions).items():
            if held > most * (1 + TOLERANCE) + 1:
                raise Infeasible(f"{self.method.name}: {fmt(held, 'B')} in {name} memory, of {fmt(most, 'B')}")


def _convex(value: Any) -> Convex:
    return value if isinstance(value, Convex) else Convex(float(value))


class Peaks:
    """Turns what a formula holds into rows: each largest-of becomes a variable above all of its arms."""

    def __init__(self, model: Any, unknown: Mapping[str, Any]) -> None:
        self.model, self.unknown, self.numbers = model, unknown, count()

    def row(self, value: Any) -> Any:
        """The linear expression of a value."""
        from sim.planner import milp

        convex = _convex(value)
        linear = [coefficient * self.unknown[name] for name, coefficient in convex.terms if coefficient]
        return milp.total([*linear, *(each * self._above(arms) for each, arms in convex.peaks)]) + convex.constant

    def _above(self, arms: tuple[Convex, ...]) -> Any:
        """A variable that is no less than any arm."""
        peak = self.model.number(f"peak{next(self.numbers)}", None)
        self.model.add("a peak is above its arms", self.above(peak, arms))
        return peak

    def above(self, peak: Any, arms: tuple[Convex, ...]) -> Iterator[Row]:
        """A peak is no less than any of its arms: peak >= arm."""
        for arm in arms:
            yield peak - self.row(arm) >= 0
