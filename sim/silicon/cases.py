"""Each measured row as a cascade, laid out and counted like any other work: what is timed is the general model.

Rows that share a cascade are counted in one call, their sizes as arrays; all kernels of a row are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einsum import Cascade, Part, Program
from einsum.errors import WeirError, hint
from einsum.parse import parse
from mappings.layout import Layout, Place
from mappings.tree import Spatial
from sim.arch import Cluster, Tier, cluster
from sim.model.physical import kernel_class
from sim.model.products import Product
from sim.model.step import Work
from sim.model.task import Task
from sim.model.timing import Clock, Timed
from sim.serving.engines import software
from sim.serving.launches import launching
from sim.silicon.measured import Measured, column, known

Array = NDArray[np.float64]
Places = NDArray[np.int_]
ONE = Layout((Place("model", 1),))

_GEMM = """
    W[k, n]: (weight, {dtype})
    A[m, k]: {dtype}
    C[m, n]: {out}
    {quantise}
    C[m, n] = A[m, k] * W[k, n]
"""
_QUANTISE = """
    X[m, k]: bf16
    S[m] = max[k](X[m, k])
    A[m, k] = X[m, k] / S[m]
"""
_CORE = """
    QK[b, g, r, p, m]: causal(p, m, C)
    QK[b, g, r, p, m] = Q[b, g, r, p, e] * {keys}
    GM[b, g, r, p]    = max[m](QK[b, g, r, p, m])
    SN[b, g, r, p, m] = exp(QK[b, g, r, p, m] - GM[b, g, r, p])
    SD[b, g, r, p]    = SN[b, g, r, p, m]
    AV[b, g, r, p, u] = SN[b, g, r, p, m] * {values}
    O[b, g, r, p, u]  = AV[b, g, r, p, u] / SD[b, g, r, p]
"""
_CACHED = """
    K[b, g, m, e]: (state, {cache})
    V[b, g, m, u]: (state, {cache})
    Q[b, g, r, p, e]: {dtype}
    K[b, g, C + p, e] = KN[b, g, p, e]
    V[b, g, C + p, u] = VN[b, g, p, u]
""" + _CORE.format(keys="K[b, g, m, e]", values="V[b, g, m, u]")
_LATENT = """
    CKV[b, m, e]: (state, {cache})
    CKV[b, C + p, e] = KN[b, p, e]
""" + _CORE.format(keys="CKV[b, m, e]", values="CKV[b, m, u]")
_EXPANDED = """
    K[b, g, m, e]: stream
    V[b, g, m, u]: stream
""" + _CORE.format(keys="K[b, g, m, e]", values="V[b, g, m, u]")
_EXPERTS = """
    WG[x, d, f]: (weight, {weights})
    WU[x, d, f]: (weight, {weights})
    WD[x, f, d]: (weight, {weights})
    AN[b, p, d]: {dtype}
    H[b, p, x, f]: {dtype}
    RT[b, p, x]: per_row(x, {chosen}{uneven})
    {quantise}
    G[b, p, x, f] = one(RT[b, p, x]) * AN[b, p, d] * WG[x, d, f]
    U[b, p, x, f] = one(RT[b, p, x]) * AN[b, p, d] * WU[x, d, f]
    H[b, p, x, f] = silu(G[b, p, x, f]) * U[b, p, x, f]
    Z[b, p, d]    = RT[b, p, x] * H[b, p, x, f] * WD[x, f, d]
"""
_NARROWED = "XN[b, p, d]: bf16\n    AN[b, p, d] = XN[b, p, d] / SC[d]"  # by scales known beforehand
_STREAMED = {  # operation: its lines, and the sizes that they take
    "add": ("Y[m, d] = X[m, d] + Z[m, d]", "d"),
    "input_layernorm": ("S[m] = square(X[m, d])\nY[m, d] = X[m, d] * rsqrt(S[m] / D + 1e-5) * W[d]", "d"),
    "mlp_act": ("Y[m, f] = silu(X[m, f]) * Z[m, f]", "f"),
    "attn_rope": (
        "Y[m, h, e]: stream\nX[m, h, e]: stream\n"
        "Y[m, h, z*I + i] = X[m, h, z*I + i] * COS[m, i] + X[m, h, I - z*I + i] * SIN[z, m, i]", "hiz",
    ),
}  # fmt: skip
_WIDTHS = {  # model: its feed-forward width, and its query and key heads of 128: as each publisher configured it
    "Qwen/Qwen-72B": (24576, 128), "meta-llama/Llama-2-70b-hf": (28672, 72), "meta-llama/Llama-2-7b-hf": (11008, 64),
    "meta-llama/Meta-Llama-3-8B": (14336, 40), "meta-llama/Meta-Llama-3-70B": (28672, 72),
    "codellama/CodeLlama-34b-Instruct-hf": (22016, 72), "internlm/internlm-20b": (13824, 80),
    "microsoft/phi-2": (10240, 80), "internlm/internlm2-20b": (16384, 56),
}  # fmt: skip
_COLLECTIVES = {
    "all_reduce": "all-reduce", "custom_all_reduce": "all-reduce", "all_gather": "all-gather",
    "reduce_scatter": "reduce-scatter", "alltoall": "all-to-all",
}  # fmt: skip


@dataclass(frozen=True)
class Engine:
    """What an engine's kernels do that others do not, and how its benchmark runs them."""

    eager: bool = False  # latent attention is launched kernel by kernel
    divided: bool = False  # and its context is divided
    unrecorded: tuple[str, ...] = ()  # types whose products the host launches one by one


