"""Measuring: what is missing is said in one line, what is timed becomes files that are read back."""

from __future__ import annotations

import builtins
import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sim.arch import tier
from sim.cli import main
from sim.silicon import bench
from sim.silicon.cases import cases, predict
from sim.silicon.measured import load, read


class Torch:
    """What measuring asks of PyTorch, on a GPU whose replays take as many milliseconds as they are told."""

    __version__ = "2.9.fake"
    int8 = "int8"

    def __init__(self, *replays: float) -> None:
        self.replays, self.done, self.flushed = list(replays), [], 0
        self.stream, self.streams = "main", list[tuple[str, str]]()  # where what was done
        stamps = iter(range(10**6))

        def event(enable_timing: bool) -> Any:
            mark = SimpleNamespace(at=0, record=lambda: setattr(mark, "at", next(stamps)))
            mark.elapsed_time = lambda end: self.replays[(len(self.done) - 2) % len(self.replays)]
            return mark

        @contextmanager
        def on(stream: Any, what: str) -> Iterator[None]:
            self.stream, before = stream.name, self.stream
            self.streams.append((what, self.stream))
            yield
            self.stream = before

        def stream(name: str) -> Any:
            return SimpleNamespace(name=name, wait_stream=lambda other: self.streams.append((name, other.name)))

        self.cuda = SimpleNamespace(
            Event=event, synchronize=lambda: None, graph=lambda graph, stream: on(stream, "record"),
            Stream=lambda: stream("side"), current_stream=lambda: stream(self.stream),
            stream=lambda one: on(one, "warm"),
            CUDAGraph=lambda: SimpleNamespace(replay=lambda: self.done.append(self.flushed)),
            is_available=lambda: True, get_device_name=lambda number: "a fake", OutOfMemoryError=MemoryError,
            get_device_properties=lambda number: SimpleNamespace(uuid="0-1-2"),
            get_device_capability=lambda number: (9, 0),
        )  # fmt: skip

    def empty(self, size: int, dtype: str, device: str) -> Any:
        assert size >= 256 << 20
        return SimpleNamespace(zero_=self.flush)

    def flush(self) -> None:
        self.flushed += 1


def test_the_median_of_replays_counts_and_each_has_a_cold_cache() -> None:
    torch, runs = Torch(9.0, 1.0, 2.0, 3.0, 2.5), []
    assert bench.timed(torch, lambda: runs.append(1), 5) == pytest.approx(2.5e-3)
    assert torch.done == [0, 1, 2, 3, 4, 5]  # once to upload the recording; flushed once more before each that counts
    assert len(runs) == bench.WARM + 1  # the recording runs it too
    assert torch.streams == [("side", "main"), ("warm", "side"), ("main", "side"), ("record", "side")]
    assert torch.stream == "main"  # replays, flushes and events are on one stream


def test_files_are_read_back_as_measurements_of_a_cold_cache(tmp_path: Path) -> None:
    kept = bench.Kept.at(bench.folder(tmp_path), EVERY)
    for one in bench.measure(Torch(0.25), "h100_sxm", EVERY, 1):
        kept = kept.with_(one)
    for rows in load(tmp_path):
        assert rows.seconds == pytest.approx(np.full(len(rows), 250e-6))
        ours = predict(cases(rows), tier("physical"), len(rows))
        assert np.isfinite(ours).all()
    assert {path.name for path in tmp_path.iterdir()} == {
        "gemm.csv", "attention_prefill.csv", "attention_decode.csv", "elementwise_vidur.csv",
    }  # fmt: skip


def test_a_cold_cache_costs_time_where_a_warm_one_holds_the_operands(tmp_path: Path) -> None:
    lines = [f"l40s,bf16,1,2048,2048,1,{cache}" for cache in ("cold", "")]
    (tmp_path / "gemm.csv").write_text("\n".join(("device,dtype,m,n,k,latency_us,cache", *lines)), encoding="utf-8")
    cold, warm = predict(cases(read(tmp_path / "gemm.csv", "gemm")), tier("physical"), 2)
    assert cold > 1.1 * warm


