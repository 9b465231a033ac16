"""``weir plan`` for graphs and training steps: what is printed, saved, drawn and refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from sim.cli import main, plans_training
from sim.cli.ask import tokens

GRAPH: dict[str, Any] = {
    "buffers": [{"name": n, "bytes": 10} for n in ("x", "a", "b", "c", "g", "h", "i")],
    "tasks": [
        {"name": "f0", "seconds": 1, "reads": ["x"], "writes": ["a"]},
        {"name": "f1", "seconds": 1, "reads": ["a"], "writes": ["b"]},
        {"name": "f2", "seconds": 1, "reads": ["b"], "writes": ["c"]},
        {"name": "b2", "seconds": 2, "reads": ["b", "c"], "writes": ["g"]},
        {"name": "b1", "seconds": 2, "reads": ["a", "g"], "writes": ["h"]},
        {"name": "b0", "seconds": 2, "reads": ["x", "h"], "writes": ["i"]},
    ],
    "given": ["x"],
    "kept": ["i"],
}


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The graph as a file."""
    path = tmp_path / "net.json"
    path.write_text(json.dumps(GRAPH), encoding="utf-8")
    return str(path)


def test_a_graph_within_its_budget(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", file, "--budget", "50 B"]) == 0
    assert "nothing is computed twice" in capsys.readouterr().out
    assert main(["plan", file, "--budget", "40", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["overhead"] == pytest.approx(1 / 9)
    assert found["proven"]
    assert found["runs"].count("f0") == 2


def test_nothing_fits(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", file, "--budget", "20"]) == 3
    assert "one task alone needs 30 bytes, 20 are given; 40 would do" in capsys.readouterr().err


def test_a_host_to_page_to(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save, plot = tmp_path / "plan.json", tmp_path / "plan.png"
    argv = ["plan", file, "--on", "a100", "--budget", "40", "--host", "1MiB", "--link", "100 B/s"]
    assert main([*argv, "--save", str(save), "--plot", str(plot)]) == 0
    assert "copies between tiers" in capsys.readouterr().out
    saved = json.loads(save.read_text(encoding="utf-8"))
    assert saved["value"] == pytest.approx(9.0)
    assert saved["moves"]
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_a_training_step(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["plan", "opt-6.7b", "--on", "8xa800", "--sequence", "64K", "--strategy"]
    assert main([*argv, "memo", "--host", "2TiB"]) == 0
    out = capsys.readouterr().out
    assert "alpha 1.0000" in out
    assert "weights, gradients, optimiser" in out
    assert main([*argv, "recompute", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["mfu"] < 1
    assert found["bytes"] == pytest.approx(sum(found["memory"].values()))


def test_the_cheapest_the_fastest_and_the_smallest_of_two_clusters(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["plan", "llama-2-7b", "--on", "8xa100", "--on", "8xh100", "--sequence", "64K", "--prices", "market_2026"]
    argv += ["--price", "a100=0.1", "--json", "--objective"]
    found = {}
    for objective in ("time", "peak", "dollars"):
        assert main([*argv, objective]) == 0
        found[objective] = json.loads(capsys.readouterr().out)
    assert found["time"]["cluster"] == "8xh100"
    assert found["dollars"]["cluster"] == "8xa100"  # at a tenth of a dollar
    assert found["dollars"]["usd_per_hour"] == pytest.approx(0.8)
    for name, key in (("time", "seconds"), ("peak", "bytes"), ("dollars", "usd")):
        assert found[name][key] == min(one[key] for one in found.values())
        assert found[name]["usd"] == pytest.approx(found[name]["seconds"] * found[name]["usd_per_hour"] / 3600)


def test_a_budget_for_a_model_is_memory_that_a_device_may_use(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["plan", "llama-2-7b", "--on", "8xa800", "--sequence", "64K", "--json"]
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)["strategy"] == "keep"
    assert main([*argv, "--budget", "20GB"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["strategy"] == "memo"
    assert found["bytes"] < found["capacity"] == 20e9


def test_a_curve_of_a_graph(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save, plot = tmp_path / "curve.json", tmp_path / "curve.png"
    assert main(["plan", file, "--curve", "--save", str(save), "--plot", str(plot)]) == 0
    out = capsys.readouterr().out
    assert "6 tasks, 9 s once" in out
    assert "proven" in out
    saved = json.loads(save.read_text(encoding="utf-8"))
    assert saved["schema"] == "weir.curve/1"
    assert saved["rows"][0]["overhead"] == pytest.approx(1 / 9)
    assert saved["rows"][-1]["overhead"] == 0
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_a_curve_of_a_models_step_with_a_host_and_without(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["plan", "gpt2-xl", "--on", "5xa100", "--sequence", "4096", "--layers", "1", "--curve", "--seconds", "1"]
    tables = []
    for more in ((), ("--host", "1TiB")):
        assert main([*argv, "--json", *more]) == 0
        found = json.loads(capsys.readouterr().out)
        rows = [row for row in found["rows"] if row["overhead"] is not None]
        assert all(row["peak"] <= row["budget"] and row["bound"] <= row["overhead"] for row in rows)
        assert rows == sorted(rows, key=lambda row: -row["overhead"])
        tables.append(rows)
    assert tables[1][0]["overhead"] < tables[0][0]["overhead"]  # copies are cheaper than work
    assert main([*argv, "--csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "budget,share,overhead,bound,proven,peak,method"


def test_what_the_time_is_too_short_for_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    moments = iter(range(0, 1000, 100))  # s: a hundred between two looks at the clock
    monkeypatch.setattr(plans_training, "monotonic", lambda: next(moments))
    argv = ["plan", "opt-6.7b", "--on", "8xa800", "--json", "--seconds", "250", "--sequence"]
    assert main([*argv, "64K"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["strategy"] == "memo" or found["strategy"] == "recompute"
    assert found["notes"] == ["not tried in 250 s: keep on 8xa800; give --seconds more"]
    moments = iter(range(0, 1000, 100))
    assert main([*argv, "64K", "--budget", "1GB"]) == 3
    assert "fits; not tried in 250 s: keep on 8xa800" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["llama-2-7b", "--on", "8xa800", "--sequence", "4K", "--csv"], 2, "--csv prints the rows of --curve"),
        (["llama-2-7b", "--on", "8xa800", "--sequence", "4K", "--layers", "2"], 2, "--layers is for the --curve of"),
        (["llama-2-7b", "--on", "8xa800", "--sequence", "4K", "--curve", "--budget", "1GB"], 2, "this is the --curve"),
        (
            ["llama-2-7b", "--on", "8xa800", "--sequence", "4K", "--curve", "--strategy", "keep"],
            2,
            "--strategy is for a model's step",
        ),
        (["gpt2-xl", "--on", "1xa800", "--on", "1xh100", "--sequence", "4K", "--curve"], 2, "--curve is of one --on"),
        (["gpt2-xl", "--on", "1xa800", "--sequence", "4K", "--curve", "--objective", "peak"], 2, "time against memory"),
        (["llama-2-7b", "--on", "8xa800", "--sequence", "64K", "--curve", "--solver", "glpk"], 2, "known: cbc, highs"),
        (["llama-2-7b", "--on", "8xa800", "--sequence", "64K", "--link", "0B/s"], 2, "more than nothing"),
        (["llama-2-7b", "--on", "8xa800", "--sequence", "64K", "--budget", "1GB"], 3, "not even the shortest"),
        (["llama-2-7b", "--on", "2xmi250x", "--sequence", "64K", "--objective", "dollars"], 2, "--price mi250x=1.50"),
        (["llama-2-7b"], 2, "names a model in training: give --on CLUSTER too"),
        (["llama-2-7b", "--on", "8xa800"], 2, "give --sequence N too"),
        (["llama-2-7b", "--on", "8xa800", "--sequence", "1G"], 2, "--sequence must be tokens such as"),
        (["llama-2-7b", "--on", "8xa800", "--sequence", "1M", "--strategy", "memos"], 2, "did you mean 'memo'"),
        (["llama-2-7b", "--on", "8xa800", "--sequence", "1M", "--objective", "watts"], 2, "known: dollars, peak, time"),
        (["lama-2-7b", "--on", "8xa800", "--sequence", "1M"], 2, "did you mean 'llama-2-7b'"),
        (["llama-2-7b", "--on", "8xa800", "--sequence", "1M", "--strategy", "keep"], 3, "64 K tokens would do|tokens"),
        (["llama-2-7b", "--on", "8xa800", "--sequence", "64K", "--save", "x.csv"], 2, "end the name in .json"),
    ],
)
def test_mistakes(argv: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *argv]) == code
    error = capsys.readouterr().err
    assert any(part in error for part in message.split("|"))
    assert error.count("\n") == 1


def test_tokens() -> None:
    assert [tokens(t) for t in ("1M", "640k", "4_096")] == [2**20, 640 * 1024, 4096]