# By how a row's source begins, with the engine's name last.  What is recorded as a graph: ai-dynamo/aiconfigurator,
# collector/vllm/collect_gemm.py.
_ENGINES = {
    "aiconfigurator:trtllm": Engine(),
    "aiconfigurator:vllm": Engine(eager=True, divided=True, unrecorded=("bfp8",)),
    "aiconfigurator:sglang": Engine(),
}


def _engines(rows: Measured) -> tuple[str, ...]:
    """Each row's engine, by its key; nothing where the source names none."""
    return tuple(next((e for e in _ENGINES if cell.startswith(e)), "") for cell in column(rows, "source"))


@dataclass(frozen=True)
class Case:
    """Rows of one file that are the same cascade on the same hardware: their tasks, sizes along the rows."""

    where: Cluster
    rows: Places
    tasks: tuple[Task, ...]
    eager: bool = False  # launched kernel by kernel, not from a recorded graph
    launching: float = 0.0  # s in which the host launches single kernels, likewise

    @property
    def classes(self) -> tuple[str, ...]:
        """The class of constants of each task, and ``host`` where that one launches them."""
        tasks = tuple(kernel_class(task) if task.kind == "kernel" else "collective" for task in self.tasks)
        return (*tasks, "host") if self.eager else tasks

    def timed(self, tier: Tier) -> tuple[Timed, ...]:
        """Every task on the hardware."""
        clock = Clock(self.where, tier)
        return tuple(clock.time(task) for task in self.tasks)

    def seconds(self, tier: Tier) -> Array:
        """Seconds of every row."""
        total: Any = sum(one.seconds for one in self.timed(tier))
        if self.eager and tier.constants is not None:
            total = np.maximum(total, tier.constants.table()["host"]["eager"])  # the host launches ahead
        total = np.maximum(total, self.launching if tier.constants is not None else 0.0)
        return np.broadcast_to(np.asarray(total, float), self.rows.shape)


def cases(rows: Measured) -> tuple[Case, ...]:
    """All rows of a file as cases; those measured with a cold cache find nothing there."""
    warm = np.array([cell != "cold" for cell in column(rows, "cache")], float)
    made = tuple(_KINDS[rows.operation](rows))
    return joined(tuple(replace(case, tasks=_warmed(case.tasks, warm[case.rows])) for case in made))


def _warmed(tasks: tuple[Task, ...], warm: Array) -> tuple[Task, ...]:
    return tasks if warm.all() else tuple(replace(task, again=task.again * warm) for task in tasks)


def joined(found: tuple[Case, ...]) -> tuple[Case, ...]:
    """Cases whose kernels are alike on like devices as one, their amounts end to end: fewer and longer arrays."""
    alike: dict[tuple[object, ...], list[Case]] = {}
    for case in found:
        kernels = tuple((t.kind, t.work, t.attends, t.ways, t.shot, t.divided, t.flash, _types(t)) for t in case.tasks)
        alike.setdefault((case.where.pools[0].device.name, case.eager, case.launching, kernels), []).append(case)
    return tuple(_chained(same) for same in alike.values())


def _types(task: Task) -> tuple[object, ...]:
    kept = tuple((p.dtype, p.stored, p.kept, p.lasts, p.routed) for p in task.products)
    return kept + tuple((op, dtype) for op, dtype, _ in task.ops)


def _chained(same: list[Case]) -> Case:
    if len(same) == 1:
        return same[0]
    shapes = [case.rows.shape for case in same]
    tasks = tuple(_one_task(found, shapes) for found in zip(*(case.tasks for case in same), strict=True))
    return replace(same[0], rows=np.concatenate([case.rows for case in same]), tasks=tasks)


