"""``weir rent`` and ``weir cache``: what to rent for a load, and how its keys and values fill memory."""

from __future__ import annotations

from dataclasses import dataclass

from einsum import Infeasible
from einsum.errors import WeirError, hint
from sim.arch import device
from sim.cli import ask
from sim.cli.data import Form, emit
from sim.cli.patience import patience
from sim.cli.text import Sheet, show
from sim.manifest import Made
from sim.planner import cache as pages
from sim.planner.offers import bearing, templates
from sim.planner.purchase import Bucket, Purchase, buckets, loads
from sim.planner.purchase import rent as cheapest
from sim.planner.shape import shape
from sim.serving.deploy import RESERVE
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


def rent(asked: Asked, form: Form) -> None:
    """Print the cheapest purchase."""
    model = from_config(ask.model(asked.model))
    wanted = buckets(_load(asked), ask.per_second(asked.rate))
    ask.limit(asked.seconds)
    offers = templates(asked.on, asked.prices, ask.pairs(asked.price, "--price", "h20=1.5"))
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
        found = cheapest(
            wanted, offers, load_, stock={known[n]: count for n, count in stock.items()}, seconds=asked.seconds
        )
    rows = found.frame().to_dict("records")
    if form is Form.TEXT:
        show(*_text(model.name, found))
    else:
        whole = {"schema": "weir.rent/1", "model": model.name, **_figures(found), "templates": rows}
        emit(form, whole, rows, Made("highs", found.gap, ("seconds",)))


def _load(asked: Asked) -> Trace:
    """The trace, or requests of one length."""
    if (asked.trace is None) == (asked.prompt is None or asked.output is None):
        raise WeirError("give --trace, or both --prompt and --output")
    if asked.trace is not None:
        return load(asked.trace)
    return constant(ask.whole(str(asked.prompt), "--prompt"), ask.whole(str(asked.output), "--output"))


def _figures(found: Purchase) -> dict[str, object]:
    return {
        "usd_per_hour": found.usd_per_hour,
        "bound": found.bound,
        "proven": found.proven,
        "gap": found.gap,
        "seconds": found.seconds,
        "buckets": [{"prompt": b.prompt, "output": b.output, "rate": b.rate} for b in found.buckets],
    }


def _text(model: str, found: Purchase) -> tuple[Sheet | str, ...]:
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


def cache(asked: Stored, form: Form) -> None:
    """Print what each way to allocate makes of a trace."""
    requests = load(asked.trace)
    model, ways = (
        shape(from_config(ask.model(asked.model)), 1 + int(requests.mean_context)),
        ask.whole(asked.ways, "--ways"),
    )
    where = device(asked.on)
    weights = (model.weight * model.layers + model.tables) / ways
    free = where.capacity * (1 - RESERVE) - weights
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
    rows = [usage.row for usage in found]
    if form is not Form.TEXT:
        emit(form, {"schema": "weir.cache/1", "model": model.name, "capacity": free, "allocators": rows}, rows)
        return
    columns = ("allocation", "largest batch", "mean batch", "waste", "stall a step", "longest", "not hidden")
    cells = tuple(
        (
            u.allocator.name, str(u.largest), f"{u.batch:.1f}", f"{u.waste:.1%}",
            *(fmt(s, "s") for s in (u.stall, u.worst, u.hidden)),
        )
        for u in found
    )  # fmt: skip
    title = f"{model.name} on {ways}x{where.name}: {fmt(free, 'B')} for keys and values, {fmt(held.every, 'B')} a token"
    show(title, Sheet(str(requests), columns, cells, right=tuple(range(1, 7))))
