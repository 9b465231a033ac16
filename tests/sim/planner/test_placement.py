"""The placement programme against the papers' own formulas, a grid of all placements, and a simulated pipeline."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Infeasible, WeirError
from sim.planner.placement import method, method_names
from sim.planner.policy import Load, Policy, best, place
from sim.planner.shape import Hardware, Shape, shape
from workloads.transformer import model

GPU = Hardware("one", 1, 16e9, 300e9, 60e12, 15e9, 12e9, 100e9, 80e9, 1e12, 500e9, 2e9, 1e9)
TINY = Shape("tiny", 4, 64, 4, 1, 6e4, 2e4, 4e4, 1e5, 256, 128, 512, 6e4, 4e4, 256, 1e5, 900)


def flexgen(percent: tuple[float, ...], micro: int, batches: int, disk: float) -> float:
    """Tokens a second of OPT-30B by the formulas of FlexGen's cost model, in its own terms."""
    _wg, wc, wn, cg, cc, cn, _hg, hc = percent
    s, n, h1, h2, layers, bls = 512, 32, 7168, 28672, 48, micro * batches
    wi = 8 * h1**2 + 4 * h1 * h2
    prefill = max(
        (wi * (wc + wn) + 2 * s * h1 * bls * hc) / 13e9 + wi * wn / disk,
        4 * (s + 1) * h1 * bls * (cc + cn) / 1e9 + 2 * s * h1 * bls * hc / 5e9 + 4 * bls * (s + 1) * h1 * cn / 0.7e9,
        bls * (8 * s * h1**2 + 4 * s * h1 * h2) / 20e12 + 4 * bls * s**2 * h1 / 10e12,
    )
    slow = max(0.1, 1 - 0.03 * max(0, math.log2(64 / micro)))
    middle = s + n / 2
    decode = (wi * (wc + wn) + 2 * h1 * bls * hc) / 13e9 + max(
        2 * h1 * bls * hc / 5e9,
        4 * bls * middle * h1 * cn / disk + wi * wn / (disk * 0.95),
        4 * bls * h1 * cn / 2e9,
        bls * (8 * h1**2 + 4 * h1 * h2) / 4e12 + 4 * bls * middle * h1 * (cg / 0.08e12 + (cc + cn) / (0.012e12 * slow)),
    )
    return bls * n / (prefill + decode * (n - 1)) / layers


@pytest.mark.parametrize("percent", [(0.2, 0.8, 0, 0, 1, 0, 0, 1), (0, 0.5, 0.5, 0.1, 0.3, 0.6, 0.4, 0.6)])
def test_flexgen_is_what_its_authors_compute(percent: tuple[float, ...]) -> None:
    constants = {
        "fetch": 13e9, "store_cache": 1e9, "store_hidden": 5e9, "load": 2e9, "save_cache_prefill": 0.7e9, "save": 2e9,
        "products_prefill": 20e12, "products": 4e12, "attention_prefill": 10e12, "attention": 0.08e12,
        "host_attention": 0.012e12, "c2": 0.03, "weights_read": 0.95,
    }  # fmt: skip
    fixed = dict(zip(method("flexgen").fractions, percent, strict=True))
    found = place(
        shape(model("opt-30b"), 544), GPU, Load(512, 32), method="flexgen", micro=16, batches=4, fixed=fixed,
        settings=constants, within=False,
    )  # fmt: skip
    assert found.tokens_per_second == pytest.approx(flexgen(percent, 16, 4, 2e9), rel=2e-4)  # but for biases and norms


def simplex(tiers: int, steps: int) -> list[tuple[float, ...]]:
    """All ways to divide one into shares of a step each."""
    cuts = itertools.product(range(steps + 1), repeat=tiers)
    return [tuple(c / steps for c in cut) for cut in cuts if sum(cut) == steps]


