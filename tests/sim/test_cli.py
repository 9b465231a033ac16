"""The command line as a user meets it: help, tables, JSON, CSV, and what each command says."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from sim.cli import main
from sim.cli.data import plain
from sim.cli.text import Sheet

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["gpt2-xl", "--on", "1xh100", "--prompt", "64", "--output", "16"]
TWO = ["gpt2-xl", "--on", "1xh100", "--on", "2xh20", "--prompt", "64", "--output", "16"]
OPTIONS = {
    "estimate": ["--on", "--trace", "--prompt", "--output", "--batch", "--slo-tpot", "--slo-ttft", "--rate", "--layout",
                 "--tier", "--prices", "--price", "--prefill", "--host", "--set", "--json", "--csv"],
    "list": ["KIND", "--json"],
    "show": ["NAME", "--file", "--json"],
    "validate": ["PAPER", "--json"],
}  # fmt: skip
OPTIONS["compare"] = OPTIONS["estimate"]


def run(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert err == ""
    return out


def asked(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    return json.loads(run(capsys, *argv, "--json"))


@pytest.mark.parametrize("command", OPTIONS)
def test_help_names_every_option_and_shows_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, command, "--help")
    assert [option for option in OPTIONS[command] if option not in text] == []
    assert f"\n  weir {command}" in text


def test_weir_alone_prints_short_help(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys)
    assert "weir estimate llama-3-70b --on 2xh100_4xh20" in text
    assert len(text.splitlines()) < 50  # a line a command


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.match(r"weir \S+", run(capsys, "--version"))


def test_json_has_the_documented_keys_in_the_documented_order(capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "estimate", *SMALL)
    section = (ROOT / "docs/json.md").read_text(encoding="utf-8").split("## weir.estimate/1")[1].split("\n## ")[0]
    assert list(found) == re.findall(r"^\| `(\w+)` \|", section, re.M)
    assert found["schema"] == "weir.estimate/1"
    assert list(found["ttft"]) == ["mean", "p50", "p90", "p95", "p99"]


def test_money_follows_from_speed_and_price(capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "estimate", *SMALL, "--price", "h100=3.6")
    assert found["usd_per_hour"] == 3.6
    assert found["tokens_per_dollar"] == pytest.approx(found["tokens_per_second"] * 1000)
    assert found["usd_per_million_tokens"] * found["tokens_per_dollar"] == pytest.approx(1e6)


def test_a_setting_changes_the_answer_and_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    decoding = [*SMALL, "--batch", "1", "--prefill", "elsewhere", "--tier", "limit"]
    base = asked(capsys, "estimate", *decoding)
    slow = asked(capsys, "estimate", *decoding, "--set", "model.hbm.bandwidth=1TB/s")
    assert slow["tokens_per_second"] < base["tokens_per_second"] / 3
    assert slow["notes"][0] == "set: model.hbm.bandwidth = 1TB/s"


def test_a_batch_asked_for_is_the_batch_served(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, "estimate", *SMALL, "--batch", "8")["batch"] == 8


def test_the_text_says_what_was_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "estimate", "gpt2-xl", "--on", "1xh100", "--batch", "4")
    assert text.startswith("gpt2-xl on 1xh100, constant 1024/256, prefill here\n")
    assert "no trace given" in text
    assert "bound by" in text
    assert "in words    prefill " in text or "in words    decode " in text
    assert "helps       +10% model.hbm.bandwidth -> +" in text


@pytest.mark.parametrize("command", [["estimate", *SMALL], ["compare", *TWO]])
def test_text_fits_eighty_columns(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert max(map(len, run(capsys, *command).splitlines())) <= 80


def test_compare_prints_ratios_to_the_first_and_what_an_hour_costs(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "compare", *TWO, "--price", "h100=3", "--price", "h20=1")
    lines = text.splitlines()
    assert lines[1].split() == ["1xh100", "2xh20", "ratio"]
    hourly = next(line.split() for line in lines if line.startswith("USD/h"))
    assert hourly == ["USD/h", "3", "2", "0.67", "x"]
    assert "2xh20 costs 2.00 USD/h, 1.00 USD/h less than 1xh100 (0.67 x)." in text
    assert "decode alone, tokens/s" in text


def test_compare_gives_each_answer_and_the_ratio_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "compare", *TWO)
    assert list(found) == ["schema", "answers", "tokens_per_dollar_ratio", "break_even", "manifest"]
    first, second = found["answers"]
    assert found["tokens_per_dollar_ratio"] == [1.0, second["tokens_per_dollar"] / first["tokens_per_dollar"]]
    assert first["price_book"] == second["price_book"]


def test_compare_sets_a_number_only_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    mixed = ["gpt2-xl", "--on", "1xh100", "--on", "1xh100_1xh20", "--prompt", "64", "--output", "16", "--batch", "4"]
    one, two = asked(capsys, "compare", *mixed, "--set", "attention.hbm.bandwidth=1TB/s")["answers"]
    note = "set: attention.hbm.bandwidth = 1TB/s"
    assert note not in one["notes"]
    assert note in two["notes"]


@pytest.mark.parametrize(("command", "rows"), [(["estimate", *SMALL], 1), (["compare", *TWO], 2)])
def test_csv_has_a_row_for_each_answer(command: list[str], rows: int, capsys: pytest.CaptureFixture[str]) -> None:
    found = list(csv.DictReader(io.StringIO(run(capsys, *command, "--csv"))))
    assert len(found) == rows
    assert found[0]["model"] == "gpt2-xl"
    assert float(found[0]["ttft_p95"]) > 0


def test_a_cluster_file_and_a_config_of_ones_own_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = tmp_path / "mine.toml"
    cluster.write_text('title = "mine"\nsource = "me"\n[[pool]]\nname = "model"\ndevice = "h100"\ncount = 1\n')
    config = tmp_path / "config.json"
    config.write_text(
        '{"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,'
        ' "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "rms_norm_eps": 1e-5,'
        ' "max_position_embeddings": 512, "hidden_act": "silu", "tie_word_embeddings": false}'
    )
    load = ["--prompt", "16", "--output", "4", "--batch", "2"]
    assert asked(capsys, "estimate", str(config), "--on", str(cluster), *load)["cluster"] == "mine"


def test_list_counts_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [line.split()[0] for line in run(capsys, "list").splitlines()[1:-1]]
    for kind in kinds:
        count = next(line.split()[1] for line in run(capsys, "list").splitlines() if line.startswith(f"{kind} "))
        assert len(run(capsys, "list", kind).splitlines()) - 1 >= int(count)


def test_every_degree_of_a_layout_is_explained() -> None:
    from mappings.parallel import OPTIONS
    from sim.cli.catalogue import DEGREES

    assert set(DEGREES) == set(OPTIONS)


@pytest.mark.parametrize(
    "name", ["h20", "h100", "eyeriss", "4xh100", "lamina_2_4", "azure_conv", "market_2026", "physical", "gpt2-xl"]
)
def test_show_gives_a_source(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "source" in run(capsys, "show", name)


def test_show_marks_what_nobody_checked_and_what_was_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "show", "h20").splitlines()
    marks = {line.split()[0]: line.split()[-1] for line in lines if "." in line.split(" ")[0]}
    assert marks["l2.capacity"] == "unverified"
    assert marks["sfu.device_rate.exp.fp32"] == "unverified"  # the file marks the whole table of rates
    assert marks["power.idle"] == "assumed"
    assert marks["hbm.bandwidth"] == "TB/s"


def test_show_rounds_no_count(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {line.split()[0]: line.split()[1] for line in run(capsys, "show", "h20").splitlines() if "sm." in line}
    assert (rows["sm.threads"], rows["sm.count"]) == ("2,048", "78")


def test_show_a_workload_prints_its_cascade(capsys: pytest.CaptureFixture[str]) -> None:
    assert "QK[b, h, p, m] = Q[b, h, p, e] * K[b, h, m, e]" in run(capsys, "show", "attention.three_pass")


def test_show_file_is_the_data_file_and_reads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "show", "h20", "--file")
    (tmp_path / "h20.toml").write_text(text)
    own = run(capsys, "show", str(tmp_path / "h20.toml"))
    assert own.splitlines()[:20] == run(capsys, "show", "h20").splitlines()[:20]


def test_list_and_show_print_json_cell_by_cell(capsys: pytest.CaptureFixture[str]) -> None:
    listed = asked(capsys, "list", "devices")
    assert (listed["schema"], listed["name"]) == ("weir.list/1", "devices")
    assert next(row for row in listed["rows"] if row["device"] == "h20")["memory"] == "96 GB"
    shown = asked(capsys, "show", "h20")
    assert {"number": "hbm.bandwidth", "value": "4 TB/s", "remark": ""} in shown["rows"]
    assert any(note.startswith("source: ") for note in shown["notes"])
    section = (ROOT / "docs/json.md").read_text(encoding="utf-8").split("## weir.list/1")[1].split("\n## ")[0]
    assert [key for key in listed if f"`{key}`" not in section] == []


def test_a_book_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_text(
        'title = "mine"\ndate = "2026-11"\nsource = "a bill"\n[[price]]\ndevice = "h100"\nusd_per_hour = "1.5 USD/h"\n'
    )
    book = str(tmp_path / "mine.toml")
    found = asked(capsys, "estimate", *SMALL, "--prices", book)
    assert (found["usd_per_hour"], found["price_book"]) == (1.5, book)
    assert "h100_sxm" in run(capsys, "show", book)


def test_a_model_nobody_checked_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "gpt2-xl: unverified: from memory" in run(capsys, "show", "gpt2-xl")
    assert any(
        note.startswith("gpt2-xl: unverified: from memory") for note in asked(capsys, "estimate", *SMALL)["notes"]
    )


def test_validate_json_has_the_documented_keys(capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "validate", "traces")
    section = (ROOT / "docs/json.md").read_text(encoding="utf-8").split("## weir.validate/1\n")[1].split("\n## ")[0]
    assert [key for key in (*found, *found["rows"][0]) if f"`{key}`" not in section] == []
    assert found["ok"] is True


def test_completion_offers_devices_behind_a_count() -> None:
    from sim.cli.options import clusters

    assert "4xh100_sxm" in clusters("4xh1")
    assert "lamina_2_4" in clusters("lam")
    assert clusters("h100") == []


def test_plain_turns_what_json_cannot_say_into_null() -> None:
    assert plain({"a": [1, 2.5, math.nan], "b": -math.inf, "c": True, "d": None}) == {
        "a": [1, 2.5, None],
        "b": None,
        "c": True,
        "d": None,
    }


def test_a_sheet_is_aligned_and_never_wrapped() -> None:
    sheet = Sheet("title", ("a", "n"), (("x" * 90, "1"), ("y", "22")), right=(1,), notes=("note",))
    assert str(sheet).splitlines() == [
        "title", "a" + " " * 92 + "n", "x" * 90 + "   1", "y" + " " * 91 + "22", "note",
    ]  # fmt: skip


def test_notes_are_folded_in_a_pipe() -> None:
    lines = str(Sheet("", ("a",), (("1",),), notes=("word " * 40, "short"))).splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(lines[2:]).split() == ["word"] * 40 + ["short"]


def test_a_terminal_gets_the_same_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = Sheet("title", ("a", "n"), (("[red]", "1"),), right=(1,), notes=("note",))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    from sim.cli.text import show

    show(sheet, "words")
    words = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).split()
    assert words == ["title", "a", "n", "[red]", "1", "note", "words"]


@pytest.mark.parametrize("columns", ["20", "200"])
def test_a_narrow_terminal_breaks_no_number(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for name, value in {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": columns}.items():
        monkeypatch.setenv(name, value)
    from sim.cli.text import show

    show(Sheet("", ("latency", "mean", "p50"), (("to first token", "1.02 s", "315 ms"),), right=(1, 2)))
    assert "1.02 s" in capsys.readouterr().out


class Bar:
    """A bar that writes down what it is told."""

    task_ids = (7,)

    def __init__(self, doing: str, shown: list[str]) -> None:
        self.shown = shown
        shown.append(doing)

    def update(self, task: int, *, completed: int, total: int, description: str) -> None:
        self.shown.append(f"{task}: {description}, {completed} of {total}")

    def stop(self) -> None:
        self.shown.append("stopped")


def test_patience_shows_only_to_a_person_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from sim.cli import patience as module

    shown: list[str] = []
    monkeypatch.setattr(module, "_start", lambda doing: Bar(doing, shown))
    with module.patience("piped", delay=0.0):
        time.sleep(0.05)
    assert shown == []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with module.patience("quick", delay=60.0):
        pass
    assert shown == []
    with module.patience("slow", delay=0.0) as advance:
        time.sleep(0.2)
        advance(1, 3)
    assert shown == ["slow", "7: slow, 1 of 3", "stopped"]


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_validate_exits_1_if_a_row_that_should_hold_does_not(
    ok: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Report:
        def __init__(self) -> None:
            self.ok = ok

        def __str__(self) -> str:
            return "theirs and ours"

        def summary(self) -> dict[str, Any]:
            return {"schema": "weir.validate/1", "rows": [{"deviation": math.inf}]}

    monkeypatch.setattr("sim.published.validate", lambda paper, data, progress: Report(), raising=False)
    assert run(capsys, "validate", "step3", code=code) == "theirs and ours\n"
    assert json.loads(run(capsys, "validate", "--json", code=code))["rows"] == [{"deviation": None}]
