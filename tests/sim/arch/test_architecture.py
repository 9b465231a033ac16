from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.arch import Compute, Device, Fanout, Link, Memory, Power, bits, device

TOY = Device(
    name="toy",
    title="Toy",
    vendor="Nobody",
    architecture="Paper",
    year=2026,
    memories=(Memory("hbm", capacity=64.0, bandwidth=10.0), Memory("smem", "sm", capacity=4.0, bandwidth=5.0)),
    fanouts=(Fanout("cluster", "hbm", 2), Fanout("sm", "cluster", 3)),
    computes=(
        Compute("tensor", "smem", rates=(("mac", "bf16", 8.0), ("mac", "int8", 16.0), ("mac", "tf32", 4.0))),
        Compute("vector", "sm", rates=(("mac", "fp32", 2.0), ("map", "fp32", 1.0), ("map", "int32", 1.0))),
        Compute("sfu", "sm", rates=(("exp", "fp32", 0.25),), energies=(("exp", "fp32", 1e-9),)),
    ),
    links=(Link("ring", "node", bandwidth=7.0, latency=1.0, peers=4, payload=0.3),),
    power=Power(100.0, 30.0, 40.0, 20.0, 10.0),
    source="invented for this test",
)


def test_fan_outs_multiply() -> None:
    assert TOY.instances("tensor") == 6
    assert TOY.instances("hbm") == 1
    assert TOY.rate("mac", "bf16") == 6 * 8.0


def test_the_outermost_memory_holds_the_model() -> None:
    assert TOY.memory.name == "hbm"
    assert TOY.capacity == 64.0


@pytest.mark.parametrize(
    ("op", "dtype", "runs"),
    [
        ("mac", "bf16", ("bf16", "tensor")),
        ("mac", "fp16", ("bf16", "tensor")),  # interchangeable
        ("mac", "fp8", ("bf16", "tensor")),  # not int8: the narrowest wider float
        ("mac", "fp4", ("bf16", "tensor")),
        ("mac", "int8", ("int8", "tensor")),
        ("mac", "int4", ("int8", "tensor")),
        ("mac", "tf32", ("tf32", "tensor")),
        ("mac", "fp32", ("fp32", "vector")),  # tf32 would lose digits
        ("exp", "bf16", ("fp32", "sfu")),  # listed by name, so not the faster map
        ("max", "bf16", ("fp32", "vector")),
        ("compare", "int32", ("int32", "vector")),
        ("lookup", "int8", ("int32", "vector")),
    ],
)
def test_runs_as(op: str, dtype: str, runs: tuple[str, str]) -> None:
    assert TOY.runs_as(op, dtype) == runs


def test_rates_follow_what_it_runs_as() -> None:
    assert TOY.rate("mac", "fp8") == 48.0
    assert TOY.rate("exp", "bf16") == 1.5
    assert TOY.rate("div", "bf16") == 6.0


