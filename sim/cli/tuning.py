"""The command that fits constants to measurements, and its options; it imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

CALIBRATE = """Fit the physical tier to measured kernels of one DEVICE; write its constants and the error left over.

MEASUREMENTS is a folder with gemm.csv, attention_decode.csv ... or one such file (docs/accuracy.md); what the files
do not cover keeps the constants that come with weir.

\b
weir calibrate my_kernels/ --device h100 --out h100.toml
weir estimate llama-3-70b --on 4xh100 --tier h100.toml
"""


def calibrate(
    measurements: Annotated[str, typer.Argument(metavar="MEASUREMENTS", help="A folder of CSV files, or one of them.")],
    device: Annotated[str, typer.Option("--device", metavar="DEVICE", help="Whose rows are used.")],
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="The .toml to write.")] = "calibrated.toml",
) -> None:
    from sim.cli.calibrate import calibrate as fitted

    fitted(measurements, device, out)


def add(app: typer.Typer) -> None:
    """Give the command line this command."""
    app.command(help=CALIBRATE, short_help="Constants fitted to your own measurements.")(calibrate)
