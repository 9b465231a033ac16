"""The commands and their options. Each command imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from sim.cli import parallel, planning, products, showing, sweeping, tuning
from sim.cli.options import (
    Batch,
    BookName,
    Csv,
    Engine,
    Host,
    Json,
    LayoutText,
    MappingFile,
    Model,
    On,
    Output,
    Prefill,
    PriceTexts,
    Prompt,
    Rate,
    Settings,
    SizeTexts,
    SloTpot,
    SloTtft,
    TierName,
    TraceName,
    papers,
)
from sim.manifest import given, noting

HELP = """Measure what a model costs on hardware you describe: seconds, joules, dollars.

\b
weir estimate llama-3-70b --on 2xh100_4xh20 --trace azure_conv
weir compare llama-3-70b --on 4xh100 --on 2xh100_4xh20 --trace azure_conv
weir list devices
weir show h20

What a command prints for people it also prints for programs, with --json or --csv. Exit codes: 0 answered; 1 a check
that fails; 2 a mistake in what was asked, one line on stderr for each; 3 what was asked does not fit.
"""

ESTIMATE = """What a MODEL serves on a cluster: tokens a second, latencies, joules and dollars, and what binds.

\b
weir estimate llama-3-70b --on 4xh100
weir estimate llama-3-70b --on 4xh100 --trace azure_conv --slo-tpot 50ms
weir estimate path/to/config.json --on 8xh20 --prompt 4096 --output 512
weir estimate llama-3-70b --on 2xh100_4xh20 --set network.bandwidth=800Gb/s --json
"""

COMPARE = """The same load on several clusters side by side, priced from one book; ratios are to the first.

\b
weir compare llama-3-70b --on 4xh100 --on 2xh100_4xh20 --trace azure_conv
weir compare mixtral-8x7b --on 2xh100 --on 4xl40s --price l40s=0.9
"""

LIST = """What there is to name: models, devices, clusters, prices, traces, tiers, workloads, layouts.

\b
weir list
weir list devices
"""

SHOW = """Everything known about one NAME, each number with its unit and source.

A NAME is a model, device, cluster, trace, price book or tier, or a workload such as attention.one_pass.

\b
weir show h20
weir show 2xh100_4xh20
weir show attention.one_pass
weir show h20 --file > mine.toml      the data file, to make a device of your own
"""

CHECK = """Run kernels against the interpreter on random and awkward inputs; exit 1 if one is off.

A KERNEL is one such as exact.one_pass, or a family such as exact; without any, all are run. Each is compiled first,
which takes most of the time.

\b
weir check
weir check exact.one_pass vocabulary --threads 2
"""

MAP = """One run of a WORKLOAD on a device's own levels and units, under a loop nest: every action counted.

Without --mapping the best nest of a stated space is searched for, and printed with what no mapping can go below.

A WORKLOAD is a cascade such as attention.one_pass, or a .txt file with a cascade's lines; its sizes follow it.
A nest that fuses across a pass is refused, with the reason and what is legal instead (docs/mapping.md).

\b
weir map attention.one_pass query=4096 context=4096 head_dim=64 --on fusemax_cloud --save nest.txt
weir map attention.one_pass query=4096 context=4096 head_dim=64 --on my_chip.toml --mapping nest.txt
weir map gemm.txt m=512 n=512 k=512 --on my_chip.toml --mapping nest.txt --show --technology '16 nm'
weir map gemm.txt m=512 n=512 k=512 --on my_chip.toml --mapping nest.txt --trace out.json.gz --plot out.png
"""

PLAN = """What lives in memory, where and when: buffers of a CSV, tasks of a JSON, or a model's training step.

A .csv has the columns id, lower, upper (exclusive) and size, perhaps alignment and gaps, as MiniMalloc reads: each
buffer gets an address, none on top of another (docs/planning.md). With a capacity the first placement that fits is the
answer; without one, or with --objective peak, the lowest is sought, and proven if possible. A .json has tasks and
buffers: what does not fit is computed again, or copied to the host and back. A MODEL's training step is planned on a
cluster: activations are kept, swapped or computed again, whichever takes the least time, memory (--objective peak) or
money (dollars), on the best of several --on (docs/planning_training.md). --curve shows what less memory costs in time:
of a .json, or of a model's step kernel by kernel. Exit 3 if there is no room.

\b
weir plan buffers.csv
weir plan buffers.csv --capacity 1MiB --seconds 10 --json
weir plan buffers.csv --save placed.csv --plot map.png
weir plan graph.json --budget 2GiB --plot schedule.png
weir plan graph.json --on a100 --host 256GiB
weir plan llama-2-7b --on 8xa800 --sequence 1M --host 2TiB --link 15.75GB/s --plot swaps.png
weir plan llama-2-7b --on 8xa100 --on 8xh100 --sequence 64K --objective dollars
weir plan llama-2-7b --on 8xa100 --sequence 16K --layers 4 --curve --plot overhead.png
"""

IMPORT = """An architecture of Timeloop or Accelergy (v0.4 YAML) as a device file; what was not understood is listed.

