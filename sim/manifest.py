"""What figures follow from, written beside them, so that they can be computed again and a difference be explained."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

# Arguments that say where, how fast or how it is shown: no figure follows from them.
ELSEWHERE = frozenset(
    {
        "json",
        "csv",
        "save",
        "plot",
        "out",
        "timeline",
        "store",
        "status",
        "resume",
        "processes",
        "scheduler",
        "everything",
    }
)
LIBRARIES = ("numpy", "scipy", "numba", "pandas", "highspy", "pulp")
ROOT = Path(__file__).resolve().parents[1]
_asked: ContextVar[tuple[str, Mapping[str, Any]]] = ContextVar("_asked", default=("", {}))


@dataclass(frozen=True, slots=True)
class Made:
    """How figures were found: the ``solver`` of a programme, the ``gap`` that it left, and the dotted names, ``times``,
    of those that measure weir's own run and not what was asked."""

    solver: str = ""
    gap: float | None = None
    times: tuple[str, ...] = ()


def noting(command: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a command, which notes the arguments that it is called with and the files that it reads."""

    @wraps(function)
    def called(**arguments: Any) -> Any:
        if "einsum.files" in sys.modules:  # not the first command of this process
            sys.modules["einsum.files"].forget(ROOT)
        token = _asked.set((command, arguments))
        try:
            return function(**arguments)
        finally:
            _asked.reset(token)

    return called


def given() -> Mapping[str, Any]:
    """The arguments of the command that is running, by name."""
    return _asked.get()[1]


def asked() -> dict[str, Any]:
    """The command that is running (none: "") and its arguments, but for those that no figure follows from."""
    command, arguments = _asked.get()
    return {
        "command": command,
        "arguments": {name: _plain(value) for name, value in arguments.items() if name not in ELSEWHERE},
    }


def manifest(made: Made | None = None, output: str = "") -> dict[str, Any]:
    """What the figures at hand follow from: weir, the command and all of its arguments, every file read, the seed, the
    solver and its gap, libraries and machine. ``output`` names the option whose file they are written to."""
    import platform

    from einsum.files import inputs
    from sim.space.identity import sources

    made = made or Made()
    found = {
        "weir": installed(),
        "sources": sources(data=False),
        **asked(),
        "data": {_named(Path(name)): held for name, held in inputs().items()},
        "seed": given().get("seed", 0),
        "solver": {"name": _versioned(made.solver), "gap": made.gap} if made.solver else None,
        "times": list(made.times),
        "output": output,
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES if name in sys.modules},
        "machine": f"{platform.system()} {platform.machine()}",
    }
    return {"key": key(found), **found}


def key(manifest: Mapping[str, Any]) -> str:
    """A hash of what the figures of a manifest follow from: alike keys, alike figures."""
    import json

    from sim.space.identity import digest

    names = ("sources", "command", "arguments", "data", "seed")
    return digest(json.dumps([manifest.get(name) for name in names], sort_keys=True)).hex()


def installed() -> str:
    """The version of weir."""
    return _version("weir") or "run from its sources, not installed"


def _versioned(solver: str) -> str:
    """A solver with the version of the package that brings it."""
    package = {"highs": "highspy", "cbc": "pulp"}.get(solver, solver)
    return f"{solver} ({package} {_version(package)})"


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _named(path: Path) -> str:
    """A file that comes with weir by its place in it, another one as it was given."""
    absolute = path.absolute()
    return absolute.relative_to(ROOT).as_posix() if absolute.is_relative_to(ROOT) else path.as_posix()


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What the figures of two manifests follow from that is not the same, in a sentence each."""
    if before.get("key") != key(before):
        yield "the manifest is not as it was written: its key does not fit the rest"
    held = _mapping(now.get("data"))
    yield from (f"{name} was read then and is not now" for name in _mapping(before.get("data")) if name not in held)
    yield from moved(before, now)


def moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What may be of another version: files that both have read, weir, libraries, machine and solver."""
    held = _mapping(now.get("data"))
    for name, was in _mapping(before.get("data")).items():
        if name in held and held[name] != was:
            yield f"{name} has changed: its content was {was or 'unknown'}, is {held[name] or 'unknown'}"
    for name in ("weir", "sources", "python", "machine", "seed"):
        if before.get(name) != now.get(name):
            yield f"{name} was {before.get(name)}, is {now.get(name)}"
    first, second = _mapping(before.get("libraries")), _mapping(now.get("libraries"))
    yield from (f"{k} was {v}, is {second[k]}" for k, v in first.items() if k in second and second[k] != v)
    solver, here = _mapping(before.get("solver")), _mapping(now.get("solver"))
    if solver.get("name") != here.get("name"):
        yield f"the solver was {solver.get('name')}, is {here.get('name')}"
    if solver.get("gap"):
        yield f"the search ended with a gap of {solver['gap']:.2%}: how far it gets in its time depends on the machine"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


Row = tuple[str, Any, Any]  # a figure's dotted name, what it was, what it is


def differing(before: Any, now: Any, times: frozenset[str], at: str = "") -> Iterator[Row]:
    """Figures that are not the same to the last bit; fields named in ``times`` and the manifest are passed over."""
    if at.translate(_NO_PLACES) in times or at == "manifest":
        return
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*before, *now)):
            yield from differing(before.get(key), now.get(key), times, f"{at}.{key}" if at else str(key))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for place, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from differing(one, other, times, f"{at}[{place}]")
    elif type(before) is not type(now) or before != now:
        yield at, before, now


_NO_PLACES = str.maketrans("", "", "[]0123456789")


def counted(figures: Any, times: frozenset[str], at: str = "") -> int:
    """How many figures and texts there are, those passed over left out."""
    if at.translate(_NO_PLACES) in times or at == "manifest":
        return 0
    if isinstance(figures, Mapping):
        return sum(counted(value, times, f"{at}.{key}" if at else str(key)) for key, value in figures.items())
    if isinstance(figures, list):
        return sum(counted(value, times, f"{at}[{place}]") for place, value in enumerate(figures))
    return 1
