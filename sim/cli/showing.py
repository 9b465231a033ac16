"""The commands that show results: ``weir report`` and ``weir diff``."""

from __future__ import annotations

from typing import Annotated

import typer

from sim.cli.options import (
    Batch,
    BookName,
    Host,
    Json,
    LayoutText,
    Many,
    MappingFile,
    Maximise,
    Minimise,
    Output,
    Prefill,
    PriceTexts,
    Prompt,
    Rate,
    Settings,
    SloTpot,
    SloTtft,
    TierName,
    TraceName,
)

REPORT = """A table of results as one HTML file to look at and to mail: picture, sortable table, where it comes from.

A TABLE is a .csv with a line of names, or a .json (docs/report.md). The page loads nothing and needs no network.
Columns to minimise and maximise make the Pareto front; without them the two axes do.

\b
weir report sweep.csv sweep.html
weir report sweep.csv sweep.html --x seconds --y usd_per_million_tokens
weir report sweep.json out.html --minimise usd_per_hour --maximise tokens_per_second --title 'Llama on eight clusters'
"""

DIFF = """Why result B differs from A: totals by their terms, other figures, every input that is not the same.

A and B are what the same command printed with --json; of estimate and compare tokens per dollar are divided among their
factors, of other commands each total among its terms, tables row by row. Terms sum to the whole change.

\b
weir estimate llama-3-70b --on 4xh100 --json > a.json
weir estimate llama-3-70b --on 2xh100_4xh20 --json > b.json
weir diff a.json b.json
"""


REPRODUCE = """Compute a RESULT again from its manifest; say which figures differ, to the last bit, and why.

RESULT is what any command printed with --json or wrote with --save, or a table of weir sweep --out. Files that it was
made from are looked for where they were, as seen from the folder one is in. Exit 1 if a figure differs.

\b
weir estimate llama-3-70b --on 4xh100 --json > result.json
weir reproduce result.json
weir sweep llama-3-8b --on 1xh100 --axis batch=1..64:x2 --axis context=1024 --out table.csv
weir reproduce table.csv
"""


EXPLAIN = """Unfold a FIGURE into the model's own formulas, with numbers, units and the source of every constant.

WHAT is a result's file (of estimate, compare, map, spgemm, offload, rent, cache, plan, pipeline, ranges or sweep), or a
model or workload with --on and the options below; sizes of a workload stand between the figures. Of a table pick a row:
--row N or --at COLUMN=VALUE. The formulas are those that the model ran, term by term.

\b
weir explain result.json tokens_per_dollar
weir explain result.json ttft.mean --depth 6
weir explain llama-3-70b tokens_per_second --on 2xh100_4xh20 --trace azure_conv
weir explain attention.one_pass seconds query=4096 context=4096 head_dim=64 --on fusemax_cloud
weir explain table.csv tokens_per_dollar --at batch=8
weir explain result.json --bibtex > papers.bib
"""


def report(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A .csv or .json.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The .html to write.")],
    x: Annotated[str | None, typer.Option("--x", metavar="COLUMN", help="Drawn to the right.")] = None,
    y: Annotated[str | None, typer.Option("--y", metavar="COLUMN", help="Drawn upwards.")] = None,
    minimise: Minimise = None,
    maximise: Maximise = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Else the table's name.")] = None,
) -> None:
    from sim.cli import reports

    reports.report(reports.Asked(table, out, x, y, tuple(minimise or ()), tuple(maximise or ()), title))


def diff(
    a: Annotated[str, typer.Argument(metavar="A.json", help="The result to start from.")],
    b: Annotated[str, typer.Argument(metavar="B.json", help="The result to end at.")],
    json: Json = False,
) -> None:
    from sim.cli import differences

    differences.diff(a, b, json)


def reproduce(
    result: Annotated[str, typer.Argument(metavar="RESULT", help="A .json, or a table's .csv or .parquet.")],
    json: Json = False,
) -> None:
    from sim.cli import again

    raise typer.Exit(again.reproduce(result, json))


def explain(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="A result's .json, a model, or a workload.")],
    figures: Annotated[Many, typer.Argument(metavar="[FIGURE]...", help="As tokens_per_dollar or ttft.mean.")] = None,
    on: Annotated[Many, typer.Option("--on", metavar="CLUSTER", help="Where a model or workload runs.")] = None,
    trace: TraceName = None, prompt: Prompt = None, output: Output = None, batch: Batch = "max",
    slo_tpot: SloTpot = None, slo_ttft: SloTtft = None, rate: Rate = None, layout: LayoutText = None,
    tier: TierName = "physical", prices: BookName = None, price: PriceTexts = None, prefill: Prefill = "here",
    host: Host = "0", setting: Settings = None, mapping: MappingFile = None,
    depth: Annotated[int | None, typer.Option(metavar="N", min=0, help="Levels that are unfolded.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Terms of slight influence too.")] = False,
    row: Annotated[int | None, typer.Option(metavar="N", help="A row of a table, the first being 1.")] = None,
    at: Annotated[Many, typer.Option("--at", metavar="COLUMN=VALUE", help="A row by what stands in it.")] = None,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print the papers that it rests on.")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    from sim.cli import explained
    from sim.cli.data import Form
    from sim.manifest import given

    asked = explained.Asked(
        what, tuple(figures or ()), {**given(), "on": list(on or ())}, depth, everything, row, tuple(at or ())
    )  # fmt: skip
    explained.explain(asked, Form.of(json, False), bibtex)


def add(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(help=REPORT, short_help="A table as a page to look at.")(report)
    app.command(help=DIFF, short_help="Why two results differ.")(diff)
    app.command(help=EXPLAIN, short_help="A figure's formula, with numbers and sources.")(explain)
    app.command(help=REPRODUCE, short_help="A result computed again, and compared.")(reproduce)
