"""Published configurations as values: Hugging Face ``config.json`` files, and the bundled ones in the same fields."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from einsum.errors import WeirError, hint
from einsum.files import parse_toml, read_text
from workloads.families import llama, mistral, mixtral, phi3, qwen2, qwen2_moe, qwen3, qwen3_moe
from workloads.family_deepseek import deepseek_v2, deepseek_v3
from workloads.family_others import bloom, dbrx, falcon, gemma2, gpt2, opt
from workloads.family_sparse import gpt_oss, minimax_m2
from workloads.fields import Fields
from workloads.spec import Spec

LIMIT = 1 << 20  # bytes of a configuration; real ones are a few thousand
FOLDER = Path(__file__).parent / "configs"
FAMILIES: dict[str, Callable[[Fields], Spec]] = {
    family.__name__: family
    for family in (
        *(llama, mistral, mixtral, phi3, qwen2, qwen2_moe, qwen3, qwen3_moe),
        *(deepseek_v2, deepseek_v3, dbrx, falcon, gemma2, gpt2, opt, bloom),
        *(gpt_oss, minimax_m2),
    )
}

# Other names of bundled models, after organisation, "meta-" and variant endings are taken off.
_ALIASES = {
    "llama-30b": "llama-1-33b",
    "llama-33b": "llama-1-33b",
    "llama-65b": "llama-1-65b",
    "llama-3.1-8b": "llama-3-8b",
    "llama-3.1-70b": "llama-3-70b",
    "llama-3-405b": "llama-3.1-405b",
    "dbrx-base": "dbrx",
    "gpt-2-xl": "gpt2-xl",
    "bloom": "bloom-176b",
    "minimax-m2.5": "minimax-m2",  # of the same configuration
}
_ENDINGS = ("-hf", "-instruct", "-chat", "-base", "-it", "-v0.1", "-4k")


def names() -> tuple[str, ...]:
    """The bundled models, in order of name."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load(source: str | Path, name: str | None = None, *, bundled: bool = False) -> Spec:
    """The transformer that a file, a folder with a ``config.json``, or a bundled name describes."""
    text = str(source)
    if not bundled and (isinstance(source, Path) or _is_path(text)):
        path = Path(text) / "config.json" if Path(text).is_dir() else Path(text)
        spec = read(_content(path), path.name)
        return replace(spec, name=name or (path.parent.name if path.stem == "config" else path.stem) or path.stem)
    spec = _bundled(resolve(text, paths=not bundled))
    return replace(spec, name=name) if name else spec


def _is_path(text: str) -> bool:
    """Whether a text names a file or folder: a bundled name never does, whatever lies in the folder one is in."""
    if text in names():
        return False
    return text.endswith((".json", ".toml")) or os.path.exists(text)


def resolve(name: str, *, paths: bool = False) -> str:
    """The bundled model that a name means: ``meta-llama/Meta-Llama-3-70B-Instruct`` is ``llama-3-70b``."""
    known = names()
    short = name.strip().lower().rsplit("/", 1)[-1].removeprefix("meta-")
    while short not in known:
        ending = next((e for e in _ENDINGS if short.endswith(e)), None)
        if short in _ALIASES:
            short = _ALIASES[short]
        elif ending:
            short = short.removesuffix(ending)
        else:
            or_file = " and no such file" if paths else ""
            raise WeirError(f"no model {name!r}{or_file}{hint(short, known) or '; see weir list models'}")
    return short


@lru_cache(maxsize=64)
def _bundled(name: str) -> Spec:
    path = FOLDER / f"{name}.toml"
    return replace(read(_content(path), path.name), name=name)


def _content(path: Path) -> dict[str, Any]:
    """The file's fields; refused if it is missing, too large, or not an object of fields."""
    raw = read_text(path, "model", LIMIT)
    if path.suffix == ".toml":
        return parse_toml(raw, path.name)
    try:
        content = _json(raw)
    except (ValueError, RecursionError) as error:  # the library's own errors are ValueErrors
        raise WeirError(f"{path.name}: not readable as JSON ({error})") from None
    if not isinstance(content, dict):
        raise WeirError(f"{path.name}: expected an object of fields, not {type(content).__name__}")
    return content


def _json(raw: str) -> Any:
    import json

    return json.loads(raw, object_pairs_hook=_unique, parse_constant=_finite)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"field {key!r} is given twice")
        found[key] = value
    return found


def _finite(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")


def read(raw: Mapping[str, Any], where: str) -> Spec:
    """The transformer that the fields describe; every problem found is raised at once."""
    fields = Fields(dict(raw), where)
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        what = "missing" if kind is None else f"{kind!r} is not one that is understood"
        raise WeirError(f"{where}: field 'model_type' {what}{_nearest(kind)}")
    fields.kind = fields.text("model_type", None)
    spec = FAMILIES[kind](fields)
    fields.finish()
    return spec


def _nearest(kind: Any) -> str:
    close = hint(kind, FAMILIES) if isinstance(kind, str) else ""
    return close or f"; known: {', '.join(sorted(FAMILIES))}"
