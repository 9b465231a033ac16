"""Sweeps of single steps, decode or prefill: all sizes of one deployment are timed in one call of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from einsum.errors import Infeasible, WeirError, hint
from mappings.layout import Layout, check
from mappings.parallel import layout as parallel
from mappings.parallel import read
from sim.arch import Cluster, Device, Tier, tier
from sim.arch.prices import prices
from sim.serving.deploy import Deployment, Model, filled, filled_joules
from sim.serving.service import Service
from sim.space.axes import REFUSED, Axis, changed, column, dotted, held, points, repriced, size
from sim.space.progress import tracked
from sim.units import si

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
SIZES = {"decode": ("batch", "context"), "prefill": ("batch", "prompt")}
AXES = ("model", "on", "layout", "tier", "host", "prices", "batch", "context", "prompt")
KINDS: dict[str, tuple[type, ...]] = {
    "layout": (str, Layout, type(None)),
    "tier": (str, Tier),
    "prices": (str, type(None)),
}
SETTLED = 30 << 20  # bytes, below the most (32 MiB) up to which glibc learns from what is freed
CHUNK = 1 << 16  # points timed at once: the intermediate arrays of one call stay around a hundred megabytes
FIGURES = ("seconds", "tokens_per_second", "joules_per_token")
COSTS = ("usd_per_hour", "usd_per_million_tokens", "tokens_per_dollar")


@dataclass(frozen=True, slots=True)
class Space:
    """The axes by what they change: the deployment, its prices, or the sizes of a step."""

    phase: str
    cells: tuple[Axis, ...]
    costs: tuple[Axis, ...]
    sizes: tuple[Axis, ...]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """All of them, in the order of the table's rows."""
        return (*self.cells, *self.costs, *self.sizes)


def space(axes: Sequence[Axis]) -> Space:
    """The axes sorted; refuses those that a step does not have, and a step without its sizes."""
    names = [a.name for a in axes]
    for name in names:
        if not dotted(name) and name not in AXES:
            raise WeirError(
                f"sweep: no axis {name!r}{hint(name, AXES)}; a step has no others, but sweep(serve, ...) takes all"
                " that serve takes"
            )
    phase = "prefill" if "prompt" in names else "decode"
    if "context" in names and "prompt" in names:
        raise WeirError("sweep: give context (a decode step) or prompt (a prefill), not both")
    if missing := [n for n in SIZES[phase] if n not in names]:
        raise WeirError(f"sweep: a {phase} step needs {' and '.join(map(repr, missing))}")
    costs = [a for a in axes if a.name == "prices" or a.name.startswith("price.")]
    sizes = [a for a in axes if a.name in SIZES[phase]]
    cells = [a for a in axes if a not in costs and a not in sizes]
    for one in sizes:
        one.numbers(least=1)
    for one in axes:
        one.check(KINDS.get(one.name, (object,)))
    return Space(phase, tuple(cells), tuple(costs), tuple(sizes))


def steps(axes: Sequence[Axis], only: str | None = None, devices: tuple[Device, ...] = ()) -> pd.DataFrame:
    """One row a point, in the order of the axes' product; priced from one book that has all ``devices`` as well.

    Where the condition ``only`` on the axes does not hold, nothing is timed and there is no row.
    """
    import pandas as pd

    _settle()
    whole = space(axes)
    total = size(whole.axes)
    shape = (size(whole.cells), size(whole.costs), size(whole.sizes))
    hourly = _hourly(whole, devices)
    asked = held(whole.axes, only)
    needed: NDArray[np.bool_] | None = None if asked is None else np.any(asked.reshape(shape), axis=1)
    found, labels, refused = _filled(whole, shape, needed)
    found["usd_per_hour"][:] = hourly[:, :, None]
    _price(found)
    given = {a.name: column(whole.axes, a.name) for a in whole.axes}
    results = {"fits": ~np.isnan(found["seconds"]), **found, "bound": labels["bound"]}
    if "layout" not in given:
        results = {"layout": labels["layout"], **results}
    if (labels["reason"] != "").any():
        results |= {"reason": labels["reason"], REFUSED: refused}
    made = given | {name: values.reshape(total) for name, values in results.items()}
    if asked is not None:
        made = {name: values[asked] for name, values in made.items()}
    return pd.DataFrame(made, copy=False)


def _filled(
    whole: Space, shape: tuple[int, int, int], needed: NDArray[np.bool_] | None
) -> tuple[dict[str, Array], dict[str, NDArray[Any]], NDArray[np.bool_]]:
    """Figures, labels and what was refused for every point (cell, price, size); what is not needed stays empty."""
    found = {name: np.full(shape, np.nan) for name in (*FIGURES, *COSTS)}
    labels = {name: np.full(shape, "", object) for name in ("layout", "bound", "reason")}
    refused = np.zeros(shape, bool)
    for cell, places, figures, laid, reason in tracked(_figures(whole, needed), shape[0] * shape[2]):
        for name, values in figures.items():
            (labels if name in labels else found)[name][cell][:, places] = values
        labels["layout"][cell] = laid
        if reason is not None:
            labels["reason"][cell] = str(reason)
            refused[cell] = not isinstance(reason, Infeasible)
    return found, labels, refused


@cache
def _settle() -> None:
    """Let the C library keep what is freed: until a block as large as this has come and gone, glibc hands the arrays of
    every block of points back to the system, and fetching them anew is half of a sweep's CPU."""
    np.empty(SETTLED, np.uint8)


