"""Kernels on multiprocessors: waves, launches, occupancy, and what an answer says of its own error."""

from __future__ import annotations

import numpy as np
import pytest

import sim
from einsum import Part, Program
from einsum.parse import parse
from mappings.layout import Layout, Place
from mappings.tree import Spatial
from sim.arch import cluster, device, device_names, tier
from sim.model.physical import Chip
from sim.model.step import Work
from workloads.transformer import model

GEMM = parse("W[k, n]: weight\nC[m, n] = A[m, k] * W[k, n]", name="gemm", m=1, n=1, k=1)


def seconds(**sizes: object) -> np.ndarray:
    return np.asarray(sim.estimate(GEMM, device(str(sizes.pop("on", "h100"))), **sizes).seconds)


def test_a_kernel_is_never_shorter_than_its_launch_nor_than_its_peak() -> None:
    m = np.array([1.0, 64, 1024, 8192])
    assert (seconds(m=m, n=4096, k=4096) > 2 * m * 4096 * 4096 / 989e12 + 1e-6).all()


def test_one_tile_more_than_a_wave_costs_more_than_its_share() -> None:
    """132 multiprocessors: 11 x 12 tiles of 128 x 256 fill one wave; a 12th row of tiles begins another."""
    full, over = seconds(m=np.array([11 * 128.0, 12 * 128]), n=12 * 256, k=8192)
    assert over / full > 1.15


def test_a_clock_of_zero_describes_no_multiprocessors() -> None:
    described = [n for n in device_names() if Chip.of(device(n)) is not None]
    assert {"a100_sxm_80gb", "h100_sxm", "h200_sxm", "b200", "gb200", "l40s", "h20"} <= set(described)
    assert "tpu_v5e" not in described


def test_matrix_work_runs_midway_between_base_and_boost() -> None:
    chip = Chip.of(device("l40s"))
    assert chip is not None
    assert chip.sustained == pytest.approx((1.11 + 2.52) / 2 / 2.52)


def test_short_decoding_draws_only_what_its_multiprocessors_can() -> None:
    """One request with one key head cannot use the whole memory; a hundred requests can."""
    one = model("llama-3-8b").decode
    few, many = sim.estimate(one, "1xh100", b=np.array([1.0, 128]), c=8192).seconds
    assert many < 12 * few


LATENT = """
    CKV[b, m, e]: (state, bf16)
    QK[b, r, m] = Q[b, r, e] * CKV[b, m, e]
    GM[b, r]    = max[m](QK[b, r, m])
    SN[b, r, m] = exp(QK[b, r, m] - GM[b, r])
    SD[b, r]    = SN[b, r, m]
    AV[b, r, u] = SN[b, r, m] * CKV[b, m, u]
    O[b, r, u]  = AV[b, r, u] / SD[b, r]
"""


def latent(on: str, requests: float, heads: float = 16, keys: float = 8192) -> float:
    """Seconds of latent attention of one new position, the engine's own kernel."""
    work = parse(LATENT, name="latent", b=1, r=1, m=1, e=576, u=512)
    return float(sim.estimate(work, device(on), b=requests, r=heads, m=keys).seconds)


def test_a_latent_context_is_divided_only_by_newer_kernels() -> None:
    """One request keeps two multiprocessors of an A100 busy, however long its context, and all of an H100's."""
    assert latent("a100", 32) == pytest.approx(latent("a100", 1), rel=0.05)
    assert latent("h100", 32) > 2 * latent("h100", 1)
    assert latent("a100", 1) > 10 * latent("h100", 1)


def test_heads_of_a_latent_fill_blocks_of_64_rows() -> None:
    assert latent("a100", 512, heads=64) == pytest.approx(latent("a100", 512, heads=16), rel=0.1)
    assert latent("a100", 512, heads=128) > 1.8 * latent("a100", 512, heads=64)


EXPERTS = """
    WG[x, d, f]: (weight, {type})
    A[p, d]: {type}
    RT[p, x]: per_row(x, 8{uneven})
    G[p, x, f] = one(RT[p, x]) * A[p, d] * WG[x, d, f]
"""


def routed(tokens: float, uneven: str = "", ways: int = 1, type: str = "fp8", on: str = "h100") -> float:
    """Seconds of 128 experts' product of 4096 x 1536."""
    sizes = {"p": tokens, "d": 4096, "f": 1536, "x": 128}
    work = parse(EXPERTS.format(type=type, uneven=uneven), name="experts", p=1, d=1, f=1, x=1)
    layout = Layout((Place("model", ways, (Spatial("x", ways),) if ways > 1 else ()),))
    counted = Work.of(Program("experts", (Part(work),)), layout, **sizes)
    step = counted.on(cluster(f"{ways}x{on}"), tier("physical"))
    return float(sum(one.seconds for one in step.rows[0][1] if one.task.kind == "kernel"))


def test_experts_on_the_fullest_device_set_the_pace() -> None:
    assert routed(4096, ", 0, 1", ways=16) < routed(4096, ", 1.0, 400", ways=16) / 1.5
    assert routed(16, ", 0, 1") > routed(16, ", 1.0, 400")  # one device: fewer experts' weights are read


def test_routing_weights_do_not_widen_a_product() -> None:
    assert routed(8192) < 0.8 * routed(8192, type="bf16")


def test_block_scales_cost_time_where_the_vector_unit_adds() -> None:
    assert 1.2 < routed(8192, type="bfp8") / routed(8192) < 3


def test_every_estimate_states_its_error_and_flags_what_was_not_tested() -> None:
    known = sim.estimate(model("llama-3-8b").decode, "1xh100", b=16, c=1024)
    assert 0.05 < known.band.median < 0.2 < known.band.p90
    assert sum(term.share for term in known.band.terms) == pytest.approx(1)
    assert "beyond" not in str(known)
    assert "beyond what was tested: h20 was not measured" in str(sim.estimate(GEMM, device("h20"), m=64, n=64, k=64))
    assert "no measured constants" in str(sim.estimate(GEMM, device("tpu_v5e"), m=64, n=64, k=64))
    assert "no error band" in str(sim.estimate(GEMM, device("h100"), tier="limit", m=64, n=64, k=64))
