"""``weir import`` and ``weir schema`` as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.arch import device
from sim.cli import main

ARCH = """\
architecture:
  version: 0.4
  nodes:
  - !Component {name: store, class: SRAM, attributes: {depth: 64, width: 32, odd: 1}}
  - !Component {name: mac, class: intmac, attributes: {width: 8}}
"""


def test_what_is_missed_goes_to_stderr_and_the_file_to_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "arch.yaml").write_text(ARCH)
    assert main(["import", str(tmp_path / "arch.yaml")]) == 0
    printed = capsys.readouterr()
    (tmp_path / "mine.toml").write_text(printed.out)
    assert device(tmp_path / "mine.toml").get("store.capacity") == 256
    assert printed.err.splitlines() == [
        "weir: arch.yaml: line 4: store: attribute 'odd' is not read",
        "weir: arch.yaml: no global_cycle_seconds above; a cycle of 1 ns is assumed",
        "weir: arch.yaml: no technology in nm above; energies are 0 unless --technology is given",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [("there.toml", "is there already; give another name"), ("mine.txt", "a device file's name ends in .toml")],
)
def test_a_file_is_not_written_over(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "arch.yaml").write_text(ARCH)
    (tmp_path / "there.toml").write_text("precious")
    assert main(["import", str(tmp_path / "arch.yaml"), "--out", str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "there.toml").read_text() == "precious"


def test_a_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    kinds = capsys.readouterr().out.split()
    for kind in kinds:
        assert main(["schema", kind]) == 0
        assert json.loads(capsys.readouterr().out)["title"] == f"weir {kind} file"
    assert main(["schema", "chip"]) == 2
