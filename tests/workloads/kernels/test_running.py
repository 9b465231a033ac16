"""How kernels run: threads, forks, no compiler, changed sources."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workloads.kernels
from workloads.kernels import exact, linear, memory, split
from workloads.kernels.core.jit import run

SOURCES = Path(workloads.kernels.__file__).parent


def draw(*shapes: tuple[int, ...]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in shapes]


Q, K, V = draw((2, 3, 150, 5), (2, 3, 200, 5), (2, 3, 200, 5))


@pytest.mark.parametrize("threads", [2, 3, 64])
def test_results_do_not_depend_on_threads(threads: int) -> None:
    for kernel in (exact.one_pass, exact.two_pass, exact.three_pass):
        np.testing.assert_array_equal(kernel(Q, K, V, causal=True, threads=threads), kernel(Q, K, V, causal=True))
    for got, alone in (
        (split.stream_k(Q, K, V, workers=5, threads=threads), split.stream_k(Q, K, V, workers=5)),
        (linear.based(Q, Q, Q, threads=threads), linear.based(Q, Q, Q)),
        (linear.lightning(Q, Q, Q, np.full(3, 0.5), threads=threads), linear.lightning(Q, Q, Q, np.full(3, 0.5))),
    ):
        np.testing.assert_array_equal(got, alone)


def test_pieces_of_work_cover_it_once() -> None:
    for items in (0, 1, 2, 7, 40):
        for threads in (1, 2, 3):
            done = np.zeros(items, int)

            def count(start: int, stop: int, done: Any = done) -> None:
                done[start:stop] += 1

            run(count, items, threads)
            assert (done == 1).all()


def test_an_error_in_a_thread_is_raised() -> None:
    def fails(start: int, stop: int) -> None:
        raise RuntimeError(f"piece {start}")

    with pytest.raises(RuntimeError, match="piece 0"):
        run(fails, 8, 2)


def test_callers_may_be_threads_that_use_threads() -> None:
    expected = exact.one_pass(Q, K, V)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: exact.one_pass(Q, K, V, threads=2), range(8)):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_a_process_that_used_threads_may_use_them_too() -> None:
    expected = exact.one_pass(Q, K, V, threads=2)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        got = pool.apply_async(exact.one_pass, (Q, K, V), {"threads": 2}).get(timeout=60)
    np.testing.assert_array_equal(got, expected)


PROBE = """
import numpy as np
from workloads.kernels import linear
x = np.arange(1.0, 25.0).reshape(1, 1, 8, 3) / 10
print(linear.lightning(x, x, x, np.array([0.5])).sum())
"""


def probe(root: Path, script: str, **environment: str) -> str:
    """What a fresh interpreter prints that finds the packages in ``root``."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_changed_helper_changes_the_result(tmp_path: Path) -> None:
    copy = tmp_path / "workloads" / "kernels"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "workloads" / "__init__.py").touch()
    before = float(probe(tmp_path, PROBE))
    helper = copy / "core" / "online.py"
    text = helper.read_text()
    assert text.count("query[e, i] = q[start + i, e]") == 1
    helper.write_text(text.replace("query[e, i] = q[start + i, e]", "query[e, i] = 2 * q[start + i, e]"))
    assert float(probe(tmp_path, PROBE)) == pytest.approx(2 * before)


UNCOMPILED = """
import sys
import numpy as np
import pytest
sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *{tests!r}]))
"""


def test_every_kernel_runs_uncompiled() -> None:
    """The same cases on the smallest shapes, as plain Python: what a coverage tool sees."""
    here = Path(__file__).parent
    root = SOURCES.parents[1]
    tests = [f"{here}/test_table.py::test_few_keys"]
    out = probe(root, UNCOMPILED.format(tests=tests), NUMBA_DISABLE_JIT="1")
    assert out.startswith("." * 18)


@pytest.mark.parametrize("cases", ["refusals", "empties", "poisoned"])
def test_every_kernel_uncompiled_on(cases: str) -> None:
    """Bad arguments, empty ranks, NaN and infinities, each in a module of its own."""
    tests = [f"{Path(__file__).parent}/{cases}.py"]
    out = probe(SOURCES.parents[1], UNCOMPILED.format(tests=tests), NUMBA_DISABLE_JIT="1")
    assert out.startswith("." * 18)


def test_kernels_import_nothing_of_the_other_packages() -> None:
    script = "import sys; from workloads.kernels import catalogue; assert len(catalogue()) >= 18; print(*sys.modules)"
    loaded = probe(SOURCES.parents[1], script).split()
    assert not {"einsum", "mappings", "sim", "workloads.attention"} & set(loaded)


def test_importing_the_package_leaves_numba_alone() -> None:
    assert "numba" not in probe(SOURCES.parents[1], "import sys, workloads.kernels; print(*sys.modules)").split()


def test_memory_takes_its_weights_by_head() -> None:
    q, k, v, w1, w2 = draw((2, 3, 9, 4), (2, 3, 9, 4), (2, 3, 9, 5), (3, 4, 6), (3, 6, 5))
    factors = [np.full((2, 3, 9), x) for x in (0.01, 0.5, 0.1)]
    whole = memory.neural_memory(q, k, v, w1, w2, *factors, threads=2)
    for b, h in np.ndindex(2, 3):
        alone = (a[b : b + 1, h : h + 1].copy() for a in (q, k, v))
        one = memory.neural_memory(*alone, w1[h : h + 1], w2[h : h + 1], *(f[:1, :1].copy() for f in factors))
        np.testing.assert_array_equal(one[0, 0], whole[b, h])