def test_without_pytorch_or_a_gpu_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = builtins.__import__

    def absent(name: str, *rest: Any, **named: Any) -> Any:
        if name == "torch":
            raise ImportError(name)
        return found(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert main(["measure", "--device", "h100"]) == 2
    assert capsys.readouterr().err == "weir: measuring needs PyTorch with CUDA: pip install 'weir[measure]'\n"
    monkeypatch.setattr(builtins, "__import__", found)
    older = SimpleNamespace(__version__="2.2.1+cu121")
    monkeypatch.setitem(sys.modules, "torch", older)
    assert main(["measure", "--device", "h100"]) == 2
    assert capsys.readouterr().err == "weir: measuring needs PyTorch 2.3 or later, not 2.2.1+cu121\n"
    none = SimpleNamespace(__version__="2.10.x", cuda=SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", none)
    assert main(["measure", "--device", "h100"]) == 2
    assert capsys.readouterr().err == "weir: no CUDA device was found by PyTorch 2.10.x; nothing can be measured here\n"
    old = Torch(1.0)
    old.cuda.get_device_capability = lambda number: (7, 5)
    monkeypatch.setitem(sys.modules, "torch", old)
    assert main(["measure", "--device", "t4"]) == 2
    assert capsys.readouterr().err == "weir: a fake emulates bf16, which is what is measured; nothing was\n"


def idle(kernel: bench.Kernel) -> bench.Kernel:
    """The same kernel, which does nothing."""
    return replace(kernel, make=lambda torch, where: lambda: None)


def failing(kernel: bench.Kernel, problem: BaseException) -> bench.Kernel:
    def make(torch: Any, where: str) -> Any:
        raise problem

    return replace(kernel, make=make)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


EVERY = tuple(idle(kernel) for kernel in bench.kernels())


def test_what_pytorch_does_not_run_is_named_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [failing(EVERY[0], RuntimeError("CUDA error: no kernel image\nmore")), *EVERY[1:]]
    broken[1] = failing(EVERY[1], MemoryError())
    broken[2] = failing(EVERY[2], NotImplementedError(""))
    monkeypatch.setattr(bench, "kernels", lambda: iter(broken))
    monkeypatch.setitem(sys.modules, "torch", Torch(0.1))
    assert main(["measure", "--device", "h100", "--out", str(tmp_path), "--repeats", "1"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    does_not = "PyTorch 2.9.fake does not run it"
    assert f"left out: gemm dtype=bfloat16 m=1 n=4096 k=4096: {does_not}: CUDA error: no kernel image" in told
    assert "left out: gemm dtype=bfloat16 m=16 n=4096 k=4096: needs more memory than is free" in told
    assert f"left out: gemm dtype=bfloat16 m=64 n=4096 k=4096: {does_not}: NotImplementedError" in told
    assert "more" not in told.split("no kernel image")[1][:6]
    assert len(rows(tmp_path / "gemm.csv")) == sum(k.operation == "gemm" for k in EVERY) - 3


def test_of_an_older_pytorch_what_it_lacks_is_left_out() -> None:
    torch = Torch(0.1)
    torch.__version__ = "2.4.1+cu124"
    found = {str(one.kernel): one.reason for one in bench.measure(torch, "h100_sxm", EVERY, 1)}
    lacking = {name for name, reason in found.items() if reason}
    assert {found[name] for name in lacking} == {"needs PyTorch 2.5 or later, not 2.4.1+cu124"}
    assert lacking == {str(k) for k in EVERY if k.columns.get("heads") != k.columns.get("kv_heads")}


def test_where_nothing_is_measured_every_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "kernels", lambda: (failing(k, MemoryError()) for k in EVERY[:2]))
    monkeypatch.setitem(sys.modules, "torch", Torch(0.1))
    assert main(["measure", "--device", "h100", "--out", str(tmp_path)]) == 2
    first, *reasons = capsys.readouterr().err.strip().split("\n")
    assert first == "weir: nothing was measured:"
    assert len(reasons) == 2
    assert all(one.endswith("needs more memory than is free") for one in reasons)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("problem", [TypeError("a mistake of ours"), KeyboardInterrupt()])
def test_what_was_measured_before_a_mistake_of_ours_or_an_interruption_is_there_and_the_rest_follows(
    problem: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["measure", "--device", "h100", "--out", str(tmp_path), "--repeats", "1"]
    monkeypatch.setattr(bench, "kernels", lambda: iter([*EVERY[:5], failing(EVERY[5], problem), *EVERY[6:]]))
    monkeypatch.setitem(sys.modules, "torch", Torch(0.1))
    assert main(asked) != 0
    error = capsys.readouterr().err
    assert ("a bug in weir (TypeError: a mistake of ours)" in error) == isinstance(problem, TypeError)
    assert [row["latency_us"] for row in rows(tmp_path / "gemm.csv")] == ["100"] * 5
    assert [path.name for path in tmp_path.iterdir()] == ["gemm.csv"]
    monkeypatch.setattr(bench, "kernels", lambda: iter(EVERY))
    monkeypatch.setitem(sys.modules, "torch", Torch(0.2))
    assert main(asked) == 0
    assert f"5 kernels were measured by an earlier run; {len(EVERY) - 5} now" in capsys.readouterr().out
    found = rows(tmp_path / "gemm.csv")
    assert [row["latency_us"] for row in found] == ["100"] * 5 + ["200"] * (len(found) - 5)


def test_another_pytorch_measures_again_and_other_devices_stay(tmp_path: Path) -> None:
    [kernel, *_] = EVERY
    kept = bench.Kept.at(tmp_path, [kernel])
    for torch, device in ((Torch(1.0), "h100_sxm"), (Torch(2.0), "h200_sxm")):
        [one] = bench.measure(torch, device, [kernel], 1)
        kept = kept.with_(one)
        assert kept.has(kernel, device, bench.source(torch))
    newer = Torch(3.0)
    newer.__version__ = "2.10.fake"
    assert not kept.has(kernel, "h100_sxm", bench.source(newer))
    [one] = bench.measure(newer, "h100_sxm", [kernel], 1)
    kept.with_(one)
    assert [(r["device"], r["latency_us"]) for r in rows(tmp_path / "gemm.csv")] == [
        ("h200_sxm", "2000"), ("h100_sxm", "3000"),
    ]  # fmt: skip
    assert bench.Kept.at(tmp_path, [kernel]).has(kernel, "h100_sxm", bench.source(newer))


@pytest.mark.parametrize("rows", ["", "h100,bf16,1,2,3,4\n"])
def test_files_of_others_are_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rows: str
) -> None:
    (tmp_path / "gemm.csv").write_text(f"device,dtype,m,n,k,latency_us\n{rows}", encoding="utf-8")
    fake = Torch(0.1)
    monkeypatch.setitem(sys.modules, "torch", fake)
    assert main(["measure", "--device", "h100", "--out", str(tmp_path)]) == 2
    assert "has other columns than those measured; name another --out" in capsys.readouterr().err
    assert not fake.done


def test_the_command_writes_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "kernels", lambda: iter(EVERY))
    monkeypatch.setitem(sys.modules, "torch", Torch(0.1))
    out = str(tmp_path / "mine")
    assert main(["measure", "--device", "h100", "--out", out, "--only", "gemm", "--repeats", "1"]) == 0
    assert "weir calibrate" in capsys.readouterr().out
    assert main(["calibrate", out, "--device", "h100", "--out", str(tmp_path / "h100.toml")]) == 0
    assert main(["measure", "--device", "h100", "--only", "gem"]) == 2
    assert "did you mean 'gemm'?" in capsys.readouterr().err


class Processor:
    """PyTorch on the processor under the names of CUDA: all that a GPU does but time itself."""

    def __init__(self, torch: Any) -> None:
        self.own, self.cuda = torch, Torch(0.5).cuda

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def empty(self, size: int, dtype: Any, device: str) -> Any:
        return self.own.empty(8, dtype=dtype)


def test_kernels_run_from_the_first_to_the_file(tmp_path: Path) -> None:
    torch = Processor(pytest.importorskip("torch", reason="PyTorch is an optional extra"))
    small = {(k.operation, k.columns.get("op")): k for k in reversed([*bench.kernels()])}  # the smallest of each
    del small["attention_decode", None]
    kept = bench.Kept.at(bench.folder(tmp_path / "new"), tuple(small.values()))
    for one in bench.measure(torch, "h100_sxm", tuple(small.values()), 2, where="cpu"):
        assert not one.reason
        kept = kept.with_(one)
    read_back = {rows.operation: rows for rows in load(tmp_path / "new")}
    assert set(read_back) == {"gemm", "attention_prefill", "elementwise_vidur"}
    assert all((rows.seconds == 0.5e-3).all() for rows in read_back.values())
    assert set(read_back["gemm"].text("source")) == {f"torch {torch.__version__} on a fake"}


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    fake = Torch(0.1)
    monkeypatch.setitem(sys.modules, "torch", fake)
    assert main(["measure", "--device", "h100", "--out", str(tmp_path / "taken")]) == 2
    assert "--out" in capsys.readouterr().err
    assert not fake.done


def test_the_clock_is_that_of_the_device_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def run(argv: tuple[str, ...], **how: Any) -> Any:
        asked.append(argv)
        return SimpleNamespace(stdout="1755\n")

    monkeypatch.setattr("subprocess.run", run)
    assert bench.clock(Torch(1.0)) == "1755"
    assert asked[0][-1] == "--id=GPU-0-1-2"


def test_kernels_compute_what_their_columns_say() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is an optional extra")
    for kernel in bench.kernels():
        columns = kernel.columns
        small = columns.get("m", 1) == 1 if kernel.operation == "gemm" else columns.get("m", 0) == 16
        if small or (columns.get("batch"), columns.get("seq")) in {(1, 512), (1, 1024)}:
            result = kernel.make(torch, "cpu")()
            if kernel.operation == "gemm":
                assert tuple(result.shape) == (columns["m"], columns["n"])
            elif kernel.operation == "elementwise_vidur":
                assert result.shape[0] == columns["m"]
            else:
                assert tuple(result.shape)[:2] == (columns["batch"], columns["heads"])


@pytest.mark.parametrize(("fresh", "kept"), [(8, 4), (8, 2), (1, 4), (1, 2)])
def test_attention_is_one_kernel_and_asks_for_shared_heads_only_where_they_are(
    fresh: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is an optional extra")
    plain, asked = torch.nn.functional.scaled_dot_product_attention, list[dict[str, Any]]()

    def attend(*tensors: Any, **options: Any) -> Any:
        assert not torch.backends.cuda.math_sdp_enabled()
        asked.append(options)
        return plain(*tensors, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
    kernel = bench._attending("attention_decode", 2, fresh, 8, 4, kept)
    assert tuple(kernel.make(torch, "cpu")().shape) == (2, 4, fresh, 128)  # type: ignore[attr-defined]
    assert asked == [{"is_causal": fresh > 1} | ({"enable_gqa": True} if kept == 2 else {})]
    assert kernel.since == ((2, 5) if kept == 2 else (2, 3))
