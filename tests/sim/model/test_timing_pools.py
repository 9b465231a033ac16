"""Each pool is timed with its own devices' rates."""

from __future__ import annotations

import numpy as np

from einsum import Part, Program, parse
from mappings.layout import Layout, Place
from sim.arch import Cluster, cluster, tier
from sim.model.step import Work

TEXT = "W[k, n]: weight\nV[n, k]: weight\nY[b, n] = A[b, k] * W[k, n]\nZ[b, k] = Y[b, n] * V[n, k]"
PROGRAM = Program("two", (Part(parse(TEXT, name="two", b=4096, k=8192, n=8192)),))
LAYOUT = Layout((Place("model", 1), Place("attention", 1)), bound=(("Z", "attention"),))


def seconds(where: Cluster) -> dict[str, float]:
    """Seconds of each kernel by pool."""
    [(_, timed)] = Work.of(PROGRAM, LAYOUT).on(where, tier("limit")).rows
    return {one.task.pool: float(np.ravel(one.seconds)[0]) for one in timed if one.task.kind == "kernel"}


def test_pools_of_like_devices_may_have_unlike_rates() -> None:
    same = cluster("1xh100_1xh100")
    path = "attention.tensor.device_rate.mac.bf16"
    halved = seconds(same.with_(path, same.get(path) / 2))
    before = seconds(same)
    assert halved["model"] == before["model"]
    assert halved["attention"] == 2 * before["attention"]
