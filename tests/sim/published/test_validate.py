from __future__ import annotations

import re
from pathlib import Path

import pytest

import sim
from einsum import WeirError
from sim.published import Report, Row, papers, validate
from sim.published.shelf import FOLDER
from workloads.config import names


def rows(report: Report, paper: str) -> dict[str, Row]:
    return {row.id: row for row in report.rows if row.paper == paper}


def test_nothing_that_should_hold_fails(everything: Report) -> None:
    assert [f"{row.paper} {row.id}: {row.theirs} {row.ours}" for row in everything.rows if row.verdict == "fails"] == []
    assert everything.ok
    assert {row.paper for row in everything.rows} == set(papers())


@pytest.mark.parametrize(
    ("paper", "cannot", "inputs"),
    [
        ("flexgen", ["FLX-2", "FLX-3"], []),
        ("lamina", ["LAM-6a.1", "LAM-6a.2", "LAM-6a.3", "LAM-6a.4"], ["LAM-9.1", "LAM-9.2"]),
        ("memo", ["MEM-4", "MEM-5", "MEM-5b", "MEM-7b", "MEM-7c"], []),
        ("moe_lens", ["LENS-5", "LENS-5b", "LENS-6.1", "LENS-6.2"], []),
        ("moe_lightning", ["MLT-2b"], []),
        ("tpi_llm", ["TPI-5c.1", "TPI-5c.2", "TPI-5c.3"], []),
        ("parameters", ["PAR-1b", "PAR-5b"], []),
        ("step3", ["STP-5b.1", "STP-5b.2", "STP-7b.1", "STP-7b.2"], []),
        ("test_time_scaling", ["TTS-1c", "TTS-2c"], [f"TTS-{n}b.{k}" for n in (1, 2) for k in (1, 2, 3)]),
        ("traces", [], ["TRC-4", "TRC-5", "TRC-6"]),
    ],
)
def test_what_cannot_be_derived_is_named_with_its_reason(
    everything: Report, paper: str, cannot: list[str], inputs: list[str]
) -> None:
    found = rows(everything, paper)
    assert [row.id for row in found.values() if row.verdict == "cannot"] == cannot
    assert [row.id for row in found.values() if row.verdict == "input"] == inputs
    assert all(len(found[name].why) > 20 for name in cannot)


def test_only_counts_from_memory_are_unverified(everything: Report) -> None:
    unverified = [row for row in everything.rows if row.verdict == "unverified"]
    assert {row.paper for row in unverified} == {"megatron", "parameters", "smash", "technology"}
    assert all("from memory" in row.why for row in unverified)


def test_every_cell_of_step3_table_6_within_a_seventh_of_a_cent(everything: Report) -> None:
    cells = [row for row in rows(everything, "step3").values() if re.match(r"STP-1\.", row.id)]
    assert len(cells) == 54
    assert max(abs(row.ours - row.theirs) for row in cells) < 0.0012


def test_the_absorbed_cascade_averages_512_of_the_576_values(everything: Report) -> None:
    found = rows(everything, "step3")["STP-5b.2"]
    assert found.ours / found.theirs == pytest.approx(1088 / 1152, rel=2e-3)


def test_lamina_gains_need_a_slow_baseline(everything: Report) -> None:
    found = rows(everything, "lamina")
    assert found["LAM-6a.2"].ours < found["LAM-6b"].ours  # even the largest is below the least with overheads
    assert 16.1 < found["LAM-6b"].ours < found["LAM-6c"].ours < 90.1


def test_every_bundled_model_is_counted(everything: Report) -> None:
    counted = {row.quantity.partition(":")[0] for row in everything.rows if row.paper == "parameters"}
    assert counted == set(names())


def test_a_wrong_figure_does_not_pass(tmp_path: Path) -> None:
    text = (FOLDER / "traces.toml").read_text()
    copy = tmp_path / "traces.toml"
    copy.write_text(text)
    assert validate(copy).ok
    copy.write_text(text.replace('["azure_code", 8_819]', '["azure_code", 8_820]'))
    report = validate(copy)
    assert not report.ok
    assert [row.id for row in report.rows if row.verdict == "fails"] == ["TRC-1.2"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('["DSv3", "attention", "8k", "h20", 0.128]', '["DSv3", "attention", "8k", "h20", 0.131]'),
        ('["a800", "200 GB/s", 0.031]', '["a800", "200 GB/s", 0.033]'),
        ("[8192, 2693]", "[8192, 2700]"),
        ('["deepseek-v3", "linear", 8192, 2.28e10]', '["deepseek-v3", "linear", 8192, 2.32e10]'),
        ("Step-3 = { kv = 2.56e8,", "Step-3 = { kv = 2.96e8,"),  # one of the inputs
    ],
)
def test_a_wrong_cell_of_step3_does_not_pass(tmp_path: Path, before: str, after: str) -> None:
    text = (FOLDER / "step3.toml").read_text()
    assert before in text
    copy = tmp_path / "step3.toml"
    copy.write_text(text.replace(before, after))
    assert not validate(copy).ok


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('["DSv3", "ffn", "8k", "h20"', '["DSv4", "ffn", "8k", "h20"', "mine STP-1.6: inputs: no 'work.8k.DSv4"),
        ('"ffn", "8k", "h20", 0.036]', '"fnn", "8k", "h20", 0.036]', "unknown part 'fnn'; did you mean 'ffn'?"),
        ('["h800", 2.8e-19]', '["h801", 2.8e-19]', "unknown device 'h801'"),
        ("kv = 2.56e8", "kv = nan", "'work.8k.Step-3.kv' must be a number of zero or more, not nan"),
        ("kv = 2.56e8", "kv = -1", "'work.8k.Step-3.kv' must be a number of zero or more, not -1"),
        ('"hbm.bandwidth" = "2 TB/s"', '"hbm.bandwith" = "2 TB/s"', "did you mean"),
        ('"400 GB/s", 0.058', '"400 GB", 0.058', "has the wrong unit"),
    ],
)
def test_a_mistake_that_shows_when_asked_names_the_row(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = (FOLDER / "step3.toml").read_text()
    assert before in text
    copy = tmp_path / "mine.toml"
    copy.write_text(text.replace(before, after))
    with pytest.raises(WeirError) as error:
        validate(copy)
    assert message in str(error.value)
    assert str(error.value).startswith("mine STP-")


def test_progress_is_told_figure_by_figure() -> None:
    told: list[tuple[int, int]] = []
    report = validate("traces", progress=lambda done, total: told.append((done, total)))
    assert told == [(n + 1, len(report.rows)) for n in range(len(report.rows))]
    assert str(report).splitlines()[-1] == "9 rows: 6 holds, 3 input"


def test_an_unknown_paper_is_refused() -> None:
    with pytest.raises(WeirError, match="unknown paper 'step4'; did you mean 'step3'"):
        validate("step4")


def test_a_paper_like_none_is_answered_with_all_there_are() -> None:
    with pytest.raises(WeirError) as error:
        sim.validate("nopaper")
    assert str(error.value) == f"unknown paper 'nopaper'; known: {', '.join(papers())}"
