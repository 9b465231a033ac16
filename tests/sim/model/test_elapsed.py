from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mappings.text import parse
from sim.model.elapsed import elapsed

NEST = """
keep X in far
{how}
  A on array
  B on array
  C on lanes
"""
WORK = {"A": ("array", 4.0, 1.0), "B": ("array", 2.0, 1.0), "C": ("lanes", 5.0, 0.0)}


def seconds(how: str, **more: object) -> float:
    return float(elapsed(parse(NEST.format(how=how)), WORK, **more))  # type: ignore[arg-type]


def test_a_sequence_waits_for_a_wavefront_only_before_another_unit() -> None:
    assert seconds("sequence") == 4 + 2 + 1 + 5  # B follows A on the array; C waits until B's last wavefront is out


def test_the_last_wavefront_of_an_einsum_counts() -> None:
    assert elapsed(parse("A on array"), WORK) == 5


def test_a_pipeline_is_as_slow_as_its_slowest_stage_or_busiest_unit() -> None:
    assert seconds("pipeline") == 6  # A and B share the array
    slow = {**WORK, "C": ("lanes", 9.0, 0.5)}
    assert elapsed(parse(NEST.format(how="pipeline")), slow) == 9.5


def test_interleaving_hides_wavefronts() -> None:
    assert seconds("interleave") == 6
    assert elapsed(parse("interleave\n  A on array"), WORK) == 4


def test_levels_bound_what_uses_them() -> None:
    # Places: 1 the keep, 2 the branch, 3 to 5 the Einsums.
    assert seconds("interleave", traffic={1: {"far": 7.0}}) == 7
    assert seconds("interleave", traffic={3: {"far": 4.0}, 4: {"far": 4.0}}) == 8


def test_in_a_sequence_each_child_waits_for_its_own_traffic() -> None:
    assert seconds("sequence", traffic={5: {"far": 8.0}}) == 4 + 2 + 1 + 8
    assert seconds("sequence", traffic={5: {"far": 3.0}}) == seconds("sequence")


def test_waiting_for_fills_comes_on_top_of_work_but_not_of_traffic() -> None:
    assert seconds("interleave", waits={1: 2.0}) == 8
    assert seconds("interleave", waits={1: 2.0}, traffic={1: {"far": 9.0}}) == 9


def test_places_go_on_after_a_nested_branch() -> None:
    nest = parse("sequence\n  interleave\n    A on array\n    B on array\n  keep X in far\n  C on lanes")
    assert elapsed(nest, WORK, traffic={6: {"far": 20.0}}) == 6 + 20  # place 6 is C's


def test_many_points_at_once() -> None:
    work = {"A": ("array", np.array([1.0, 5.0]), 0.0), "B": ("array", 1.0, 0.0), "C": ("lanes", 3.0, 0.0)}
    assert elapsed(parse(NEST.format(how="interleave")), work).tolist() == [3, 6]


@given(st.lists(st.floats(0, 10), min_size=3, max_size=3), st.lists(st.floats(0, 3), min_size=3, max_size=3))
def test_the_looser_the_branch_the_sooner_it_ends(busy: list[float], skews: list[float]) -> None:
    units = ("array", "array", "lanes")
    work = {n: (u, b, s) for n, u, b, s in zip("ABC", units, busy, skews, strict=True)}
    sequence, pipeline, interleave = (
        elapsed(parse(NEST.format(how=how)), work) for how in ("sequence", "pipeline", "interleave")
    )
    assert interleave <= pipeline + 1e-12
    assert interleave <= sequence + 1e-12
    assert interleave >= max(busy[0] + busy[1], busy[2])
