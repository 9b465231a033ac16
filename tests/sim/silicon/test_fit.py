"""The fit finds the constants that made the data, and the report says how far off a device left out is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from einsum.files import parse_toml
from sim.arch import tier
from sim.cli import main
from sim.silicon.cases import cases, predict
from sim.silicon.fit import CLASSES, Sample, fit, left_out, prior, priors, with_constants
from sim.silicon.measured import Measured
from sim.silicon.report import ALL, UNSEEN, elsewhere, evaluate
from sim.silicon.store import facts, save, shipped, within


@pytest.fixture(scope="module")
def files() -> dict[str, Measured]:
    return {rows.operation: rows for rows in shipped()}


def test_priors_cover_every_class_with_the_names_that_are_shipped() -> None:
    constants = tier("physical").constants
    assert constants is not None
    names = {name: set(table) for name, table in constants.table().items()}
    assert names == {name: set(table) for name, table in priors().items()}
    assert {c for classes in CLASSES.values() for c in classes} == set(names) - {"boards"}  # published, not fitted


def test_a_fit_to_the_models_own_times_finds_its_constants(files: dict[str, Measured]) -> None:
    rows = files["attention_prefill"]
    truth = prior(["prefill"])
    truth["prefill"] |= {"launch": truth["prefill"]["launch"] * 1.5, "softmax": truth["prefill"]["softmax"] * 1.3}
    made = cases(rows)
    data = Sample(rows.operation, made, predict(made, with_constants(truth), len(rows)), rows.text("device"))
    ours = predict(made, with_constants(fit(data, hold=1e-5)), len(rows))
    assert np.abs(ours / data.seconds - 1).max() < 0.02


def test_left_out_uses_no_row_of_the_device(files: dict[str, Measured]) -> None:
    rows = files["elementwise_vidur"]
    made, devices = cases(rows), rows.text("device")
    wrong = np.where([name == "h100" for name in devices], rows.seconds * 100, rows.seconds)
    clean = left_out(Sample(rows.operation, made, rows.seconds, devices))
    spoiled = left_out(Sample(rows.operation, made, wrong, devices))
    h100 = np.array(devices) == "h100"
    assert spoiled[h100] == pytest.approx(clean[h100])
    assert np.median(spoiled[~h100] / clean[~h100]) > 5  # the other one is fitted to what was spoiled


def test_the_physical_tier_is_nearer_than_the_limit_on_what_is_shipped() -> None:
    report = evaluate(None)
    for operation in {row.operation for row in report.rows}:
        assert report.of(operation, "physical").median < 0.6 * report.of(operation, "limit").median
    assert report.of("gemm bf16", "physical", ALL).median < 0.12
    assert report.of("attention prefill", "physical", ALL).median < 0.15
    assert abs(report.of("gemm bf16", "physical").bias) < 0.08


def test_saved_constants_are_a_tier_that_gives_the_same_times(tmp_path: Path, files: dict[str, Measured]) -> None:
    rows = files["gemm"]
    made = cases(rows)
    table = prior(["product"])
    save(tmp_path / "mine.toml", "a test", table, {"product": facts(rows, rows.seconds * 0)})
    level = tier(str(tmp_path / "mine.toml"))
    assert level.name == "calibrated"
    assert predict(made, level, len(rows)) == pytest.approx(predict(made, with_constants(table), len(rows)), rel=1e-3)
    assert dict(level.tested)["product"].kernels == len(rows)


@pytest.mark.parametrize("name", ['a "b"', "back\\slash", "two\nlines", "tab\t\x00\x7f", "1." * 40, "é\u2028"])
def test_a_name_with_quotes_or_line_ends_is_saved_and_read_back(name: str, tmp_path: Path) -> None:
    known = {
        "devices": [name],
        "dtypes": ["bf16", name],
        "vendors": ["NVIDIA"],
        "kernels": 1,
        "median": 0.1,
        "p90": 0.2,
    }
    tested = {**known, "bias": 0.0, "shortest": 1e-6, "longest": 1e-3}
    save(tmp_path / "mine.toml", f"calibrated to {name}", prior(["product"]), {"product": tested})
    product = dict(tier(str(tmp_path / "mine.toml")).tested)["product"]
    assert (product.devices, product.dtypes) == ((name,), ("bf16", name))
    assert parse_toml((tmp_path / "mine.toml").read_text(), "mine.toml")["source"] == f"calibrated to {name}"


def test_calibrating_halves_the_error_of_a_slower_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [(m, n) for m in (1, 64, 1024, 8192) for n in (1024, 4096, 8192)]
    text = "\n".join(f"l4,bf16,{m},{n},4096,1" for m, n in sizes)
    path = tmp_path / "gemm.csv"
    path.write_text(f"device,dtype,m,n,k,latency_us\n{text}\n", encoding="utf-8")
    from sim.silicon.measured import read

    rows = read(path, "gemm")
    micro = predict(cases(rows), tier("physical"), len(rows)) * 1.3e6
    lines = [f"{line.rpartition(',')[0]},{t:.4f}" for line, t in zip(text.split("\n"), micro, strict=True)]
    path.write_text("device,dtype,m,n,k,latency_us\n" + "\n".join(lines), encoding="utf-8")
    assert main(["calibrate", str(path), "--device", "l4", "--out", str(tmp_path / "l4.toml")]) == 0
    before, after = (float(cell.rstrip("%")) for cell in capsys.readouterr().out.split()[-2:])
    assert before == pytest.approx(23.1, abs=0.2)
    assert after < before / 2
    assert main(["calibrate", str(path), "--device", "h100", "--out", str(tmp_path / "no.toml")]) == 2


def test_the_printed_band_is_that_of_the_device_that_is_furthest_off(files: dict[str, Measured]) -> None:
    rows = files["gemm"]
    errors = np.where([name == "l40s" for name in rows.text("device")], 0.5, 0.1)
    found = facts(rows, errors)
    assert (found["p90"], found["median"], found["vendors"]) == (0.5, 0.1, ["NVIDIA"])


def test_a_band_from_other_devices_uses_no_error_of_the_device() -> None:
    errors, kinds = np.array([0.1, 0.2, 0.3, 9.0, 0.4]), np.array(["x", "x", "x", "x", "y"])
    band = elsewhere(errors, kinds, np.array(["a", "a", "b", "c", "a"]))
    assert band[:4] == pytest.approx([9.0, 9.0, 9.0, 0.3])
    assert np.isnan(band[4])  # no other device has any of its kind


def test_about_nine_in_ten_rows_of_a_device_left_out_are_within_the_band_of_the_others() -> None:
    report = evaluate(None)
    shares = [row.covered for row in report.rows if row.tier == UNSEEN and row.device != ALL]
    assert 0.8 < np.mean(shares) < 0.98
    assert all(row.covered is None for row in report.rows if row.tier == "limit")
    assert "were chosen while looking at these devices" in str(report)
    assert within(np.arange(-10.0, 11)) == pytest.approx(9)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ("h100,bf16,8192,8192,8192,1.5",),
            "is latency_us in microseconds?",
        ),  # milliseconds, where microseconds belong
        (("h1000,bf16,1,2,3,4",), "unknown device 'h1000' in the measurements"),
        (("a100,bf16,1,2,3,4",), "no measurements of h100_sxm"),
    ],
)
def test_calibrating_says_what_is_wrong_in_one_line(
    lines: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gemm.csv").write_text("\n".join(("device,dtype,m,n,k,latency_us", *lines)), encoding="utf-8")
    assert main(["calibrate", str(tmp_path), "--device", "h100", "--out", str(tmp_path / "no.toml")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert main(["calibrate", str(tmp_path / "nowhere"), "--device", "h100"]) == 2
    assert "no such folder or file of measurements" in capsys.readouterr().err


def test_many_rows_are_fitted_by_a_sample_and_what_no_fit_improves_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.cli.calibrate.MOST", 8)
    rows = [f"h100,bf16,{m},4096,4096,{time}" for m in range(16, 32) for time in (12, 120)]
    (tmp_path / "gemm.csv").write_text("\n".join(("device,dtype,m,n,k,latency_us", *rows)), encoding="utf-8")
    assert main(["calibrate", str(tmp_path), "--device", "h100", "--out", str(tmp_path / "mine.toml")]) == 0
    out = capsys.readouterr().out
    assert "gemm: 8 of 32 rows are fitted" in out
    assert "gemm: 16 rows measure again what another did; each counts" in " ".join(out.split())
