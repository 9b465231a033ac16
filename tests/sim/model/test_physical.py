"""Kernels on multiprocessors: waves, launches, occupancy, and what an answer says of its own error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import sim
from einsum import Cascade, Part, Program, WeirError
from einsum.parse import parse
from mappings.layout import Layout, Place
from mappings.tree import Spatial
from sim.arch import cluster, device, device_names, tier
from sim.model.chip import Chip
from sim.model.physical import filled
from sim.model.physical import seconds as times
from sim.model.step import Work
from workloads.transformer import model

ONE = Layout((Place("model", 1),))
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


def chip(name: str) -> Chip:
    found = Chip.of(device(name))
    assert found is not None
    return found


def test_the_clock_falls_as_matrix_units_work() -> None:
    """All of the time: midway between base and what peaks are stated at; none of it: the highest there is."""
    assert chip("l40s").kept(1.0) == pytest.approx((1.11 + 2.52) / 2 / 2.52)
    assert chip("l40s").kept(0.0) == 1
    assert chip("h100").kept(1.0) == pytest.approx((1.59 + 1.83) / 2 / 1.98)
    assert chip("h100").clock == 1.98e9


def test_a_peak_is_reached_at_the_clock_it_is_stated_at() -> None:
    h100 = chip("h100")
    assert h100.rate("bf16") * h100.sms == pytest.approx(989e12 * 1.98 / 1.83)


SCALED = parse("S[m] = square(X[m, d])\nY[m, d] = X[m, d] * rsqrt(S[m] / D + 1e-5) * W[d]", name="norm", m=1, d=1)
SUM = parse("Y[m, d] = X[m, d] + Z[m, d]", name="sum", m=1, d=1)


def test_rows_go_in_rounds_of_the_blocks_that_fit() -> None:
    """108 multiprocessors keep two blocks of 1024 threads: 216 rows are one round and the 217th begins another."""
    one, all_, over = sim.estimate(SCALED, device("a100"), m=np.array([1.0, 216, 217]), d=8192).seconds
    assert all_ < 1.4 * one
    assert over > 1.5 * all_


def test_a_multiprocessor_with_fewer_threads_keeps_fewer_rows() -> None:
    """84 of an A40 keep one block of 1024 threads each."""
    full, over = sim.estimate(SCALED, device("a40"), m=np.array([84.0, 85]), d=8192).seconds
    assert over > 1.5 * full


@pytest.mark.parametrize(("on", "size"), [("a100", 40), ("h100", 50), ("l40s", 96)])
def test_what_the_kernel_before_wrote_comes_from_the_last_cache_if_it_fits(on: str, size: float) -> None:
    """Two thirds of the cache pass faster than memory could; forty times its size do not."""
    rows = size * 2**20 / 3 / (3 * 2 * 4096) * np.array([1.0, 2, 60, 120])
    half, fits, large, twice = sim.estimate(SUM, device(on), m=np.round(rows), d=4096).seconds
    passed = 3 * 2 * 4096 * rows
    assert (passed[1] - passed[0]) / (fits - half) > 1.1 * device(on).memory.rate
    assert 0.85 < (passed[3] - passed[2]) / (twice - large) / device(on).memory.rate < 1


DESCRIBED = [name for name in device_names() if Chip.of(device(name)) is not None]


@pytest.mark.parametrize("name", DESCRIBED)
def test_more_bandwidth_slows_nothing_on_any_described_device(name: str) -> None:
    on = device(name)
    faster = on.with_(f"{on.memory.name}.bandwidth", 1.3 * on.memory.bandwidth)
    m = np.array([1.0, 64, 512, 4096])
    for work, sizes in ((GEMM, {"n": 4096, "k": 4096}), (SCALED, {"d": 4096}), (SUM, {"d": 4096})):
        before, after = (sim.estimate(work, where, m=m, **sizes).seconds for where in (on, faster))
        assert (after <= before * (1 + 1e-12)).all()
        assert (np.diff(before) > 0).all()  # nor is more work done sooner


@pytest.mark.parametrize("name", DESCRIBED)
def test_described_multiprocessors_are_of_this_world(name: str) -> None:
    """Clocks, matrix operations of one in a clock, and caches lie between those of T4 and of Blackwell."""
    found = chip(name)
    assert 1.3e9 <= found.clock < 2.7e9
    assert 0.6 < found.sustained <= 1
    assert found.threads in {1024, 1536, 2048}
    assert 400 < device(name).rate("mac", "fp16") / found.sms / found.stated < 8800
    assert 4e6 < found.last < 270e6


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


CAUSAL = """
    K[b, g, m, e]: (state, bf16)
    V[b, g, m, e]: (state, bf16)
    QK[b, g, r, p, m]: causal(p, m, C)
    QK[b, g, r, p, m] = Q[b, g, r, p, e] * K[b, g, m, e]
    GM[b, g, r, p]    = max[m](QK[b, g, r, p, m])
    SN[b, g, r, p, m] = exp(QK[b, g, r, p, m] - GM[b, g, r, p])
    SD[b, g, r, p]    = SN[b, g, r, p, m]
    AV[b, g, r, p, e] = SN[b, g, r, p, m] * V[b, g, m, e]
    O[b, g, r, p, e]  = AV[b, g, r, p, e] / SD[b, g, r, p]
