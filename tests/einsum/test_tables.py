"""A file's problems: all at once, in its order, each with its line, column and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from einsum import WeirError
from einsum.tables import Table

TEXT = """title = 7
odd = 1
[[part]]
name = "a"
kind = "rond"
[[part]]
kinds = [1]
on = "yes"
[[part]]
name = "two words"
[rest]
"a.b" = 3
"""


def test_all_problems_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(TEXT)
    top = Table.read(tmp_path / "a.toml", "test", ("title", "part", "rest", "source"))
    rest = top.table("rest")
    rest.refuse("one\ntwo", "a.b")
    for part in top.tables("part", ("name", "kind", "kinds", "on")):
        part.text("name")
        part.texts("kinds")
        part.flag("on")
        if "kind" in part.raw:
            part.one_of("kind", ("round", "flat"))
    top.text("source")
    top.text("title")
    top.text("title")  # what is wrong twice is said once
    with pytest.raises(WeirError) as error:
        top.finish()
    assert str(error.value).split("\n") == [
        "a.toml:1:1: source: is missing",
        "a.toml:1:1: title: must be text, not 7",
        "a.toml:2:1: odd: unknown key; known: part, rest, source, title",
        "a.toml:5:1: part.a.kind: unknown kind 'rond'; did you mean 'round'?",
        "a.toml:6:1: part[2].name: is missing",
        "a.toml:7:1: part[2].kinds: must be a list of texts, not [1]",
        "a.toml:8:1: part[2].on: must be true or false, not 'yes'",
        "a.toml:12:1: rest.'a.b': one",
        "a.toml:12:1: rest.'a.b': two",
    ]


def test_a_file_without_problems(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('title = "a"\n')
    top = Table.read(tmp_path / "a.toml", "test")
    assert top.text("title") == "a"
    top.finish()


@pytest.mark.parametrize(
    ("text", "line", "place"),
    [
        ('x = """\na\nb c\n"""', 2, "3:1"),
        ("y = 1\nx = '''a\nb c\n'''", 2, "3:1"),
        ('x = "a"', 1, "1:1"),
        ('x = """a"""', 1, "1:8"),
    ],
)
def test_a_line_of_a_text_has_its_own_place(text: str, line: int, place: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    top = Table.read(tmp_path / "a.toml", "test")
    top.refuse_text("x", f"nest: line {line}: is odd\n  b c\n  ^", "nest")
    with pytest.raises(WeirError) as error:
        top.finish()
    assert str(error.value).startswith(f"a.toml:{place}")
    assert str(error.value).endswith(": x: is odd")


def test_long_and_odd_keys_do_not_spoil_the_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(f'"a\\nb" = 1\n{"k" * 500} = 2\n')
    with pytest.raises(WeirError) as error:
        Table.read(tmp_path / "a.toml", "test", ()).finish()
    one, two = str(error.value).split("\n")
    assert one == r"a.toml:1:1: 'a\nb': unknown key"
    assert len(two) < 100


def test_what_is_wrong_has_a_stand_in_and_reading_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('a = " "\nb = [1]\nc = 1\nd = {}\ne = [[1], {}]\nf = "x"\n')
    top = Table.read(tmp_path / "a.toml", "test")
    texts = [top.text("a", "x"), top.text("a"), top.text("z"), top.text("z", "y"), top.text("c")]
    assert texts == [" ", "", "", "y", ""]
    assert (top.texts("z"), top.texts("b"), top.texts("c")) == ((), (), ())
    assert (top.flag("z"), top.flag("c")) == (False, False)
    assert (top.tables("z", ()), top.tables("d", ())) == ([], [])
    assert [one.raw for one in top.tables("e", ())] == [{}, {}]
    assert (top.table("z").raw, top.table("c").raw) == ({}, {})
    assert (top.one_of("f", ("y",)), top.one_of("f", ("x",))) == ("x", "x")
    with pytest.raises(WeirError) as error:
        top.finish()
    assert str(error.value).split("\n") == [
        "a.toml:1:1: a: must be text, not ' '",
        "a.toml:1:1: z: is missing",
        "a.toml:2:1: b: must be a list of texts, not [1]",
        "a.toml:3:1: c: expected a table of keys and values",
        "a.toml:3:1: c: must be a list of texts, not 1",
        "a.toml:3:1: c: must be text, not 1",
        "a.toml:3:1: c: must be true or false, not 1",
        "a.toml:4:1: d: is written [[d]], once for each entry",
        "a.toml:5:6: e[1]: expected a table of keys and values",
        "a.toml:6:1: f: unknown f 'x'; known: y",
    ]
