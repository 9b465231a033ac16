"""Pictures: what is on the axes, in which units, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from einsum import WeirError, parse
from mappings import attention_arrays
from mappings.text import parse as read
from sim import plot
from sim.arch import device
from sim.model.estimate import estimate
from sim.model.spatial import MappedEstimate, evaluate
from sim.model.trace import timeline
from workloads import attention

MATMUL = parse("W[k, n]: weight\nZ[b, n] = A[b, k] * W[k, n]", name="matmul", b=1, k=4096, n=4096)


@pytest.fixture(autouse=True)
def _agg() -> Iterator[None]:
    """No window is opened, and none stays open."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def line(ax: Axes, label: str) -> Line2D:
    """The one line whose label begins so."""
    [found] = [one for one in ax.lines if str(one.get_label()).startswith(label)]
    return found


def table(**columns: list[float]) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    frame.attrs["units"] = {"seconds": "s", "usd_per_million_tokens": "USD/Mtoken"}
    return frame


def test_roofline_puts_a_kernel_at_its_intensity_under_the_roof() -> None:
    found = estimate(MATMUL, "h100", b=np.array([1.0, 64.0]))
    ax = plot.roofline(found)
    points = line(ax, "model: kernels")
    ops, size = 2 * 64 * 4096**2, 2 * (64 * 4096 * 2 + 4096**2)
    assert len(points.get_xdata()) == 2
    assert points.get_xdata()[1] == pytest.approx(ops / size)
    assert points.get_ydata()[1] == pytest.approx(ops / found.seconds[1])
    roof = line(ax, "h100_sxm: 989 Top/s")
    peak, slope = device("h100").rate("mac", "bf16"), device("h100").memory.rate
    assert roof.get_xdata()[1] == pytest.approx(peak / slope)
    assert (points.get_ydata() <= np.minimum(peak, slope * points.get_xdata())).all()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "op/B" in ax.get_xlabel()
    assert "op/s" in ax.get_ylabel()


def test_roofline_takes_a_step_as_well() -> None:
    ax = plot.roofline(estimate(MATMUL, "h100").step)
    assert len(line(ax, "model: kernels").get_xdata()) == 1


def test_roofline_of_nothing_is_refused() -> None:
    nothing = parse("Z[b] = 0", name="nothing", b=4)
    with pytest.raises(WeirError, match="nothing to draw"):
        plot.roofline(estimate(nothing, "h100"))


@pytest.mark.parametrize(("largest", "scale"), [(30.0, "linear"), (31.0, "log")])
def test_an_axis_is_logarithmic_where_small_values_would_fall_together(largest: float, scale: str) -> None:
    frame = table(batch=[1, 2, largest], usd_per_million_tokens=[9, 4, 5]).assign(on="h100")
    for ax in (plot.cost_curve(frame), plot.pareto(frame, "batch", "usd_per_million_tokens")):
        assert (ax.get_xscale(), ax.get_yscale()) == (scale, "linear")


def test_pareto_greys_what_is_dominated() -> None:
    frame = table(seconds=[1, 2, 3, 2], usd_per_million_tokens=[9, 4, 5, np.nan])
    ax = plot.pareto(frame, "seconds", "usd_per_million_tokens")
    assert line(ax, "dominated (1)").get_xdata().tolist() == [3]
    assert to_hex(line(ax, "dominated").get_color()) == plot.GREY.lower()
    assert line(ax, "Pareto front (2)").get_xdata().tolist() == [1, 2]
    assert ax.get_xlabel() == "seconds (s)"
    assert ax.get_ylabel() == "USD per million tokens (USD/Mtoken)"


def test_pareto_maximises_what_it_is_told_to() -> None:
    frame = table(seconds=[1, 2, 3], rate=[5, 4, 9])
    ax = plot.pareto(frame, "seconds", "rate", maximise="rate")
    assert line(ax, "Pareto front").get_xdata().tolist() == [1, 3]