"""


def reached(on: str, positions: float) -> float:
    """Fraction of the dense bf16 peak that causal attention of four prompts with 32 heads of 128 reaches."""
    work = parse(CAUSAL, name="causal", b=1, g=1, r=1, p=1, c=0, e=128, m="C + P")
    seconds = float(sim.estimate(work, device(on), b=4, g=8, r=4, p=positions, c=0).seconds)
    return 2 * 4 * 32 * positions**2 * 128 / device(on).rate("mac", "bf16") / seconds


@pytest.mark.parametrize(
    ("on", "short", "long"), [("a100", 0.23, 0.47), ("h100", 0.17, 0.53), ("b200", 0.10, 0.50)]
)  # measured at 512 and 16384 positions on each, AIConfigurator (Apache-2.0); no B200 took part in the fit
def test_attention_reaches_the_measured_fraction_of_the_peak(on: str, short: float, long: float) -> None:
    assert reached(on, 512) == pytest.approx(short, rel=0.3)
    assert reached(on, 16384) == pytest.approx(long, rel=0.15)


def attended(on: str, flash: bool | None, new: float = 1, **sizes: float) -> float:
    """Seconds of causal attention of ``b`` requests, each with ``r`` queries for each of ``g`` key heads of 128."""
    work = parse(CAUSAL, name="causal", b=1, g=1, r=1, p=1, c=0, e=128, m="C + P")
    sizes = {"b": 1.0, "g": 1.0, "c": 0.0} | sizes
    [(_, [task])] = Work.of(Program("causal", (Part(work),)), ONE, p=new, **sizes).parts
    level = tier("physical").constants
    assert level is not None
    return float(np.ravel(times(replace(task, flash=flash), chip(on), level.table()))[-1])


DECODING = pytest.mark.parametrize("on", ["a100", "h100", "l40s", "h200", "b200"])


@DECODING
@pytest.mark.parametrize("queries", [8, 32, 48, 64, 128])
def test_a_long_context_is_divided_whatever_the_queries_of_a_key_head(on: str, queries: int) -> None:
    """One request's context of 64 Ki keys is 32 MiB: read by all multiprocessors together, not one after the other."""
    size = 2 * 2 * 128 * 2**16
    one = size / (25 * chip(on).clock)  # s in which one multiprocessor draws it
    for flash in (None, True):
        assert attended(on, flash, r=queries, c=2.0**16 - 1) < one / 4


def test_queries_that_the_vendors_kernel_does_not_take_each_run_by_themselves() -> None:
    """TensorRT-LLM takes 32 queries a key head at once; trtllm-gen, for tcgen05, takes any."""
    for on in ("a100", "h100", "l40s"):
        few, many = (attended(on, False, r=r, c=16383) for r in (32, 64))
        assert many > 3 * few
        assert attended(on, False, r=128, c=16383) > 1.8 * many
    assert attended("b200", False, r=64, c=16383) < 1.5 * attended("b200", False, r=32, c=16383)


def test_flash_attention_packs_the_queries_of_a_key_head_into_rows() -> None:
    """Eight heads of 16 positions that share keys are 128 rows, as one head of 128 with as many keys is."""
    packed = attended("h100", True, new=16, b=4096, r=8, c=112)
    assert packed == pytest.approx(attended("h100", True, new=16, b=4096, r=5, c=112))
    assert attended("h100", True, new=16, b=4096, g=8, r=1, c=112) > 3 * packed


def test_flash_attention_hides_softmax_only_behind_asynchronous_units() -> None:
    """FlashAttention-3 reaches at most 0.75 of H100's peak (its paper's abstract), 0.60 to 0.67 in vLLM on H200."""
    size = {"new": 2.0**14, "r": 1, "g": 16}
    work = 2 * 16 * 2.0**28 * 128
    assert 0.57 < work / attended("h100", True, **size) / 989e12 < 0.75
    assert attended("h100", True, **size) < 0.92 * attended("h100", False, **size)
    assert attended("a100", True, **size) == pytest.approx(attended("a100", False, **size), rel=0.06)


def test_prompts_take_the_vendors_kernel_where_none_is_named() -> None:
    for on in ("a100", "h100"):
        assert attended(on, None, new=512, r=48) == attended(on, False, new=512, r=48)
        assert attended(on, None, r=32, c=4095) == attended(on, False, r=32, c=4095)


