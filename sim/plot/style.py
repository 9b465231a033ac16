"""What pictures share: colours, the Axes they are drawn on, the columns of a table and their labels.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), which people with any colour vision tell apart;
groups differ in their markers as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from einsum.errors import WeirError, hint

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
GREY = "#BBBBBB"
SPREAD = 30.0  # the largest value over the least above which an axis is logarithmic


def on(ax: Axes | None, size: tuple[float, float] | None = None) -> Axes:
    """The Axes given, or that of a new figure of a ``size`` in inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def fills() -> Iterator[tuple[str, str]]:
    """Colour and hatching of each group of bars in turn: each pair is another one for 64 groups."""
    return ((colour, hatch) for hatch in HATCHES for colour in COLOURS)


def styles() -> Iterator[tuple[str, str]]:
    """Colour and marker of each group in turn."""
    return cycle(zip(COLOURS, MARKERS, strict=True))


def tints() -> Any:
    """Light colours on which black text is read, as rows of red, green and blue: the palette without black, mixed with
    white twice."""
    from matplotlib.colors import to_rgb

    palette = np.array([to_rgb(colour) for colour in COLOURS if colour != "#000000"])
    return np.concatenate([1 - share * (1 - palette) for share in (0.6, 0.3)])


def measured(axis: Axis, unit: str) -> None:
    """Numbers along an axis in thousands and thousandths of their unit: ``20 MB``, ``5 ms``."""
    from matplotlib.ticker import EngFormatter

    axis.set_major_formatter(EngFormatter(unit))


def spread(axes: Axes, **columns: Any) -> None:
    """Make logarithmic each axis (``x=``, ``y=``) on which small values would lie on top of one another."""
    for axis, values in columns.items():
        least, most = float(np.min(values)), float(np.max(values))
        if least > 0 and most > SPREAD * least:
            axes.set(**{f"{axis}scale": "log"})


def rows(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """The rows with numbers in the columns to draw."""
    for name in names:
        if name not in frame.columns:
            raise WeirError(f"plot: no column {name!r}{hint(name, map(str, frame.columns))}")
    rows = frame.dropna(subset=list(names))
    if not len(rows):
        raise WeirError(f"plot: nothing to draw: no row has {' and '.join(names)} (does anything fit?)")
    return rows


def label(frame: pd.DataFrame, name: str) -> str:
    """A column's name for people, with its unit."""
    unit = frame.attrs.get("units", {}).get(name)
    words = name.replace("_", " ").replace("usd", "USD")
    return f"{words} ({unit})" if unit else words
