"""The layouts people use, built for any program: tensor, pipeline, data and expert parallelism, attention elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import gcd

from einsum import Cascade, Program, WeirError, hint
from mappings.kernels import kernels, weighted
from mappings.layout import Layout, Place
from mappings.tree import Spatial

WIDEST = 64  # tensor-parallel ways that the search tries; wider ones can still be asked for
OPTIONS = ("tp", "pp", "dp", "ep", "sp", "cp", "replicas", "batches", "attention")


def layout(
    program: Program, pools: Mapping[str, int], *, tp: int = 0, pp: int = 1, dp: int = 1, ep: int = 1,
    sp: int = 1, cp: int = 1, replicas: int = 0, batches: int = 0, attention: str = "heads",
) -> Layout:  # fmt: skip
    """A layout of a program over pools (name -> devices) by the usual degrees.

    With one pool: ``tp`` divides heads, hidden and vocabulary ranks, ``dp`` the requests, ``ep`` the experts (over the
    devices of both), ``sp`` the new positions wherever nothing else divides the work (Megatron's sequence parallelism,
    on the same devices as ``tp``), ``cp`` the keys already cached, ``pp`` the layers; what is left over makes replicas.
    With two pools the second runs attention, divided by ``heads`` or by ``requests``, on ``batches`` staggered batches.
    """
    if attention not in ("heads", "requests"):
        raise WeirError(
            f"attention is divided by 'heads' or 'requests', not {attention!r}{hint(attention, ['heads', 'requests'])}"
        )
    if len(pools) > 2:
        raise WeirError(f"layouts are made for one pool or two, not for {len(pools)} ({', '.join(pools)})")
    [first, count], *rest = pools.items()
    wide = tp or max(1, count // (pp * dp * cp * max(replicas, 1)))
    copies = replicas or (1 if rest else max(1, count // (wide * pp * dp * cp)))
    if rest and copies > 1:
        raise WeirError(f"{copies} replicas of two pools: give each replica a cluster of its own")
    # Devices of one tensor-parallel group are neighbours, those of dp furthest apart; sp takes what others leave.
    keys = _over("m", cp, wide)
    loops = (*_experts(program, ep), *_over("b", dp, wide * cp), *keys, *_tensor(program, wide), *_over("p", sp, 0))
    place = Place(first, wide * dp * cp, loops)
    name = _name(tp=wide, pp=pp, dp=dp, ep=ep, sp=sp, cp=cp, replicas=copies)
    made = Layout((place,), stages=pp, replicas=copies, batches=max(batches, 1), name=name)
    return offloaded(program, made, rest[0][0], rest[0][1], attention, batches or 2) if rest else made


def offloaded(program: Program, base: Layout, pool: str, count: int, by: str, batches: int) -> Layout:
    """The layout with attention, and the state it reads, moved to another pool."""
    loops = _over("b", count) if by == "requests" else _heads(program, count)
    core = tuple(dict.fromkeys(n for part in program.parts for n in attention_core(part.cascade)))
    bound = tuple((n, pool) for n in core)
    apart = tuple(n for part in program.parts for n in _early(part.cascade, base, core))
    places = (*base.places, Place(pool, count, loops))
    name = f"{base.name}, attention by {by} on {count}, {batches} batches"
    return replace(base, places=places, bound=bound, batches=batches, apart=apart, name=name)


def prefilled(program: Program, layout: Layout) -> Layout:
    """The layout for prefill: everything computed at the first place, state sent to where decoding will read it."""
    if not layout.bound:
        return layout
    core = dict(layout.bound)
    names = (t.name for part in program.parts for t in part.cascade.tensors if t.kind == "state")
    home = tuple((n, next(iter(core.values()))) for n in dict.fromkeys(names))
    return replace(layout, bound=(), home=home, batches=1, apart=())


def attention_core(cascade: Cascade) -> tuple[str, ...]:
    """Einsums that write or read state, and what follows from them up to the next product with a weight."""
    state = {t.name for t in cascade.tensors if t.kind == "state"}
    core: list[str] = []
    reached: set[str] = set()
    for einsum in cascade.einsums:
        follows = einsum.output.tensor in state or set(einsum.inputs) & (state | reached)
        if follows and not weighted(cascade, einsum):
            core.append(einsum.name)
            reached.add(einsum.output.tensor)
    return _until_weight(cascade, core)


def _until_weight(cascade: Cascade, core: list[str]) -> tuple[str, ...]:
    """The first run of core Einsums: what comes after a product with a weight is no longer attention."""
    kept: list[str] = []
    for einsum in cascade.einsums:
        if kept and weighted(cascade, einsum) and cascade.einsum(kept[-1]).output.tensor in einsum.inputs:
            break
        if einsum.name in core:
            kept.append(einsum.name)
    return tuple(kept)


def _early(cascade: Cascade, base: Layout, core: tuple[str, ...]) -> Iterator[str]:
    """Second members of merged projections before attention: split off, so that the first one's result leaves early."""
    for group in kernels(cascade, base):
        if any(e.name in core for e in group):
            return
        if len(group) > 1 and weighted(cascade, group[0]):
            yield group[1].name


def _extent(program: Program, rank: str) -> int:
    """The largest extent of a rank in a program, 0 if it has none."""
    return max((int(part.cascade.bind().get(rank, 0)) for part in program.parts), default=0)


