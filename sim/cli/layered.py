"""``weir ranges``: a model's layers over unlike devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from einsum.errors import WeirError
from sim.arch import Pool, cluster
from sim.cli import ask
from sim.cli.ask import writable
from sim.cli.data import Form, emit
from sim.cli.patience import patience, progressing
from sim.cli.text import Sheet, folded, show
from sim.manifest import Made
from sim.planner.advice import ranged
from sim.planner.offers import holder
from sim.planner.ranges import Holder, Placed, network, place
from sim.planner.shape import shape
from sim.units import fmt, si
from workloads.transformer import from_config

MOST = 64  # nodes: the programme has a binary for every pair
TRIES = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the command line puts it."""

    model: str
    on: tuple[str, ...]
    batch: str
    context: str
    link: str | None
    between: str | None
    seconds: float
    plot: str | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """The question that a command's arguments, by name, put."""
        return cls(**{name: given[name] for name in cls.__slots__ if name != "on"}, on=tuple(given["on"]))


def ranges(asked: Asked, form: Form) -> None:
    """Print which device holds which layers, and what flows."""
    writable(asked.plot, (".png", ".svg", ".pdf"), "--plot")
    found = answered(asked)
    model = from_config(ask.model(asked.model))
    _draw(asked.plot, found, model.name)
    rows = found.frame().to_dict("records")
    if form is Form.TEXT:
        show(*_text(model, found, asked))
    else:
        whole = {
            "schema": "weir.ranges/1",
            "model": model.name,
            **found.figures,
            "helps": list(ranged(found)),
            "nodes": rows,
        }
        emit(form, whole, rows, Made("highs", found.gap, ("seconds",)))


def answered(asked: Asked) -> Placed:
    """The ranges found, and what flows through them."""
    ask.limit(asked.seconds)
    model = from_config(ask.model(asked.model))
    batch, context = ask.whole(asked.batch, "--batch"), ask.whole(asked.context, "--context")
    pools = [pool for name in asked.on for pool in cluster(name).pools]
    if sum(pool.count for pool in pools) > MOST:
        raise WeirError(f"{sum(pool.count for pool in pools)} nodes; at most {MOST} can be placed")
    with patience(f"timing {model.name}"):
        kinds = [holder(model, pool.device.name, batch=batch, context=context) for pool in pools]
    group = [g for g, pool in enumerate(pools) for _ in range(pool.count)]
    nodes = [Holder(f"{kinds[g].name} {n}", kinds[g].rates) for n, g in enumerate(group)]
    links = {
        (a, b): _rate(asked, pools, group[a], group[b]) for a, b in product(range(len(nodes)), repeat=2) if a != b
    }  # fmt: skip
    made = network(model.layers, nodes, token=shape(model, context).stream, bandwidth=links)
    with progressing("tokens a second", "1/s") as heard:
        return place(made, seconds=asked.seconds, tries=TRIES, progress=heard)


def _rate(asked: Asked, pools: list[Pool], one: int, other: int) -> float:
    """Bytes a second between nodes of two groups: as given, or the slower of their networks."""
    given, option = (asked.link, "--link") if one == other else (asked.between, "--between")
    if given is not None:
        rate = si(given, "B/s", option)
        if not rate > 0:
            raise WeirError(f"{option} {given!r:.40}: nothing would flow; give a rate above zero")
        return rate
    return float(min(pools[one].network.bandwidth, pools[other].network.bandwidth))


def _text(model: Any, found: Placed, asked: Asked) -> tuple[Sheet | str, ...]:
    batch, context = ask.whole(asked.batch, "--batch"), ask.whole(asked.context, "--context")
    proof = "proven most" if found.proven else f"at most {found.gap:.1%} more could flow"
    head = f"{model.name}: {found.flow:.4g} tokens/s through {len(found.ranges)} devices, {proof}"
    rows = tuple(
        (node, f"{first} to {stop - 1}" if stop > first else "none", f"{rate:.4g}", f"{busy:.0%}")
        for node, first, stop, rate, busy in found.frame().itertuples(index=False)
    )
    notes = (
        f"each node decodes {batch} requests of {context:,} tokens at once (tier physical); embedding and head are not "
        f"counted; found by {found.method} in {found.seconds:.1f} s",
        f"links: {asked.link or 'each device its network'} within a group, {asked.between or 'the slower network'} "
        f"between groups; a token is {fmt(shape(model, context).stream, 'B')}",
        *(f"unverified: {model.spec.unverified}" for _ in range(bool(model.spec.unverified))),
    )
    words = "\n".join(map(folded, ranged(found)))
    return folded(head), words, Sheet("", ("device", "layers", "tokens/s", "busy"), rows, right=(2, 3), notes=notes)


def _draw(path: str | None, found: Placed, name: str) -> None:
    if path is None:
        return
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    from sim.plot.offload import ranges as drawn

    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.3 * len(found.ranges)), layout="constrained")
    drawn(found, axes)
    axes.set_title(f"{name}: {axes.get_title()}")
    figure.savefig(path)
    plt.close(figure)
