"""What a user gets wrong is one line on stderr that says what, where and what to do; never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.cli import main

GPT = ["estimate", "gpt2-xl", "--on", "1xh100"]
ESTIMATE = ["estimate", "llama-3-70b", "--on", "4xh100"]

WRONG = [
    (["estimat"], "no such command 'estimat'; did you mean 'estimate'? (see weir --help)"),
    (["--versio"], "no such option --versio; did you mean --version? (see weir --help)"),
    (["estimate"], "missing argument 'MODEL' (see weir estimate --help)"),
    (["estimate", "gpt2-xl"], "missing option '--on' (see weir estimate --help)"),
    ([*GPT, "--trac", "azure_conv"], "no such option --trac; did you mean --trace? (see weir estimate --help)"),
    ([*GPT, "--prompt"], "option '--prompt' requires an argument (see weir estimate --help)"),
    (["estimate", "llama-3-70x", "--on", "4xh100"],
     "no model 'llama-3-70x' and no such file; did you mean 'llama-3-70b'?"),
    (["estimate", " ", "--on", "4xh100"],
     "MODEL is empty; 'weir list models' has the names, or give the path of a config.json"),
    (["estimate", "gpt2-xl", "--on", "4xh10"], "cluster '4xh10': unknown device 'h10'; did you mean 'h100'?"),
    (["estimate", "gpt2-xl", "--on", "h100x4"],
     "unknown cluster 'h100x4'; write <n>x<device>, for example 2xh100_4xh20"),
    (["estimate", "gpt2-xl", "--on", "0xh100"], "cluster '0xh100': 0 x h100: a pool has 1 to 100000 devices"),
    (["estimate", "gpt2-xl", "--on", "my.toml"], "no such cluster file: my.toml"),
    ([*GPT, "--on", "2xh100"], "estimate takes one --on; weir compare puts several clusters side by side"),
    (["compare", "gpt2-xl", "--on", "1xh100"],
     "compare needs --on twice or more; one cluster alone is what weir estimate answers"),
    ([*GPT, "--trace", "azure"],
     "unknown trace 'azure', neither shipped nor a .csv or .jsonl path; did you mean 'azure_conv'?"),
    ([*GPT, "--trace", "azure_conv", "--prompt", "10"], "give --trace, or --prompt and --output, not both"),
    ([*GPT, "--prompt", "-3"], "--prompt must be a whole number from 1 to 10,000,000, not '-3'"),
    ([*GPT, "--output", "nan"], "--output must be a whole number from 1 to 10,000,000, not 'nan'"),
    ([*GPT, "--prompt", "99999999999"], "--prompt must be a whole number from 1 to 10,000,000, not '99999999999'"),
    ([*GPT, "--batch", "0"], "--batch must be a whole number from 1 to 10,000,000 or max, not '0'"),
    ([*GPT, "--batch", "2.5"], "--batch must be a whole number from 1 to 10,000,000 or max, not '2.5'"),
    ([*GPT, "--slo-tpot", "100"], "--slo-tpot: '100' has no unit; write for example '100 s'"),
    ([*GPT, "--slo-ttft", "2 m"], "--slo-ttft: '2 m' has the wrong unit: 'm' where 's' is expected"),
    ([*GPT, "--slo-ttft", "0s"], "--slo-ttft: '0s' leaves no time at all"),
    ([*GPT, "--slo-tpot", "-1ms"], "--slo-tpot: '-1ms' is negative; quantities are zero or more"),
    ([*GPT, "--host", "5GB"], "--host: '5GB' has the wrong unit: 'GB' where 's' is expected"),
    ([*GPT, "--rate", "0"], "--rate must be requests a second, such as 2.5 and at most 10,000,000, not '0'"),
    ([*GPT, "--rate", "nan"], "--rate must be requests a second, such as 2.5 and at most 10,000,000, not 'nan'"),
    ([*GPT, "--layout", "tq=3"],
     "layout 'tq=3': unknown option 'tq'; known: attention, batches, cp, dp, ep, pp, replicas, sp, tp"),
    ([*GPT, "--layout", ""], "--layout is empty; write for example tp=4 or tp=2,pp=2, or leave it out"),
    ([*GPT, "--tier", "phisical"], "unknown tier 'phisical'; did you mean 'physical'?"),
    ([*GPT, "--prefill", "there"], "--prefill is 'here' or 'elsewhere', not 'there'; did you mean 'here'?"),
    ([*GPT, "--prices", "lamda_2026"],
     "unknown price book 'lamda_2026'; did you mean 'lambda_2026'?"),
    ([*GPT, "--price", "h20=3"], "--price h20: h20 is not among the devices: h100_sxm"),
    ([*GPT, "--price", "h100=nan"], "--price h100: nan is not a finite number"),
    ([*GPT, "--price", "h100=-2"], "--price h100: -2.0 is negative; quantities are zero or more"),
    ([*GPT, "--price", "h100"], "--price 'h100': write --price DEVICE=USD, as in h20=1.5"),
    ([*GPT, "--price", "h100=1", "--price", "h100=2"], "--price h100: given twice"),
    ([*GPT, "--set", "model.hbm.bandwith=1TB/s"],
     "1xh100: unknown path 'model.hbm.bandwith'; did you mean 'model.hbm.bandwidth'?"),
    ([*GPT, "--set", "model.hbm.bandwidth=1TB"],
     "h100_sxm hbm.bandwidth: '1TB' has the wrong unit: 'TB' where 'B/s' is expected"),
    ([*GPT, "--set", "network.latency"], "--set 'network.latency': write --set PATH=VALUE, as in network.latency=5us"),
    ([*GPT, "--json", "--csv"], "give --json or --csv, not both"),
    (["list", "modles"], "nothing is called 'modles'; did you mean 'models'?"),
    (["validate", "stepp"], "unknown paper 'stepp'; did you mean 'step3'?"),
    (["show", "h21"], "nothing is called 'h21'; did you mean 'h20'?"),
    (["show", "../../etc/passwd"], "nothing is called '../../etc/passwd'; see weir list"),
    (["show", "attention.one_passs"], "nothing is called 'attention.one_passs'; did you mean 'attention.one_pass'?"),
    (["show", "--file", "llama-3-7b"], "no data file is called 'llama-3-7b'; did you mean 'llama-3-70b'?"),
]  # fmt: skip

INFEASIBLE = [
    (["estimate", "llama-3-70b", "--on", "1xh100"],
     "(one device): 141 GB of weights on each device of pool 'model'; h100_sxm has 80 GB, of which 10%"
     " is kept for activations and the engine: the model needs at least 2 of them"),
    (["estimate", "llama-3-70b", "--on", "4xh100", "--layout", "dp=4"], "and the engine: divide further"),
    ([*ESTIMATE, "--layout", "tp=4", "--batch", "100000"], "batch 100000 does not fit; at most "),
    ([*ESTIMATE, "--slo-tpot", "1us"], "no batch meets tpot <= 0.001 ms: one request alone has tpot "),
    ([*ESTIMATE, "--layout", "tp=4", "--prompt", "1000000"], "not one request fits: its state is "),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), WRONG, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_a_mistake_is_one_line_and_exit_2(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert err == f"weir: {message}\n"
    assert out == ""


@pytest.mark.parametrize(("argv", "message"), INFEASIBLE)
def test_what_cannot_fit_is_one_line_and_exit_3(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 3
    out, err = capsys.readouterr()
    assert err.startswith("weir: ")
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_every_problem_of_a_file_has_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "mine"\nsource = "me"\nwidth = 3\n[[pool]]\nname = "model"\ndevice = "h10"\ncount = 1\n')
    assert main(["estimate", "gpt2-xl", "--on", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "weir: mine.toml:3:1: width: unknown key; known: network, node_size, notes, pool, source, title"
    assert lines[1] == "weir: mine.toml:6:1: pool.model.device: unknown device 'h10'; did you mean 'h100'?"
    assert len(lines) == 2


def test_a_config_that_is_not_json_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text("{")
    assert main(["estimate", str(path), "--on", "1xh100"]) == 2
    assert capsys.readouterr().err.startswith("weir: config.json: not readable as JSON")


def test_a_caret_line_stays_under_its_culprit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from einsum import parse
    from sim.cli import app

    monkeypatch.setattr(app, "run", lambda _: parse("Z[m] = mx[k](A[m, k])", name="demo", m=2, k=3))
    assert main(["estimate"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("weir: ")
    assert "'mx'" in lines[0]
    culprit, caret = lines[-2:]
    assert not caret.startswith("weir")
    assert culprit[caret.index("^") :].startswith("mx")


@pytest.mark.parametrize("wanted", [True, False])
def test_a_bug_of_ours_is_one_line_and_its_traceback_is_for_those_who_ask(
    wanted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sim.cli import app

    def broken(_: object) -> int:
        raise KeyError("a\nb")

    monkeypatch.setattr(app, "run", broken)
    monkeypatch.setenv("WEIR_TRACEBACK", "1" if wanted else "")
    assert main(["list"]) == 1
    err = capsys.readouterr().err
    assert err.endswith("please report it; WEIR_TRACEBACK=1 shows where it is\n")
    assert ("Traceback" in err) is wanted
    assert len(err.splitlines()) == 1 or wanted


def test_an_interrupt_is_not_a_crash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from sim.cli import app

    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", interrupted)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "weir: interrupted\n"
