"""MiniMalloc's CSV in and out, and what is refused of it, by row and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from einsum import WeirError
from sim.planner import tables
from sim.planner.problem import Buffer

GOOD = "id,lower,upper,size\nb1,0,3,4\nb2,3,9,4\n"


def file(folder: Path, text: str | bytes) -> Path:
    path = folder / "p.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_columns_come_in_any_order_with_alignment_and_gaps(tmp_path: Path) -> None:
    problem = tables.read(file(tmp_path, "size,gaps,id,upper,lower,alignment\n8,2-3 5-7,a,9,0,4\n4,,b,2,1,\n"), 99)
    assert problem.buffers == (Buffer("a", 8, ((0, 2), (3, 5), (7, 9)), 4), Buffer("b", 4, ((1, 2),)))
    assert problem.tiers[0].capacity == 99


def test_an_end_is_inclusive(tmp_path: Path) -> None:
    problem = tables.read(file(tmp_path, "buffer_id,start,end,size,gaps\r\na,0,8,1,2-3\r\n"))
    assert problem.buffers == (Buffer("a", 1, ((0, 2), (4, 9))),)


@pytest.mark.parametrize("text", [GOOD, GOOD.replace("\n", "\r\n"), "\ufeff" + GOOD, GOOD.replace("b1", "größe")])
def test_any_line_ends_a_byte_order_mark_and_any_letters_are_read(tmp_path: Path, text: str) -> None:
    plain = tables.read(file(tmp_path, GOOD)).buffers
    read = tables.read(file(tmp_path, text.encode())).buffers
    assert [(b.size, b.live) for b in read] == [(b.size, b.live) for b in plain]


@pytest.mark.parametrize("text", [GOOD, "id,lower,upper,size,alignment,gaps\na,0,9,8,4,2-3 5-7\nb,1,2,4,1,\n"])
def test_what_is_written_reads_back(tmp_path: Path, text: str) -> None:
    problem = tables.read(file(tmp_path, text))
    assert tables.written(problem) == text
    placed = tables.written(problem, {b.name: 16 for b in problem.buffers})
    assert placed.splitlines()[1].endswith(",16")
    assert tables.read(file(tmp_path, placed)).buffers == problem.buffers


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (GOOD + "b1,0,1,1\n", r"row 4 column id: 'b1' is the id of row 2 already"),
        (GOOD + "c,0,1,-1\n", r"row 4 column size: -1 is negative"),
        (GOOD + "c,5,5,1\n", r"row 4 column upper: the range \[5, 5\) is empty"),
        (GOOD + "c,5,2,1\n", r"row 4 column upper: .* reversed"),
        (GOOD + "c,x,2,1\n", r"row 4 column lower: 'x' is not a whole number"),
        (GOOD + "c,0,2,1.5\n", r"row 4 column size"),
        (GOOD + "c,0,2,inf\n", r"row 4 column size"),
        (GOOD + f"c,0,2,{10**19}\n", r"row 4 column size: .* at most 18 digits"),
        (GOOD + "c,0,2\n", r"row 4: 3 fields"),
        (GOOD + ",0,2,1\n", r"row 4 column id: empty"),
        ("id,lower,upper,size,alignment\na,0,1,1,0\n", r"row 2 column alignment: 0"),
        ("id,lower,upper,size,gaps\na,0,9,1,2-3 2-5\n", r"row 2 column gaps: 2-5"),
        ("id,lower,upper,size,gaps\na,0,9,1,0-9\n", r"row 2 column gaps: nothing"),
        ("id,lower,upper,size,gaps\na,0,9,1,2to3\n", r"row 2 column gaps: '2to3'"),
        ("id,lower,upper,size,gaps\na,0,9,1,2-3@0:1\n", r"row 2 column gaps: .* a part"),
        ("id,lower,size\n", r"row 1: no column 'upper'"),
        ("id,lower,upper,sise\n", r"row 1: unknown column 'sise'; did you mean 'size'\?"),
        ("id,buffer,lower,upper,size\n", r"row 1: two columns for id"),
        ("id,lower,upper,end,size\n", r"row 1: both upper"),
        ("id,lower,upper,size\n", r"no buffers"),
        ("", r"row 1: no column 'id'"),
        (b"\x00\x01\x02\n", r"row 1: holds a zero byte"),
        (b"id,lower\xff\xfe\n", r"row 1: not text"),
        (GOOD.encode() + b"caf\xe9,0,1,1\n", r"row 4: not text"),
        (GOOD.encode("utf-16"), r"row 1: not text"),
        (GOOD + f"c,0,2,{10**30}\n", r"row 4 column size: .* at most 18 digits"),
        (GOOD + "c,0,nan,1\n", r"row 4 column upper: 'nan'"),
        ('id,lower,upper,size\n"a,0,1,1\n', r"row 2"),
        ("id,lower,upper,size\n" + "x" * 200_000, r"row 2: longer than"),
    ],
)
def test_a_bad_table_is_refused_by_row_and_column(tmp_path: Path, text: str | bytes, why: str) -> None:
    with pytest.raises(WeirError, match=why) as refusal:
        tables.read(file(tmp_path, text))
    assert "\n" not in str(refusal.value)


def test_more_rows_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS", 1)
    with pytest.raises(WeirError, match="row 3: more than 1 buffers"):
        tables.read(file(tmp_path, GOOD))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeirError, match="no such buffers file"):
        tables.read(tmp_path / "none.csv")
