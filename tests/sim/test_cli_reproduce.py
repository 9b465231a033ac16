"""``weir reproduce``: whatever weir printed or wrote comes out the same again, or it is said what does not and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sim.arch.devices import FOLDER
from sim.cli import main

SMALL = ["gpt2-xl", "--on", "1xh100", "--prompt", "64", "--output", "16"]
BUFFERS = "id,lower,upper,size\na,0,4,5\nb,2,6,7\nc,4,9,3\n"
COMMANDS = {
    "estimate": ["estimate", *SMALL],
    "compare": ["compare", *SMALL, "--on", "1xh20", "--price", "h20=1.5"],
    "map": ["map", "attention.one_pass", "query=64", "context=64", "head_dim=64", "--on", "fusemax_cloud"],
    "plan": ["plan", "buffers.csv"],
    "spgemm": ["spgemm", "uniform:n=200,density=0.02", "--on", "piuma_core", "--dataflow", "piuma_row"],
    "rent": ["rent", "gpt2-xl", "--on", "1xh100", "--prompt", "64", "--output", "16", "--rate", "4"],
    "offload": ["offload", "opt-30b", "--on", "t4", "--host", "xeon_8380", "--micro", "8", "--batches", "2"],
    "cache": ["cache", "llama-3-8b", "--on", "a100", "--trace", "azure_conv", "--requests", "40"],
    "pipeline": [
        "pipeline",
        "--forward",
        "10ms,15ms",
        "--backward",
        "20ms,30ms",
        "--microbatches",
        "4",
        "--schedule",
        "1f1b",
    ],
    "sweep": ["sweep", "gpt2-xl", "--on", "1xh100", "--axis", "batch=1,2,4", "--axis", "context=100"],
    "list": ["list", "devices"],
    "show": ["show", "h20"],
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("buffers.csv").write_text(BUFFERS)


def printed(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(argv) == code
    return capsys.readouterr().out


def result(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    """What a command prints as JSON, kept in a file as a shell would."""
    text = printed(capsys, *argv, "--json")
    Path("result.json").write_text(text)
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_result_comes_out_the_same(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = result(capsys, *COMMANDS[command])["manifest"]
    assert told["command"] == command
    assert told["data"] != {} or command in ("list", "pipeline")
    assert "the same, bit for bit" in printed(capsys, "reproduce", "result.json")


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_every_table_does(ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    argv = [*COMMANDS["sweep"], "--on", "1xh20", "--axis", "host=0,3e-3", "--where", "batch > 1", "--store", "s.db"]
    assert main([*argv, "--out", f"t{ending}"]) == 0
    assert "bit for bit" in printed(capsys, "reproduce", f"t{ending}")


def test_a_saved_plan_does_and_times_are_left_out_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "buffers.csv", "--save", "plan.json", "--plot", "map.png"]) == 0
    Path("map.png").unlink()
    told = json.loads(Path("plan.json").read_text())["manifest"]
    assert told["solver"]["name"].startswith("highs (highspy ")
    assert (told["solver"]["gap"], told["times"]) == (0.0, ["seconds"])
    assert "since it measures the run itself: seconds" in " ".join(printed(capsys, "reproduce", "plan.json").split())
    assert not Path("map.png").exists()  # a file that names files to write does not have them written


def test_changed_data_is_named_with_what_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    text = (FOLDER / "h20.toml").read_text(encoding="utf-8")
    Path("mine.toml").write_text(text)
    Path("pair.toml").write_text(
        'title = "t"\nsource = "s"\n[[pool]]\nname = "model"\ndevice = "mine.toml"\ncount = 1\n'
    )
    before = result(capsys, "estimate", "gpt2-xl", "--on", "pair.toml", "--prompt", "64", "--output", "16",
                    "--price", "mine=2")  # fmt: skip
    assert {"mine.toml", "pair.toml", "sim/arch/data/physical.toml"} <= before["manifest"]["data"].keys()
    Path("mine.toml").write_text(text.replace('"4 TB/s"', '"5 TB/s"'))
    said = " ".join(printed(capsys, "reproduce", "result.json", code=1).split())
    assert f"tokens_per_second: {before['tokens_per_second']} -> " in said
    assert "because mine.toml has changed" in said
    assert "pair.toml has changed" not in said
    found = json.loads(printed(capsys, "reproduce", "result.json", "--json", code=1))
    assert "tokens_per_second" in {row["figure"] for row in found["differ"]}
    Path("mine.toml").unlink()
    assert main(["reproduce", "result.json"]) == 2
    assert "mine.toml" in capsys.readouterr().err


def test_another_version_is_named_even_if_nothing_differs(capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys, *COMMANDS["list"])
    found["manifest"]["libraries"]["numpy"] = "1.0"
    Path("result.json").write_text(json.dumps(found))
    assert "although numpy was 1.0" in printed(capsys, "reproduce", "result.json")


def test_an_edited_figure_or_manifest_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys, *COMMANDS["estimate"])
    found["notes"][0] += "!"
    Path("result.json").write_text(json.dumps(found))
    said = printed(capsys, "reproduce", "result.json", code=1)
    assert "notes[0]: " in said
    assert "nothing that the manifest names has changed" in said
    found["manifest"]["arguments"]["output"] = "17"
    Path("result.json").write_text(json.dumps(found))
    assert "the manifest is not as it was written" in printed(capsys, "reproduce", "result.json", code=1)


def test_a_table_and_its_metadata_belong_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMANDS["sweep"], "--out", "t.csv"]) == 0
    Path("t.csv").write_text(Path("t.csv").read_text().replace("gpt2-xl", "gpt3-xl"))
    capsys.readouterr()
    assert main(["reproduce", "t.csv"]) == 2
    assert "t.csv is not the table that t.csv-metadata.json describes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"command": "reproduce"}, "the manifest's command 'reproduce' is none that can be run again"),
        ({"command": "estimat"}, "did you mean 'estimate'?"),
        ({"arguments": {"out": "/etc/passwd"}}, "argument 'out' is none of 'weir estimate'"),
        ({"arguments": {"model": 7, "on": {"a": 1}}}, "unknown cluster"),
        ({"arguments": None}, "no manifest in it"),
        ({"output": "save"}, "'weir estimate' has no 'save' to be compared with"),
    ],
)
def test_a_manifest_of_anybody_is_a_line(
    changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(capsys, *COMMANDS["estimate"])
    Path("result.json").write_text(json.dumps(found | {"manifest": found["manifest"] | changes}))
    assert main(["reproduce", "result.json"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_what_is_no_result_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    for name, content, message in (
        ("a.json", "{", "not valid JSON"), ("b.json", "[1]", "no manifest"), ("c.csv", "a,b\n1,2\n", "no manifest"),
        ("d.json", None, "no such result file: d.json"),
    ):  # fmt: skip
        if content is not None:
            Path(name).write_text(content)
        assert main(["reproduce", name]) == 2
        assert message in capsys.readouterr().err
