"""Where Einsums can run."""

from __future__ import annotations

from sim.arch import device
from sim.mapper.sites import able
from workloads import attention


def test_an_einsum_without_operations_runs_on_every_unit() -> None:
    cascade, chip = attention.one_pass(query=8, context=8, head_dim=8), device("fusemax_cloud")
    [start] = [e for e in cascade.einsums if str(e).startswith("RM[b, h, p, 0]")]
    assert set(able(cascade, start, chip, dict(cascade.bind()))) == {unit.name for unit in chip.computes}
