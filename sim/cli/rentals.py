"""``weir rent`` and ``weir cache``: what to rent for a load, and how its keys and values fill memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from einsum import Infeasible
from einsum.errors import WeirError, hint
from sim.arch import device
from sim.cli import ask
from sim.cli.data import Form, emit
from sim.cli.patience import patience
from sim.cli.text import Sheet, folded, show
from sim.manifest import Made
from sim.planner import cache as pages
from sim.planner.offers import Rented, bearing, priced, templates
from sim.planner.purchase import Bucket, Purchase, buckets, loads
from sim.planner.purchase import rent as cheapest
from sim.planner.shape import shape
from sim.serving.trace import Trace, constant
from sim.serving.trace import trace as load
from sim.units import fmt, si
from workloads.transformer import from_config


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about renting as the command line puts it."""

    model: str
    on: tuple[str, ...]
    rate: str
    trace: str | None
    prompt: str | None
    output: str | None
    slo_tpot: str | None
    slo_ttft: str | None
    prices: str | None
    stock: tuple[str, ...]
    seconds: float
    price: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """The question that a command's arguments, by name, put."""
        many = ("on", "stock", "price")
        own: dict[str, Any] = {name: tuple(value or ()) if name in many else value for name, value in given.items()}
        return cls(**{name: own[name] for name in cls.__slots__})


def rent(asked: Asked, form: Form) -> None:
    """Print the cheapest purchase."""
    from sim.planner.advice import rented as advice

    made = rented(asked)
    found = made.purchase
    with patience("asking what would help"):
        helps = list(advice(made))
    if form is Form.TEXT:
        show(*_text(made, helps))
    else:
        whole = {
            "schema": "weir.rent/1", "model": made.model, **found.figures, "helps": helps, "templates": found.rows,
        }  # fmt: skip
        emit(form, whole, found.rows, Made("highs", found.gap, ("seconds",)))


def rented(asked: Asked) -> Rented:
    """The cheapest purchase for a question."""
    model = from_config(ask.model(asked.model))
    wanted = buckets(_load(asked), ask.per_second(asked.rate))
    ask.limit(asked.seconds)
    own = ask.pairs(asked.price, "--price", "h20=1.5")
    offers = templates(asked.on, asked.prices, own)
    limits = {
        name: None if text is None else ask.positive(text, f"--slo-{name}")
        for name, text in (("tpot", asked.slo_tpot), ("ttft", asked.slo_ttft))
    }
    stock = {n: ask.whole(v, f"--stock {n}") for n, v in ask.pairs(asked.stock, "--stock", "h100=4").items()}
    known = {name: device(name).name for name in stock}
    used = {name for offer in offers for name, _ in offer.uses}
    for name, canonical in known.items():
        if canonical not in used:
            raise WeirError(f"--stock {name}: no --on uses it{hint(canonical, used)}")
    with patience(f"renting for {model.name}"):
        load_ = loads(wanted, offers, bearing(model, tpot=limits["tpot"], ttft=limits["ttft"]))
        held = {known[n]: count for n, count in stock.items()}
        found = cheapest(wanted, offers, load_, stock=held, seconds=asked.seconds)
    return Rented(model.name, found, priced(asked.on, asked.prices, own), load_, held)


def _load(asked: Asked) -> Trace:
    """The trace, or requests of one length."""
    if (asked.trace is None) == (asked.prompt is None or asked.output is None):
        raise WeirError("give --trace, or both --prompt and --output")
    if asked.trace is not None:
        return load(asked.trace)
    return constant(ask.whole(str(asked.prompt), "--prompt"), ask.whole(str(asked.output), "--output"))