def _one_task(found: tuple[Task, ...], shapes: list[tuple[int, ...]]) -> Task:
    amounts: dict[str, Any] = {
        name: _chain([getattr(t, name) for t in found], shapes) for name in ("size", "fresh", "wide", "rows", "again")
    }
    ops = tuple(
        (*alike[0][:2], _chain([count for _, _, count in alike], shapes))
        for alike in zip(*(t.ops for t in found), strict=True)
    )
    products = tuple(_one_product(alike, shapes) for alike in zip(*(t.products for t in found), strict=True))
    return replace(found[0], ops=ops, products=products, **amounts)


def _one_product(found: tuple[Product, ...], shapes: list[tuple[int, ...]]) -> Product:
    names = ("copies", "rows", "cols", "depth", "share", "tokens", "routes")
    amounts: dict[str, Any] = {name: _chain([getattr(p, name) for p in found], shapes) for name in names}
    if groups := max(len(p.loads) for p in found):
        loads = [[p.loads[i if len(p.loads) > 1 else 0] for p in found] for i in range(groups)]
        amounts["loads"] = np.stack([_chain(each, shapes) for each in loads])
    return replace(found[0], **amounts)


def _chain(amounts: list[Any], shapes: list[tuple[int, ...]]) -> Array:
    """Amounts of several cases, each as long as its rows, end to end."""
    pairs = zip(amounts, shapes, strict=True)
    return np.concatenate([np.broadcast_to(np.asarray(amount, float), shape) for amount, shape in pairs])


def predict(found: tuple[Case, ...], tier: Tier, count: int) -> Array:
    """Seconds of every row of a file of ``count`` rows."""
    seconds = np.full(count, np.nan)
    for case in found:
        seconds[case.rows] = case.seconds(tier)
    return seconds


def running(found: tuple[Case, ...], name: str, count: int) -> NDArray[np.bool_]:
    """Which rows of a file of ``count`` rows run a kernel of one class of constants."""
    rows = np.zeros(count, bool)
    for case in found:
        rows[case.rows] = name in case.classes
    return rows


def _case(
    name: str, at: Places, cascade: Cascade, layout: Layout = ONE, unrecorded: bool = False, **sizes: Any
) -> Case:
    """Rows of one cascade; ``unrecorded``: no graph replays it, so that the host launches its kernels one by one."""
    program = Program(cascade.name, (Part(cascade),))
    work = Work.of(program, layout, **sizes)
    kernels = tuple(t for _, found in work.parts for t in found if t.kind == "kernel")
    round_ = sum(t.size for t in kernels)  # bytes
    kernels = tuple(replace(t, again=round_) for t in kernels)
    return Case(_cluster(name, layout.places[0].count), at, kernels, launching=launching(work) if unrecorded else 0.0)


def _cluster(name: str, count: int) -> Cluster:
    return cluster(f"{count}x{known(name).name}")


def _gemm(rows: Measured) -> Iterator[Case]:
    m, n, k = (rows.numbers(name) for name in "mnk")
    for (name, dtype, engine), at in rows.split(rows.text("device"), rows.dtypes("dtype"), _engines(rows)):
        narrow = dtype in {"fp8", "bfp8", "fp4"}
        text = _GEMM.format(dtype=dtype, out="bf16" if narrow else dtype, quantise=_QUANTISE if narrow else "")
        alone = dtype in _ENGINES.get(engine, Engine()).unrecorded
        cascade = parse(text, name="gemm", m=1, n=1, k=1)
        yield _case(name, at, cascade, unrecorded=alone, m=m[at], n=n[at], k=k[at])


def _attention(rows: Measured) -> Iterator[Case]:
    b, s, h, kv, e = (rows.numbers(name) for name in ("batch", "seq", "heads", "kv_heads", "head_dim"))
    fresh = rows.operation == "attention_prefill"
    keys = rows.text("device"), rows.dtypes("attn_dtype"), rows.dtypes("kv_dtype"), _engines(rows)
    for (name, dtype, cache, engine), at in rows.split(*keys):
        text = _CACHED.format(dtype=dtype if fresh else "bf16", cache=cache)
        cascade = parse(text, name=rows.operation, b=1, g=1, r=1, p=1, c=0, e=1, u=1, m="C + P")
        new = {"p": s[at], "c": s[at] * 0} if fresh else {"p": 1, "c": s[at] - 1}
        made = _case(name, at, cascade, b=b[at], g=kv[at], r=h[at] / kv[at], e=e[at], u=e[at], **new)
        flash = software(engine.partition(":")[2]).flash if engine else None
        yield replace(made, tasks=tuple(replace(t, flash=flash, prompt=fresh) for t in made.tasks))


