"""The command of sparse products and its options; it imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from sim.cli.options import Csv, Json, Many, Settings

SPGEMM = """Ways to compute a sparse product on a device: traffic, time, energy, balance, what binds, and the best.

A MATRIX is a file (.mtx or an edge list, either with .gz, or scipy's .npz) or one to be drawn: uniform:, rmat:,
banded: or mesh: with options. It is multiplied by OTHER, or by itself. A DATAFLOW is a mapping by name, a .toml file of
your own (docs/sparse.md), or all that the device can run. A WORKLOAD other than the product uses one sparse matrix:
times a vector (spmv), times a dense matrix (spmm, --size n=64), triangles, a breadth-first search (bfs, --source NODE),
a layer of a graph convolution (gcn, --size f=64 --size g=16).

\b
weir spgemm rmat:scale=14,draws=262144 --on piuma_core
weir spgemm web.mtx.gz --on piuma_die --dataflow smash_v3 --dataflow piuma_outer --plot web.png
weir spgemm mesh:side=12 --on gamma --count sampled --json
weir spgemm web.mtx.gz --workload spmm --size n=64 --on piuma_die
weir spgemm web.mtx.gz --workload bfs --source 17 --on cpu_64b
weir spgemm uniform:n=4000,density=0.002 --on piuma_core --set mtp.contexts=8 --set dram.latency=200ns
"""


def spgemm(
    matrix: Annotated[str, typer.Argument(metavar="MATRIX", help="A file, or one to be drawn: rmat:scale=14,...")],
    on: Annotated[str, typer.Option("--on", metavar="DEVICE", help="A device's name or a .toml.")],
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="The right operand; else MATRIX again.")
    ] = None,
    dataflow: Annotated[Many, typer.Option(metavar="NAME|all", help="A mapping's name or .toml; repeatable.")] = None,
    count: Annotated[
        str, typer.Option(metavar="exact|sampled|expected", help="How entries of the result are counted.")
    ] = "exact",
    workload: Annotated[
        str, typer.Option(metavar="spgemm|spmv|spmm|triangles|bfs|gcn", help="What is computed of the matrix.")
    ] = "spgemm",
    size: Annotated[Many, typer.Option("--size", metavar="RANK=N", help="As n=64, of a dense operand.")] = None,
    source: Annotated[int, typer.Option(metavar="NODE", help="Where a breadth-first search begins.")] = 0,
    setting: Settings = None,
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="Draw roofline, traffic and balance.")] = None,
    json: Json = False,
    csv: Csv = False,
) -> None:
    from sim.cli import sparse
    from sim.cli.data import Form
    from sim.manifest import given

    sparse.spgemm(sparse.Asked.of(given()), Form.of(json, csv))


def add(app: typer.Typer) -> None:
    """Give the command line this command."""
    app.command(help=SPGEMM, short_help="A sparse product, dataflow by dataflow.")(spgemm)
