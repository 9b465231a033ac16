"""Every command on the pages: the quick ones are run, page by page and in order; of the others the options are read."""

from __future__ import annotations

import gzip
import re
import shlex
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from scipy import io, sparse

from sim.cli import main
from sim.cli.app import commands

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.stem: path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
OTHERS = ("pip", "pytest", "python", ".ci/matrix")  # not weir's: the first two are .ci/run's, the rest take hours
SLOW = (  # more than some three seconds of a core, or what the other pages or test_docs run already; names begin so
    "weir check",
    "weir compare",
    "weir explain attention.one_pass",
    "weir map attention.one_pass query=4096 context=4096 head_dim=64 --on fusemax_cloud --save",
    "weir offload opt-30b",
    "weir pipeline --stages 8 --forward 11ms --backward 22ms --weights",
    "weir pipeline llama-2-7b",
    "weir plan llama-2-7b",
    "weir ranges",
    "weir rent",
    "weir spgemm rmat:scale=14",
    "weir spgemm uniform:n=4000",
    "weir explain product.json",
    "weir sweep attention.one_pass",
    "weir train opt-175b",
    "weir validate",
)


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page in a language."""
    every = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page].read_text(encoding="utf-8"), re.M | re.S)
    return [text for name, text in every if name == language]


def shown(page: str) -> Iterator[list[str]]:
    """The words of each command of a page, comments and variables left out."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in shlex.join(shlex.split(line, comments=True)).split("'&&'"):
                words = [word for word in shlex.split(part) if not re.match(r"[A-Z_]+=", word)]
                if words:
                    yield words


def redirected(words: list[str]) -> tuple[list[str], str]:
    """The arguments of a command, and the file that its output goes to."""
    before, _, after = "\0".join(words[1:]).partition("\0>\0")
    return before.split("\0"), after


def slow(words: list[str]) -> bool:
    return " ".join(words).startswith(SLOW)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the pages show or name, in the folder that commands are run in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "buffers.csv").write_text(blocks("planning", "csv")[0])
    (tmp_path / "net.json").write_text(blocks("planning_training", "json")[0])
    matrix = BytesIO()
    io.mmwrite(matrix, sparse.random_array((60, 60), density=0.05, rng=0))
    (tmp_path / "web.mtx.gz").write_bytes(gzip.compress(matrix.getvalue()))
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_every_option_is_one_of_its_command(page: str) -> None:
    """Commands are parsed, with what is asked for and what is left out, but not run."""
    known = commands().commands
    for words in shown(page):
        if words[0] == "weir":
            argv, _ = redirected(words)
            known[argv[0]].make_context(argv[0], argv[1:])
        else:
            assert words[0] in OTHERS


@pytest.mark.parametrize("page", [page for page in PAGES if any(w[0] == "weir" and not slow(w) for w in shown(page))])
def test_the_quick_ones_answer(page: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in shown(page):
        if words[0] != "weir" or slow(words):
            continue
        argv, target = redirected(words)
        code, printed = main(argv), capsys.readouterr()
        assert (code, printed.err) == (0, ""), shlex.join(words)
        if target:
            (folder / target).write_text(printed.out)


def test_no_block_without_a_language_holds_a_command() -> None:
    """Such a block is neither run nor copied."""
    assert [page for page in PAGES for block in blocks(page, "") if re.search(r"^weir \w+ ", block, re.M)] == []


def test_what_is_called_slow_is_on_a_page() -> None:
    every = [" ".join(words) for page in PAGES for words in shown(page)]
    assert [name for name in SLOW if not any(text.startswith(name) for text in every)] == []