def _latent(rows: Measured) -> Iterator[Case]:
    """Widths of DeepSeek-V3: 512 of latent and 64 of position in the cache; 128 + 64 a key and 128 a value expanded."""
    b, s, h = (rows.numbers(name) for name in ("batch", "seq", "heads"))
    keys = rows.text("device"), rows.text("phase"), rows.dtypes("kv_cache_dtype"), _engines(rows)
    for (name, phase, cache, engine), at in rows.split(*keys):
        if phase == "decode":
            cascade = parse(_LATENT.format(cache=cache), name="mla", b=1, g=1, r=1, p=1, c=0, e=576, u=512, m="C + P")
            made = _case(name, at, cascade, b=b[at], r=h[at], p=1, c=s[at] - 1)
        else:
            cascade = parse(_EXPANDED, name="mla", b=1, g=1, r=1, p=1, c=0, e=192, u=128, m="C + P")
            made = _case(name, at, cascade, b=b[at], g=h[at], p=s[at], c=s[at] * 0)
        does, prompt = _ENGINES.get(engine, Engine()), phase != "decode"
        own = tuple(replace(t, divided=does.divided, prompt=prompt) for t in made.tasks)
        yield replace(made, tasks=own, eager=does.eager)


def _experts(rows: Measured) -> Iterator[Case]:
    p, d, f, x = (rows.numbers(n) for n in ("num_tokens", "hidden_size", "inter_size", "num_experts"))
    names = ("device", "moe_dtype", "topk", "moe_tp_size", "moe_ep_size")
    keys = [rows.dtypes(name) if name == "moe_dtype" else rows.text(name) for name in names]
    for (name, dtype, *sizes, uneven), at in rows.split(*keys, _uneven(rows)):
        chosen, tp, ep = (int(float(size)) for size in sizes)
        narrow = dtype in {"fp8", "bfp8", "fp4"}
        text = _EXPERTS.format(
            weights=dtype, dtype=dtype if narrow else "bf16", chosen=chosen, uneven=uneven,
            quantise=_NARROWED if narrow else "",
        )  # fmt: skip
        cascade = parse(text, name="moe", b=1, p=1, d=1, f=1, x=1)
        loops = tuple(Spatial(rank, ways) for rank, ways in (("x", ep), ("f", tp)) if ways > 1)
        layout = Layout((Place("model", ep * tp, loops),))
        yield _case(name, at, cascade, layout, p=p[at], d=d[at], f=f[at], x=x[at])


def _uneven(rows: Measured) -> tuple[str, ...]:
    """How each row's benchmark spreads tokens over experts: evenly in turn, or by a power law of their popularity.

    AIConfigurator draws an expert's share between 1 and 0.8 times the tokens, or a ratio of 200 where few experts are
    chosen at all, and times the device whose experts are chosen most.
    """
    found = []
    for how, *cells in zip(
        column(rows, "distribution"), *(rows.text(n) for n in ("num_tokens", "topk", "num_experts")), strict=True
    ):
        tokens, chosen, experts = map(float, cells)
        kind, _, skew = how.rpartition("_")
        spread = 0.8 * tokens if tokens * chosen > experts else 200.0
        uneven = f", {float(skew)}, {max(spread, 1.5)}" if kind == "power_law" else ", 0, 1"
        found.append(uneven if how else "")
    return tuple(found)


def _streamed(rows: Measured) -> Iterator[Case]:
    m = rows.numbers("m")
    for (name, op, hidden, model), at in rows.split(*(rows.text(n) for n in ("device", "op", "hidden", "model"))):
        if op not in _STREAMED or model not in _WIDTHS:
            raise WeirError(f"elementwise: no cascade for {op!r} of {model!r}{hint(op, _STREAMED)}")
        wide, heads = _WIDTHS[model]
        sizes: dict[str, Any] = {"d": int(float(hidden)), "f": wide, "h": heads, "i": 64, "z": 2}
        text, ranks = _STREAMED[op]
        used = {rank: sizes[rank] for rank in ranks} | ({"e": "2*I"} if op == "attn_rope" else {})
        yield _case(name, at, parse(text, name=op, m=1, **used), m=m[at])


def _collectives(rows: Measured) -> Iterator[Case]:
    size = rows.numbers("bytes")
    for (name, op, count), at in rows.split(*(rows.text(n) for n in ("device", "op_name", "num_gpus"))):
        if op not in _COLLECTIVES:
            raise WeirError(f"collectives: unknown operation {op!r}{hint(op, _COLLECTIVES)}")
        ways, own = int(float(count)), op.startswith("custom")
        yield Case(_cluster(name, ways), at, (Task(op, _COLLECTIVES[op], "model", size[at], ways=ways, shot=own),))


_KINDS: dict[str, Callable[[Measured], Iterator[Case]]] = {
    "gemm": _gemm, "attention_prefill": _attention, "attention_decode": _attention, "mla_attention": _latent,
    "moe_layer": _experts, "elementwise_vidur": _streamed, "collectives": _collectives,
}  # fmt: skip
