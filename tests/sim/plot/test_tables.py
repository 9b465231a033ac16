"""Pictures of tables and answers: what is on the axes, in which units, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex

import sim
from einsum import WeirError
from sim import plot
from sim.serving.sensitivity import Sensitivity


@pytest.fixture(autouse=True)
def _agg() -> Iterator[None]:
    """No window is opened, and none stays open."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def hangs(parameter: str, elasticity: float) -> Sensitivity:
    """A parameter by its elasticity."""
    return Sensitivity(parameter, 0.0, 1.1**elasticity - 1)


def table() -> pd.DataFrame:
    """Two axes of two values each; the last point does not fit."""
    frame = pd.DataFrame({"batch": [2, 2, 1, 1], "context": [8, 4, 4, 8], "seconds": [4.0, 3.0, 1.0, np.nan]})
    frame.attrs["units"] = {"batch": "requests", "context": "tokens", "seconds": "s"}
    return frame


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_heat_map_has_a_cell_for_each_pair_in_order() -> None:
    ax = plot.heat_map(table(), "batch", "context", "seconds")
    [mesh] = [one for one in ax.collections if isinstance(one, QuadMesh)]
    values = np.ma.filled(np.ma.asarray(mesh.get_array()), np.nan).reshape(2, 2)
    np.testing.assert_array_equal(values, [[1, 3], [np.nan, 4]])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["4", "8"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("batch (requests)", "context (tokens)")
    assert ax.figure.axes[1].get_ylabel() == "seconds (s)"
    assert texts(ax) == ["1", "3", "does not fit", "4"]


def test_heat_map_of_pairs_that_rows_share_is_refused() -> None:
    twice = pd.concat([table(), table()])
    with pytest.raises(WeirError, match="4 rows share batch and context"):
        plot.heat_map(twice, "batch", "context", "seconds")


def test_heat_map_by_logarithm_wants_positive_values() -> None:
    frame = table()
    assert plot.heat_map(frame, "batch", "context", "seconds", log=True).collections
    frame["seconds"] = [0.0, 1, 2, 3]
    with pytest.raises(WeirError, match="no logarithm"):
        plot.heat_map(frame, "batch", "context", "seconds", log=True)


def test_stacked_bars_sum_to_the_rows() -> None:
    frame = pd.DataFrame({"on": ["a", "b"], "hbm": [1.0, 2.0], "link": [3.0, 5.0]})
    frame.attrs["units"] = {"hbm": "J", "link": "J"}
    ax = plot.stacked(frame, ["hbm", "link"], by="on")
    tops = [[bar.get_y() + bar.get_height() for bar in bars] for bars in ax.containers]
    assert tops == [[1, 2], [4, 7]]
    assert ax.get_ylabel() == "sum of parts (J)"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b"]
    assert ax.get_legend_handles_labels()[1] == ["hbm", "link"]


def test_stacked_bars_of_unlike_units_or_signs_are_refused() -> None:
    frame = pd.DataFrame({"hbm": [1.0], "usd": [-3.0]})
    frame.attrs["units"] = {"hbm": "J", "usd": "USD"}
    with pytest.raises(WeirError, match=r"unlike units \(J, USD\)"):
        plot.stacked(frame, ["hbm", "usd"])
    with pytest.raises(WeirError, match="'usd' is negative"):
        plot.stacked(frame, ["usd"])
    with pytest.raises(WeirError, match="at least one"):
        plot.stacked(frame, [])


def test_tornado_puts_the_largest_on_top_and_losses_to_the_left() -> None:
    found = [hangs("launch", -0.2), hangs("hbm.bandwidth", 0.9), hangs("idle", 0.0)]
    ax = plot.tornado(found)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["hbm.bandwidth", "launch"]
    widths = {bar.get_y() + 0.4: bar.get_width() for bars in ax.containers for bar in bars}
    assert widths == pytest.approx({0: 0.9, 1: -0.2})
    assert ax.yaxis_inverted()
    assert {to_hex(bar.get_facecolor()).upper() for bars in ax.containers for bar in bars} == set(plot.COLOURS[:2])
    assert "%" in ax.get_xlabel()


def test_tornado_takes_an_answer_and_stops_after_the_most() -> None:
    answer = sim.serve("llama-3-8b", "1xh100", prompt=128, output=8, batch=4)
    ax = plot.tornado(answer, most=2)
    assert [t.get_text() for t in ax.get_yticklabels()] == [s.parameter for s in answer.sensitivities[:2]]


def test_tornado_of_nothing_is_refused() -> None:
    with pytest.raises(WeirError, match="no parameter has an effect"):
        plot.tornado([hangs("idle", 0.0)])


def test_each_draws_on_the_axes_it_is_given() -> None:
    import matplotlib.pyplot as plt

    first, second, third = plt.figure().subplots(1, 3)
    assert plot.heat_map(table(), "batch", "context", "seconds", first) is first
    assert plot.stacked(table(), ["seconds"], second) is second
    assert plot.tornado([hangs("x", 1.0)], third) is third
    assert len(plt.get_fignums()) == 1