@given(
    memory=st.integers(1, 40), host=st.integers(5, 60), disk=st.sampled_from([0, 10, 1000]),
    rates=st.tuples(*[st.floats(0.1, 10)] * 4), batches=st.integers(1, 4),
)  # fmt: skip
@settings(max_examples=10, deadline=None)
def test_no_placement_on_a_grid_is_faster(
    memory: int, host: int, disk: int, rates: tuple[float, ...], batches: int
) -> None:
    down, up, read, slow = rates
    small = Hardware(
        "s", 1, memory * 4e4, 1e9, 2e9, down * 1e8, up * 1e8, host * 2e4, slow * 1e8, 1e9, disk * 1e4, read * 1e7, 1e7
    )
    load, given_ = Load(6, 4), {"method": "overlapped", "micro": 2, "batches": batches}
    grid = [
        Policy(p.placement, "", "", 2, batches, p.fractions, True, 1, 0)
        for w, c, h in itertools.product(simplex(3, 4), simplex(4, 1), simplex(2, 1))
        for p in [_at((*w, *c, *h), small, load, batches)]
    ]
    fits = [p for p in grid if all(held <= most for held, most in p.memory.values())]
    try:
        found = place(TINY, small, load, **given_)  # type: ignore[arg-type]
    except Infeasible:
        assert not fits
        return
    assert found.proven
    assert all(held <= most * (1 + 1e-6) + 1 for held, most in found.memory.values())
    assert found.block_seconds <= min((p.block_seconds for p in fits), default=math.inf) * (1 + 1e-6)


def _at(shares: tuple[float, ...], where: Hardware, load: Load, batches: int) -> Policy:
    fixed = dict(zip(method("overlapped").fractions, shares, strict=True))
    return place(TINY, where, load, micro=2, batches=batches, fixed=fixed, within=False)


def replayed(fetch: list[float], compute: list[float], store: list[float], layers: int) -> float:
    """Seconds of some layers in a pipeline of two buffers: resources fetch, compute and store, one layer each.

    The resources of each kind work side by side; a layer is computed once it is fetched, stored once computed, and is
    fetched into a buffer that the layer two before it has left.
    """
    ended: dict[str, list[float]] = {"fetch": [0.0], "compute": [0.0], "store": [0.0]}
    for layer in range(layers):
        leaves = ended["compute"][layer - 1] if layer >= 2 else 0.0
        ended["fetch"].append(max(ended["fetch"][-1], leaves) + max(fetch, default=0))
        ready = max(ended["fetch"][-1], ended["compute"][-1], ended["store"][layer - 1] if layer >= 2 else 0.0)
        ended["compute"].append(ready + max(compute))
        ended["store"].append(max(ended["store"][-1], ended["compute"][-1]) + max(store, default=0))
    return max(done[-1] for done in ended.values())


@pytest.mark.parametrize("name", ["opt-30b", "mixtral-8x7b"])
def test_the_largest_load_is_what_a_pipeline_takes(name: str) -> None:
    found = place(shape(model(name), 544), GPU, Load(512, 32), micro=8, batches=4)
    loads, layers = found.loads, 400
    fetch, compute, store = ([loads[x] for x in xs] for xs in (("down_d", "read_d"), ("gpu_d", "host_d"), ("up_d",)))
    taken = replayed(fetch, compute, store, layers)
    each = found.stages["decode"]
    assert layers * each <= taken <= (layers + 3) * each


@pytest.mark.parametrize(("prompt", "output"), [(98, 32), (98, 256), (926, 128)])
@pytest.mark.parametrize("capacity", [5e9, 70e9, 210e9])
def test_moe_lens_is_its_equation_4(prompt: int, output: int, capacity: float) -> None:
    made = shape(model("mixtral-8x7b"), prompt + output)
    where = GPU
    tokens = capacity / (made.kv * made.layers)
    pme = 2 * (prompt + output) / ((2 * prompt + output) * output)
    passes = made.weight * made.layers / where.down
    most = min(pme * tokens / passes, where.gpu_flops / (made.linear_flops * made.layers))
    found = best(made, where, Load(prompt, output), method="moe_lens", settings={"cache_memory": capacity})
    processed = found.loads["tokens"] / found.stages["pass"]
    assert processed == pytest.approx(most, rel=2e-2)  # a whole number of requests
    assert processed <= most * (1 + 1e-9)


