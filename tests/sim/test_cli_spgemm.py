"""``weir spgemm`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.cli import main

MATRIX = "rmat:scale=8,draws=2000"


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(["spgemm", *argv]) == code
    out, err = capsys.readouterr()
    if code:
        assert out == ""
        assert len(err.splitlines()) == 1
        return err
    assert err == ""
    return out


def test_all_dataflows_and_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, MATRIX, "--on", "piuma_core")
    for name in ("piuma_inner", "piuma_outer", "piuma_row", "smash_v1", "smash_v2", "smash_v3"):
        assert name in out
    assert "best: " in out
    assert "unverified of piuma_core: dram.bandwidth" in out
    assert "assumed in" in out


def test_json_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, MATRIX, "--on", "piuma_die", "--dataflow", "piuma_row", "--json"))
    assert found["schema"] == "weir.spgemm/1"
    [row] = found["rows"]
    assert row["mapping"] == found["best"] == "piuma_row"
    assert row["bytes"] == pytest.approx(sum(row["tensors"].values()))
    lines = said(capsys, MATRIX, "--on", "gamma", "--count", "sampled", "--csv").splitlines()
    assert lines[0].startswith("mapping,device,matrix,seconds")
    assert "sampled" in lines[1]


def test_a_file_times_another_and_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.mtx"
    path.write_text("%%MatrixMarket matrix coordinate real general\n2 3 3\n1 1 1\n1 3 2\n2 2 1\n")
    out = said(capsys, str(path), "uniform:n=3,density=1", "--on", "gamma", "--plot", str(tmp_path / "p.svg"))
    assert "2 x 3, 3 and\n  9 entries, 9 multiplications, 6 entries" in out.replace("3 and 9", "3 and\n  9")
    assert (tmp_path / "p.svg").read_text().startswith("<?xml")
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".svg"] == ["p.svg"]


@pytest.mark.parametrize(
    ("workload", "more", "shown"),
    [
        ("spmv", (), "piuma_spmv"),
        ("spmm", ("--size", "n=8"), "piuma_spmm_dma"),
        ("triangles", (), "piuma_triangles"),
        ("bfs", ("--source", "5"), "runs in turn"),
        ("gcn", ("--size", "f=8", "--size", "g=4"), "piuma_gcn"),
    ],
)
def test_what_uses_a_product(
    capsys: pytest.CaptureFixture[str], workload: str, more: tuple[str, ...], shown: str, tmp_path: Path
) -> None:
    argv = (MATRIX, "--on", "piuma_die", "--workload", workload, *more)
    assert shown in said(capsys, *argv, "--plot", str(tmp_path / "p.png"))
    assert (tmp_path / "p.png").stat().st_size > 10_000
    found = json.loads(said(capsys, *argv, "--json"))
    assert found["workload"] == workload
    assert found["rows"][0]["bytes"] == pytest.approx(sum(found["rows"][0]["tensors"].values()))


def test_a_mapping_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from mappings.sparse import FOLDER

    mine = tmp_path / "mine.toml"
    mine.write_text((FOLDER / "piuma_row.toml").read_text().replace("for m tile 64", "for m tile 32"))
    assert "mine" in said(capsys, MATRIX, "--on", "piuma_core", "--dataflow", str(mine))


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        ((MATRIX, "--on", "piuma_dye"), 2, "unknown device 'piuma_dye'; did you mean 'piuma_die'?"),
        ((MATRIX, "--on", "gamma", "--dataflow", "gama"), 2, "unknown dataflow 'gama'; did you mean 'gamma'?"),
        (
            (MATRIX, "--on", "gamma", "--dataflow", "smash_v1"),
            2,
            "smash_v1 needs spad, registers, mtp, which gamma lacks",
        ),
        (
            (MATRIX, "--on", "h100"),
            2,
            "no mapping of spgemm that comes with weir runs on it; they do on cpu_64b, extensor, ",
        ),
        ((MATRIX, "--on", "gamma", "--count", "guess"), 2, "unknown way to count 'guess'"),
        ((MATRIX, "--on", "gamma", "--plot", "x.txt"), 2, "must end in .png, .pdf or .svg"),
        ((MATRIX, "--on", "gamma", "--set", "dram.bandwith=3GB/s"), 2, "did you mean 'dram.bandwidth'"),
        (("no.mtx", "--on", "gamma"), 2, "no such matrix file"),
        ((MATRIX, "--on", "gamma", "--workload", "spmw"), 2, "unknown workload 'spmw'; did you mean 'spmv'"),
        ((MATRIX, "--on", "gamma", "--workload", "spmm"), 2, "give its size, as n=64"),
        ((MATRIX, "--on", "gamma", "--workload", "spmm", "--size", "n=x"), 2, "--size: n is 'x', expected a whole"),
        ((MATRIX, "--on", "gamma", "--workload", "spmv", "--size", "n=3"), 2, "no rank 'n'"),
        ((MATRIX, MATRIX, "--on", "gamma", "--workload", "spmv"), 2, "spmv has one sparse matrix"),
        ((MATRIX, "--on", "gamma", "--dataflow", "gamma_spmv"), 2, "gamma_spmv computes spmv, not spgemm"),
        ((MATRIX, "--on", "piuma_core", "--workload", "bfs", "--source", "999"), 2, "source 999 is no node"),
        (("rmatt:scale=3", "--on", "gamma"), 2, "unknown generator 'rmatt'"),
        ((MATRIX, "uniform:n=3,density=1", "--on", "gamma"), 2, "A is 256 x 256, B 3 x 3: they do not meet"),
        ((MATRIX, "--on", "piuma_core", "--dataflow", "smash_v1", "--set", "spad.capacity=512B"), 3, "a table in spad"),
    ],
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], code: int, message: str
) -> None:
    assert message in said(capsys, *argv, code=code)
