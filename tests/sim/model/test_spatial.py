"""Energy, area and notes of a mapped cascade: which unit runs what, what is stated and what is modelled."""

from __future__ import annotations

import pytest

import sim
from einsum import WeirError, parse
from mappings.text import parse as read
from sim.arch import Compute, Device, Memory
from sim.arch.components import Process
from sim.arch.technology import Technology
from sim.model.spatial import evaluate

VECTOR = Compute("vector", "buffer", (("map", "fp32", 4.0),), (("map", "fp32", 3.0),))
SPECIAL = Compute("special", "buffer", (("exp", "fp32", 1.0),), (("exp", "fp32", 7.0),))


def chip(*units: Compute, process: Process | None = None) -> Device:
    return Device(
        name="chip",
        title="A chip",
        vendor="nobody",
        architecture="toy",
        year=2026,
        memories=(Memory("dram", energy=1.0), Memory("buffer", under="dram", capacity=4096.0, energy=0.5, area=2.0)),
        fanouts=(),
        computes=units,
        links=(),
        power=None,
        source="made up for a test",
        technology=process,
    )


SOFT = parse("Z[m] = exp(A[m] - B[m])", name="soft", dtype="fp32", m=8)
NEST = read("keep A, B, Z in dram\nkeep A, B, Z in buffer\nZ on vector")


def test_what_a_unit_lacks_runs_on_the_one_beside_it_that_has_it() -> None:
    made = evaluate(SOFT, NEST, chip(VECTOR, SPECIAL))
    assert made.seconds == pytest.approx(8 * (1 / 4 + 1 / 1))
    assert made.joules_by["vector"] == pytest.approx(8 * (3 + 7))


def test_any_elementwise_operation_runs_as_map_where_no_unit_names_it() -> None:
    made = evaluate(SOFT, NEST, chip(VECTOR))
    assert made.seconds == pytest.approx(8 * (1 / 4 + 1 / 4))
    assert made.joules_by["vector"] == pytest.approx(8 * (3 + 3))


def test_a_unit_elsewhere_in_the_device_does_not_help() -> None:
    far = Compute("special", "dram", SPECIAL.rates, SPECIAL.energies)
    assert evaluate(SOFT, NEST, chip(VECTOR, far)).seconds == pytest.approx(8 * (1 / 4 + 1 / 4))


def test_a_device_that_states_everything_needs_no_notes() -> None:
    assert evaluate(SOFT, NEST, chip(VECTOR)).notes == ()


def test_what_has_no_energy_is_named() -> None:
    silent = Compute("vector", "buffer", VECTOR.rates)
    made = evaluate(SOFT, NEST, chip(silent))
    assert made.joules_by["vector"] == 0
    assert made.notes == (
        "no energy is known for vector: counted as 0 J; a technology models what a file leaves out",
    )  # fmt: skip


def test_the_file_s_technology_is_used_and_another_takes_its_place() -> None:
    silent = Compute("vector", "buffer", VECTOR.rates)
    own = evaluate(SOFT, NEST, chip(silent, process=Process(45.0)))
    assert own.joules_by["vector"] == pytest.approx(8 * 2 * Technology(45).arithmetic("add", "fp32").energy)
    assert own.notes == ("vector.energy.map.fp32 is modelled: add on fp32 at 45 nm",)
    other = sim.estimate(SOFT, chip(silent, process=Process(45.0)), mapping=NEST, technology="16 nm")
    assert other.joules_by["vector"] < own.joules_by["vector"]
    assert other.joules_by["buffer"] == own.joules_by["buffer"]  # stated
    assert other.notes == ("vector.energy.map.fp32 is modelled: add on fp32 at 16 nm",)


def test_area_is_the_sum_of_what_is_known() -> None:
    made = evaluate(SOFT, NEST, chip(VECTOR))
    assert [(one.name, one.how) for one in made.areas] == [("buffer", "given"), ("vector", "unknown")]
    assert made.area == 2.0
    clocked = evaluate(SOFT, NEST, chip(VECTOR, process=Process(45.0, clock=1.0)))
    units = 4 * Technology(45).arithmetic("add", "fp32").area * 1e6
    assert clocked.area == pytest.approx(2.0 + units)


def test_a_technology_is_for_nests() -> None:
    with pytest.raises(WeirError, match="give a mapping as well"):
        sim.estimate(SOFT, "h100", technology="16 nm")  # type: ignore[call-overload]