\b
weir import arch.yaml --out my_chip.toml
weir map gemm.txt m=512 n=512 k=512 --on my_chip.toml --mapping nest.txt
"""

SCHEMA = """The JSON Schema of a kind of file that people write: device, cluster, prices, trace.

An editor that is given it completes keys and marks mistakes; '#:schema FILE' as a file's first line names it to some.

\b
weir schema
weir schema device > device.schema.json
"""

VALIDATE = """Recompute published figures and print theirs, ours and the deviation; exit 1 if a row fails.

\b
weir validate                         all papers: some minutes
weir validate step3
weir validate silicon                 errors on measured kernels, each device left out in turn
weir validate silicon --data FOLDER   the same on CSV files of your own (docs/accuracy.md)
weir validate sparse_accelerators --data path/to/matrices
"""


app = typer.Typer(
    name="weir", help=HELP, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=True
)  # fmt: skip


@app.callback(invoke_without_command=True)
def _weir(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from sim.manifest import installed

        typer.echo(f"weir {installed()}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(help=ESTIMATE, short_help="One model on one cluster: speed, cost, what binds.")
def estimate(
    model: Model, on: On, trace: TraceName = None, prompt: Prompt = None, output: Output = None, batch: Batch = "max",
    slo_tpot: SloTpot = None, slo_ttft: SloTtft = None, rate: Rate = None, layout: LayoutText = None,
    tier: TierName = "physical", prices: BookName = None, price: PriceTexts = None, prefill: Prefill = "here",
    host: Host = "0", engine: Engine = None, setting: Settings = None, json: Json = False, csv: Csv = False,
    mapping: MappingFile = None, size: SizeTexts = None,
) -> None:  # fmt: skip
    from sim.cli import answers, ask
    from sim.cli.data import Form

    if mapping is not None:
        from sim.cli import nests

        return nests.mapped(nests.Asked(model, tuple(size or ()), ask.one(on), mapping), Form.of(json, csv), False)
    ask.no_nest(model, size or ())
    ask.one(on)
    return answers.estimate(answers.Asked.of(given()), Form.of(json, csv))


@app.command(help=COMPARE, short_help="One model on several clusters, side by side.")
def compare(
    model: Model, on: On, trace: TraceName = None, prompt: Prompt = None, output: Output = None, batch: Batch = "max",
    slo_tpot: SloTpot = None, slo_ttft: SloTtft = None, rate: Rate = None, layout: LayoutText = None,
    tier: TierName = "physical", prices: BookName = None, price: PriceTexts = None, prefill: Prefill = "here",
    host: Host = "0", engine: Engine = None, setting: Settings = None, json: Json = False, csv: Csv = False,
) -> None:  # fmt: skip
    from sim.cli import answers
    from sim.cli.data import Form

    answers.compare(answers.Asked.of(given()), Form.of(json, csv))


@app.command("list", help=LIST, short_help="What there is to name.")
def list_(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="One kind; else all, counted.")] = None,
    json: Json = False,
) -> None:
    from sim.cli import catalogue, data, text

    sheet = catalogue.kinds() if kind is None else catalogue.listing(kind)
    if json:
        data.emit(data.Form.JSON, data.sheets("weir.list/1", kind or "", (sheet,)), [])
    else:
        text.show(sheet)


@app.command(help=SHOW, short_help="Everything known about one name.")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What 'weir list' names.")],
    file: Annotated[bool, typer.Option("--file", help="Print the data file itself, its comments with it.")] = False,
    json: Json = False,
) -> None:
    from einsum.errors import WeirError
    from sim.cli import data, describe, text

    if file and json:
        raise WeirError("give --json or --file, not both")
    if file:
        typer.echo(describe.file(name), nl=False)
    elif json:
        data.emit(data.Form.JSON, data.sheets("weir.show/1", name, describe.describe(name)), [])
    else:
        text.show(*describe.describe(name))


@app.command("map", help=MAP, short_help="A cascade on an array, loop by loop.")
def map_(
    workload: Annotated[str, typer.Argument(metavar="WORKLOAD", help="As attention.one_pass, or a .txt file.")],
    on: Annotated[str, typer.Option("--on", metavar="DEVICE", help="A device's name or a .toml.")],
    mapping: Annotated[
        str | None, typer.Option("--mapping", metavar="FILE", help="A file with a loop nest; else one is searched for.")
    ] = None,
    sizes: Annotated[list[str] | None, typer.Argument(metavar="[SIZE=N]...", help="As context=4096.")] = None,
    everything: Annotated[
        bool, typer.Option("--show", help="Print the cascade, the nest, every count and every area too.")
    ] = False,
    technology: Annotated[
        str | None, typer.Option(metavar="NODE", help="Model energies and areas not given, as in '16 nm'.")
    ] = None,
    timeline: Annotated[
        str | None, typer.Option("--trace", metavar="FILE", help="Write the first runs for Perfetto: .json[.gz].")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="Search for least time (the default), energy or edp."),
    ] = None,
    most: Annotated[
        str | None,
        typer.Option("--nests", metavar="N", help="Nests to try of one group of Einsums (5,000)."),
    ] = None,
    save: Annotated[str | None, typer.Option(metavar="FILE", help="Write the nest that was found.")] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw use, energy, traffic, roofline and time: .png, .svg, .pdf.")
    ] = None,
    json: Json = False,
) -> None:
    from sim.cli import nests
    from sim.cli.data import Form

    asked = nests.Asked(workload, tuple(sizes or ()), on, mapping, technology, timeline, objective, save, plot, most)
    nests.mapped(asked, Form.of(json, False), everything)


@app.command(help=PLAN, short_help="What lives where in memory, and when.")
def plan(
    problem: Annotated[str, typer.Argument(metavar="PROBLEM", help="A .csv of buffers, a .json of tasks, or a model.")],
    on: Annotated[
        list[str] | None,
        typer.Option("--on", metavar="DEVICE|CLUSTER", help="Where tasks or a model run; of several the best."),
    ] = None,
    capacity: Annotated[
        str | None, typer.Option("--capacity", "--budget", metavar="BYTES", help="As 1048576 or 1MiB; else the least.")
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="The most that is spent on it.")] = 60.0,
    objective: Annotated[str | None, typer.Option(metavar="peak|time|dollars", help="What to make small.")] = None,
    solver: Annotated[
        str | None, typer.Option(metavar="highs|cbc", help="Of the mixed-integer programme; else highs.")
    ] = None,
    sequence: Annotated[str | None, typer.Option(metavar="N", help="Tokens of a model's sequences: 640K, 1M.")] = None,
    batch: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=65536, help="Sequences of a training step; else 1.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(metavar="memo|recompute|keep", help="Of activations; else the best that fits.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="tensor|ulysses", help="How devices share a layer; else tensor.")
    ] = None,
    host: Annotated[str | None, typer.Option(metavar="BYTES", help="Host memory of all devices, as 2TiB.")] = None,
    link: Annotated[str | None, typer.Option(metavar="RATE", help="Of a device to its host, as 12GB/s.")] = None,
    prices: BookName = None,
    price: PriceTexts = None,
    save: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the plan: .json, or .csv with offsets.")
    ] = None,
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="Draw the plan: .png, .svg or .pdf.")] = None,
    curve: Annotated[bool, typer.Option("--curve", help="Overhead against memory, of a graph or a model.")] = False,
    layers: Annotated[str | None, typer.Option(metavar="N", help="Layers of a model in its --curve; else all.")] = None,
    json: Json = False,
    csv: Csv = False,
) -> None:
    from sim.cli import plans
    from sim.cli.data import Form
    from sim.cli.plan_asked import Asked

    plans.plan(Asked.of(given()), Form.of(json, csv))


@app.command("import", help=IMPORT, short_help="Another tool's architecture as a device file.")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .yaml of Timeloop or Accelergy, v0.4.")],
    out: Annotated[str | None, typer.Option("--out", metavar="FILE", help="Write a new .toml; else print it.")] = None,
) -> None:
    from sim.cli import exchange

    exchange.imported(file, out)


@app.command(help=SCHEMA, short_help="JSON Schema of a file format.")
def schema(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="device, cluster, prices or trace.")] = None,
) -> None:
    from sim.cli import exchange

    exchange.schema(kind)


@app.command(help=VALIDATE, short_help="Published figures, recomputed.")
def validate(
    paper: Annotated[
        str | None, typer.Argument(metavar="[PAPER]", help="One paper; else all.", autocompletion=papers)
    ] = None,
    json: Json = False,
    data: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Matrices, or measured kernels, that weir does not bring.")
    ] = None,
) -> None:
    from sim.cli import verdicts

    raise typer.Exit(verdicts.validate(paper, json, data))


@app.command(help=CHECK, short_help="Kernels against the interpreter.")
def check(
    kernels: Annotated[list[str] | None, typer.Argument(metavar="[KERNEL...]", help="Kernels or families.")] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads a kernel may use.")] = 1,
    seed: Annotated[int, typer.Option(metavar="S", help="What the random numbers follow from.")] = 0,
    json: Json = False,
) -> None:
    from sim.cli import verdicts

    raise typer.Exit(verdicts.check(kernels or (), threads, seed, json))


planning.add(app)
parallel.add(app)
products.add(app)
sweeping.add(app)
showing.add(app)
tuning.add(app)


def commands() -> Any:
    """The commands as typer runs them, each noting its arguments for the manifest of what it answers."""
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        command.callback = noting(name, command.callback)
    return group


def run(argv: Sequence[str]) -> int:
    """Run one command, noting what it was asked; its errors are the caller's to report."""
    code = commands().main(list(argv), prog_name="weir", standalone_mode=False)
    return code if isinstance(code, int) else 0
