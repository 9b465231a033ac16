"""The memory map shows every stay where it is, and what is live at once."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("agg")

from matplotlib.collections import PolyCollection

from sim import plot


def test_rectangles_lie_at_their_times_and_addresses() -> None:
    ax = plot.memory_map([0, 2], [3, 4], [0, 16], [16, 8], ["a", "b"], capacity=32)
    [stays] = [c for c in ax.collections if isinstance(c, PolyCollection)]
    corners = [np.asarray(path.vertices)[:4].tolist() for path in stays.get_paths()]
    assert corners == [[[0, 0], [3, 0], [3, 16], [0, 16]], [[2, 16], [4, 16], [4, 24], [2, 24]]]
    assert [t.get_text() for t in ax.texts] == ["a", "b"]
    assert ax.get_ylim()[1] >= 32


def test_names_are_black_on_light() -> None:
    ax = plot.memory_map(np.arange(30), np.arange(30) + 1, np.zeros(30), np.ones(30), [str(i) for i in range(30)])
    [stays] = [c for c in ax.collections if isinstance(c, PolyCollection)]
    linear = (np.asarray(stays.get_facecolor())[:, :3] + 0.055) / 1.055
    luminance = (linear**2.4) @ [0.2126, 0.7152, 0.0722]  # WCAG 2, section 1.4.3: black on it has a contrast of
    assert ((luminance + 0.05) / 0.05 > 7).all()
    assert len({tuple(colour) for colour in stays.get_facecolor()[:14]}) == 14


@pytest.mark.parametrize(("unit", "label", "tick"), [("steps", "time (steps)", None), ("s", "time", "2 ms")])
def test_times_have_their_unit(unit: str, label: str, tick: str | None) -> None:
    ax = plot.memory_map([0], [1], [0], [2e6], unit=unit)
    assert ax.get_xlabel() == label
    assert ax.yaxis.get_major_formatter()(2e6) == "2 MB"
    assert tick is None or ax.xaxis.get_major_formatter()(2e-3) == tick


def test_the_line_is_what_is_live() -> None:
    ax = plot.memory_map([0, 2], [3, 4], [0, 16], [16, 8])
    assert np.asarray(ax.lines[0].get_ydata()).tolist() == [16, 24, 8, 0]


@pytest.mark.parametrize("live", [True, False])
def test_nothing_is_drawn_of_nothing(live: bool) -> None:
    assert not plot.memory_map([], [], [], [], live=live).lines
