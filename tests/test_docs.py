"""What the pages show is what the readers of files accept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from einsum import parse
from einsum.ops import MAPS, OPERATORS, REDUCTIONS
from sim.arch import OPERATIONS, cluster, device
from sim.arch.components import Fanout, Link, Memory, Power
from sim.arch.prices import book
from sim.cli import main
from sim.numerics.rows import table
from sim.serving.formats import FORMATS
from sim.serving.trace import trace
from sim.units import si
from workloads.config import FAMILIES
from workloads.kernels import catalogue
from workloads.transformer import from_config

SYMBOLS = {"add", "sub", "mul", "div", "pow", "less", "less_equal", "greater", "greater_equal", "equal"}  # + - * / ** <
ROOT = Path(__file__).resolve().parents[1]


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def example(name: str, language: str, folder: Path, file: str) -> Path:
    """The page's only block of that language, as a file."""
    [block] = re.findall(rf"```{language}\n(.*?)```", page(name), re.S)
    path = folder / file
    path.write_text(block, encoding="utf-8")
    return path


def readme(language: str) -> list[str]:
    """The README's blocks of a language."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    return [text for named, text in blocks if named == language]


def test_the_table_in_the_readme_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    argv = re.search(r"&& weir (compare .*)", readme("sh")[0])
    assert argv is not None
    assert main(argv[1].split()) == 0
    now, pasted = capsys.readouterr().out.splitlines(), readme("")[0].splitlines()
    number = re.compile(r"\d[\d,]*\.?\d*")
    for ours, theirs in zip(now, pasted, strict=False):
        assert number.sub("#", ours).split() == number.sub("#", theirs).split(), "paste the table anew"
        figures = [[float(n.replace(",", "")) for n in number.findall(line)] for line in (ours, theirs)]
        assert figures[0] == pytest.approx(figures[1], rel=0.05), "paste the table anew"


def test_the_cascades_on_their_page_are_read() -> None:
    conv, product = re.findall(r"```\n(.*?)```", page("cascades"), re.S)
    made = parse(conv, k=4, c=2, p=3, q=3, r=3, s=3)
    assert made.tensor("I").dtype == "int8"
    assert made.shape("I") == (2, 2 * 2 + 2 + 1, 2 + 2 * 2 + 1)
    assert parse(product, m=2, n=2, k=4).tensor("B").patterns[0].density({"k": 4}) == 0.5
    named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([a-z_\s]+)`", page("cascades")))))
    assert named >= {*REDUCTIONS, *OPERATORS} | {name for name in MAPS if len(name) > 2} - SYMBOLS


def test_the_example_in_the_readme_runs() -> None:
    [block] = readme("python")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, env=environment, check=False)
    assert done.stderr.decode() == ""
    assert "tokens_per_dollar" in done.stdout.decode()


def test_the_example_of_a_nest_runs(tmp_path: Path) -> None:
    script = example("mapping", "python", tmp_path, "nest.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, env=environment, check=False)
    assert done.stderr.decode() == ""
    assert "hbm" in done.stdout.decode()


def test_the_architecture_of_another_tool_imports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = example("interop", "yaml", tmp_path, "arch.yaml"), tmp_path / "mine.toml"
    assert main(["import", str(path), "--out", str(out)]) == 0
    assert device(out).rate("mac", "int16") == 2e9
    assert capsys.readouterr().err == ""


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links != []
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_the_device_reads(tmp_path: Path) -> None:
    made = device(example("devices", "toml", tmp_path, "example.toml"))
    assert made.rate("mac", "bf16") == pytest.approx(989e12)
    assert made.unverified == ("sram.bandwidth",)


def test_the_page_names_every_number_of_a_component() -> None:
    text = page("devices")
    names = {name for kind in (Memory, Fanout, Link, Power) for name in kind.QUANTITIES}
    assert [name for name in (*names, *OPERATIONS) if not re.search(rf"\b{name}\b", text)] == []


def test_the_sparse_mapping_reads(tmp_path: Path) -> None:
    from mappings.sparse import read

    made = read(example("sparse", "toml", tmp_path, "mine.toml"))
    assert made.work == {"Z": ("merge", 64)}


def test_the_example_of_sparse_products_runs(tmp_path: Path) -> None:
    script = example("sparse", "python", tmp_path, "sparse.py")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.stderr.decode() == ""
    assert "piuma_row" in done.stdout.decode()


def test_the_cluster_reads(tmp_path: Path) -> None:
    made = cluster(example("clusters", "toml", tmp_path, "example.toml"))
    assert made.get("attention.hbm.bandwidth") == 4.8e12
    assert made.get("network.bandwidth") == 100e9


def test_the_trace_reads(tmp_path: Path) -> None:
    made = trace(example("traces", "toml", tmp_path, "example.toml"))
    assert (len(made), made.mean_prompt, made.mean_output) == (6, 400.0, 20.0)


def test_the_page_names_every_column() -> None:
    text = page("traces")
    assert [column for form in FORMATS for column in form.columns if f"`{column}`" not in text] == []


def test_the_price_book_reads(tmp_path: Path) -> None:
    [price] = book(str(example("prices", "toml", tmp_path, "example_2026.toml"))).prices
    assert (price.device, price.usd_per_hour, price.low) == ("h100_sxm", 4.29, 2.95)


def test_the_model_reads(tmp_path: Path) -> None:
    assert from_config(str(example("models", "json", tmp_path, "config.json"))).layers == 2


def test_the_placement_method_places(tmp_path: Path) -> None:
    from sim.planner.policy import Load, best
    from sim.planner.shape import UNITS, hardware, shape

    made, load = shape(from_config("opt-30b"), 544), Load(512, 32)
    where = hardware(device("t4"), device("xeon_8480"))
    found = best(made, where, load, method=str(example("planning_offload", "toml", tmp_path, "mine.toml")))
    assert found.proven
    assert 0 < found.fractions["weights.host"] < 1
    names = {*found.placement.numbers, *UNITS}
    assert [name for name in names if f"`{name}`" not in page("planning_offload")] == []


def test_the_pipelines_on_the_page_run(tmp_path: Path) -> None:
    script = example("planning_offload", "python", tmp_path, "pipelines.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, env=environment, check=False)
    assert done.stderr.decode() == ""
    assert done.stdout.startswith(b"4.45")


def test_the_page_names_every_kernel_with_its_tolerances() -> None:
    lines = re.findall(r"^\| `(\w+\.\w+)` \| .* \| (\S+) \| (\S+) \|$", page("kernels"), re.M)
    rows = table()
    assert [name for name, *_ in lines] == list(catalogue())
    for name, *shown in lines:
        assert shown == [f"{x:.0e}".replace("e-0", "e-") for x in (rows[name].single, rows[name].double)]


def test_the_example_of_a_kernel_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(example("kernels", "python", tmp_path, "kernel.py"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "(1, 2, 3, 64)\n"


def test_the_page_names_every_model_type() -> None:
    assert [kind for kind in FAMILIES if kind not in page("models")] == []


@pytest.mark.parametrize(
    ("text", "unit"),
    [("80 GB", "B"), ("80 GiB", "B"), ("400 Gb", "B"), ("3.35 TB/s", "B/s"), ("989 TFLOP/s", "op/s"),
     ("22 TOP/s", "op/s"), ("16.5 us", "s"), ("1 h", "s"), ("3.9 pJ/bit", "J/B"), ("12 kWh", "J"), ("75%", "1")],
)  # fmt: skip
def test_the_units_shown_are_read(text: str, unit: str) -> None:
    assert f"`{text}`" in page("units")
    assert si(text, unit) > 0
