from __future__ import annotations

from collections.abc import Callable

import pytest

from einsum.errors import WeirError
from sim.serving import Service

Machine = Callable[..., Service]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"capacity": float("nan")}, "service capacity is nan bytes; it must not be negative or NaN"),
        ({"capacity": -1.0}, "service capacity is -1.0 bytes"),
        ({"usd": -2.0}, "service price is -2.0 USD/h; it must be finite and not negative"),
        ({"usd": float("nan")}, "service price is nan USD/h"),
        ({"max_batch": 0}, "service max_batch is 0; at least one request must be allowed"),
    ],
)
def test_meaningless_numbers_are_refused(machine: Machine, bad: dict[str, float], message: str) -> None:
    with pytest.raises(WeirError) as error:
        machine(**bad)
    assert message in str(error.value)
