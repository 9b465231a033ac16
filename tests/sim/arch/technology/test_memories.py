from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.arch.technology import Technology

T45 = Technology(45)
KIB = 1024.0


def test_an_sram_by_hand() -> None:
    # 64 KiB has a side of 256: read 0.0414 x 256 + 0.00018337 x 64 x 256^1.1947 (= 753.52) pJ
    cell = T45.sram(64 * KIB, 64)
    assert cell.read == pytest.approx((10.5984 + 8.8430) * 1e-12, rel=1e-3)
    # write 0.02197 x 256 + 0.00134875 x 64 x 256^0.9397 (= 183.24) pJ
    assert cell.write == pytest.approx((5.6243 + 15.8173) * 1e-12, rel=1e-3)
    # area 0.388 x 524288 + 0.272 x 64 x 256 = 203424 + 4456 um^2
    assert cell.area == pytest.approx(207880e-12, rel=1e-4)
    assert cell.leakage == pytest.approx(2.9e-12 * 524288 + 732e-12 * 256)


def test_text_and_number_are_the_same_memory() -> None:
    assert T45.sram("64 KiB", 64) == T45.sram(65536, 64)


def test_a_second_port_grows_the_side_of_a_cell_by_its_share() -> None:
    one, two = T45.sram("64 KiB", 64), T45.sram("64 KiB", 64, ports=2)
    assert two.read / one.read == pytest.approx(1.43)
    assert two.area / one.area == pytest.approx(1.43**2)


def test_energy_scales_with_the_node_and_area_with_the_bit_cell() -> None:
    old, new = T45.sram("64 KiB", 64), Technology(22, "stillmaker").sram("64 KiB", 64)
    assert new.area / old.area == pytest.approx(0.092 / 0.346)
    assert 0.2 < new.read / old.read < 0.3


@settings(max_examples=60)
@given(
    st.lists(st.floats(4 * KIB, 2**24), min_size=1, max_size=8),
    st.sampled_from([8, 32, 64, 512]),
    st.integers(1, 4),
    st.sampled_from([45, 28, 7, 5]),
)
def test_an_array_of_capacities_is_as_good_as_each(sizes: list[float], width: int, ports: int, node: float) -> None:
    here = Technology(node)
    together = here.sram(np.array(sizes), width, ports)
    for place, size in enumerate(sizes):
        alone = here.sram(size, width, ports)
        assert isinstance(alone.read, float)
        for field in ("read", "write", "area", "leakage"):
            assert getattr(together, field)[place] == pytest.approx(getattr(alone, field))


def test_arrays_of_capacities_and_widths_broadcast() -> None:
    grid = T45.sram(np.array([[4096.0], [65536.0]]), np.array([32.0, 64.0, 128.0]))
    assert np.shape(grid.read) == (2, 3)


@settings(max_examples=60)
@given(st.floats(4 * KIB, 2**29), st.integers(1, 4096), st.floats(1.01, 4))
def test_a_larger_or_wider_memory_costs_more(size: float, width: int, times: float) -> None:
    small, large, wide = T45.sram(size, width), T45.sram(size * times, width), T45.sram(size, width + 1)
    for field in ("read", "write", "area", "leakage"):
        assert getattr(large, field) > getattr(small, field) > 0
    assert wide.read > small.read
    assert wide.area > small.area


def test_a_register_file_by_hand() -> None:
    # 16 bits of 0.009 pJ to write; a read adds 32 gates x 0.5 x 0.000566 pJ a bit
    cell = Technology(40).register_file(32, 16)
    assert cell.write == pytest.approx(0.144e-12)
    assert cell.read == pytest.approx(0.144e-12 + 16 * 32 * 0.5 * 0.000566e-12)
    assert cell.area == pytest.approx(512 * (5.98 + 1.575) * 1e-12)
    two = Technology(40).register_file(32, 16, ports=2)
    assert (two.read, two.write) == (cell.read, cell.write)
    assert two.area == pytest.approx(512 * (5.98 + 2 * 1.575) * 1e-12)


def test_register_files_of_many_sizes_at_once() -> None:
    cells = T45.register_file(np.array([4.0, 16.0, 64.0]), 16)
    assert np.all(np.diff(np.asarray(cells.read)) > 0)
    assert np.ndim(cells.write) == 0  # a write drives one word, however many there are


def test_a_wire_by_hand() -> None:
    # half of 300 fF/mm x (0.9 V)^2 over 2 mm
    assert T45.wire(2e-3, supply=0.9) == pytest.approx(0.243e-12)
    assert T45.wire(2e-3) == pytest.approx(0.3e-12)  # nominal 1.0 V
    assert np.allclose(T45.wire(np.array([1e-3, 2e-3])), [0.15e-12, 0.3e-12])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: T45.sram(0, 64), "sram capacity: 0 is not more than zero"),
        (lambda: T45.sram(-1.0, 64), "sram capacity: -1 is not more than zero"),
        (lambda: T45.sram(float("nan"), 64), "sram capacity: nan is not finite"),
        (lambda: T45.sram(float("inf"), 64), "sram capacity: inf is not finite"),
        (lambda: T45.sram(1e15, 64), r"sram capacity: 1e\+15 is not at most 1099511627776 B"),
        (lambda: T45.sram(np.array([1024.0, -3.0]), 64), "sram capacity: -3 is not more than zero"),
        (lambda: T45.sram(np.array([]), 64), "sram capacity: an empty array"),
        (lambda: T45.sram("32 KB/s", 64), "sram capacity: '32 KB/s' has the wrong unit"),
        (lambda: T45.sram("32 K", 64), "sram capacity: '32 K' is ambiguous"),
        (lambda: T45.sram(None, 64), "sram capacity: None is not a quantity; write for example '64 B'"),
        (lambda: T45.sram(["a"], 64), "sram capacity: .* is not a quantity"),
        (lambda: T45.sram(True, 64), "sram capacity: True is not a quantity"),
        (lambda: T45.sram(1024, 12.5), "sram width: 12.5 is not a whole number"),
        (lambda: T45.sram(1024, 0), "sram width: 0 is not more than zero"),
        (lambda: T45.sram(1024, 1e6), r"sram width: 1e\+06 is not at most 65536$"),
        (lambda: T45.sram(16, 256), "width exceeds capacity; one access cannot read more bits"),
        (lambda: T45.sram(1024, 64, ports=0), "sram ports: 0 is not a whole number from 1 to 8"),
        (lambda: T45.sram(1024, 64, ports=1.5), "sram ports: 1.5 is not a whole number from 1 to 8"),
        (lambda: T45.register_file(0, 16), "register file words: 0 is not more than zero"),
        (lambda: T45.register_file(2.5, 16), "register file words: 2.5 is not a whole number"),
        (lambda: T45.register_file(8, 16, ports=99), "register file ports: 99 is not a whole number from 1 to 8"),
        (lambda: T45.wire(-1e-3), "wire length: -0.001 is not more than zero"),
        (lambda: T45.wire("1 mm"), "wire length: '1 mm' is text; give m as a number"),
        (lambda: T45.wire(5.0), "wire length: 5 is not at most 1 m"),
        (lambda: T45.wire(1e-3, supply=float("nan")), "wire supply: nan is not finite"),
    ],
)
def test_bad_input_is_refused_in_one_line(call: object, message: str) -> None:
    with pytest.raises(WeirError, match=message) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
