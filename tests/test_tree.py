"""The house: packages that resolve here, imports that go one way, nothing evaluated, files of a readable size."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"einsum", "workloads", "mappings", "sim"}
MAY_IMPORT = {
    "einsum": {"einsum"},
    "workloads": {"workloads", "einsum"},
    "mappings": {"mappings", "einsum"},
    "sim": OURS,
}
FORBIDDEN = {"eval", "exec", "compile", "__import__"}
HEAVY = {"scipy", "pandas", "numba", "matplotlib", "pulp", "highspy"}
LONGEST = 450  # lines of a file


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> Iterator[str]:
    """Modules that a file names anywhere, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""


@pytest.mark.parametrize("package", sorted(OURS))
def test_each_package_is_the_one_of_this_tree(package: str) -> None:
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).parent == ROOT / package


@pytest.mark.parametrize("package", sorted(OURS))
def test_imports_go_one_way(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imports(path)
        if name.split(".")[0] in OURS - MAY_IMPORT[package]
    ]
    assert wrong == []


def test_kernels_import_nothing_of_ours() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources("workloads/kernels")
        for name in imports(path)
        if name.split(".")[0] in OURS and not name.startswith("workloads.kernels")
    ]
    assert wrong == []


def test_nothing_is_evaluated_or_unpickled() -> None:
    wrong = []
    for path in sources(*OURS):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        wrong += [f"{path.relative_to(ROOT)} calls {name}" for name in called & FORBIDDEN]
        wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in imports(path) if "pickle" in name]
    assert wrong == []


def test_files_stay_readable() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*OURS, "tests")}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST} == {}


def declared(*extras: str) -> set[str]:
    """Distributions that pyproject.toml asks for, by their names in small letters."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    return {match[0].lower() for one in wanted if (match := re.match(r"[\w-]+", one))}


@pytest.mark.parametrize(
    ("folders", "extras", "besides"),
    [(tuple(OURS), ("parquet", "dask", "measure", "explore"), set()), (("tests",), ("test",), {"benchmarks", "tests"})],
)
def test_whatever_is_imported_is_asked_for(
    folders: tuple[str, ...], extras: tuple[str, ...], besides: set[str]
) -> None:
    """What comes only because something else needs it may be gone with that thing's next release."""
    names = {name.split(".")[0] for path in sources(*folders) for name in imports(path)}
    foreign = names - OURS - besides - sys.stdlib_module_names
    assert foreign
    assert {{"yaml": "pyyaml"}.get(name, name) for name in foreign} <= declared(*extras)


def test_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("package", sorted(OURS))
def test_importing_a_package_is_light(package: str) -> None:
    code = f"import sys, {package}; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    assert HEAVY.isdisjoint(done.stdout.decode().split())


def test_the_pipeline_runs_the_commands_that_the_readme_opens_with() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first_block = readme.split("```sh\n")[1].split("```")[0]
    commands = [line.split("#")[0].strip() for line in first_block.splitlines() if line.strip()]
    assert len(commands) == 2
    pipeline = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert [c for c in commands if not any(line.startswith(c) for line in pipeline)] == []


def test_no_file_holds_the_marks_of_a_merge() -> None:
    kinds = (".py", ".md", ".toml", ".ipynb", ".yaml", "")
    files = [f for top in ("sim", "einsum", "mappings", "workloads", "tests", "docs", "notebooks", "benchmarks", ".ci")
             for f in (ROOT / top).rglob("*") if f.is_file() and f.suffix in kinds]  # fmt: skip
    marks = tuple(mark * 7 + " " for mark in "<>")
    marked = [
        f.name for f in files if any(line.startswith(marks) for line in f.read_text(errors="replace").splitlines())
    ]
    assert marked == []


def test_what_is_public_says_what_it_raises_and_names_nothing_else() -> None:
    import einsum
    import sim

    assert dir(sim) == sorted(sim.__all__)
    assert dir(einsum) == sorted(einsum.__all__)
    assert [name for name in sim.__all__ if "raise" not in str(getattr(sim, name).__doc__).lower()] == []
    assert [name for name in sim.__all__ if name not in str(sim.__doc__)] == []
