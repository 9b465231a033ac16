"""A sweep on Dask: a real scheduler, two workers on the loopback, one of them killed in mid-sweep."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from einsum import WeirError
from sim.space.cluster import scheduler
from sim.space.sweep import sweep

pytest.importorskip("distributed")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
               "--dashboard-address", ":0"]  # fmt: skip
    log = tmp_path / "scheduler.log"
    with log.open("wb") as out:
        started = [subprocess.Popen(command, stderr=out, stdout=out, env=environment, cwd=tmp_path)]
    address = None
    for _ in range(300):
        address = re.search(r"tcp://127\.0\.0\.1:\d+", log.read_text())
        if address:
            break
        time.sleep(0.1)
    assert address, log.read_text()
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address[0], "--nthreads", "1", "--no-nanny",
              "--no-dashboard"]  # fmt: skip
    for _ in range(2):
        quiet = subprocess.DEVNULL
        started.append(subprocess.Popen(worker, stderr=quiet, stdout=quiet, env=environment, cwd=tmp_path))
    yield address[0], started[1:]
    for one in reversed(started):
        one.kill()
        one.wait()


@pytest.mark.filterwarnings("ignore")
def test_a_worker_killed_in_mid_sweep_loses_nothing(
    dask: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_work.py").write_text(
        "import time\ndef work(x):\n    time.sleep(0.02)\n    return {'value': x * x}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from importlib import import_module

    address, workers = dask
    with scheduler(address) as executor:
        executor._client.wait_for_workers(2, timeout=60)  # type: ignore[attr-defined]
        killer = threading.Timer(0.7, lambda: workers[0].send_signal(signal.SIGKILL))
        killer.start()
        work = import_module("slow_work").work
        frame = sweep(work, x=range(150), executor=executor, store=tmp_path / "a.db")
        killer.join()
    assert workers[0].wait() == -signal.SIGKILL
    assert frame["value"].tolist() == [x * x for x in range(150)]


@pytest.mark.filterwarnings("ignore")
def test_no_scheduler_is_said() -> None:
    with pytest.raises(WeirError, match="no scheduler"), scheduler("tcp://127.0.0.1:9", seconds=1):
        pass
