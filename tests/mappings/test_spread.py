"""A layout written out as a nest over pools, and read back."""

from __future__ import annotations

import pytest

from einsum import WeirError, parse
from mappings.layout import Layout, Place
from mappings.spread import Sharded, expand
from mappings.text import parse as read
from mappings.tree import Spatial

CASCADE = parse("W[d, f]: weight\nF[b, f] = X[b, d] * W[d, f]\nH[b, f] = silu(F[b, f])", b=8, d=4, f=6)
LAYOUT = Layout((Place("model", 4, (Spatial("b", 2), Spatial("f", 2))),))


def test_a_layout_is_a_nest_that_reads_back() -> None:
    nest = expand(CASCADE, LAYOUT)
    assert read(str(nest)) == nest
    head = ["sequence", "  spatial b ways 2 over model", "    spatial f ways 2 over model"]
    assert str(nest).splitlines()[:3] == head


def test_the_model_reads_groups_pools_and_divisions_off_the_nest() -> None:
    sharded = Sharded(CASCADE, expand(CASCADE, LAYOUT))
    assert [[e.name for e in group] for group in sharded.groups] == [["F"], ["H"]]
    assert sharded.pools == {"F": "model", "H": "model"}
    assert sharded.ways(CASCADE.einsum("F")) == {"b": 2, "f": 2}


def test_fused_einsums_stand_side_by_side() -> None:
    chain = parse("B[m] = exp(A[m])\nC[m] = square(B[m])", m=4)
    nest = expand(chain, Layout((Place("model", 1),)))
    assert str(nest) == "sequence\n  interleave\n    B on model\n    C on model"


def test_loops_in_time_do_not_divide_devices() -> None:
    with pytest.raises(WeirError, match="over pools, ranks are divided by ways"):
        Sharded(CASCADE, read("for b tile 2\n  sequence\n    F on model\n    H on model")).ways(CASCADE.einsum("F"))