def test_cost_curve_has_a_line_for_each_cluster_in_its_own_colour() -> None:
    frame = table(batch=[2, 1, 1, 2], usd_per_million_tokens=[3, 4, 8, np.nan]).assign(on=["a", "a", "b", "b"])
    ax = plot.cost_curve(frame)
    assert line(ax, "a").get_xdata().tolist() == [1, 2]
    assert line(ax, "a").get_ydata().tolist() == [4, 3]
    assert line(ax, "b").get_xdata().tolist() == [1]
    assert line(ax, "a").get_color() != line(ax, "b").get_color()
    assert line(ax, "a").get_marker() != line(ax, "b").get_marker()


def test_cost_curve_without_groups_is_one_line() -> None:
    ax = plot.cost_curve(table(batch=[1, 2], usd_per_million_tokens=[3, 4]), by=None)
    assert [len(one.get_xdata()) for one in ax.lines] == [2]
    assert ax.get_legend() is None


@pytest.fixture(scope="module")
def mapped() -> MappedEstimate:
    cascade = attention.one_pass(heads=2, query=512, context=1024, head_dim=64)
    return evaluate(cascade, attention_arrays.interleaved(block=512), device("fusemax_cloud"))


def heights(ax: Axes) -> list[float]:
    return [float(bar.get_height()) for container in ax.containers for bar in container]


def test_utilisation_is_in_percent_of_units_and_levels(mapped: MappedEstimate) -> None:
    ax = plot.utilisation(mapped)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["vector", "array", "dram"]
    shares = [mapped.utilisation("vector"), mapped.utilisation("array"), mapped.level_seconds["dram"] / mapped.seconds]
    assert heights(ax) == pytest.approx([100 * float(share) for share in shares])
    assert "%" in ax.get_ylabel()


def test_energy_is_stacked_to_the_whole(mapped: MappedEstimate) -> None:
    ax = plot.energy(mapped)
    assert sum(heights(ax)) == pytest.approx(float(mapped.joules))
    assert heights(ax) == sorted(heights(ax), reverse=True)
    assert "(J)" in ax.get_ylabel()
    assert len({to_hex(bar.get_facecolor()) for bars in ax.containers for bar in bars}) == len(heights(ax))


def test_energy_of_nothing_is_refused() -> None:
    free = parse("Z[m, n] = A[m, k] * B[k, n]", dtype="int8", m=2, n=2, k=2)
    made = evaluate(free, read("keep A, B, Z in dram\nZ on pe"), replace(device("eyeriss"), technology=None))
    with pytest.raises(WeirError, match="no component has an energy"):
        plot.energy(made)


def test_traffic_has_a_bar_for_each_level_and_kind(mapped: MappedEstimate) -> None:
    ax = plot.traffic(mapped)
    levels = [label.get_text() for label in ax.get_xticklabels()]
    assert levels == ["dram", "buffer", "registers"]
    kinds = ("reads", "fills", "updates", "drains")
    assert heights(ax) == [float(mapped.traffic(level, kind)) for kind in kinds for level in levels]
    assert "(B)" in ax.get_ylabel()
    assert ax.get_yscale() == "log"


def test_a_mapped_run_stands_under_the_roof_of_each_level(mapped: MappedEstimate) -> None:
    ax = plot.roofline(mapped)
    roofs = {str(one.get_label()).partition(":")[0]: one for one in ax.lines if ":" in str(one.get_label())}
    assert set(roofs) == {"dram", "array", "vector"}  # no other level has a bandwidth of its own
    [point] = [one for one in ax.lines if len(one.get_xdata()) == 1]
    [bytes_], [done] = point.get_xdata(), point.get_ydata()
    ops = mapped.operations("array") + mapped.operations("vector")
    assert bytes_ * float(mapped.traffic("dram")) == pytest.approx(done * float(mapped.seconds)) == pytest.approx(ops)
    assert done <= roofs["array"].get_ydata()[0]
    assert done <= bytes_ * mapped.device.memory.rate * 1.000001
    assert roofs["dram"].get_ydata()[-1] == pytest.approx(roofs["array"].get_ydata()[0])  # where the two meet