def test_partial_sums_of_block_scaled_products_are_added_on_the_vector_unit() -> None:
    """One more instruction for each 128 of depth: 128 lanes add 128 x 128 sums in a quarter of the product's clocks."""
    text = "W[k, n]: (weight, {0})\nA[m, k]: {0}\nC[m, n]: bf16\nC[m, n] = A[m, k] * W[k, n]"
    scaled, plain = (parse(text.format(kind), name="gemm", m=1, n=1, k=1) for kind in ("bfp8", "fp8"))
    h100, b200 = (
        [float(sim.estimate(work, device(on), m=8192, n=8192, k=8192).seconds) for work in (scaled, plain)]
        for on in ("h100", "b200")
    )
    assert h100[0] / h100[1] == pytest.approx(1 + 0.25 * 0.8671 * 0.9, rel=0.05)
    assert b200[0] == pytest.approx(b200[1])


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


@pytest.mark.parametrize(
    ("on", "rows", "computed"), [("h100", 8, 64), ("h100", 65, 128), ("a100", 8, 16), ("a100", 17, 32)]
)
def test_queries_of_a_key_head_fill_whole_matrix_instructions(on: str, rows: int, computed: int) -> None:
    """64 rows where matrix units work by themselves (wgmma), else 16 (mma)."""
    work = parse(CAUSAL, name="decode", b=1, g=1, r=rows, p=1, c=63, e=128, m="C + P")
    [task] = [t for _, found in Work.of(Program("decode", (Part(work),)), ONE).parts for t in found if t.attends]
    assert filled(task, chip(on)) == pytest.approx(computed / rows)


def test_other_products_are_not_filled_up() -> None:
    [(_, tasks)] = Work.of(Program("gemm", (Part(GEMM),)), ONE).parts
    assert [filled(task, chip("h100")) for task in tasks] == [1.0]


def test_a_vendor_that_was_not_measured_has_an_estimate_and_a_wide_band() -> None:
    """Compute units are dealt tiles as multiprocessors are: one tile more than a wave takes longer."""
    found = sim.estimate(GEMM, device("mi300x"), m=4096, n=4096, k=4096)
    assert float(found.seconds) > 1.1 * 2 * 4096**3 / 1307e12
    assert "AMD: no device of this vendor was measured; constants are NVIDIA's" in str(found)
    assert (found.band.median, found.band.p90) == (0.5, 1.0)
    assert [term.name for term in found.band.terms] == ["product on AMD"]
    assert seconds(m=305 * 128, n=128, k=8192, on="mi300x") > 1.1 * seconds(m=304 * 64, n=128, k=8192, on="mi300x")


def test_the_slowest_board_is_as_far_out_as_the_largest_of_so_many_draws() -> None:
    """Mean of the largest of 8 and of 512 normal draws: 1.42 and 3.04 (Blom, 1958, is within 1 %)."""
    a100, spread = chip("a100_sxm_80gb"), 0.015
    largest = np.random.default_rng(3).standard_normal((20000, 512))
    for count in (1, 8, 512):
        want = largest[:, :count].max(axis=1).mean() if count > 1 else 0.0
        kept = a100.slowest(count, spread).kept(1.0) / a100.kept(1.0)
        assert kept == pytest.approx(1 - spread * want, abs=4e-4)
    assert a100.slowest(512, spread).kept(0.0) == 1  # what leaves matrix units idle has power to spare


def test_a_spread_that_leaves_the_slowest_board_no_clock_is_refused() -> None:
    """The largest of 8 draws is 1.43 deviations out."""
    assert chip("a100_sxm_80gb").slowest(8, 0.69).kept(1.0) > 0
    with pytest.raises(WeirError, match=r"boards\.spread 0\.71: the slowest of 8 boards would have no clock left"):
        chip("a100_sxm_80gb").slowest(8, 0.71)


def test_devices_that_wait_for_one_another_are_as_fast_as_the_slowest() -> None:
    sizes = {"m": 8192, "n": 8192, "k": 8192}
    alone, pair, many = (_together(GEMM, count, **sizes) for count in (1, 2, 512))
    assert alone < pair < many < 1.06 * alone
    narrow = [_together(GEMM, count, m=1, n=4096, k=4096) for count in (1, 512)]
    assert narrow[1] == pytest.approx(narrow[0], rel=1e-2)  # bound by memory


def _together(cascade: Cascade, count: int, **sizes: float) -> float:
    made = Layout((Place("model", 1),), together=count)
    return float(
        Work.of(Program("gemm", (Part(cascade),)), made, **sizes).on(cluster("1xa100"), tier("physical")).latency
    )


@pytest.mark.parametrize("name", ["llama-3-8b", "deepseek-v3"])
def test_a_design_point_does_not_hang_on_those_beside_it(name: str) -> None:
    """One new position is decoding, whatever is asked for with it."""
    made, new = model(name).prefill, np.array([1.0, 64, 2048])
    beside = np.asarray(sim.estimate(made, device("h100"), b=4, p=new, c=1000).seconds)
    alone = [float(sim.estimate(made, device("h100"), b=4, p=p, c=1000).seconds) for p in new]
    np.testing.assert_allclose(beside, alone, rtol=1e-12)
