"""Every kernel on NaN and infinities in each of its arrays: they come out where its cascade has them, and nowhere else.

Run by ``test_running.py`` in a process of its own, uncompiled, as ``refusals.py`` is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from sim.numerics.draw import Draw, error, expected
from sim.numerics.rows import table
from workloads.kernels import editing, experts

TABLE = table()
ARRAYS = 20  # more arrays of drawn numbers than any row has


@dataclass(frozen=True, slots=True)
class Poisoned(Draw):
    """A draw in which one place, or every place, of the ``array``-th array of numbers is ``bad``."""

    bad: float = np.nan
    array: int = 0
    everywhere: bool = False
    drawn: list[int] = field(default_factory=list)

    def normal(self, *shape: int) -> Any:
        values = Draw.normal(self, *shape)
        if len(self.drawn) == self.array and values.size:
            values[... if self.everywhere else np.unravel_index(values.size // 2, shape)] = self.bad
        self.drawn.append(len(shape))
        return values


# Where infinities end up is a matter of the order of operations, which these kernels share with no cascade.
OWN_ORDER = {
    "editing.emmet": "solves its systems",
    "exact.two_pass": "a block of keys that are all masked weighs nothing; the cascade's is exp(-inf - -inf)",
    "exact.one_pass": "as two_pass",
    "exact.mla_absorbed": "one of its cascades projects keys and values, not queries and outputs",
    "gates.gshard": "renormalises over the chosen without a sum over all",
    "gates.x_moe": "chooses by cosine, not by softmax",
    "split.decode_split": "as two_pass",
    "linear.lightning": "decays by blocks",
    "lookup.t_mac_int8": "scales tables to eight bits",
    "lookup.two_bit": "scales sums, not weights",
    "qmoe.matvec": "scales sums, not weights",
    "split.partial": "keys that are all masked are none: -inf, zero, zero",
    "split.merge": "as partial",
    "vocabulary.cross_entropy": "as two_pass",
    "vocabulary.vocabulary_parallel": "as two_pass",
}
# Cascades multiply a token that an expert has no room for by zero, which does not stop a NaN; kernels leave it out.
DROPS = ("experts.dispatch", "experts.combine")
WHOLE = ("lookup.pack_two_bit", "qmoe.encode", "qmoe.decode")  # take whole numbers only
CHOICES = (
    *WHOLE,
    "lookup.pack",
    "selection.top_k",
    "selection.nearest",
    "spgemm.symbolic",
    "vocabulary.sort_vocabulary",
)


@np.errstate(all="ignore")
def poisoned(kernel: str, bad: float, everywhere: bool) -> int:
    """Compare a kernel with its cascade, each array poisoned in turn; returns how many results were not finite."""
    row, spoilt = TABLE[kernel], 0
    for array in range(ARRAYS):
        sizes = {"b": 1, "h": 2, "r": 2, "p": 2, "m": 7, "e": 1 if everywhere else 3, "kind": row.kinds[0]}
        draw = Poisoned(np.random.default_rng(0), np.float64, **sizes, bad=bad, array=array, everywhere=everywhere)
        for pair in row.cases(draw):
            wanted = expected(pair)
            assert error(pair[0], wanted) <= row.tolerance(np.float64), f"array {array}"
            spoilt += not np.isfinite(wanted).all()
        if array >= len(draw.drawn):
            break
        assert array < ARRAYS - 1
    return spoilt


@pytest.mark.parametrize("kernel", [kernel for kernel in TABLE if kernel not in (*DROPS, "editing.emmet")])
def test_nan_comes_out_where_the_cascade_has_it(kernel: str) -> None:
    spoilt = sum(poisoned(kernel, np.nan, everywhere) for everywhere in (False, True))
    assert bool(spoilt) == (kernel not in CHOICES)


@pytest.mark.parametrize(("bad", "everywhere"), [(np.inf, False), (-np.inf, False), (-np.inf, True)])
@pytest.mark.parametrize("kernel", [kernel for kernel in TABLE if kernel not in (*DROPS, *WHOLE, *OWN_ORDER)])
def test_infinities_come_out_where_the_cascade_has_them(kernel: str, bad: float, everywhere: bool) -> None:
    """In every place of the keys they mask whole rows."""
    poisoned(kernel, bad, everywhere)


def test_dropped_tokens_do_not_spoil_others_and_a_matrix_that_is_not_a_number_is_refused() -> None:
    x, chosen = np.ones((1, 3, 2)), np.zeros((1, 3, 1), np.int64)
    x[0, 2] = np.nan
    taken, slots = experts.dispatch(x, chosen, count=1, capacity=2)
    assert np.isfinite(taken).all()
    made = experts.combine(taken, chosen, slots, np.array([[[1.0], [np.nan], [np.nan]]]))
    np.testing.assert_array_equal(made[0], [[1, 1], [np.nan, np.nan], [0, 0]])
    with pytest.raises(ValueError, match=r"^emmet: memory has shape .* expected symmetric and positive definite"):
        editing.emmet(np.ones((3, 2)), np.full((2, 2), np.nan), np.ones((2, 1)), np.ones((3, 1)))
