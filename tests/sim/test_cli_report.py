"""``weir report``: the page written, what it says of its source, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.cli import main


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.csv"
    path.write_text("batch,seconds,usd_per_hour\n1,0.1,3\n2,0.2,2\n", encoding="utf-8")
    return path


def test_it_writes_the_page_and_says_so(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.html"
    argv = ["report", str(sweep), str(out), "--x", "batch", "--minimise", "seconds", "--maximise", "batch"]
    assert main([*argv, "--title", "A & B"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 2 rows, ")
    text = out.read_text(encoding="utf-8")
    for part in ("<title>A &amp; B</title>", "<dd>sweep.csv</dd>", "<dd>batch</dd>", '"unit":"USD/h"', " UTC</dd>"):
        assert part in text
    assert str(tmp_path) not in text  # where it lay is nobody's business


def test_the_same_table_gives_the_same_page(sweep: Path, tmp_path: Path) -> None:
    pages = []
    for name in ("one.html", "two.html"):
        assert main(["report", str(sweep), str(tmp_path / name)]) == 0
        pages.append((tmp_path / name).read_text(encoding="utf-8"))
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("out", "more", "message"),
    [
        ("sweep.csv", [], "is the table itself"),
        ("out.csv", [], "ends in .html"),
        ("none/out.html", [], "cannot write"),
        ("out.html", ["--x", "secnds"], "no column 'secnds'; did you mean 'seconds'?"),
        ("out.html", ["--minimise", "nonsense"], "no column 'nonsense'; known: batch"),
        ("out.html", ["--minimise", "batch", "--maximise", "batch"], "'batch' is named twice"),
    ],
)
def test_a_mistake_is_one_line_and_the_table_stays(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, more: list[str], message: str
) -> None:
    before = sweep.read_bytes()
    assert main(["report", str(sweep), str(tmp_path / out), *more]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert sweep.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["sweep.csv"]
