"""``weir reproduce``: a result computed again from its manifest, and compared to the last bit."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from einsum.errors import WeirError, hint
from sim.cli.data import Form, emit
from sim.cli.text import folded, show
from sim.manifest import ELSEWHERE, changed, counted, differing

SHOWN = 20  # figures that are listed where they differ
FIGURES = "figure that is not the same"


def reproduce(path: str, as_json: bool) -> int:
    """Print whether a result's figures come out the same; the exit code says so too."""
    before, told = result(Path(path))
    now, here = _again(told, Path(path).suffix)
    times = frozenset(str(name) for name in _list(told.get("times")))
    rows = list(differing(before, now, times))
    why = list(changed(told, here))
    same = counted(now, times) - len(rows)
    if as_json:
        found = [{"figure": name, "was": was, "is": is_} for name, was, is_ in rows]
        whole = {"schema": "weir.reproduce/1", "file": path, "same": same, "differ": found, "changed": why,
                 "not_compared": sorted(times)}  # fmt: skip
        emit(Form.JSON, whole, [])
    else:
        show(_text(path, same, rows, why, times))
    return 1 if rows else 0


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def result(path: Path) -> tuple[Any, Mapping[str, Any]]:
    """The figures in a file and their manifest."""
    from sim.space.tables import figures

    found, told = figures(path)
    if not isinstance(told, Mapping) or not isinstance(told.get("arguments"), Mapping):
        raise WeirError(
            f"{path.name}: no manifest in it that says how it was made; results of 'weir ... --json' have one"
        )
    return found, told


def _again(told: Mapping[str, Any], suffix: str) -> tuple[Any, Mapping[str, Any]]:
    """The same command with the same arguments, and what it gives now."""
    with TemporaryDirectory(prefix="weir-") as folder:
        written, option = Path(folder) / f"again{suffix}", str(told.get("output") or "")
        line = argv(told, {option: str(written)} if option else {"json": True})
        heard = io.StringIO()
        with redirect_stdout(heard):
            from sim.cli.app import run

            run(line)
        if not option:
            written.write_text(heard.getvalue(), encoding="utf-8")
        return result(written)


def asked(told: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The command and the arguments of a manifest, checked and completed as those of a command line are."""
    from sim.cli.app import commands

    name, *line = argv(told, {})
    return name, dict(commands().commands[name].make_context(name, line).params)


def argv(told: Mapping[str, Any], shown: Mapping[str, Any]) -> list[str]:
    """A command line from a manifest; it is parsed as any other, since whoever wrote the file may have been anybody."""
    from sim.cli.app import commands

    known = commands().commands
    name, arguments = str(told.get("command")), told["arguments"]
    if name not in known or name == "reproduce":
        raise WeirError(f"the manifest's command {name!r:.40} is none that can be run again{hint(name, known)}")
    parameters = {p.name: p for p in known[name].params}
    if odd := [key for key in arguments if key not in parameters or key in ELSEWHERE]:
        raise WeirError(f"the manifest's argument {odd[0]!r:.40} is none of 'weir {name}'{hint(odd[0], parameters)}")
    if odd := [key for key in shown if key not in parameters]:
        raise WeirError(f"'weir {name}' has no {odd[0]!r:.20} to be compared with")
    options, places = [name], ["--"]
    for key, parameter in parameters.items():
        value = shown.get(key, arguments.get(key))
        texts = [str(one) for one in (value if isinstance(value, list) else [value]) if one not in (None, False)]
        if parameter.param_type_name == "argument":
            places += texts
        elif getattr(parameter, "is_flag", False):
            options += [parameter.opts[0]] * bool(texts)
        else:
            options += [f"{parameter.opts[0]}={text}" for text in texts]
    return options + places


def _text(path: str, same: int, rows: list[tuple[str, Any, Any]], why: list[str], times: frozenset[str]) -> str:
    passed = f"; not compared, since it measures the run itself: {', '.join(sorted(times))}" if times else ""
    if not rows:
        head = f"{path}: all {same} figures and texts are the same, bit for bit{passed}"
        return "\n".join(map(folded, (head, *(f"although {one}" for one in why))))
    lines = [f"{path}: {len(rows)} of {same + len(rows)} figures and texts are not the same{passed}"]
    lines += [f"  {name}: {_clean(was)} -> {_clean(is_)}" for name, was, is_ in rows[:SHOWN]]
    if len(rows) > SHOWN:
        lines.append(f"  and {len(rows) - SHOWN} more; --json lists all")
    lines += [f"because {one}" for one in why] or [
        "nothing that the manifest names has changed: weir is not deterministic here"
    ]
    return "\n".join(map(folded, lines))


def _clean(value: Any) -> str:
    """A value of a file as a terminal may have it."""
    return "".join(c if c.isprintable() else "?" for c in json.dumps(value, default=str)[:200])
