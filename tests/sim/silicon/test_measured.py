"""CSV files of measured kernels at the border, and the unit traps in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from einsum.errors import WeirError
from sim.arch import cluster, tier
from sim.silicon.cases import cases, predict
from sim.silicon.measured import known, load, read


def written(folder: Path, name: str, *lines: str) -> Path:
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "device"),
    [("a100_sxm", "a100_sxm_80gb"), ("h100", "h100_sxm"), ("b200_sxm", "b200"), ("l40s", "l40s"), ("a100_80g", "")],
)
def test_benchmarks_names_of_devices(name: str, device: str) -> None:
    if device:
        assert known(name).name == device
    else:
        with pytest.raises(WeirError, match="unknown device 'a100_80g'"):
            known(name)


def test_a_missing_column_and_a_bad_latency_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeirError, match=r"gemm.csv: needs columns k"):
        read(written(tmp_path, "gemm", "device,dtype,m,n,latency_us", "h100,bf16,1,2,3"), "gemm")
    with pytest.raises(WeirError, match="must be positive"):
        read(written(tmp_path, "gemm", "device,dtype,m,n,k,latency_us", "h100,bf16,1,2,3,0"), "gemm")
    with pytest.raises(WeirError, match=r"none of gemm.csv"):
        load(tmp_path / "nowhere")


def test_gemm_counts_bytes_not_elements_and_dense_peaks(tmp_path: Path) -> None:
    """At the limit 4096 cubed in bf16 takes 2 x 4096^3 over 989 TFLOP/s dense; one row takes its weight's two bytes."""
    path = written(
        tmp_path, "gemm", "device,dtype,m,n,k,latency_us", "h100,bf16,4096,4096,4096,1", "h100,bf16,1,8192,8192,1"
    )
    rows = read(path, "gemm")
    seconds = predict(cases(rows), tier("limit"), 2)
    assert seconds[0] == pytest.approx(2 * 4096**3 / 989e12)
    assert seconds[1] == pytest.approx(2 * (8192**2 + 2 * 8192) / 3.35e12)


def test_links_are_one_way_and_sizes_are_what_is_held_after_gathering(tmp_path: Path) -> None:
    path = written(tmp_path, "collectives", "device,op_name,num_gpus,bytes,latency_us", "h100,all_gather,8,800000000,1")
    [seconds] = predict(cases(read(path, "collectives")), tier("limit"), 1)
    assert seconds == pytest.approx(0.7e9 / 450e9, rel=1e-3)  # NVLink 4: 900 GB/s both ways together


def test_capacities_tell_gb_from_gib() -> None:
    device = cluster("1xh100").pools[0].device
    assert device.capacity == 80e9
    assert next(m.capacity for m in device.memories if m.name == "l2") == 50 * 2**20


def test_rows_come_back_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = ["device,dtype,m,n,k,latency_us"]
    rows += [f"{d},bf16,{m},512,512,1" for m in (1, 4096) for d in ("h100", "l40s", "a100")]
    seconds = predict(cases(read(written(tmp_path, "gemm", *rows), "gemm")), tier("physical"), 6)
    assert (seconds[3:] > seconds[:3]).all()
    assert np.isfinite(seconds).all()


def test_uneven_routing_is_read_from_the_row(tmp_path: Path) -> None:
    """Sixteen-fold expert parallelism: the timed device holds the experts that are chosen most."""
    head = "device,hidden_size,inter_size,topk,num_experts,moe_dtype,num_tokens,moe_tp_size,moe_ep_size"
    head += ",distribution,latency_us"
    lines = [f"h100,4096,1536,8,128,bfloat16,2048,1,16,{how},1" for how in ("balanced", "power_law_1.2", "")]
    rows = read(written(tmp_path, "moe_layer", head, *lines), "moe_layer")
    balanced, skewed, even = predict(cases(rows), tier("physical"), 3)
    assert skewed > 1.5 * balanced
    assert even == pytest.approx(balanced, rel=0.1)


HEAD = "device,dtype,m,n,k,latency_us"
MISTAKES = [
    ("", "gemm.csv: needs columns device, dtype, m, n, k, latency_us"),
    (HEAD, "gemm.csv: has no rows below its columns"),
    ("device,dtype,m,n,k,latency_ms\nh100,bf16,1,2,3,4", "'latency_ms' is there, but times are read in microseconds"),
    (f"{HEAD},m\nh100,bf16,1,2,3,4,5", "gemm.csv: column 'm' is there twice"),
    (f"{HEAD}\nh100,bf16,1,2,3", "gemm.csv: line 2: 5 cells under 6 columns"),
    (f"{HEAD}\nh100,bf16,1,2,3,4,5", "gemm.csv: line 2: 7 cells under 6 columns"),
    (f"{HEAD}\nh100,bf16,1,2,3,4\nh100,bf16,x,2,3,4", "gemm.csv: m: line 3: must be positive, not 'x'"),
    (f"{HEAD}\nh100,bf16,1,0,3,4", "gemm.csv: n: line 2: must be positive, not '0'"),
    (f"{HEAD}\nh100,bf16,1e300,2,3,4", "gemm.csv: m: line 2: '1e300' is more than any kernel has"),
    (f"{HEAD}\nh100,bf16,1,2,nan,4", "gemm.csv: k: line 2: must be positive, not 'nan'"),
    (f"{HEAD}\nh100,bf16,1,2,1e999,4", "gemm.csv: k: line 2: must be positive, not '1e999'"),
    (f"{HEAD}\nh100,bf16,1,2,3,-4", "gemm.csv: latency_us: line 2: must be positive, not '-4'"),
    (f"{HEAD}\nh100,bf16,1,2,3,4 ms", "gemm.csv: latency_us: line 2: must be positive, not '4 ms'"),
    (f"{HEAD}\nh100,bf16,1,2,3,0.004", "line 2: shorter than any launch; are they microseconds?"),
    (f"{HEAD}\nh100,bf61,1,2,3,4", "gemm.csv: dtype: unknown type 'bf61'; did you mean 'bf16'?"),
]


@pytest.mark.parametrize(("text", "says"), MISTAKES)
def test_every_mistake_in_a_file_is_one_line_that_names_it(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "gemm.csv").write_text(text, encoding="utf-8")
    with pytest.raises(WeirError) as found:
        read(tmp_path / "gemm.csv", "gemm")
    assert says in str(found.value)
    assert "\n" not in str(found.value)


def test_a_spreadsheets_mark_is_read_over_and_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gemm.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEAD}\nh100,bf16,1,2,3,4".encode())
    assert read(path, "gemm").seconds == pytest.approx(4e-6)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WeirError, match=r"gemm.csv: not a CSV file in UTF-8"):
        read(path, "gemm")
