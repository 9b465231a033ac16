"""The commands that share a model's layers out, and their options; each imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from sim.cli.options import BookName, Csv, Json, Many, Model, PriceTexts, Settings, TierName, clusters
from sim.manifest import given

PIPELINE = """Pipeline schedules side by side: seconds, waiting, microbatches held, bytes, share of the peak.

A MODEL is cut into as many stages as the cluster has devices, and its passes are timed from its own cascades; or give
the seconds of passes that you measured. Schedules: 1f1b, gpipe, interleaved (two chunks a device), zero_bubble
(weights' gradients in passes of their own), v_half (two chunks down the devices and up again), v_half_split (both),
vocabulary and vocabulary_2 (the output layer divided over all devices, with one or two barriers), v_half_vocabulary and
v_half_split_vocabulary. All but the first three repeat a pattern that keeps the busiest device at work and holds least.

\b
weir pipeline llama-2-7b --on 8xa100 --microbatches 64 --sequence 4096
weir pipeline llama-3-8b --on 8xh100 --schedule 1f1b --schedule vocabulary --plot passes.png
weir pipeline --stages 8 --forward 11ms --backward 22ms --output 1ms,1ms --microbatches 128
weir pipeline --stages 8 --forward 11ms --backward 22ms --weights 11ms --microbatches 32
weir pipeline --forward 10ms,10ms,10ms,15ms --backward 21ms,21ms,21ms,26ms --schedule 1f1b --save passes.csv
"""

TRAIN = """An iteration of a MODEL's training: seconds by what they go to, shares of the peak, memory, money.

Weights are divided --tp ways within a node and into --pp stages; devices left over make replicas. A layer's backward
pass is derived from its forward pass, and what is sent from how both are divided. --kernels says which kernels there
are: fused (attention is one), megatron_2022 (it is several, with dropout), or a .toml of your own.

\b
weir train llama-2-70b --on 64xa100 --tp 8 --pp 8 --batch 512 --sequence-parallel --recompute selective
weir train opt-175b --on 64xa100 --tp 8 --pp 8 --interleave 3 --batch 64 --sequence 2048 --kernels megatron_2022
weir train llama-3-8b --on 16xh100 --batch 64 --sequence 8K --distributed-optimiser --json
weir train mixtral-8x7b --on 64xh100 --batch 256 --tp 2 --pp 4 --ep 8 --sequence-parallel --distributed-optimiser
"""

RANGES = """Layers of a MODEL over unlike devices: each holds a range of them, so that most tokens flow (Helix).

Every device of every --on is a node; a node hands a token on to any node that holds the next layer. What flows is
limited by what each node computes of its range, and by links: --link between nodes of one --on, --between of two.
Equal stages and chains are improved at random, then a mixed-integer programme goes on from the best of them; the answer
says how much more could flow at most.

\b
weir ranges llama-2-70b --on 4xa100_sxm_80gb --on 8xl4
weir ranges llama-3-70b --on 2xh100 --on 6xl40s --batch 16 --context 2048 --between 1Gb/s --plot ranges.png
weir ranges llama-2-70b --on 4xl4 --on 8xt4 --seconds 60 --json
"""


def pipeline(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="A name from 'weir list models', or a config.json.")
    ] = None,
    on: Annotated[str | None, typer.Option("--on", metavar="CLUSTER", help="Like devices, as 8xa100.")] = None,
    sequence: Annotated[str, typer.Option(metavar="N", help="Tokens of a sequence: 4096, 32K.")] = "4096",
    batch: Annotated[str, typer.Option(metavar="N", help="Sequences of a microbatch.")] = "1",
    microbatches: Annotated[str, typer.Option(metavar="N", help="Microbatches of an iteration.")] = "32",
    schedule: Annotated[Many, typer.Option(metavar="NAME", help="One of the above; repeatable, else all.")] = None,
    balance: Annotated[
        bool, typer.Option("--balance", help="Fewer layers where the embedding or the output layer is (1f1b, gpipe).")
    ] = False,
    forward: Annotated[str | None, typer.Option(metavar="TIMES", help="A stage's forward pass, or each's.")] = None,
    backward: Annotated[str | None, typer.Option(metavar="TIMES", help="Likewise; 10ms,10ms,15ms.")] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="TIMES", help="Of --backward, what only makes weights' gradients.")
    ] = None,
    output: Annotated[str | None, typer.Option(metavar="S,T", help="The divided output layer's two passes.")] = None,
    reduce: Annotated[str, typer.Option(metavar="TIME", help="An all-reduce of theirs.")] = "0s",
    lag: Annotated[str, typer.Option(metavar="TIME", help="From a stage to the next.")] = "0s",
    stages: Annotated[str | None, typer.Option(metavar="N", help="Stages, where all take the same.")] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="Most time for each pattern; 0: none.")] = 5.0,
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="Draw every pass: .png, .svg or .pdf.")] = None,
    save: Annotated[str | None, typer.Option(metavar="FILE", help="Write every pass and its times: .csv.")] = None,
    json: Json = False,
    csv: Csv = False,
) -> None:
    """See PIPELINE."""
    from sim.cli import pipelines
    from sim.cli.data import Form

    pipelines.pipeline(pipelines.Asked.of(given()), Form.of(json, csv))


def train(
    model: Model,
    on: Annotated[
        str, typer.Option("--on", metavar="CLUSTER", help="As 64xa100, or a .toml.", autocompletion=clusters)
    ],
    batch: Annotated[str, typer.Option(metavar="N", help="Sequences of an iteration, on all replicas.")],
    microbatch: Annotated[str, typer.Option(metavar="N", help="Sequences of a pass.")] = "1",
    sequence: Annotated[str, typer.Option(metavar="N", help="Tokens of a sequence: 4096, 32K.")] = "4096",
    tp: Annotated[str, typer.Option(metavar="N", help="Devices that share each layer, in one node.")] = "1",
    pp: Annotated[str, typer.Option(metavar="N", help="Stages of the pipeline.")] = "1",
    ep: Annotated[str, typer.Option(metavar="N", help="Ways to divide experts, over --tp and replicas.")] = "1",
    interleave: Annotated[str, typer.Option(metavar="N", help="Chunks of layers that each stage has.")] = "1",
    recompute: Annotated[
        str, typer.Option(metavar="none|selective|full", help="What the backward pass computes anew.")
    ] = "none",
    sequence_parallel: Annotated[
        bool, typer.Option("--sequence-parallel", help="Divide positions where nothing else is divided.")
    ] = False,
    distributed_optimiser: Annotated[
        bool, typer.Option("--distributed-optimiser", help="Replicas share its states out (ZeRO-1).")
    ] = False,
    kernels: Annotated[str, typer.Option(metavar="NAME", help="fused, megatron_2022, or a .toml.")] = "fused",
    tier: TierName = "physical",
    settings: Settings = None,
    book: BookName = None,
    price: PriceTexts = None,
    json: Json = False,
    csv: Csv = False,
) -> None:
    """See TRAIN."""
    from sim.cli import trained
    from sim.cli.data import Form

    trained.train(trained.Asked.of(given()), Form.of(json, csv))


def ranges(
    model: Model,
    on: Annotated[list[str], typer.Option("--on", metavar="CLUSTER", help="Like devices, as 4xa100; repeatable.")],
    batch: Annotated[str, typer.Option(metavar="N", help="Requests that a node decodes at once.")] = "8",
    context: Annotated[str, typer.Option(metavar="N", help="Tokens of each.")] = "1024",
    link: Annotated[str | None, typer.Option(metavar="RATE", help="Between nodes of one --on; else its own.")] = None,
    between: Annotated[str | None, typer.Option(metavar="RATE", help="Between nodes of two; else the slower.")] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="The most that is spent on it.")] = 30.0,
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="Draw the ranges: .png, .svg or .pdf.")] = None,
    json: Json = False,
    csv: Csv = False,
) -> None:
    """See RANGES."""
    from sim.cli import layered
    from sim.cli.data import Form

    layered.ranges(layered.Asked.of(given()), Form.of(json, csv))


def add(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command(help=PIPELINE, short_help="Pipeline schedules side by side.")(pipeline)
    app.command(help=TRAIN, short_help="An iteration of training.")(train)
    app.command(help=RANGES, short_help="Layers over unlike devices.")(ranges)
