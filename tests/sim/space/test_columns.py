"""Tables as bytes: the same to the last bit when they come back."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from sim.space.columns import packed, unpacked

CELLS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5) | st.floats(allow_nan=False)


@given(st.lists(st.tuples(st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans(), CELLS), max_size=8))
def test_there_and_back(rows: list[tuple[float, int, bool, object]]) -> None:
    made = {
        "f": np.array([r[0] for r in rows], float),
        "i": np.array([r[1] for r in rows], np.int64),
        "b": np.array([r[2] for r in rows], bool),
        "o": pd.Series([r[3] for r in rows], dtype=object),
    }
    frame = pd.DataFrame(made, index=range(len(rows)))
    again = unpacked(packed(frame))
    assert again["f"].to_numpy().tobytes() == frame["f"].to_numpy().tobytes()
    assert again["i"].tolist() == frame["i"].tolist()
    assert again["b"].tolist() == frame["b"].tolist()
    assert [(type(v), v) for v in again["o"].tolist()] == [(type(v), v) for v in frame["o"].tolist()]


def test_what_is_kept_is_data_only() -> None:
    raw = zlib.decompress(packed(pd.DataFrame({"x": [1.5], "name": ["h100"]})))
    assert set(json.loads(raw)["columns"]) == {"x", "name"}