@pytest.mark.parametrize(
    ("op", "dtype", "message"),
    [
        ("mac", "fp64", "toy: no unit runs 'mac' on 'fp64' values; it runs 'mac' on bf16, fp32, int8, tf32"),
        ("maxx", "bf16", "unknown operation class 'maxx'; did you mean 'max'?"),
        ("mac", "half", "data type 'half' is not letters and bits"),
        ("mac", "fp0", "data type 'fp0' is not letters and bits"),
    ],
)
def test_what_no_unit_runs_is_refused(op: str, dtype: str, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        TOY.rate(op, dtype)
    assert message in str(caught.value)


@pytest.mark.parametrize(("dtype", "width"), [("fp64", 64), ("tf32", 32), ("bf16", 16), ("fp8", 8), ("int4", 4)])
def test_bits_are_the_digits_of_the_name(dtype: str, width: int) -> None:
    assert bits(dtype) == width


@pytest.mark.parametrize(
    ("path", "value", "number"),
    [
        ("hbm.bandwidth", "5 TB/s", 5e12),
        ("memory.capacity", "141 GB", 141e9),
        ("smem.latency", "30 ns", 30e-9),
        ("hbm.concurrency", 16, 16.0),
        ("sm.count", "132", 132.0),
        ("ring.latency", "2 us", 2e-6),
        ("power.tdp", "700 W", 700.0),
        ("tensor.rate.mac.bf16", "1 TFLOP/s", 1e12),
        ("tensor.device_rate.mac.bf16", "989 TFLOP/s", 989e12),
        ("sfu.energy.exp.fp32", "2 pJ/op", 2e-12),
    ],
)
def test_any_number_can_be_changed(path: str, value: str | float, number: float) -> None:
    changed = TOY.with_(path, value)
    assert changed.get(path) == pytest.approx(number)
    assert changed != TOY


def test_a_change_can_be_taken_back() -> None:
    changed = TOY.with_("tensor.device_rate.mac.bf16", 480.0).with_("hbm.bandwidth", 20.0)
    assert changed.with_("tensor.rate.mac.bf16", 8.0).with_("hbm.bandwidth", 10.0) == TOY


def test_memory_is_the_outermost_one_by_any_name() -> None:
    assert TOY.with_("memory.bandwidth", 3.0) == TOY.with_("hbm.bandwidth", 3.0)
    assert TOY.with_("memory.bandwidth", 3.0).memory.rate == 3.0


def test_a_device_rate_is_shared_among_the_instances() -> None:
    assert TOY.with_("tensor.device_rate.mac.bf16", 60.0).get("tensor.rate.mac.bf16") == 10.0


@given(path=st.sampled_from(TOY.paths), factor=st.sampled_from([2.0, 3.0]))
def test_one_path_changes_one_number(path: str, factor: float) -> None:
    value = TOY.get(path)
    number = value * factor if math.isfinite(value) and value > 0 else 1.0
    changed = TOY.with_(path, number)
    same = [p for p in TOY.paths if changed.get(p) == TOY.get(p)]
    affected = {p for p in TOY.paths if p not in same}
    aliases = {path, path.replace("memory.", "hbm."), path.replace("hbm.", "memory.")}
    aliases |= {path.replace(".rate.", ".device_rate."), path.replace(".device_rate.", ".rate.")}
    fans_out = {p for p in TOY.paths if ".device_rate." in p} if path.endswith(".count") else set()
    assert path in affected
    assert affected <= aliases | fans_out


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("hbm.bandwith", 1.0, "toy: unknown path 'hbm.bandwith'; did you mean 'hbm.bandwidth'?"),
        ("hmb.bandwidth", 1.0, "did you mean 'hbm.bandwidth'?"),
        ("tensor.rate.mac.bf61", 1.0, "did you mean 'tensor.rate.mac.bf16'?"),
        ("", 1.0, "toy: unknown path ''; for example 'memory.capacity'"),
        ("hbm", 1.0, "unknown path 'hbm'"),
        ("hbm.bandwidth", "5 TB", "toy hbm.bandwidth: '5 TB' has the wrong unit: 'TB' where 'B/s' is expected"),
        ("hbm.bandwidth", 0, "toy hbm.bandwidth: 0 is zero; it must be more"),
        ("ring.payload", 1.01, "toy ring.payload: 1.01 is more than 1"),
        ("hbm.bandwidth", math.nan, "toy hbm.bandwidth: nan is not a finite number"),
        ("hbm.bandwidth", "-1 B/s", "negative"),
        ("sm.count", 1.5, "toy sm.count: 1.5 is not a whole number"),
        ("tensor.rate.mac.bf16", "989 TB/s", "wrong unit"),
    ],
)
def test_a_change_that_means_nothing_is_refused(path: str, value: str | float, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        TOY.with_(path, value)
    assert message in str(caught.value)


def test_an_unknown_link_scope_is_refused() -> None:
    with pytest.raises(WeirError, match="unknown link scope 'nod'; did you mean 'node'"):
        TOY.link("nod")
    assert TOY.link("host") is None


def test_an_older_device_says_what_it_runs_instead() -> None:
    assert device("a100").runs_as("mac", "fp8") == ("bf16", "tensor")
    assert device("v100").runs_as("mac", "bf16") == ("fp16", "tensor")
