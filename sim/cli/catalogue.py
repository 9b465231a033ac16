"""``weir list``: what there is to name, one sheet a kind."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from einsum.errors import WeirError, hint
from sim.cli.text import Sheet
from sim.units import fmt
from workloads.catalogue import builders

DEGREES = {
    "tp": "tensor: heads, hidden and vocabulary ranks divided over so many devices",
    "pp": "pipeline: the layers cut into so many stages",
    "dp": "data: the requests of attention divided so many ways",
    "ep": "expert: the experts divided so many ways, over the devices of tp and dp",
    "sp": "sequence: new positions divided wherever tp divides nothing, over the devices of tp",
    "cp": "context: the keys already cached divided so many ways",
    "replicas": "copies of the whole, each serving its own requests",
    "batches": "staggered batches in flight at once, where there are two pools",
    "attention": "heads or requests: how the second pool divides attention",
}


def kinds() -> Sheet:
    """Each kind of thing, how many there are, and an example."""
    from mappings.parallel import OPTIONS
    from sim.arch import accelerator_names, books, cluster_names, device_names, tier_names
    from sim.serving.trace import trace_names
    from workloads.transformer import names

    hardware = (device_names(), accelerator_names(), cluster_names())
    found = (names(), *hardware, books(), trace_names(), tier_names(), builders(), OPTIONS)
    rows = tuple((kind, str(len(n)), ", ".join(tuple(n)[:3])) for kind, n in zip(KINDS, found, strict=True))
    return Sheet("", ("kind", "count", "such as"), rows, right=(1,), notes=("weir list KIND lists one of them",))


def listing(kind: str) -> Sheet:
    """The sheet of one kind."""
    if kind not in KINDS:
        raise WeirError(f"nothing is called {kind!r}{hint(kind, KINDS)}")
    return KINDS[kind]()


def models() -> Sheet:
    """The bundled transformers."""
    from workloads.transformer import model, names

    made = [model(name) for name in names()]
    rows = tuple(
        (m.name, f"{m.parameters / 1e9:,.2f}", f"{m.active_parameters / 1e9:,.2f}", str(m.layers), m.dtype, _tokens(m))
        for m in made
    )
    columns = ("model", "1e9 parameters", "active", "layers", "type", "state per token")
    return Sheet("", columns, rows, right=(1, 2, 3, 5))


def _tokens(model: Any) -> str:
    """Bytes of state that a request's second token adds, while every window still has room."""
    return fmt(float(model.state_bytes(2) - model.state_bytes(1)), "B")


def devices() -> Sheet:
    """The devices, their aliases, and the figures that most answers hang on."""
    from sim.arch import device, device_aliases, device_names

    aliases: dict[str, list[str]] = {}
    for alias, name in device_aliases().items():
        aliases.setdefault(name, []).append(alias)
    rows = tuple(_device(device(name), aliases.get(name, [])) for name in device_names())
    columns = ("device", "memory", "bandwidth", "bf16 mac", "power", "also called")
    return Sheet("", columns, rows, right=(1, 2, 3, 4))


def _device(one: Any, aliases: list[str]) -> tuple[str, ...]:
    watts = fmt(one.power.tdp, "W") if one.power else "-"
    bandwidth = fmt(one.memory.bandwidth, "B/s")
    return one.name, _finite(one.capacity, "B"), bandwidth, _rate(one), watts, ", ".join(sorted(aliases))


def _rate(one: Any) -> str:
    """Rate of bf16 multiply-accumulates, two operations each, however the device runs them."""
    try:
        return fmt(one.rate("mac", "bf16"), "op/s")
    except WeirError:
        return "-"


def _finite(value: float, unit: str) -> str:
    return fmt(value, unit) if math.isfinite(value) else "-"


def arrays() -> Sheet:
    """The spatial arrays, for cascades under loop nests."""
    from sim.arch import accelerator_names, device

    made = [device(name) for name in accelerator_names()]
    rows = tuple((a.name, " ".join(f"{f.count} {f.name}" for f in a.fanouts) or "-", a.title) for a in made)
    return Sheet("", ("array", "fan-outs", "what it is"), rows, notes=("weir map WORKLOAD --on ARRAY",))


def clusters() -> Sheet:
    """The clusters of the catalogue."""
    from sim.arch import cluster, cluster_names

    made = [cluster(name) for name in cluster_names()]
    rows = tuple((c.name, " + ".join(f"{p.count} x {p.device.name}" for p in c.pools), c.title) for c in made)
    notes = ("any <n>x<device> is a cluster too, as are two: 4xh100, 2xh100_4xh20",)
    return Sheet("", ("cluster", "pools", "what it is"), rows, notes=notes)


def prices() -> Sheet:
    """The price books."""
    from sim.arch import book, books

    made = [book(name) for name in books()]
    rows = tuple((b.name, b.date, str(len(b.prices)), b.title) for b in made)
    return Sheet("", ("book", "date", "devices", "what it is"), rows, right=(2,))


def traces() -> Sheet:
    """The traces that ship with weir, as summaries."""
    from sim.serving.trace import trace, trace_names

    made = [trace(name) for name in trace_names()]
    rows = tuple(
        (t.name, f"{len(t):,}", f"{t.mean_prompt:,.2f}", f"{t.mean_output:,.2f}", f"{t.rate:.3g}" if t.rate else "-")
        for t in made
    )
    columns = ("trace", "requests", "mean prompt", "mean output", "requests/s")
    return Sheet("", columns, rows, right=(1, 2, 3, 4), notes=("lengths in tokens; a .csv or .jsonl is a trace too",))


def tiers() -> Sheet:
    """The tiers of realism."""
    from sim.arch import tier, tier_names

    made = [tier(name) for name in tier_names()]
    rows = tuple(
        (t.name, f"{t.compute:.0%}", f"{t.memory:.0%}", fmt(t.launch, "s"), fmt(t.collective, "s")) for t in made
    )
    columns = ("tier", "of peak compute", "of peak bandwidth", "each kernel", "each collective")
    return Sheet("", columns, rows, right=(1, 2, 3, 4))


def workloads() -> Sheet:
    """The cascades, by family and name."""
    rows = tuple((name, _summary(build)) for name, build in builders().items())
    return Sheet("", ("workload", "what it is"), rows)


def _summary(build: Callable[..., Any]) -> str:
    """The first sentence of a function's docstring, without its full stop."""
    first = (inspect.getdoc(build) or "").split("\n\n")[0].split(". ")[0]
    return " ".join(first.split()).rstrip(".").replace("``", "")


def layouts() -> Sheet:
    """The degrees a layout is written in."""
    from mappings.parallel import OPTIONS

    rows = tuple((name, DEGREES[name]) for name in OPTIONS)
    return Sheet("", ("degree", "what it divides"), rows, notes=("written tp=4,pp=2; left out, the best is searched",))


KINDS: dict[str, Callable[[], Sheet]] = {
    "models": models,
    "devices": devices,
    "arrays": arrays,
    "clusters": clusters,
    "prices": prices,
    "traces": traces,
    "tiers": tiers,
    "workloads": workloads,
    "layouts": layouts,
}
