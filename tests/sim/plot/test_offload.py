"""Pictures of pipelines and placements show what they were given."""

from __future__ import annotations

import matplotlib as mpl
import pytest

from einsum import WeirError
from sim.arch import device
from sim.planner.flows import Stages, one_f_one_b
from sim.planner.policy import Load, place
from sim.planner.shape import hardware, shape
from sim.plot.offload import pipeline, placement
from workloads.transformer import model

mpl.use("Agg")


def test_a_bar_for_every_pass() -> None:
    made = one_f_one_b(Stages((1.0,) * 3, (2.0,) * 3), 4)
    ax = pipeline(made)
    bars = ax.patches
    assert len(bars) == 3 * 2 * 4
    assert max(bar.get_x() + bar.get_width() for bar in bars) == made.seconds  # type: ignore[attr-defined]
    assert ax.get_title() == "1F1B: 33.3% idle; most held 3, 2, 1"
    assert pipeline(made, ax) is ax
    with pytest.raises(WeirError, match="schedule fewer microbatches"):
        pipeline(one_f_one_b(Stages((1.0,) * 3, (2.0,) * 3), 1000))


def test_a_bar_for_every_class() -> None:
    found = place(shape(model("opt-30b"), 544), hardware(device("t4"), device("xeon_8380")), Load(512, 32), micro=16)
    ax = placement(found)
    widths = [bar.get_width() for bar in ax.patches]  # type: ignore[attr-defined]
    assert sum(widths) == pytest.approx(3)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["gpu", "host", "disk", "fetched"]  # type: ignore[union-attr]
