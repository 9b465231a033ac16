"""``weir explain`` as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.cli import main

SMALL = ["--on", "1xh100", "--prompt", "64", "--output", "16", "--batch", "8"]


def run(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(argv) == code
    out, err = capsys.readouterr()
    return err if code else out


@pytest.fixture
def result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "result.json"
    path.write_text(run(capsys, "estimate", "gpt2-xl", *SMALL, "--price", "h100=2", "--json"))
    return path


def test_a_results_figure_has_formula_numbers_and_sources(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "explain", str(result), "tokens_per_dollar")
    value = json.loads(result.read_text())["tokens_per_dollar"]
    assert out.startswith(f"tokens_per_dollar = {value:,.0f} tokens/USD")
    assert "    = tokens per second x 3600 / price of h100_sxm\n" in out
    assert " x 3600 / 2 USD/h\n" in out
    assert "(sim.serving.answer.Answer.tokens_per_dollar: Output tokens for one US dollar.)" in " ".join(out.split())
    assert "h100_sxm hbm.bandwidth 3.35 TB/s" in " ".join(out.split())
    assert "given by the user" in out


def test_formulas_in_a_pipe_are_folded_at_words(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "explain", str(result), "ttft.mean", "--depth", "5")
    formulas = out.partition(" rests on ")[0].splitlines()[:-1]
    assert max(len(line) - len(line.lstrip()) for line in formulas) > 8
    assert max(map(len, formulas)) <= 80
    assert not any(line.endswith("all-") for line in formulas)


def test_a_question_is_unfolded_as_its_result_is(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = run(capsys, "explain", "gpt2-xl", "ttft.mean", *SMALL, "--price", "h100=2")
    assert asked == run(capsys, "explain", str(result), "ttft.mean")
    assert "Requests are simulated one by one; in steady state and closed form" in asked


def test_depth_and_all(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lengths = [len(run(capsys, "explain", str(result), "tokens_per_second", *more).splitlines())
               for more in (["--depth", "0"], [], ["--all"])]  # fmt: skip
    assert lengths == sorted(set(lengths))


def test_json_has_every_term(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "explain", str(result), "tokens_per_second", "usd_per_hour", "--json"))
    assert found["schema"] == "weir.explain/1"
    speed, cost = found["figures"]
    assert (cost["figure"], cost["value"]) == ("usd_per_hour", 2.0)
    assert all(0 < abs(term["influence"]) <= 1.5 for term in speed["rests"])
    assert all(term["source"] for term in speed["rests"])


def test_a_workload_is_mapped_first(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["attention.one_pass", "seconds", "query=64", "context=64", "head_dim=64", "--on", "fusemax_cloud"]
    assert "fusemax_cloud array.rate.exp.bf16" in run(capsys, "explain", *argv)


def test_bibtex_alone(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "explain", str(result), "--bibtex")
    assert out.startswith("@")
    assert "@misc{vidur2024," in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["gpt2-xl", "ttft.mean"], "is no result's .json, so it is a model or a workload: add --on"),
        (["gpt2-xl", "batch=3", "--on", "1xh100"], "a model's sizes are --prompt, --output and --batch"),
        (["gone.json"], "no such result file: gone.json"),
        (["attention.one_pass", "--on", "h100", "--on", "h20"], "give --on once"),
        (["gpt2-xl", "nothing", *SMALL], "no figure 'nothing'"),
    ],
)
def test_mistakes_are_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    err = run(capsys, "explain", *argv, code=2)
    assert message in err
    assert err.count("\n") == 1


def test_what_was_searched_has_no_formula(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "list.json"
    path.write_text(run(capsys, "list", "tiers", "--json"))
    assert "what 'weir list' answers has no formula" in run(capsys, "explain", str(path), code=2)


@pytest.fixture
def table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "table.csv"
    run(capsys, "sweep", "gpt2-xl", "--on", "1xh100", "--axis", "batch=1,2,9999", "--axis", "context=900",
        "--out", str(path))  # fmt: skip
    return path


def test_a_row_of_a_sweep_is_picked_by_number_or_by_its_axes(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = run(capsys, "explain", str(table), "tokens_per_dollar", "--row", "2")
    assert second == run(capsys, "explain", str(table), "tokens_per_dollar", "--at", "batch=2")
    assert "x 3600 / price of h100_sxm" in second


@pytest.mark.parametrize(
    ("picked", "message"),
    [
        ([], "3 rows are meant; pick one of 3: --row N or --at COLUMN=VALUE"),
        (["--row", "4"], "--row 4: the result has 3 rows, the first being 1"),
        (["--at", "bathc=2"], "--at bathc: no such column; did you mean 'batch'?"),
        (["--at", "batch=5"], "no rows are meant"),
        (["--row", "3"], "the row has no answer: "),
        (["--row", "1", "sped"], "no figure 'sped'; known: joules_per_token, seconds"),
    ],
)
def test_rows_that_cannot_be_picked(
    table: Path, picked: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in run(capsys, "explain", str(table), *picked, code=2)


def test_an_edited_row_is_at_no_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["sweep", "gpt2-xl", "--on", "1xh100", "--axis", "batch=1", "--axis", "context=100", "--json"]
    found = json.loads(run(capsys, *asked))
    found["data"][0]["batch"] = "seven"
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(found))
    assert "the row is at none of the points" in run(capsys, "explain", str(path), "--row", "1", code=2)
    del found["manifest"]
    path.write_text(json.dumps(found))
    assert "no manifest in it" in run(capsys, "explain", str(path), "--row", "1", code=2)


def test_a_percentile_is_a_requests_own_time(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = " ".join(run(capsys, "explain", str(result), "e2e.p95").split())
    assert "is nearest to it, and its own comes to" in out
    assert "from its first token to its last" in out


def test_a_row_of_any_table_is_picked_by_what_it_is_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "product.json"
    path.write_text(run(capsys, "spgemm", "uniform:n=60,density=0.05", "--on", "gamma", "--json"))
    [row] = json.loads(path.read_text())["rows"]
    out = run(capsys, "explain", str(path), "bytes", "--at", f"mapping={row['mapping']}")
    assert out.startswith("rows[0].bytes = ")
    assert "counted on the matrices as the mapping walks them" in out
    assert run(capsys, "explain", str(path), "--bibtex")[0] in "@%"


def test_a_methods_own_paper_is_among_those_of_its_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "policy.json"
    asked = ["offload", "opt-30b", "--on", "t4", "--method", "flexgen", "--micro", "8", "--batches", "2", "--json"]
    path.write_text(run(capsys, *asked))
    assert "2303.06865" in run(capsys, "explain", str(path), "--bibtex")
