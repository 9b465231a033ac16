"""The commands that measure and that fit constants, and their options; they import what they need when they run."""

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


MEASURE = """Time a short set of kernels on the GPU at hand; write the CSV files that weir calibrate reads.

Products, attention (PyTorch's own) and elementwise kernels, each warmed up, recorded and replayed with a cold cache;
the median counts, and the clock after each is noted. Needs pip install 'weir[measure]', and an idle GPU. Rows are kept
as they are measured; the same command goes on where it was interrupted, and names what could not be measured.

\b
weir measure --device h100 --out my_kernels/
weir calibrate my_kernels/ --device h100 --out h100.toml
"""


def measure(
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="What weir calls the GPU (weir list devices).")
    ],
    out: Annotated[str, typer.Option("--out", metavar="FOLDER", help="Where the CSV files go.")] = "my_kernels",
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="OPERATION", help="gemm, attention_decode ...")
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", metavar="N", help="Replays of which the median counts.")] = 20,
) -> None:
    from sim.cli.measure import measure as timed

    timed(device, out, only or [], repeats)


def add(app: typer.Typer) -> None:
    """Give the command line these commands."""
    app.command(help=MEASURE, short_help="Kernels timed on your own GPU.")(measure)
    app.command(help=CALIBRATE, short_help="Constants fitted to your own measurements.")(calibrate)
