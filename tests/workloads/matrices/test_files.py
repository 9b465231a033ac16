from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import io, sparse

from einsum.errors import Infeasible, WeirError
from workloads.matrices import read

HEAD = "%%MatrixMarket matrix coordinate real general\n"


def filed(tmp_path: Path, text: str | bytes, name: str = "m.mtx") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_general_matrix(tmp_path: Path) -> None:
    made = read(filed(tmp_path, HEAD + "% made by hand\n\n2 3 3\n1 1 7\n2 3 -1.5e1\n1 2 .5"))
    assert made.toarray().tolist() == [[7, 0.5, 0], [0, 0, -15]]


def test_a_file_that_unpacks_to_far_more_than_it_declares(tmp_path: Path) -> None:
    bomb = gzip.compress((HEAD + "3 3 1\n" + 1000 * "1 1 1\n").encode())
    with pytest.raises(WeirError, match=r"b.mtx.gz: too long: line 2 declares 1 entries, 6000 bytes follow"):
        read(filed(tmp_path, bomb, "b.mtx.gz"))


@pytest.mark.parametrize(("end", "entries"), [("\n", 3), ("\r\n", 3), (" \n", 3)])
def test_line_ends(tmp_path: Path, end: str, entries: int) -> None:
    text = end.join([HEAD.strip(), "3 3 3", "1 1 1", "2 2 2", "3 3 3"])
    assert read(filed(tmp_path, text)).nnz == entries


def test_patterns_are_ones_and_symmetric_matrices_whole(tmp_path: Path) -> None:
    pattern = "%%MatrixMarket matrix coordinate pattern symmetric\n3 3 3\n1 1\n2 1\n3 2\n"
    assert read(filed(tmp_path, pattern)).toarray().tolist() == [[1, 1, 0], [1, 0, 1], [0, 1, 0]]
    skew = "%%MatrixMarket matrix coordinate integer skew-symmetric\n2 2 1\n2 1 5\n"
    assert read(filed(tmp_path, skew)).toarray().tolist() == [[0, -5], [5, 0]]


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), symmetric=st.booleans())
def test_what_scipy_writes_reads_back(tmp_path: Path, seed: int, symmetric: bool) -> None:
    drawn = sparse.csr_array(sparse.random_array((13, 13), density=0.2, rng=np.random.default_rng(seed)))
    made = sparse.csr_array(drawn + drawn.T if symmetric else drawn)
    io.mmwrite(tmp_path / "w.mtx", made, symmetry="symmetric" if symmetric else "general", precision=17)
    packed = filed(tmp_path, gzip.compress((tmp_path / "w.mtx").read_bytes()), "w.mtx.gz")
    sparse.save_npz(tmp_path / "w.npz", made)
    for path in (tmp_path / "w.mtx", packed, tmp_path / "w.npz"):
        assert abs(read(path) - made).max() < 1e-14 if made.nnz else read(path).nnz == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: not a Matrix Market file"),
        ("%%MatrixMarket matrix array real general\n2 2\n1\n", "line 1: 'array' is not read"),
        ("%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 0 1\n", "line 1: complex values are not read"),
        ("%%MatrixMarket matrix coordinate reel general\n1 1 1\n1 1 1\n", "line 1: unknown field 'reel'; did you mean"),
        (HEAD.replace("general", "hermitian") + "1 1 1\n1 1 1\n", "line 1: unknown symmetry 'hermitian'"),
        (HEAD, "line 2: no line of rows"),
        (HEAD + "2 2\n", "line 2: '2 2' is not rows, columns and entries"),
        (HEAD + "2 -2 1\n1 1 1\n", "line 2: '2 -2 1' is not rows"),
        (HEAD + "9999999999 2 1\n1 1 1\n", "line 2: 9999999999 x 2 is more than"),
        (HEAD + "2 2 9\n1 1 1\n", "line 2: 9 entries do not fit 2 x 2"),
        (HEAD + "9 9 80\n1 1 1\n", "truncated: line 2 declares 80 entries, there is room for 1"),
        (HEAD + "9 9 3\n1 1 1.000000\n2 2 2.000000000\n", "truncated: line 2 declares 3 entries, 2 follow"),
        (HEAD + "9 9 1\n1 1 1\n2 2 2\n", "too long: line 2 declares 1 entries, 2 follow"),
        (HEAD + "2 2 1\n1 1\n", "truncated: line 2 declares 1 entries, there is room for 0"),
        (HEAD + "2 2 2\n1 1 1\n1 2 \n", "line 4: '1 2' has 2 words, expected 3: row, column, value"),
        (HEAD + "2 2 1\n-1 1 1\n", "line 3: '-1' is negative"),
        (HEAD + "2 2 1\n0 1 1\n", "line 3: entry (0, 1) lies outside 2 x 2 (indices count from 1)"),
        (HEAD + "2 2 1\n3 1 1\n", "line 3: entry (3, 1) lies outside"),
        (HEAD + "2 2 1\n1.5 1 1\n", "line 3: '1.5' is not an index"),
        (HEAD + "2 2 1\n1 1 nan\n", "line 3: 'nan' is not a finite number"),
        (HEAD + "2 2 1\n1 1 1e999\n", "line 3: '1e999' is too large"),
        (HEAD + "2 2 1\n1 1 1e\n", "line 3: '1e' is not a finite number"),
        (HEAD + "2 2 2\n1 1 1\n1 2 0x10\n", "line 4: '0x10' is not a finite number"),
        (HEAD + "2 2 1\n1 1 7\0\n", "line 3: a NUL byte"),
        (HEAD + "2 2 2\n1 1 7\n\n1 1 8\n", "line 5: entry (1, 1) was given on line 3 already"),
        (HEAD.replace("general", "symmetric") + "2 2 1\n1 2 1\n", "line 3: entry (1, 2) of a symmetric"),
        (HEAD.replace("general", "symmetric") + "2 3 1\n1 1 1\n", "line 2: symmetric but 2 x 3"),
        (HEAD.replace("real", "pattern") + "2 2 1\n1 1 1\n", "line 3: '1 1 1' has 3 words, expected 2"),
        (HEAD + "%" + "x" * 2000 + "\n2 2 1\n1 1 1\n", "line 2: more than 1024 characters"),
    ],
)  # fmt: skip
def test_bad_files_are_one_line_each(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(WeirError) as error:
        read(filed(tmp_path, text))
    assert str(error.value).startswith("m.mtx: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_matrix_larger_than_memory(tmp_path: Path) -> None:
    with pytest.raises(Infeasible, match=r"m.mtx: 2000000000 x 2000000000 with 1 entries needs about .* MiB"):
        read(filed(tmp_path, HEAD + "2000000000 2000000000 1\n1 1 1\n"))


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 120), byte=st.binary(max_size=3), cut=st.integers(0, 5))
def test_mutants_are_read_or_refused(tmp_path: Path, at: int, byte: bytes, cut: int) -> None:
    text = (HEAD + "3 3 4\n1 1 7.5\n2 1 -8\n3 3 1e-3\n1 3 2\n").encode()
    try:
        made = read(filed(tmp_path, text[:at] + byte + text[at + cut :]))
    except WeirError:
        return
    assert np.isfinite(made.data).all()