def _price(found: dict[str, Array]) -> None:
    """Money from rate and price, in place: these are the largest arrays of a sweep."""
    rate, usd = found["tokens_per_second"], found["usd_per_hour"]
    money(rate, usd, found["tokens_per_dollar"], found["usd_per_million_tokens"])


def money(rate: Any, usd: Any, dollar: Array | None = None, million: Array | None = None) -> tuple[Any, Any]:
    """Tokens for a dollar, and dollars for a million tokens, of a rate (tokens/s) at a price (USD/h); in arrays that
    are there for them, if any."""
    tokens = np.divide(rate * 3600, usd, out=dollar)
    return tokens, np.divide(1e6, tokens, out=million)


Places = slice | NDArray[np.int64]


def _figures(
    whole: Space, needed: NDArray[np.bool_] | None
) -> Iterator[tuple[int, Places, dict[str, Any], str, WeirError | None]]:
    """Chunk by chunk of the sizes, cell by cell, so that what is counted for a chunk serves every cell.

    ``needed`` says which sizes of which cell are asked for (cell, size); all are, where it is None.
    """
    axes = [a.numbers(least=1) for a in whole.sizes]
    grid = dict(zip((a.name for a in whole.sizes), (g.ravel() for g in np.meshgrid(*axes, indexing="ij")), strict=True))
    many = len(grid["batch"])
    for start in range(0, many, CHUNK):
        chunk = slice(start, min(start + CHUNK, many))
        counted: dict[tuple[str, Layout], Deployment] = {}
        for cell, point in enumerate(points(whole.cells)):
            places = _places(chunk, None if needed is None else needed[cell])
            batch, tokens = (grid[name][places] for name in SIZES[whole.phase])
            if not len(batch):
                continue
            laid, why = "", None
            try:
                option = deployment(point, counted)
                laid = option.layout.name
                figures = timed(option, whole.phase, batch, tokens)
            except WeirError as reason:
                figures, why = {}, reason
            yield cell, places, figures, laid, why


def _places(chunk: slice, needed: NDArray[np.bool_] | None) -> Places:
    """Those of a chunk's places that are needed; the chunk itself where all are."""
    if needed is None or needed[chunk].all():
        return chunk
    found: NDArray[np.int64] = np.flatnonzero(needed[chunk]) + chunk.start
    return found


def deployment(point: Mapping[str, Any], counted: dict[tuple[str, Layout], Deployment]) -> Deployment:
    """The point's deployment, sharing what was already counted for the same model and layout."""
    model, where = point["model"], changed(point["on"], point)
    laid = _layout(point.get("layout"), model, where)
    level = point.get("tier", "physical")
    level = level if isinstance(level, Tier) else tier(level)
    host = si(point.get("host", 0.0), "s", "sweep: axis 'host'")
    fresh = Deployment(model, where, laid, level, 0.0, host)
    known = counted.setdefault((model.name, laid), fresh)
    return Deployment(model, where, laid, level, 0.0, host, _works=known._works)


def _layout(given: Layout | str | None, model: Model, where: Cluster) -> Layout:
    pools = {p.name: p.count for p in where.pools}
    if given is None:
        made = parallel(model.decode, pools)
    else:
        made = given if isinstance(given, Layout) else read(given, model.decode, pools)
    check(made, model.decode, pools)
    return made


def timed(option: Deployment, phase: str, batch: Array, tokens: Array) -> dict[str, Any]:
    """Seconds, rates, joules and bounds of steps of ``batch`` requests, all replicas together; NaN where they do not
    fit. Tokens are those generated by a decode step, those of the prompts in a prefill."""
    copies = option.layout.replicas
    service = option.service()
    fits = batch / copies * service.state(tokens) <= service.capacity
    step = option.decoding(batch / copies, tokens) if phase == "decode" else option.prefilling(batch / copies, tokens)
    seconds, joules = (step.period, step.joules) if phase == "decode" else (filled(step), filled_joules(step))
    made = batch if phase == "decode" else batch * tokens
    why = {} if np.all(fits) else {"reason": np.where(fits, "", _crowded(option, service, tokens))}
    return {
        "seconds": np.where(fits, seconds, np.nan),
        "tokens_per_second": np.where(fits, made / seconds, np.nan),
        "joules_per_token": np.where(fits, joules * copies / made, np.nan),
        "bound": np.where(fits, step.bounds, ""),
        **why,
    }


def _crowded(option: Deployment, service: Service, tokens: Array) -> NDArray[Any]:
    """Why no more requests fit, by their tokens: how many do."""
    each, at = np.unique(tokens, return_inverse=True)
    most = np.floor(service.capacity / service.state(each)) * option.layout.replicas
    texts = [f"memory has room for {n:,.0f} requests of {t:,.0f} tokens" for n, t in zip(most, each, strict=True)]
    found: NDArray[Any] = np.array(texts, object)[at]
    return found


def priced(clusters: Iterable[Cluster]) -> tuple[Device, ...]:
    """Every device of the clusters once, as prices are looked up for them."""
    return tuple({p.device.name: p.device for c in clusters for p in c.pools}.values())


def _hourly(whole: Space, devices: tuple[Device, ...]) -> Array:
    """USD an hour of every cell at every point of the prices (cell, price), all clusters priced from one book."""
    clusters = [changed(point["on"], point) for point in points(whole.cells)]
    devices = devices or priced(clusters)
    books = [prices(devices, point.get("prices"), repriced(point)) for point in points(whole.costs)]
    shape = (len(clusters), len(books))
    return np.array([book.usd_per_hour(where) for where, book in product(clusters, books)]).reshape(shape)
