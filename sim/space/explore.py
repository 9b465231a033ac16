"""Multi-objective search, for spaces too large to sweep: Optuna asks for points, the store keeps their rows."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum.errors import WeirError, hint
from sim.space.where import mask

if TYPE_CHECKING:
    import pandas as pd


def explore(
    what: Any, /, *, on: Any, minimise: Sequence[str] = (), maximise: Sequence[str] = (), trials: int = 200,
    seed: int = 0, where: str | None = None, store: str | Path | None = None, **axes: Any,
) -> pd.DataFrame:  # fmt: skip
    """Try ``trials`` points of the axes' product, chosen by NSGA-II (Deb et al. 2002, as Optuna has it), and return the
    distinct ones in the order tried: :func:`sim.pareto` has their front.

    ``axes``, ``on`` and ``store`` are those of :func:`sim.sweep`; where the condition ``where`` (axes or figures) does
    not hold, as where a point does not fit, the search is steered away. Needs ``weir[explore]``. Raises
    :class:`WeirError` without an objective, or for one that no row has.
    """
    import pandas as pd

    if find_spec("optuna") is None:
        raise WeirError("sim.explore needs Optuna: pip install 'weir[explore]'")
    if not (minimise or maximise):
        raise WeirError("explore: nothing to minimise or maximise; name at least one column")
    from sim.space.axes import axis

    every = {name: axis(name, values).values for name, values in {"on": on, **axes}.items()}
    found: dict[tuple[int, ...], pd.DataFrame] = {}

    def figures(trial: Any) -> list[float]:
        at = tuple(trial.suggest_int(name, 0, len(values) - 1) for name, values in every.items())
        if at not in found:
            point = {name: [values[i]] for i, (name, values) in zip(at, every.items(), strict=True)}
            found[at] = _one(what, point, store)
        return _objectives(found[at], minimise, maximise, where)

    _study(len(minimise), len(maximise), seed).optimize(figures, n_trials=trials)
    frame = pd.concat(found.values(), ignore_index=True)
    frame.attrs = next(iter(found.values())).attrs
    return frame


def _one(what: Any, point: dict[str, Any], store: str | Path | None) -> pd.DataFrame:
    from sim.space.sweep import sweep

    return sweep(what, store=store, **point)


def _study(least: int, most: int, seed: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions: Any = ["minimize"] * least + ["maximize"] * most
    return optuna.create_study(directions=directions, sampler=optuna.samplers.NSGAIISampler(seed=seed))


def _objectives(row: pd.DataFrame, minimise: Sequence[str], maximise: Sequence[str], where: str | None) -> list[float]:
    """The figures to optimise; the worst there is where the point fails or a condition does not hold."""
    columns = {str(c): row[c].to_numpy() for c in row.columns}
    held = bool(row["fits"].iloc[0]) and (where is None or bool(mask(where, columns)[0]))
    values = []
    for name, worst in [*((n, 1e300) for n in minimise), *((n, -1e300) for n in maximise)]:
        if name not in row.columns and bool(row["fits"].iloc[0]):
            raise WeirError(f"explore: no column {name!r}{hint(name, map(str, row.columns), most=40)}")
        value = float(row[name].iloc[0]) if name in row.columns else worst
        values.append(value if held and value == value else worst)
    return values