@pytest.mark.parametrize(("peak", "tokens"), [(150e12, 18_750), (181e12, 22_625), (312e12, 39_000)])
def test_moe_lens_saturates_where_its_equation_2_says(peak: float, tokens: int) -> None:
    whole = shape(model("mixtral-8x7b"), 256)
    experts = replace(whole, weight=whole.network, linear_flops=whole.network_flops)  # table 2 counts these alone
    where = replace(GPU, gpu_flops=peak, down=32e9)
    found = place(experts, where, Load(1, 1), method="moe_lens", micro=1, settings={"cache_memory": "1 TB"})
    loads = found.loads
    assert loads["tokens"] * loads["fetch"] / loads["compute"] == pytest.approx(tokens)  # C / B x experts / chosen


def test_what_does_not_fit_is_told_with_what_would() -> None:
    made = shape(model("opt-175b"), 544)
    with pytest.raises(Infeasible, match=r"GB of host memory instead of 90 GB, or 2\d\d GB of disk memory"):
        place(made, GPU.with_(disk_memory="100 GB"), Load(512, 32), micro=1)
    with pytest.raises(Infeasible, match="16 GB"):
        place(made, GPU, Load(512, 32), micro=1, fixed={"weights.gpu": 1.0}, settings={"gpu_share": "1"})
    done = place(TINY, GPU, Load(6, 4), micro=1)
    with pytest.raises(WeirError, match="1 s claimed"):
        done.placement.check(done.fractions, 1.0)
    fixed = dict.fromkeys(method("moe_lens").fractions, 0.5)
    with pytest.raises(Infeasible, match=r"fractions of weights sum to 0\.5"):
        place(made, GPU, Load(512, 32), method="moe_lens", micro=1, fixed=fixed)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"method": "flexgem"}, "unknown method 'flexgem'; did you mean 'flexgen'"),
        ({"fixed": {"weights.gpi": 1.0}}, "no fraction 'weights.gpi'; did you mean 'weights.gpu'"),
        ({"fixed": {"weights.gpu": 2.0}}, "fractions are between 0 and 1"),
        ({"settings": {"gpu_shar": 1}}, "no setting 'gpu_shar'; did you mean 'gpu_share'"),
        ({"settings": {"gpu_share": "1 GB"}}, "wrong unit"),
        ({"micro": 0}, "each must be at least 1"),
        ({"within": False}, "only be left unchecked where every fraction is given"),
    ],
)
def test_mistakes_are_named(given_: dict[str, object], message: str) -> None:
    asked: dict[str, object] = {"micro": 1, **given_}
    with pytest.raises(WeirError, match=message):
        place(TINY, GPU, Load(6, 4), **asked)  # type: ignore[arg-type]
    with pytest.raises(WeirError, match="prompt is 0 tokens"):
        Load(0, 1)


def test_a_method_of_ones_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'title = "Weights on two sides"\nsource = "made up"\n[classes]\nweights = ["gpu", "host"]\n[stages]\n'
        'decode = { runs = "layers", seconds = '
        '"max(weight * weights.host / down, weight * weights.gpu / gpu_bandwidth)" }\n'
    )
    found = place(TINY, GPU, Load(6, 4), method=str(mine), micro=1)
    assert found.fractions["weights.gpu"] == pytest.approx(300 / 315)  # both take as long
    mine.write_text(mine.read_text().replace("runs", "rums"))
    with pytest.raises(WeirError, match=r"stages\.decode\.rums: unknown key; did you mean 'runs'"):
        method(mine)
    mine.write_text('title = "a"\nsource = "b"\n')
    with pytest.raises(WeirError, match=r"\[classes\] with their tiers"):
        method(mine)


@pytest.mark.parametrize("name", method_names())
def test_every_method_that_ships_places_a_model(name: str) -> None:
    roomy = GPU.with_(gpu_memory="24 GB", host_memory="200 GB")
    found = best(shape(model("mixtral-8x7b"), 544), roomy, Load(512, 32), method=name, micro=4)
    assert found.proven
    assert found.tokens_per_second > 0
    assert set(found.frame().columns) == {"class", "tier", "fraction"}
    assert found.summary()["fractions"] == found.fractions
    assert "tokens/s" in str(found)
