"""Measuring: what is missing is said in one line, what is timed becomes files that are read back."""

from __future__ import annotations

import builtins
import sys
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

    __version__ = "0.fake"
    int8 = "int8"

    def __init__(self, *replays: float) -> None:
        self.replays, self.done, self.flushed = list(replays), [], 0
        stamps = iter(range(10**6))

        def event(enable_timing: bool) -> Any:
            mark = SimpleNamespace(at=0, record=lambda: setattr(mark, "at", next(stamps)))
            mark.elapsed_time = lambda end: self.replays[(len(self.done) - 2) % len(self.replays)]
            return mark

        class Recording:
            def __enter__(self) -> None: ...
            def __exit__(self, *_: object) -> None: ...

        self.cuda = SimpleNamespace(
            Event=event, synchronize=lambda: None, graph=lambda graph: Recording(),
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


def test_files_are_read_back_as_measurements_of_a_cold_cache(tmp_path: Path) -> None:
    chosen = tuple(bench.Kernel(k.operation, k.columns, lambda torch, where: lambda: None) for k in bench.kernels())
    found: dict[str, list[dict[str, object]]] = {}
    for kernel, row in bench.measure(Torch(0.25), "h100_sxm", chosen, 1):
        found.setdefault(kernel.operation, []).append(row)
    bench.write(bench.folder(tmp_path), found)
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
    none = SimpleNamespace(__version__="2.x", cuda=SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", none)
    assert main(["measure", "--device", "h100"]) == 2
    assert capsys.readouterr().err == "weir: no CUDA device was found by PyTorch 2.x; nothing can be measured here\n"
    old = Torch(1.0)
    old.cuda.get_device_capability = lambda number: (7, 5)
    monkeypatch.setitem(sys.modules, "torch", old)
    assert main(["measure", "--device", "t4"]) == 2
    assert capsys.readouterr().err == "weir: a fake emulates bf16, which is what is measured; nothing was\n"


def test_what_pytorch_does_not_run_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def old(torch: Any, where: str) -> Any:
        raise TypeError("got an unexpected keyword argument 'enable_gqa'\nmore")

    monkeypatch.setattr(bench, "kernels", lambda: iter([bench.Kernel("attention_decode", {}, old)]))
    monkeypatch.setitem(sys.modules, "torch", Torch(0.1))
    assert main(["measure", "--device", "h100", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "PyTorch 0.fake does not run attention_decode: got an unexpected keyword argument 'enable_gqa'\n" in error


def test_the_command_writes_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    every = tuple(bench.Kernel(k.operation, k.columns, lambda torch, where: lambda: None) for k in bench.kernels())
    monkeypatch.setattr(bench, "kernels", lambda: iter(every))
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
    found: dict[str, list[dict[str, object]]] = {}
    for kernel, row in bench.measure(torch, "h100_sxm", tuple(small.values()), 2, where="cpu"):
        assert row is not None
        found.setdefault(kernel.operation, []).append(row)
    bench.write(bench.folder(tmp_path / "new"), found)
    read_back = {rows.operation: rows for rows in load(tmp_path / "new")}
    assert set(read_back) == {"gemm", "attention_prefill", "elementwise_vidur"}
    assert all((rows.seconds == 0.5e-3).all() for rows in read_back.values())
    assert set(read_back["gemm"].text("source")) == {f"torch {torch.__version__}"}


def test_what_does_not_fit_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(torch: Any, where: str) -> Any:
        raise torch.cuda.OutOfMemoryError

    every = [bench.Kernel(k.operation, k.columns, lambda torch, where: lambda: None) for k in bench.kernels()]
    every[0] = bench.Kernel(every[0].operation, every[0].columns, full)
    monkeypatch.setattr(bench, "kernels", lambda: iter(every))
    monkeypatch.setitem(sys.modules, "torch", Torch(0.1))
    assert main(["measure", "--device", "h100", "--out", str(tmp_path), "--repeats", "1"]) == 0
    assert "1 kernels are left out" in capsys.readouterr().out
    monkeypatch.setattr(bench, "kernels", lambda: iter(every[:1]))
    assert main(["measure", "--device", "h100", "--out", str(tmp_path), "--repeats", "1"]) == 2
    assert capsys.readouterr().err == "weir: a fake has too little free memory for any of 1 kernels\n"


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
