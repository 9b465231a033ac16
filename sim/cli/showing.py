"""The commands that show results: ``weir report`` and ``weir diff``."""

from __future__ import annotations

from typing import Annotated

import typer

REPORT = """A table of results as one HTML file to look at and to mail: picture, sortable table, where it comes from.

A TABLE is a .csv with a line of names, or a .json (docs/report.md). The page loads nothing and needs no network.
Columns to minimise and maximise make the Pareto front; without them the two axes do.

\b
weir report sweep.csv sweep.html
weir report sweep.csv sweep.html --x seconds --y usd_per_million_tokens
weir report sweep.json out.html --minimise usd_per_hour --maximise tokens_per_second --title 'Llama on eight clusters'
"""

DIFF = """Why result B differs from A: tokens per dollar by its factors, latencies, every input that is not the same.

A and B are what 'weir estimate --json' or 'weir compare --json' printed. The factors' shares sum to the whole change.

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


def report(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A .csv or .json.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The .html to write.")],
    x: Annotated[str | None, typer.Option("--x", metavar="COLUMN", help="Drawn to the right.")] = None,
    y: Annotated[str | None, typer.Option("--y", metavar="COLUMN", help="Drawn upwards.")] = None,
    minimise: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Least is best; repeatable.")] = None,
    maximise: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Most is best; repeatable.")] = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Else the table's name.")] = None,
) -> None:
    from sim.cli import reports

    reports.report(reports.Asked(table, out, x, y, tuple(minimise or ()), tuple(maximise or ()), title))


def diff(
    a: Annotated[str, typer.Argument(metavar="A.json", help="The result to start from.")],
    b: Annotated[str, typer.Argument(metavar="B.json", help="The result to end at.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md).")] = False,
) -> None:
    from sim.cli import differences

    differences.diff(a, b, json)


def reproduce(
    result: Annotated[str, typer.Argument(metavar="RESULT", help="A .json, or a table's .csv or .parquet.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md).")] = False,
) -> None:
    from sim.cli import again

    raise typer.Exit(again.reproduce(result, json))


def add(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(help=REPORT, short_help="A table as a page to look at.")(report)
    app.command(help=DIFF, short_help="Why two results differ.")(diff)
    app.command(help=REPRODUCE, short_help="A result computed again, and compared.")(reproduce)
