"""What binds a step, at every design point of an array as for that point alone."""

from __future__ import annotations

import numpy as np
import pytest

from einsum import Part, Program, parse
from mappings.layout import Layout, Place, Spatial
from sim.arch import cluster, tier
from sim.model.step import Step, Work

MATMUL = Program(
    "matmul", (Part(parse("W[k, n]: weight\nZ[b, n] = A[b, k] * W[k, n]", name="matmul", b=1, k=8192, n=8192)),)
)


def step(on: str, host: float = 0.0, **sizes: object) -> Step:
    where = cluster(on)
    laid = Layout((Place("model", where.devices, (Spatial("k", where.devices),)),))
    return Work.of(MATMUL, laid, **sizes).on(where, tier("physical"), host)


def test_each_point_of_an_array_has_its_own_bound() -> None:
    found = step("1xh100", b=np.array([1.0, 16.0, 8192.0]), k=np.array([64.0, 8192.0, 8192.0]))
    assert found.bounds.tolist() == ["model launch", "model memory", "model compute"]
    assert found.bound == "model compute"  # the last point's


@pytest.mark.parametrize("b", [1.0, 64.0, 4096.0])
@pytest.mark.parametrize("host", [0.0, 1e-4])
def test_arrays_agree_with_numbers(b: float, host: float) -> None:
    many = step("2xh100", host, b=np.array([b, 1e6]))
    assert many.bounds[0] == step("2xh100", host, b=b).bound


def test_the_hosts_own_work_can_bind() -> None:
    assert step("1xh100", host=1.0, b=np.array([1.0])).bound == "host overhead"
    assert step("1xh100", host=1e-6, b=np.array([1.0])).bound == "model memory"


def test_shares_add_up_to_the_tasks_seconds() -> None:
    found = step("1xh100", b=np.array([1.0, 8192.0]))
    assert np.sum(list(found.shares.values()), axis=0) == pytest.approx(found.latency)
