"""Devices as nodes that hold layers: their rates against the serving model, their room against their memory."""

from __future__ import annotations

import pytest

from einsum import Infeasible
from sim.arch import cluster, device, tier
from sim.planner.offers import holder, templates
from sim.planner.ranges import network, place
from sim.planner.shape import shape
from sim.serving.deploy import deployments
from workloads.transformer import model


def test_a_device_that_holds_all_layers_decodes_as_in_serving() -> None:
    made = model("llama-3-8b")
    found = holder(made, "h100_sxm", batch=16, context=1024)
    assert len(found.rates) == made.layers
    [option] = deployments(made, cluster("1xh100_sxm"), tier("physical"), 0.0)
    service = option.service()
    whole = 16 / float(service.decode([16.0], [1023.0])[0])
    assert found.rates[-1] == pytest.approx(whole, rel=0.15)  # which has an embedding and a head besides
    assert found.rates[-1] > whole
    assert found.rates[0] == pytest.approx(found.rates[-1] * made.layers)


def test_memory_bounds_the_layers() -> None:
    made, held = model("llama-3-70b"), shape(model("llama-3-70b"), 2048)
    found = holder(made, "l4", batch=8, context=2048)
    each = held.weight + 8 * 2048 * held.kv
    assert len(found.rates) == int(device("l4").capacity * 0.9 / each) == 12
    with pytest.raises(Infeasible, match="l4 does not hold one layer of llama-3-70b and 4000 states"):
        holder(made, "l4", batch=4000, context=2048)


def test_unlike_devices_serve_a_model_that_none_holds() -> None:
    made = model("llama-3-70b")
    nodes = [holder(made, name, batch=8, context=1024) for name in ("a100_sxm_80gb", "a100_sxm_80gb", "l40s", "l40s")]
    slow = network(made.layers, nodes, token=shape(made, 1024).stream, bandwidth={(0, 1): 1e6})
    found = place(slow, seconds=1, tries=300)
    assert found.flow > 0
    assert found.flow <= found.bound <= slow.most * (1 + 1e-6)
    assert max(stop for _, stop in found.ranges) == made.layers
    assert all(stop - first <= len(node.rates) for (first, stop), node in zip(found.ranges, nodes, strict=True))


def test_templates_are_priced_from_one_book() -> None:
    one, two = templates(("1xh100", "1xh100_2xh20"), "lamina_2024")
    assert (one.usd_per_hour, two.usd_per_hour) == (11.06, pytest.approx(20.32))
    assert two.uses == (("h100_sxm", 1), ("h20", 2))
