"""``weir check``: the table, the verdict, and what is refused. Kernels here are plain functions; nothing compiles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from einsum import WeirError, parse
from sim.cli import main
from sim.numerics import check as module
from sim.numerics.check import SHAPES, Report, check
from sim.numerics.draw import KINDS, ROUND, Draw, Pair, Row, error, expected
from sim.numerics.locality import correlated


def doubled(off: float) -> Row:
    """A kernel that doubles, or nearly so."""

    def cases(d: Draw) -> Iterator[Pair]:
        t = {"A": d.values(d.m)}
        yield d.run(lambda a: 2 * a * a.dtype.type(1 + off), t["A"]), parse("Z[m] = A[m] + A[m]", m=d.m), t, "Z"

    return Row(cases)


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"good.double": doubled(0), "good.nearly": doubled(1e-7), "bad.double": doubled(0.01)}
    monkeypatch.setattr(module, "table", lambda: table)


def test_a_result_a_type_with_all_its_cases() -> None:
    report = check(["good.double"])
    assert [(r.kernel, r.dtype, r.cases) for r in report.results] == [
        ("good.double", name, len(SHAPES) * len(KINDS)) for name in ("float32", "float64")
    ]
    assert all(r.error == 0 and r.ok and r.seconds > 0 and r.interpreter_seconds > 0 for r in report.results)


def test_what_is_off_in_one_type_only_fails_there() -> None:
    assert [r.ok for r in check(["nearly"]).results] == [True, False]
    [single, double] = check(["bad"]).results
    assert not single.ok
    assert double.error == pytest.approx(0.01)
    assert double.tolerance == 1e-13


def test_names_are_kernels_families_or_last_parts() -> None:
    assert {r.kernel for r in check(["double"]).results} == {"good.double", "bad.double"}
    assert {r.kernel for r in check(["good"]).results} == {"good.double", "good.nearly"}
    assert len(check().results) == 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check(["goood"]), "check: no kernel or family 'goood'; did you mean 'good'?"),
        (lambda: check(threads=0), "check: threads is 0; it must be from 1 to 1024"),
        (lambda: check(seed=-1), "check: seed is -1; it must be from 0 to"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        call()
    assert message in str(caught.value)


def test_a_report_prints_sums_up_and_becomes_a_table() -> None:
    report = check()
    text = str(report)
    assert "3 kernels: 3 results exceed their tolerance" in text
    assert text.count("EXCEEDS") == 3
    assert max(map(len, text.splitlines())) <= 110
    assert str(Report(report.results[:1], 1, 0)).endswith("1 kernel: all agree")
    assert report.frame()["ok"].tolist() == [True, True, True, False, False, False]
    summary = report.summary()
    assert (summary["schema"], summary["ok"], summary["threads"]) == ("weir.check/1", False, 1)
    assert json.loads(json.dumps(summary)) == summary


def test_progress_is_told() -> None:
    steps: list[tuple[int, int]] = []
    check(["good"], progress=lambda done, total: steps.append((done, total)))
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_the_command_exits_by_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "good.double", "--seed", "3"]) == 0
    assert "1 kernel: all agree" in capsys.readouterr().out
    assert main(["check", "bad", "--threads", "2", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [r["ok"] for r in printed["results"]] == [False, False]
    assert main(["check", "bda"]) == 2
    assert capsys.readouterr().err == "weir: check: no kernel or family 'bda'; did you mean 'bad'?\n"
    assert main(["check", "--threads", "none"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_threads_are_passed_to_kernels_that_take_them() -> None:
    def kernel(a: Any, *, threads: int) -> Any:
        return a + threads

    draw = Draw(np.random.default_rng(0), np.float64, *SHAPES[0], threads=3)
    assert draw.run(kernel, 1) == 4
    assert draw.run(lambda a: a, 1) == 1
    assert draw.clock.seconds > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kinds_of_numbers(kind: str, dtype: Any) -> None:
    draw = Draw(np.random.default_rng(0), dtype, 1, 2, 1, 3, 40, 8, kind)
    tensors = draw.heads()
    assert {a.dtype for a in tensors.values()} == {np.dtype(dtype)}
    scores = tensors["Q"].astype(np.float64) @ tensors["K"].astype(np.float64).swapaxes(2, 3)
    if kind in ROUND:  # exact in either type, so that ties are ties
        np.testing.assert_array_equal(tensors["Q"] @ tensors["K"].swapaxes(2, 3), scores)
    if kind == "huge":
        assert abs(scores).max() > 1e4
    if kind == "tiny":
        assert 0 < abs(scores).max() < np.finfo(dtype).tiny


def test_the_error_of_a_result() -> None:
    wanted = np.array([3.0, 4.0])
    assert error(np.array([3.0, 4.5]), wanted) == pytest.approx(0.1)
    assert error(np.array([np.nan, 4.0]), np.array([np.nan, 4.0])) == 0
    assert error(np.array([np.nan, 4.0]), wanted) == np.inf
    assert error(wanted, np.array([np.nan, 4.0])) == np.inf
    assert error(np.array([np.inf]), np.array([-np.inf])) == np.inf
    assert error(wanted, np.array([3.0])) == np.inf
    assert error(np.zeros(2), np.zeros(2)) == 0
    assert error(np.zeros(1, np.float32), np.array([1e-42])) < 1e-6  # below what float32 resolves
    assert error(np.array([1, 2]), np.array([1.0, 2.0])) == 0


def test_a_reference_may_stand_for_a_cascade() -> None:
    assert expected((None, lambda t: {"Z": t["A"] + 1}, {"A": 1}, "Z")) == 2


@pytest.mark.parametrize("locality", [0.0, 0.5, 1.0])
def test_neighbours_share_the_stated_part_of_their_variance(locality: float) -> None:
    keys = correlated(np.random.default_rng(0), 2, 4096, 16, block=4, locality=locality)
    assert keys.var() == pytest.approx(1, rel=0.05)
    inside, across = (
        (keys[:, i::4][:, :1023] * keys[:, j::4][:, s:][:, :1023]).mean() for i, j, s in ((0, 1, 0), (3, 0, 1))
    )
    assert inside == pytest.approx(locality, abs=0.05)
    assert across == pytest.approx(0, abs=0.05)
    assert correlated(np.random.default_rng(0), 7, 2, block=4, locality=locality).shape == (7, 2)