def _text(made: Rented, helps: list[str]) -> tuple[Sheet | str, ...]:
    model, found = made.model, made.purchase
    how = "proven cheapest" if found.proven else f"at most {found.gap:.1%} above the cheapest"
    rows = tuple(
        (name, str(count), f"{usd:.2f}", f"{rate:.3g}")
        for name, count, usd, rate in found.frame().itertuples(index=False)
        if count
    )
    columns = ("template", "count", "USD/h", "requests/s")
    each = tuple(_bucket(found, n, b) for n, b in enumerate(found.buckets))
    return (
        f"{model}: {found.usd_per_hour:.2f} USD/h, {how}",
        "\n".join(map(folded, helps)),
        Sheet("rent", columns, rows, right=(1, 2, 3)),
        Sheet("where requests go", ("prompt", "output", "requests/s", "served by"), each, right=(0, 1, 2)),
    )


def _bucket(found: Purchase, n: int, bucket: Bucket) -> tuple[str, ...]:
    by = ", ".join(
        f"{share:.0%} {t.name}" for t, share in zip(found.templates, found.shares[n], strict=True) if share > 5e-4
    )
    return (f"{bucket.prompt:.0f}", f"{bucket.output:.0f}", f"{bucket.rate:.3g}", by)


@dataclass(frozen=True, slots=True)
class Stored:
    """A question about memory for keys and values as the command line puts it."""

    model: str
    on: str
    trace: str
    ways: str
    longest: str
    block: str
    groups: tuple[str, ...]
    requests: str

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Stored:
        """The question that a command's arguments, by name, put."""
        groups = tuple(given["group"] or ("64KiB", "2MiB"))
        own = {name: given[name] for name in cls.__slots__ if name != "groups"}
        return cls(**own, groups=groups)


def cache(asked: Stored, form: Form) -> None:
    """Print what each way to allocate makes of a trace."""
    from sim.planner.advice import stored

    found = replayed(asked)
    rows, helps = [usage.row for usage in found.usages], list(stored(found))
    if form is Form.TEXT:
        title, sheet = _kept(found, asked)
        show(title, "\n".join(map(folded, helps)), sheet)
    else:
        whole = {
            "schema": "weir.cache/1", "model": found.model, "capacity": found.room, "helps": helps, "allocators": rows,
        }  # fmt: skip
        emit(form, whole, rows)


def replayed(asked: Stored) -> pages.Replayed:
    """What each way to allocate makes of a trace."""
    requests = load(asked.trace)
    model, ways = (
        shape(from_config(ask.model(asked.model)), 1 + int(requests.mean_context)),
        ask.whole(asked.ways, "--ways"),
    )
    where = device(asked.on)
    weights = (model.weight * model.layers + model.tables) / ways
    free = pages.room(where, weights)
    if free <= 0:
        raise Infeasible(
            f"{fmt(weights, 'B')} of weights leave nothing of {fmt(where.capacity, 'B')}; divide the model, as in"
            f" --ways {ways * 2}",
            weights / where.capacity,
        )
    held = pages.store(model, free, ways)
    options = [pages.static(ask.whole(asked.longest, "--longest")), pages.paged(ask.whole(asked.block, "--block"))]
    options += [pages.contiguous(held, si(group, "B", "--group")) for group in asked.groups]
    with patience("replaying"):
        found = pages.compare(held, requests, options, requests=ask.whole(asked.requests, "--requests"))
    return pages.Replayed(model.name, where, weights, held.every, found)


def _kept(found: pages.Replayed, asked: Stored) -> tuple[str, Sheet]:
    columns = ("allocation", "largest batch", "mean batch", "waste", "stall a step", "longest", "not hidden")
    cells = tuple(
        (
            u.allocator.name, str(u.largest), f"{u.batch:.1f}", f"{u.waste:.1%}",
            *(fmt(s, "s") for s in (u.stall, u.worst, u.hidden)),
        )
        for u in found.usages
    )  # fmt: skip
    room, each = fmt(found.room, "B"), fmt(found.token, "B")
    title = f"{found.model} on {asked.ways}x{found.where.name}: {room} for keys and values, {each} a token"
    return title, Sheet(str(load(asked.trace)), columns, cells, right=tuple(range(1, 7)))
