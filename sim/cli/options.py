"""Arguments and options that commands share, each written once; completions are looked up when asked for."""

from __future__ import annotations

from typing import Annotated

import typer

Many = list[str] | None


def models() -> list[str]:
    from workloads.transformer import names

    return list(names())


def clusters(incomplete: str) -> list[str]:
    """Completions of a cluster: the catalogue, and every device behind a count already typed."""
    from sim.arch import cluster_names, device_names

    count, times, _ = incomplete.rpartition("x")
    written = [f"{count}x{name}" for name in device_names()] if times and count[-1:].isdigit() else []
    return [name for name in (*cluster_names(), *written) if name.startswith(incomplete)]


def traces() -> list[str]:
    from sim.serving import trace_names

    return list(trace_names())


def books() -> list[str]:
    from sim.arch import books

    return list(books())


def papers() -> list[str]:
    from sim.published import papers

    return list(papers())


Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A name from 'weir list models', or a config.json.", autocompletion=models),
]
On = Annotated[
    list[str],
    typer.Option("--on", metavar="CLUSTER", help="4xh100, 2xh100_4xh20, a name or a .toml.", autocompletion=clusters),
]
TraceName = Annotated[
    str | None, typer.Option("--trace", metavar="TRACE", help="A name, or a .csv or .jsonl.", autocompletion=traces)
]
Prompt = Annotated[str | None, typer.Option(metavar="N", help="Tokens of every prompt, instead of a trace.")]
Output = Annotated[str | None, typer.Option(metavar="N", help="Tokens of every answer, instead of a trace.")]
Batch = Annotated[str, typer.Option(metavar="N|max", help="Requests in flight; max: what fits and meets the limits.")]
SloTpot = Annotated[str | None, typer.Option(metavar="TIME", help="Most time per output token (p95), as in 100ms.")]
SloTtft = Annotated[str | None, typer.Option(metavar="TIME", help="Most time to the first token (p95), as in 2s.")]
Rate = Annotated[str | None, typer.Option(metavar="R", help="Requests arriving a second; else always a full batch.")]
LayoutText = Annotated[str | None, typer.Option("--layout", metavar="TEXT", help="As tp=4,pp=2; else the best found.")]
TierName = Annotated[str, typer.Option("--tier", metavar="TIER", help="limit, physical, or a calibration's .toml.")]
BookName = Annotated[
    str | None,
    typer.Option("--prices", metavar="BOOK", help="A book or .toml; else the newest.", autocompletion=books),
]
PriceTexts = Annotated[
    Many, typer.Option("--price", metavar="DEVICE=USD", help="USD an hour, as in h20=1.5; repeatable.")
]
Prefill = Annotated[str, typer.Option(metavar="here|elsewhere", help="Whether prompts are worked on by this cluster.")]
Host = Annotated[str, typer.Option(metavar="TIME", help="The engine's own time in every step, as in 5ms.")]
Engine = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Whose schedule and attention: vllm, sglang, trtllm; else prompts whole."),
]
Settings = Annotated[
    Many, typer.Option("--set", metavar="PATH=VALUE", help="As model.hbm.bandwidth=4TB/s; repeatable.")
]
MappingFile = Annotated[
    str | None, typer.Option("--mapping", metavar="FILE", help="A loop nest: MODEL is then a workload (see weir map).")
]
SizeTexts = Annotated[Many, typer.Option("--size", metavar="SIZE=N", help="A size of that workload; repeatable.")]
Minimise = Annotated[Many, typer.Option(metavar="COLUMN", help="Least is best: a Pareto front; repeatable.")]
Maximise = Annotated[Many, typer.Option(metavar="COLUMN", help="Most is best: a Pareto front; repeatable.")]
Save = Annotated[str | None, typer.Option(metavar="FILE", help="Write the plan as JSON too.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md).")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV, one row a result.")]