def test_the_operations_of_a_unit_are_those_of_its_einsums(mapped: MappedEstimate) -> None:
    both, each = 2 * 512 * 1024, 64  # heads, queries and keys; two products, two operations a point
    assert mapped.operations("array") == pytest.approx(both * (2 * 2 * each + 1 + 2 + 1))  # and max, sub, exp, sum
    assert mapped.peak("array") >= mapped.operations("array") / mapped.seconds


def test_a_sheet_has_all_pictures_or_the_reason_why_not(mapped: MappedEstimate) -> None:
    titles = [ax.get_title() for ax in plot.sheet(mapped, runs=10).axes]
    assert len(titles) == 5
    bare = evaluate(
        parse("Z[m, n] = A[m, k] * B[k, n]", dtype="int8", m=2, n=2, k=2), read("keep A, B, Z in dram\nZ on pe"),
        replace(device("eyeriss"), technology=None),
    )  # fmt: skip
    said = [text.get_text() for ax in plot.sheet(bare).axes for text in ax.texts]
    assert any("no component has an energy" in text for text in said)


def test_timeline_has_a_row_for_each_unit_and_level(mapped: MappedEstimate) -> None:
    ax = plot.timeline(mapped, runs=30)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(timeline(mapped, runs=30).lanes)
    assert ax.get_xlabel() == "time (us)"
    drawn = sum(len(one.get_paths()) for one in ax.collections)
    assert drawn == len(timeline(mapped, runs=30).events)
    labels = ax.get_legend_handles_labels()[1]
    assert len(labels) == len(set(labels))
    looks = {(tuple(one.get_facecolor()[0]), one.get_hatch(), one.get_label()) for one in ax.collections}
    assert len({look[:2] for look in looks if look[2] in labels}) == len(labels)
    assert all(tuple(one.get_edgecolor()[0]) == (1, 1, 1, 1) for one in ax.collections)  # hatching is seen on the face


def test_each_draws_on_the_axes_it_is_given() -> None:
    import matplotlib.pyplot as plt

    ax = plt.figure().subplots()
    frame = table(batch=[1, 2], usd_per_million_tokens=[3, 4])
    assert plot.cost_curve(frame, by=None, ax=ax) is ax
    assert plot.pareto(frame, "batch", "usd_per_million_tokens", ax) is ax
    assert plot.roofline(estimate(MATMUL, "h100"), ax) is ax
    assert len(plt.get_fignums()) == 1


def test_what_a_nest_does_is_drawn_on_the_axes_given(mapped: MappedEstimate) -> None:
    import matplotlib.pyplot as plt

    draws = (plot.utilisation, plot.energy, plot.traffic, plot.timeline)
    for draw, ax in zip(draws, plt.figure().subplots(1, 4), strict=True):
        assert draw(mapped, ax) is ax
    assert len(plt.get_fignums()) == 1


def test_colours_are_eight_and_distinct() -> None:
    assert len(set(plot.COLOURS)) == len(set(plot.MARKERS)) == 8


def test_columns_that_are_missing_or_empty_are_refused() -> None:
    frame = table(batch=[1], usd_per_million_tokens=[np.nan])
    with pytest.raises(WeirError, match="no column 'bach'; did you mean 'batch'"):
        plot.cost_curve(frame, "bach", by=None)
    with pytest.raises(WeirError, match="nothing to draw: no row has batch and usd_per_million_tokens"):
        plot.cost_curve(frame, by=None)
    with pytest.raises(WeirError, match="'on' is not an axis of the picture"):
        plot.pareto(frame, "batch", "usd_per_million_tokens", maximise="on")
