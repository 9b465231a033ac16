"""The commands that sweep, and their options; each imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from sim.cli.options import Csv, Json, Many, Maximise, Minimise, models
from sim.manifest import given

SWEEP = """A table over any axes: one row for every combination, vectorised; with --store it survives being killed.

A row is one decode step (axes batch and context) or prefill (batch and prompt) of a MODEL, with --serve a whole
service, or one run of a cascade on a device under a loop nest (its sizes are axes, and so are the nest's tiles, as
tile.m.0 for the first loop over m; without --mapping the best nest is searched for). Axes: values by commas, ranges
LOW..HIGH:STEP or LOW..HIGH:xFACTOR; a dotted axis reaches into a device or a price. The same command with the same
store goes on where it stopped; so does --resume, which knows the command.

\b
weir sweep llama-3-70b --on 4xh100 --on 8xh20 --axis batch=1..256:x2 --axis context=1024..65536:x4
weir sweep llama-3-70b --on 4xh100 --axis batch=64 --axis context=8192 --axis model.hbm.bandwidth=2TB/s..8TB/s:x1.25
weir sweep llama-3-8b --on 1xh100 --serve --axis prompt=512..4096:x2 --axis output=128 --store runs.db --out table.csv
weir sweep llama-3-70b --on 4xh100 --axis batch=1..512 --axis context=4096 --where 'tokens_per_second > 2000' \\
  --minimise usd_per_million_tokens --minimise seconds
weir sweep attention.one_pass --on fusemax_cloud --mapping nest.txt --axis query=4096 --axis head_dim=64 \\
  --axis context=1024..65536:x2 --axis buffer.capacity=4MB..32MB:x2
weir sweep --store runs.db --resume
"""

SHOW_RUN = """The sweeps that a STORE was used for, and how many answers it holds of which sources.

\b
weir show-run runs.db
"""


def sweep(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="Or a cascade; not with --resume alone.", autocompletion=models),
    ] = None,
    on: Annotated[
        Many, typer.Option("--on", metavar="CLUSTER", help="As weir estimate, or a device; repeatable.")
    ] = None,
    axis: Annotated[
        Many, typer.Option("--axis", metavar="NAME=VALUES", help="As batch=1..512:x2; repeatable.")
    ] = None,
    zipped: Annotated[
        Many, typer.Option("--zip", metavar="NAME=VALUES", help="Axes that move together; repeatable.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="CONDITION", help="Rows to keep, as 'batch * context <= 1e6'.")
    ] = None,
    minimise: Minimise = None,
    maximise: Maximise = None,
    mapping: Annotated[
        Many, typer.Option("--mapping", metavar="FILE", help="A cascade's loop nest; repeatable.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="A row is a whole service, as weir estimate answers.")] = False,
    store: Annotated[str | None, typer.Option(metavar="FILE", help="Keep answers there, and go on from it.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a sweep of the store; without MODEL, with the one last begun.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Say how much the store has; compute nothing.")] = False,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Write a .csv, .json or .parquet.")] = None,
    processes: Annotated[int, typer.Option(metavar="N", help="Processes to share the points.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler's workers instead, as tcp://host:8786.")
    ] = None,
    json: Json = False,
    csv: Csv = False,
) -> None:  # fmt: skip
    from sim.cli import sweeps

    if resume or status:
        sweeps.resumable(store, model)
    if model is None or not on:
        shown = {"out": out, "json": json, "csv": csv, "status": status, "processes": processes, "scheduler": scheduler}
        alone = not (model or on or axis or zipped or where or mapping or serve or minimise or maximise)
        return sweeps.again(store if alone and (resume or status) else None, shown)
    asked = sweeps.Asked.of(given())
    if status:
        return sweeps.status(asked)
    return sweeps.sweep(asked, out, json, csv, minimise or (), maximise or ())


def show_run(
    store: Annotated[str, typer.Argument(metavar="STORE", help="A file that weir sweep --store made.")],
    json: Json = False,
) -> None:
    from sim.cli import sweeps

    sweeps.show_run(store, json)


def add(app: typer.Typer) -> None:
    """Give the command line these commands."""
    app.command(help=SWEEP, short_help="A table over any axes; resumes where it stopped.")(sweep)
    app.command("show-run", help=SHOW_RUN, short_help="What a sweep's store holds.")(show_run)