def _heads(program: Program, ways: int) -> tuple[Spatial, ...]:
    """Heads divided: key-value heads as far as they go, then the queries that share one."""
    groups = gcd(ways, max(_extent(program, "g"), 1))
    shared = ways // groups
    if shared > max(_extent(program, "r"), 1):
        raise WeirError(f"{_extent(program, 'g') * _extent(program, 'r')} heads cannot be divided {ways} ways")
    return (*_over("g", groups, shared), *_over("r", shared))


def _tensor(program: Program, ways: int) -> tuple[Spatial, ...]:
    """Tensor parallelism: heads, hidden ranks (shared experts' too) and vocabulary; the embedding table by columns."""
    if ways == 1:
        return ()
    tables = tuple(
        e.name for part in program.parts for e in part.cascade.einsums
        if any(a.indirect and part.cascade.tensor(a.tensor).kind == "weight" for a in e.reads)
    )  # fmt: skip
    columns = (Spatial("d", ways, tables, stride=1),) if tables else ()
    present = tuple(Spatial(r, ways, stride=1) for r in ("f", "s", "v") if _extent(program, r))
    return (*_heads(program, ways), *present, *columns)


def _over(rank: str, ways: int, stride: int = 1) -> tuple[Spatial, ...]:
    return (Spatial(rank, ways, stride=stride),) if ways > 1 else ()


def _experts(program: Program, ways: int) -> tuple[Spatial, ...]:
    """Expert parallelism: the expert rank divided wherever the work along it is sparse (routed), not in the router."""
    if ways == 1:
        return ()
    if ways > (experts := _extent(program, "x")):
        having = f"{experts} experts" if experts else f"{program.name} has no experts: they"
        raise WeirError(f"{having} cannot be divided {ways} ways")
    routed = tuple(
        e.name for part in program.parts for e in part.cascade.einsums
        if any("x" in p.ranks for p in part.cascade.patterns[e.name]) and not e.output.indirect
    )  # fmt: skip
    return (Spatial("x", ways, tuple(dict.fromkeys(routed))),)


def _name(**degrees: int) -> str:
    return " ".join(f"{k}={v}" for k, v in degrees.items() if v > 1) or "one device"


def read(text: str, program: Program, pools: Mapping[str, int]) -> Layout:
    """The layout written as ``tp=4,pp=2`` (any of tp pp dp ep sp cp replicas batches, and attention=heads|requests)."""
    given: dict[str, int | str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = (s.strip() for s in item.partition("="))
        if key not in OPTIONS:
            raise WeirError(f"layout {text!r}: unknown option {key!r}{hint(key, OPTIONS)}")
        if key in given:
            raise WeirError(f"layout {text!r}: {key} is given twice")
        if key == "attention" and len(pools) == 1:
            raise WeirError(f"layout {text!r}: attention is divided on a second pool; the cluster has only one")
        if key != "attention" and not (value.isascii() and value.isdigit() and 0 < int(value[:7]) <= 100_000):
            raise WeirError(f"layout {text!r}: {key} must be a whole number of at least 1, not {value!r}")
        given[key] = value if key == "attention" else int(value)
    return layout(program, pools, **given)  # type: ignore[arg-type]  # kinds checked just above


def candidates(program: Program, pools: Mapping[str, int]) -> Iterator[Layout]:
    """Layouts worth trying, best guesses first: every split of the devices that the program's ranks allow."""
    [_, count], *rest = pools.items()
    layers = max(part.times for part in program.parts)
    experts = _extent(program, "x")
    for wide, stages, copies in _splits(program, count, layers, bool(rest)):
        options = [{"tp": wide}]
        if 1 < wide <= experts:
            options += [{"tp": wide, "ep": wide}, {"tp": 1, "dp": wide, "ep": wide}]
        for degrees in options:
            for extra in _offloads(program, rest[0][1]) if rest else [{}]:
                yield layout(program, pools, pp=stages, replicas=copies, **degrees, **extra)  # type: ignore[arg-type]


def _offloads(program: Program, count: int) -> Iterator[dict[str, int | str]]:
    """Ways of dividing attention over the second pool, on one, two or three batches."""
    for by in ("heads", "requests"):
        if by == "requests" or _divisible(program, count):
            for batches in (2, 1, 3):
                yield {"attention": by, "batches": batches}


def _divisible(program: Program, ways: int) -> bool:
    """Whether heads go round: key-value heads as far as they divide, the queries that share one for the rest."""
    return ways // gcd(ways, max(_extent(program, "g"), 1)) <= max(_extent(program, "r"), 1)


def _splits(program: Program, count: int, layers: int, paired: bool) -> Iterator[tuple[int, int, int]]:
    """(tensor ways, stages, replicas) whose product is the devices used, all of them first, widest first."""
    for used in _used(count):
        divisors = [n for n in range(1, used + 1) if used % n == 0]
        for wide in sorted(divisors, reverse=True):
            for stages in (n for n in divisors if (used // wide) % n == 0):
                copies = used // (wide * stages)
                alone = copies == stages == 1 or not paired
                if wide <= WIDEST and stages <= layers and alone and _divisible(program, wide):
                    yield wide, stages, copies


def _used(count: int) -> tuple[int, ...]:
    """Devices worth using: all; where they divide badly (5, 7, 12 ...) also fewer, down to half, which go twice."""
    if not count & (count - 1):
        return (count,)
    if count <= 16:
        return tuple(range(count, count // 2, -1))
    return tuple(sorted({count, count - count % 8, 1 << (count.bit_length() - 1)}, reverse=True))


def devices(layout: Layout) -> int:
    """Devices that a layout uses, all replicas and stages together."""
    return sum(layout.devices(place.pool) for place in layout.places)