def test_an_edge_list(tmp_path: Path) -> None:
    text = "# Directed graph\n# FromNodeId ToNodeId\n0\t3\n2 1\n0 3\n"
    made = read(filed(tmp_path, text, "g.txt"))
    assert made.shape == (4, 4)
    assert made.toarray()[0].tolist() == [0, 0, 0, 1]
    assert made.nnz == 2
    weighted = read(filed(tmp_path, gzip.compress(b"0 1 2.5\n"), "g.el.gz"))
    assert weighted.toarray().tolist() == [[0, 2.5], [0, 0]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("g.txt", "", "line 1: expected a source"),
        ("g.txt", "# x\n1 2\n1\n", "line 3: '1' has 1 words"),
        ("g.txt", "1 2\n-1 2\n", "line 2: '-1' is negative"),
        ("g.txt", "1 99999999999\n", "line 1: node 99999999999 is more than"),
        ("g.mtx.gz", "plain", "not gzip data"),
        ("g.mtx.gz", gzip.compress(b"x" * 999, mtime=0)[:-9], "truncated: the compressed data end too early"),
        ("g.csv", "1,2", "a matrix file ends in .mtx"),
        ("g.npz", "junk", "not an archive of scipy's"),
    ],
)
def test_other_bad_files(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    with pytest.raises(WeirError, match=f"{name}: .*") as error:
        read(filed(tmp_path, text, name))
    assert message in str(error.value)


def test_archives_are_checked(tmp_path: Path) -> None:
    good = {"format": "csr", "shape": [2, 2], "data": [1.0], "indices": [0], "indptr": [0, 1, 1]}
    cases: list[tuple[dict[str, object], str]] = [
        ({"format": "csc"}, "expected csr"),
        ({"indptr": [0, 1]}, "do not describe 2 rows"),
        ({"indices": [5]}, "a column lies outside"),
        ({"data": [np.nan]}, "finite real numbers"),
        ({"data": [1j]}, "finite real numbers"),
        ({"data": np.array([{}], object)}, "not an archive of scipy's"),
    ]
    for change, message in cases:
        np.savez(tmp_path / "a.npz", **(good | change))  # type: ignore[arg-type]
        with pytest.raises(WeirError, match=message):
            read(tmp_path / "a.npz")
