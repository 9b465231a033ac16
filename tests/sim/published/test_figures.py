from __future__ import annotations

from pathlib import Path

import pytest

from einsum import WeirError
from sim.published import Paper, paper, papers

HEAD = 'title = "A paper"\nsource = "arXiv 0000.00000"\nknown = "read"\n'
FIGURE = """
[[figure]]
id = "A-1"
quantity = "requests"
kind = "loads.requests"
given = { trace = "azure_conv" }
value = 19_366
unit = "requests"
within = 0
"""
TABLE = """
[[table]]
id = "A-2"
quantity = "mean prompt"
kind = "loads.mean_prompt"
axes = ["trace"]
unit = "tokens"
tolerance = 0.01
cells = [["azure_conv", 1154.7], ["azure_code", 2047.8]]
"""


def filed(tmp_path: Path, text: str) -> Paper:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return paper(path)


def test_a_file_of_figures_and_tables(tmp_path: Path) -> None:
    made = filed(tmp_path, HEAD + TABLE + FIGURE)
    assert (made.name, made.known) == ("mine", "read")
    assert [f.id for f in made.figures] == ["A-1", "A-2.1", "A-2.2"]
    one, two, _ = made.figures
    assert one.call() == 19_366
    assert two.quantity == "azure_conv: mean prompt"
    assert two.call.given == (("trace", "azure_conv"),)
    assert two.tolerance == pytest.approx(11.547)  # a fraction of the figure, in its unit


def test_the_shipped_papers_say_where_they_come_from() -> None:
    served = {"lamina", "moe_lens", "parameters", "step3", "test_time_scaling", "traces"}
    assert served | {"eyeriss", "fusemax", "scalesim", "sparseloop", "timeloop", "tpu_v1"} <= set(papers())
    for name in papers():
        made = paper(name)
        assert made.title
        assert made.source
        assert made.figures
        assert all(f.why for f in made.figures if f.expected in ("cannot", "unverified"))


def test_every_cell_of_step3_table_6_is_there() -> None:
    table = [f for f in paper("step3").figures if f.id.startswith("STP-1.")]
    assert len(table) == 9 * 6
    assert {f.tolerance for f in table} == {0.0015}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("unit =", "units ="), "figure.A-1.units: unknown key; did you mean 'unit'?"),
        (('unit = "requests"', ""), "figure.A-1.unit: is missing"),
        (('kind = "loads.requests"', 'kind = "load.requests"'), "unknown kind 'load.requests'; did you mean 'loads'?"),
        (("loads.requests", "loads.request"), "unknown kind 'loads.request'; did you mean 'requests'?"),
        (('kind = "loads.requests"', 'kind = "loads.shipped"'), "unknown kind 'loads.shipped'"),
        (("trace =", "tracer ="), "given.tracer: loads.requests takes no such argument; did you mean 'trace'?"),
        (('{ trace = "azure_conv" }', "{}"), "given.trace: is missing"),
        (('"azure_conv"', "7"), "given.trace: must be str, not 7"),
        (("19_366", "nan"), "figure.A-1.value: a finite number is needed"),
        (("19_366", '"many"'), "figure.A-1.value: a finite number is needed"),
        (("19_366", "9" * 400), "figure.A-1.value: a finite number is needed"),
        (("within = 0", "within = -1"), "give either 'tolerance' (a fraction) or 'within'"),
        (("within = 0", "within = 0\ntolerance = 0.1"), "give either 'tolerance' (a fraction) or 'within'"),
        (("within = 0", ""), "give either 'tolerance' (a fraction) or 'within'"),
        (("within = 0", 'within = 0\nrelation = "at mots"'), "unknown relation 'at mots'; did you mean 'at most'?"),
        (("within = 0", 'within = 0\nverdict = "hold"'), "unknown verdict 'hold'; did you mean 'holds'?"),
        (("within = 0", 'within = 0\nverdict = "cannot"'), "a figure that 'cannot' describes must say why"),
        (("[[figure]]", "[figure]"), "figure: is written [[figure]], once for each entry"),
        (('known = "read"', 'known = "reed"'), "unknown known 'reed'; did you mean 'read'?"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = (HEAD + FIGURE).replace(*change)
    with pytest.raises(WeirError) as error:
        filed(tmp_path, text)
    assert any(message in line and line.startswith("mine.toml") for line in str(error.value).splitlines())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('["azure_code", 2047.8]', '["azure_code"]'), "table.A-2.cells[2]: must be 1 of trace, and the figure"),
        (('axes = ["trace"]', ""), "'axes' and 'cells' are needed"),
        (
            ('axes = ["trace"]', 'axes = ["tracks"]'),
            "given.tracks: loads.mean_prompt takes no such argument; did you mean 'trace'?",
        ),
    ],
)
def test_a_mistake_in_a_table(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(WeirError) as error:
        filed(tmp_path, HEAD + TABLE.replace(*change))
    assert message in str(error.value)


def test_what_is_wrong_with_a_table_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(WeirError) as error:
        filed(tmp_path, HEAD + TABLE.replace('unit = "tokens"', ""))
    assert len(str(error.value).splitlines()) == 1


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = HEAD.replace("title", "titel") + FIGURE.replace("unit =", "units =") + TABLE.replace("cells", "cell")
    with pytest.raises(WeirError) as error:
        filed(tmp_path, text)
    for part in ("titel:", "units:", "cell:", "title: is missing"):
        assert part in str(error.value)


def test_an_id_twice_or_no_figures(tmp_path: Path) -> None:
    with pytest.raises(WeirError, match="id 'A-1' is given more than once"):
        filed(tmp_path, HEAD + FIGURE + FIGURE)
    with pytest.raises(WeirError, match="at least one"):
        filed(tmp_path, HEAD)


def test_an_unknown_paper() -> None:
    with pytest.raises(WeirError, match="unknown paper 'lamnia'; did you mean 'lamina'"):
        paper("lamnia")
    with pytest.raises(WeirError, match="no such figures file"):
        paper("nowhere.toml")
