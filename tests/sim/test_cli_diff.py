"""``weir diff``: what is printed, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.cli import main

ASKED = ["estimate", "llama-3-8b", "--prompt", "128", "--output", "8", "--batch", "4", "--json"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two results of the command line: one more expensive device."""
    folder = tmp_path_factory.mktemp("results")
    paths = []
    for name, price in (("a", "2"), ("b", "3")):
        with pytest.MonkeyPatch.context() as patch:
            lines: list[str] = []
            patch.setattr("builtins.print", lambda text, lines=lines: lines.append(text))
            assert main([*ASKED, "--on", "1xh100", "--price", f"h100={price}"]) == 0
        paths.append(folder / f"{name}.json")
        paths[-1].write_text("\n".join(lines), encoding="utf-8")
    return str(paths[0]), str(paths[1])


def test_a_price_explains_the_whole(results: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *results]) == 0
    out = capsys.readouterr().out
    [line] = [line for line in out.splitlines() if line.lstrip().startswith("price of h100_sxm") and "USD/h" in line]
    assert line.split()[3:] == ["2", "3", "USD/h", "0.667", "x", "100.0%"]
    assert "tokens per dollar 0.667 x" in out


def test_as_json(results: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *results, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "weir.diff/1"
    assert [i["name"] for i in found["differences"][0]["inputs"]] == ["price of h100_sxm"]


def test_a_result_and_itself(results: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", results[0], results[0]]) == 0
    assert "No input and no assumption differs." in capsys.readouterr().out


def test_what_a_file_calls_things_cannot_steer_a_terminal(
    results: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(Path(results[0]).read_text(encoding="utf-8"))
    found |= {
        "cluster": "\x1b[2Jx\ud800",
        "notes": ["\x1b]0;x\x07"],
        "devices": {"\x1b": 1},
        "prices": {"\x1b": found["usd_per_hour"]},
    }
    path = tmp_path / "hostile.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    assert main(["diff", results[0], str(path)]) == 0
    out = capsys.readouterr().out
    assert "-> ?[2Jx?" in out
    assert all(c.isprintable() or c == "\n" for c in out)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such result file"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("9" * 10_000, "not valid JSON"),
        ("{}", "not what 'weir estimate --json'"),
    ],
)
def test_a_bad_file_is_one_line(
    content: str | None, message: str, results: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert main(["diff", results[0], str(path)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
