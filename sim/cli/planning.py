"""The commands that plan memory and purchase, and their options; each imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from sim.cli.options import (
    BookName,
    Csv,
    Json,
    Many,
    Model,
    Output,
    PriceTexts,
    Prompt,
    Save,
    SloTpot,
    SloTtft,
    TraceName,
    traces,
)
from sim.manifest import given

OFFLOAD = """A MODEL too large for its GPU: what lies on the GPU, the host and a disk, and how fast it generates.

Fractions are the best there are for a block of sequences (a linear programme); the block is searched.

\b
weir offload opt-30b --on t4 --host xeon_8380
weir offload mixtral-8x7b --on l4 --method moe_lightning --prompt 77 --output 32 --set host_memory=192GB
weir offload opt-175b --on t4 --set disk_memory=1.5TB --set disk_read=2GB/s --set disk_write=1GB/s
weir offload opt-30b --on t4 --fix weights.gpu=20% --micro 48 --batches 3 --json
"""

RENT = """The cheapest clusters to rent for a load of requests to a MODEL, within limits on latency.

Requests fall into buckets of like lengths; each --on is a template of which any number may be rented.

\b
weir rent llama-3-8b --on 1xh100 --on 1xl40s --on 2xl40s --trace azure_conv --rate 8 --slo-tpot 50ms
weir rent llama-2-70b --on 2xh100 --on 2xh100_2xh20 --prompt 1000 --output 200 --rate 4 --prices lamina_2024
"""

CACHE = """Memory for a MODEL's keys and values on a trace: reserved whole, in blocks, or mapped as it grows.

\b
weir cache llama-3-8b --on a100 --trace azure_conv
weir cache llama-2-70b --on h100 --ways 4 --trace azure_code --longest 8192 --group 64KiB
"""


def offload(
    model: Model,
    on: Annotated[str, typer.Option("--on", metavar="DEVICE", help="The GPU: a name or a .toml.")],
    host: Annotated[str, typer.Option(metavar="DEVICE", help="Its host, a processor.")] = "xeon_8480",
    gpus: Annotated[str, typer.Option(metavar="N", help="GPUs on that host.")] = "1",
    prompt: Annotated[str, typer.Option(metavar="N", help="Tokens of every prompt.")] = "512",
    output: Annotated[str, typer.Option(metavar="N", help="Tokens of every answer.")] = "32",
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="overlapped, flexgen, moe_lightning, moe_lens or a .toml.")
    ] = "overlapped",
    micro: Annotated[str | None, typer.Option(metavar="N", help="Sequences at a time; else searched.")] = None,
    batches: Annotated[str | None, typer.Option(metavar="N", help="Micro-batches a block; else searched.")] = None,
    fix: Annotated[Many, typer.Option("--fix", metavar="CLASS.TIER=SHARE", help="As weights.gpu=20%.")] = None,
    setting: Annotated[Many, typer.Option("--set", metavar="NAME=VALUE", help="As down=12GB/s; repeatable.")] = None,
    compress: Annotated[float, typer.Option(metavar="X", help="Network weights X times smaller.")] = 1.0,
    save: Save = None,
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="Draw what lies where: .png, .svg or .pdf.")] = None,
    json: Json = False,
    csv: Csv = False,
) -> None:
    """See OFFLOAD."""
    from sim.cli import policies
    from sim.cli.data import Form

    policies.offload(policies.Asked.of(given()), Form.of(json, csv), save, plot)


def rent(
    model: Model,
    on: Annotated[list[str], typer.Option("--on", metavar="CLUSTER", help="What can be rented; repeatable.")],
    rate: Annotated[str, typer.Option(metavar="R", help="Requests a second, all together.")],
    trace: TraceName = None,
    prompt: Prompt = None,
    output: Output = None,
    slo_tpot: SloTpot = None,
    slo_ttft: SloTtft = None,
    prices: BookName = None,
    price: PriceTexts = None,
    stock: Annotated[Many, typer.Option("--stock", metavar="DEVICE=N", help="Devices there are; repeatable.")] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="Most time for the solver.")] = 30.0,
    json: Json = False,
    csv: Csv = False,
) -> None:
    """See RENT."""
    from sim.cli import rentals
    from sim.cli.data import Form

    rentals.rent(rentals.Asked.of(given()), Form.of(json, csv))


def cache(
    model: Model,
    on: Annotated[str, typer.Option("--on", metavar="DEVICE", help="A device's name or a .toml.")],
    trace: Annotated[str, typer.Option("--trace", metavar="TRACE", autocompletion=traces)],
    ways: Annotated[str, typer.Option(metavar="N", help="Devices the model is divided over.")] = "1",
    longest: Annotated[str, typer.Option(metavar="N", help="Tokens that static allocation reserves.")] = "8192",
    block: Annotated[str, typer.Option(metavar="N", help="Tokens of a block.")] = "16",
    group: Annotated[Many, typer.Option("--group", metavar="BYTES", help="Page groups, as 64KiB; repeatable.")] = None,
    requests: Annotated[str, typer.Option(metavar="N", help="Requests replayed.")] = "500",
    json: Json = False,
    csv: Csv = False,
) -> None:
    """See CACHE."""
    from sim.cli import rentals
    from sim.cli.data import Form

    rentals.cache(rentals.Stored.of(given()), Form.of(json, csv))


def add(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command(help=OFFLOAD, short_help="A model larger than its GPU: what lies where.")(offload)
    app.command(help=RENT, short_help="The cheapest clusters for a load.")(rent)
    app.command(help=CACHE, short_help="Memory for keys and values on a trace.")(cache)
