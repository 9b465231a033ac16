"""Pictures of plans: what is on which axis."""

from collections.abc import Iterator

import matplotlib as mpl
import pytest

from sim.planner.curves import curve
from sim.planner.problem import Buffer, Problem, Task, Tier
from sim.planner.timeline import Step, timed
from sim.plot import plans

BUFFERS = (Buffer("x", 2**30), Buffer("y", 2**30), Buffer("z", 2**30))
TASKS = (Task("first 0", 1.0, ("x",), ("y",)), Task("second 0", 2.0, ("x", "y"), ("z",)))
PROBLEM = Problem("two", BUFFERS, (Tier("hbm", 3 * 2**30), Tier("host", 2**33, 2**30, 2**30)), TASKS, ("x",), ("z",))
PLAN = timed(PROBLEM, [Step("run", "first 0"), Step("out", "x", "host"), Step("run", "second 0")], "by hand")


@pytest.fixture(autouse=True)
def _agg() -> Iterator[None]:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_streams_are_rows_and_spans_are_seconds() -> None:
    ax = plans.streams(PROBLEM, PLAN)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["compute", "hbm to host"]
    widths = [path.get_extents().width for bars in ax.collections for path in bars.get_paths()]
    assert widths == pytest.approx([1.0, 2.0, 1.0])
    assert ax.get_xlabel() == "time"
    assert ax.xaxis.get_major_formatter()(0.5) == "500 ms"


def test_a_kind_has_one_look_in_all_rows_and_is_named_once() -> None:
    ax = plans.streams(PROBLEM, PLAN)
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["first", "second", "x"]
    assert len({bars.get_facecolor().tobytes() for bars in ax.collections}) == 3


def test_bytes_in_use_never_pass_the_capacity_line() -> None:
    ax = plans.resident(PROBLEM, PLAN)
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert max(lines["hbm"]) == 3 * 2**30
    assert max(lines["host"]) == 2**30
    assert lines["hbm capacity"][0] == 3 * 2**30
    assert ax.yaxis.get_major_formatter()(2e9) == "2 GB"


def test_overhead_is_drawn_in_percent() -> None:
    one = Problem("one", BUFFERS, (Tier("hbm"),), TASKS, ("x",), ("z",))
    table = curve(one, [3 * 2**30])
    ax = plans.overhead(table)
    assert ax.lines[0].get_xdata()[0] == 100.0
    assert ax.lines[0].get_ydata()[0] == 0.0
