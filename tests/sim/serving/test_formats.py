from __future__ import annotations

from pathlib import Path

import pytest

from einsum.errors import WeirError
from sim.serving import formats, read

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ROW = "2023-11-16 18:15:46.6805900,374,44\n"
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n"
SPLITWISE = "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"

GOOD = {
    "azure": ("a.csv", AZURE + ROW + "2023-11-16 18:15:50.6805900,396,109\n", [0, 4], [374, 396], [44, 109]),
    "azure 2024 with a zone": (
        "a.csv",
        AZURE + "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01.009930+00:00,2399,6\n",
        [0, 1],
        [2162, 2399],
        [5, 6],
    ),
    "vidur, more columns": (
        "v.csv",
        "x,num_decode_tokens,arrived_at,num_prefill_tokens\n0,7,1.5,100\n1,8,2.0,200\n",
        [0, 0.5],
        [100, 200],
        [7, 8],
    ),
    "splitwise": ("s.csv", SPLITWISE + "0,2,0,0.5,1,10,3\n1,2,0,0.75,1,20,4\n", [0, 0.25], [10, 20], [3, 4]),
    "mooncake, milliseconds": (
        "m.jsonl",
        '{"timestamp": 500, "input_length": 6758, "output_length": 500, "hash_ids": [0]}\n\n'
        '{"timestamp": 3500, "input_length": 7322, "output_length": 490}\n',
        [0, 3],
        [6758, 7322],
        [500, 490],
    ),
    "byte order mark and carriage returns": (
        "b.csv",
        "\ufeff" + (VIDUR + "0,1,2\n").replace("\n", "\r\n"),
        [0],
        [1],
        [2],
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_each_format_reads_as_the_same_three_columns(tmp_path: Path, case: str) -> None:
    name, text, arrival, prompt, output = GOOD[case]
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    trace = read(tmp_path / name)
    assert trace.arrival.tolist() == pytest.approx(arrival)
    assert trace.prompt.tolist() == prompt
    assert trace.output.tolist() == output
    assert trace.exact


def test_unsorted_arrivals_are_sorted_and_said(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text(VIDUR + "3,30,1\n1,10,2\n2,20,3\n")
    trace = read(tmp_path / "u.csv")
    assert trace.arrival.tolist() == [0, 1, 2]
    assert trace.prompt.tolist() == [10, 20, 30]
    assert trace.output.tolist() == [2, 3, 1]
    assert "sorted by arrival (the file is not)" in trace.source


BAD: dict[str, tuple[str, str | bytes, str]] = {
    "empty": ("x.csv", "", "x.csv line 1: the file is empty; a header such as TIMESTAMP,ContextTokens"),
    "empty json": ("x.jsonl", "\n", "x.jsonl: the file is empty; one JSON object a line is expected"),
    "header only": ("x.csv", AZURE, "x.csv: the trace holds no request"),
    "misspelt column": (
        "x.csv",
        "TIMESTAMP,ContextTokens,GeneratdTokens\n" + ROW,
        "x.csv line 1: no column 'GeneratedTokens'; is 'GeneratdTokens' meant?",
    ),
    "other columns": (
        "x.csv",
        "a,b,c\n1,2,3\n",
        "known formats: Azure: TIMESTAMP, ContextTokens, GeneratedTokens; Vidur",
    ),
    "column twice": (
        "x.csv",
        "arrived_at,arrived_at,num_prefill_tokens,num_decode_tokens\n",
        "Vidur format appears twice",
    ),
    "missing field": (
        "x.csv",
        AZURE + ROW + "2023-11-16 18:15:47,374\n",
        "x.csv line 3: 2 fields where the header has 3",
    ),
    "not a number": ("x.csv", AZURE + "2023-11-16,many,44\n", "x.csv line 2: ContextTokens is 'many', not a number"),
    "not a date": ("x.csv", AZURE + "yesterday,1,44\n", "line 2: TIMESTAMP is 'yesterday', not a date such as"),
    "zone now and then": ("x.csv", AZURE + ROW + "2023-11-16 19:00:00+00:00,1,2\n", "disagree on having a time zone"),
    "nan": ("x.csv", VIDUR + "nan,10,10\n", "x.csv line 2: arrived_at is nan, not a finite number"),
    "infinite": ("x.csv", VIDUR + "1e999,10,10\n", "arrived_at is inf, not a finite number"),
    "negative tokens": ("x.csv", VIDUR + "0,-10,10\n", "num_prefill_tokens is -10; it cannot be negative"),
    "negative time": ("x.csv", VIDUR + "-1,10,10\n", "arrived_at is -1; it cannot be negative"),
    "no output": ("x.csv", VIDUR + "0,10,0\n", "num_decode_tokens is 0; a request has at least one token"),
    "half a token": ("x.csv", VIDUR + "0,10.5,3\n", "num_prefill_tokens is 10.5, not a whole number of tokens"),
    "absurd": ("x.csv", VIDUR + "0,10,99999999999\n", "over 10,000,000 tokens is not a request"),
    "batched": (
        "x.csv",
        SPLITWISE + "0,2,0,0.5,4,10,3\n",
        "batch_size is '4'; only single requests (1) are understood",
    ),
    "not utf-8": ("x.csv", b"\x1f\x8b\x08\xff", "x.csv: not UTF-8 text (byte 1); is it compressed?"),
    "not json": ("x.jsonl", "{timestamp: 1}\n", "x.jsonl line 1: not JSON; one object a line is expected"),
    "json list": ("x.jsonl", "[1, 2]\n", "x.jsonl line 1: a list where an object such as {...} is expected"),
    "json nested": ("x.jsonl", "[" * 100_000 + "\n", "x.jsonl line 1: not JSON"),
    "json field gone": (
        "x.jsonl",
        '{"timestamp": 0, "input_length": 1, "output_length": 1}\n{"timestamp": 0, "input_length": 1, "output": 1}\n',
        "x.jsonl line 2: no field 'output_length'; is 'output' meant?",
    ),
    "json truth": (
        "x.jsonl",
        '{"timestamp": 0, "input_length": true, "output_length": 1}\n',
        "input_length is True, not a",
    ),
    "json nan": (
        "x.jsonl",
        '{"timestamp": NaN, "input_length": 1, "output_length": 1}\n',
        "timestamp is nan, not a finite",
    ),
    "huge field": ("x.csv", VIDUR + "1" * 200_000 + ",1,1\n", "not CSV (field larger than field limit"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_file_is_refused_with_its_line(tmp_path: Path, case: str) -> None:
    name, text, message = BAD[case]
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(WeirError) as error:
        read(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_first_five_bad_rows_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(VIDUR + "0,1,1\n" + "0,0,1\n" * 8)
    with pytest.raises(WeirError) as error:
        read(tmp_path / "x.csv")
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [f"x.csv line {n}" for n in range(3, 8)] + ["x.csv"]
    assert lines[-1] == "x.csv: 3 more bad rows"


def test_missing_files_folders_and_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeirError, match=r"no such trace file: .*gone\.csv"):
        read(tmp_path / "gone.csv")
    with pytest.raises(WeirError, match="is a folder, not a trace file"):
        read(tmp_path)
    (tmp_path / "x.csv").write_text(VIDUR + "0,1,1\n" * 4)
    monkeypatch.setattr(formats, "MAX_ROWS", 3)
    with pytest.raises(WeirError, match="more than 3 requests; give a shorter piece of the trace"):
        read(tmp_path / "x.csv")
    monkeypatch.setattr(formats, "MAX_BYTES", 8)
    with pytest.raises(WeirError, match=r"x\.csv: larger than 0 KiB, which no trace file is"):
        read(tmp_path / "x.csv")
