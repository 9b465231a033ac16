"""Files that a user names: everything that is not one is a line of text, and nothing waits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from einsum.errors import WeirError
from einsum.files import parse_toml, quoted, read_text


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    assert read_text(tmp_path / "a.toml", "device") == "a = 1\n"


def test_pipes_folders_and_loops_are_refused_without_opening_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    for path, message in (
        (tmp_path / "pipe.toml", "is a pipe or a device, not a device file"),
        (Path("/dev/zero"), "/dev/zero is a pipe or a device, not a device file"),
        (tmp_path, "is a folder, not a device file"),
        (tmp_path / "loop.toml", "loop.toml': Too many levels of symbolic links"),
        (tmp_path / "gone.toml", "no such device file: "),
        (tmp_path / ("x" * 5000), "File name too long"),
        (tmp_path / "a\0b", "embedded null"),
    ):
        with pytest.raises(WeirError) as error:
            read_text(path, "device")
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big.toml").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(WeirError, match=r"^big\.toml: larger than 1 MiB, which no device file is$"):
        read_text(tmp_path / "big.toml", "device")


def test_other_encodings_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"a\xff")
    with pytest.raises(WeirError, match=r"^a\.toml: not UTF-8 text \(byte 1\); is it compressed\?$"):
        read_text(tmp_path / "a.toml", "device")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (".".join(["a"] * 50_000) + " = 1", "x.toml:1:1: not valid TOML: a key of more than 32 parts"),
        ("[" + " . ".join(['"a b"'] * 50_000) + "]", "x.toml:1:1: not valid TOML: a key of more than 32 parts"),
        ("a = " + "[" * 100_000, "x.toml:1:1: not valid TOML: maximum recursion depth exceeded"),
        ("a = 1\na = 2", "x.toml:2:6: not valid TOML: Cannot overwrite a value"),
        ("a = " + "9" * 5000, "x.toml:1:1: not valid TOML: Exceeds the limit"),
    ],
    ids=["dots", "quoted", "deep", "twice", "digits"],
)
def test_toml_that_would_exhaust_its_reader(content: str, message: str) -> None:
    with pytest.raises(WeirError) as error:
        parse_toml(content, "x.toml")
    assert str(error.value).startswith(message)


def test_long_words_and_sentences_are_no_keys() -> None:
    said = "a. b. c. " * 5
    assert parse_toml(f'{"k" * 100_000} = 1\nb = "{"w" * 100_000}"\nc = "e.g. {said}"', "x.toml")["b"][0] == "w"


@given(st.text(st.characters(codec="utf-8")))
@example('a "quoted" \\ back\\slash\nand \r, \x00 and \x7f')
@example("1." * 40)
def test_any_text_is_a_string_of_one_line_and_read_back(text: str) -> None:
    line = f"x = {quoted(text)}"
    assert not {"\n", "\r"} & set(line)
    assert parse_toml(line, "x.toml") == {"x": text}


def test_bytes_of_a_name_that_are_no_text_are_shown() -> None:
    line = "x = " + quoted(os.fsdecode(b"a\xff"))
    assert parse_toml(line, "x.toml") == {"x": "a\\udcff"}
