"""Which options of ``weir plan`` are for which kind of problem; the table here is written by hand, not read off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.cli import WRONG, main, plan_asked, plans
from sim.planner.training import STRATEGIES
from tests.sim.test_cli_plan import TABLE
from tests.sim.test_cli_plan_training import GRAPH

STEP = ["gpt2-xl", "--on", "5xa100", "--sequence", "4096"]
ASKED = {
    "offsets": ["buffers.csv"],
    "graph": ["net.json"],
    "graph's curve": ["net.json", "--curve"],
    "step": STEP,
    "step's curve": [*STEP, "--curve", "--layers", "1"],
}
# Options with what else they need, and the kinds they are for. --on and --sequence are part of every model's question.
OPTIONS = {
    "--on": (["--on", "a100"], ("graph", "graph's curve")),
    "--budget": (["--budget", "40GB"], ("offsets", "graph", "step")),
    "--capacity": (["--capacity", "40GB"], ("offsets", "graph", "step")),
    "--solver": (["--solver", "highs"], ("offsets", "graph", "graph's curve", "step's curve")),
    "--sequence": (["--sequence", "4096"], ()),
    "--batch": (["--batch", "1"], ("step", "step's curve")),
    "--strategy": (["--strategy", "keep"], ("step",)),
    "--split": (["--split", "tensor"], ("step", "step's curve")),
    "--host": (["--host", "1TiB"], ("step", "step's curve")),
    "--host --on": (["--host", "1TiB", "--on", "a100"], ("graph", "graph's curve")),
    "--link": (["--link", "16GB/s"], ("step",)),
    "--link --host": (["--link", "16GB/s", "--host", "1TiB"], ("step", "step's curve")),
    "--link --host --on": (["--link", "16GB/s", "--host", "1TiB", "--on", "a100"], ("graph", "graph's curve")),
    "--prices": (["--prices", "market_2026"], ("step",)),
    "--price": (["--price", "a100=1"], ("step",)),
    "--layers": (["--layers", "1"], ("step's curve",)),
    "--curve": (["--curve"], ("graph", "step", "graph's curve", "step's curve")),
    "--objective peak": (["--objective", "peak"], ("offsets", "step")),
    "--objective time": (["--objective", "time"], ("graph", "graph's curve", "step", "step's curve")),
    "--objective dollars": (["--objective", "dollars"], ("step",)),
    "--csv": (["--csv"], ("graph's curve", "step's curve")),
}
PAIRS = [
    (option, kind) for option in OPTIONS for kind in ASKED
    if not (kind.startswith("step") and option in ("--on", "--sequence", *(o for o in OPTIONS if o.endswith(" --on"))))
]  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "buffers.csv").write_text(TABLE)
    (tmp_path / "net.json").write_text(json.dumps(GRAPH))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("option", "kind"), PAIRS)
def test_an_option_is_heeded_or_refused_in_one_line(
    option: str, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    words, kinds = OPTIONS[option]
    if kind in kinds and kind.startswith("step"):  # whether it is heeded is seen in test_cli_plan_training
        monkeypatch.setattr(plans, "_asked_as", lambda kind: (lambda asked, form: None, None))
    code = main(["plan", *ASKED[kind], "--seconds", "1", *words])
    said = capsys.readouterr()
    if kind in kinds:
        assert code == 0, said.err
    else:
        assert (code, said.out, said.err.count("\n")) == (WRONG, "", 1)
        assert any(word in said.err for word in option.split())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["buffers.csv", "--split", "tensor"], "weir: --split is for a model's step, and this is a table of buffers\n"),
        (["net.json", "--layers", "2"], "weir: --layers is for the --curve of a model's step, and this is a JSON of tasks\n"),  # noqa: E501
        ([*STEP, "--curve", "--budget", "1GB"], "weir: --capacity (--budget) is for a table of buffers or a JSON of tasks or a model's step, and this is the --curve of a model's step\n"),  # noqa: E501
        (["buffers.csv", "--curve"], "weir: --curve is for a JSON of tasks or a model's step, and this is a table of buffers\n"),  # noqa: E501
        (["net.json", "--host", "1TiB"], "weir: --host is of a device: give --on too, or a second tier in the JSON\n"),
        (["net.json", "--on", "a100", "--link", "1GB/s"], "weir: --link is the rate to --host: give --host too\n"),
        (["net.json", "--on", "tpu_v4", "--host", "1TiB"], "weir: tpu_v4 states no link to a host; give --link, as 12GB/s\n"),  # noqa: E501
        ([*STEP, "--strategy", "keep", "--host", "1TiB"], "weir: --host is of what is swapped, and --strategy keep swaps nothing\n"),  # noqa: E501
        ([*STEP, "--strategy", "recompute", "--link", "1GB/s"], "weir: --link is of what is swapped, and --strategy recompute swaps nothing\n"),  # noqa: E501
        (["config.json", "--on", "a100"], "weir: 'config.json' is no file, so it names a model in training: give --sequence N too\n"),  # noqa: E501
    ],
)  # fmt: skip
def test_what_is_said(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *argv]) == WRONG
    assert capsys.readouterr().err == said


def test_every_strategy_but_that_which_swaps_is_refused_a_host() -> None:
    assert {*plan_asked.RESIDENT, "memo"} == {*STRATEGIES}


def test_no_time_at_all_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "net.json", "--seconds", "0"]) == WRONG
    assert "--seconds must be more than 0" in capsys.readouterr().err
