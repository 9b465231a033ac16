"""Manifests: what is noted, and how two of them and their figures are told apart."""

from __future__ import annotations

from pathlib import Path

from einsum.files import inputs, read_text
from sim.manifest import Made, changed, counted, differing, key, manifest, noting

NONE = frozenset[str]()


def test_a_command_notes_its_arguments_while_it_runs() -> None:
    command = noting("estimate", lambda **_: manifest(Made("cbc", 0.25, ("seconds",)), "save"))
    told = command(model="m", on=("a", "b"), seed=7, json=True, save="x.json", store="s.db")
    assert told["command"] == "estimate"
    assert told["arguments"] == {"model": "m", "on": ["a", "b"], "seed": 7}  # where and how it is shown is left out
    assert (told["seed"], told["times"], told["output"]) == (7, ["seconds"], "save")
    assert told["solver"]["name"].startswith("cbc (pulp ")
    assert told["solver"]["gap"] == 0.25
    assert told["key"] == key(told)
    assert manifest()["command"] == ""


def test_alike_questions_have_alike_keys() -> None:
    def asked(**arguments: object) -> str:
        return str(noting("c", lambda **_: manifest()["key"])(**arguments))

    assert asked(a=1, b=2) == asked(b=2, a=1) == asked(a=1, b=2, plot="x.png")
    assert asked(a=1, b=2) != asked(a=1, b=3)


def test_files_are_known_by_what_was_in_them(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in "abc")
    for path, text in ((one, "x"), (same, "x"), (other, "y")):
        path.write_text(text)
        read_text(path, "test")
    held = inputs()
    assert held[str(one)] == held[str(same)] != held[str(other)]
    other.write_text("changed since")
    assert inputs()[str(other)] == ""  # what was read is no longer there to be known


def test_figures_differ_by_their_last_bit_and_by_kind() -> None:
    before = {"a": 1.0, "b": {"c": [1, 2.0, "x"]}, "d": None}
    assert list(differing(before, {"a": 1.0, "b": {"c": [1, 2.0, "x"]}, "d": None}, NONE)) == []
    now = {"a": 1.0000000000000002, "b": {"c": [1.0, 2.0, "y"]}, "e": 3}
    assert list(differing(before, now, NONE)) == [
        ("a", 1.0, 1.0000000000000002), ("b.c[0]", 1, 1.0), ("b.c[2]", "x", "y"), ("e", None, 3),
    ]  # fmt: skip
    assert list(differing({"x": [1, 2]}, {"x": [1]}, NONE)) == [("x", [1, 2], [1])]


def test_times_and_the_manifest_are_passed_over_where_they_stand() -> None:
    before = {"seconds": 1, "rows": [{"seconds": 1, "n": 1}], "manifest": {"key": 1}}
    now = {"seconds": 2, "rows": [{"seconds": 2, "n": 1}], "manifest": {"key": 2}}
    assert [name for name, _, _ in differing(before, now, frozenset({"rows.seconds"}))] == ["seconds"]
    assert list(differing(before, now, frozenset({"seconds", "rows.seconds"}))) == []
    assert counted(now, frozenset({"seconds"})) == 2


def test_what_changed_is_a_sentence_each() -> None:
    told = manifest()
    assert list(changed(told, told)) == []
    other = told | {"seed": 1, "data": {"gone.toml": "1"}, "solver": {"name": "highs (highspy 1)", "gap": 0.5}}
    said = list(changed(other | {"key": key(other)}, told))
    assert said[:2] == ["gone.toml was read then and is not now", "seed was 1, is 0"]
    assert said[2:] == [
        "the solver was highs (highspy 1), is None",
        "the search ended with a gap of 50.00%: how far it gets in its time depends on the machine",
    ]
    assert next(iter(changed({**told, "seed": 1}, told))) == (
        "the manifest is not as it was written: its key does not fit the rest"
    )
