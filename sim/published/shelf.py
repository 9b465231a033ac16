"""The papers whose figures come with weir, by name."""

from __future__ import annotations

from pathlib import Path

from einsum.errors import WeirError, hint
from sim.published.anchored import TECHNOLOGY, technology
from sim.published.figures import Paper, load

FOLDER = Path(__file__).parent / "data"


def papers() -> tuple[str, ...]:
    """The papers whose figures come with weir; ``technology`` stands for the anchors of the technology models."""
    return tuple(sorted([*(path.stem for path in FOLDER.glob("*.toml")), TECHNOLOGY]))


def paper(name_or_path: str | Path) -> Paper:
    """A paper by name, or a file of figures by its path; all of the file's problems are reported together."""
    path = Path(name_or_path)
    if path.suffix == ".toml":
        return load(path)
    if str(name_or_path) not in papers():
        raise WeirError(f"unknown paper {str(name_or_path)!r:.80}{hint(str(name_or_path), papers(), most=99)}")
    return technology() if name_or_path == TECHNOLOGY else load(FOLDER / f"{name_or_path}.toml")
