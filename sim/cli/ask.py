"""What a user typed, read into the terms of a question; everything said in terms of the option it stood at."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum.errors import WeirError, hint
from sim.units import si

if TYPE_CHECKING:
    from sim.arch import Cluster

PREFILL = ("here", "elsewhere")
K = 1024
MOST = 10_000_000  # of tokens or requests; what is beyond was mistyped


def terms(
    *, trace: str | None, prompt: str | None, output: str | None, batch: str, slo_tpot: str | None,
    slo_ttft: str | None, rate: str | None, layout: str | None, tier: str, prefill: str, host: str,
    engine: str | None,
) -> dict[str, Any]:  # fmt: skip
    """The keywords of ``serve`` from the texts of the options."""
    if trace is not None and (prompt is not None or output is not None):
        raise WeirError("give --trace, or --prompt and --output, not both")
    if prefill not in PREFILL:
        raise WeirError(f"--prefill is 'here' or 'elsewhere', not {prefill!r}{hint(prefill, PREFILL)}")
    if layout is not None and not layout.strip():
        raise WeirError("--layout is empty; write for example tp=4 or tp=2,pp=2, or leave it out")
    return {
        "trace": trace,
        "prompt": None if prompt is None else whole(prompt, "--prompt"),
        "output": None if output is None else whole(output, "--output"),
        "batch": None if batch == "max" else whole(batch, "--batch", " or max"),
        "tpot": None if slo_tpot is None else positive(slo_tpot, "--slo-tpot"),
        "ttft": None if slo_ttft is None else positive(slo_ttft, "--slo-ttft"),
        "rate": None if rate is None else per_second(rate),
        "layout": layout,
        "tier": tier,
        "prefill": prefill,
        "host": si(host, "s", "--host") if host != "0" else 0.0,
        "engine": engine,
    }


def no_nest(what: str, sizes: Sequence[str]) -> None:
    """Refuse a cascade, or its sizes, where nothing says under which loop nest it runs."""
    if what.endswith(".txt") or sizes:
        raise WeirError(f"{what:.80}: a cascade and its sizes need a loop nest: --mapping FILE; 'weir map' finds one")


def model(text: str) -> str:
    """The name or path of a model; an empty one would be taken for the folder one is in."""
    if not text.strip():
        raise WeirError("MODEL is empty; 'weir list models' has the names, or give the path of a config.json")
    return text


def one(texts: list[str]) -> str:
    """The only cluster of an estimate."""
    if len(texts) != 1:
        raise WeirError("estimate takes one --on; weir compare puts several clusters side by side")
    return texts[0]


def whole(text: str, option: str, other: str = "") -> int:
    """A whole number of tokens or requests."""
    digits = text.strip().replace("_", "").replace(",", "")
    if digits.isascii() and digits.isdigit() and int(digits[:9]) >= 1 and int(digits) <= MOST:
        return int(digits)
    raise WeirError(f"{option} must be a whole number from 1 to {MOST:,}{other}, not {text!r:.40}")


def positive(text: str, option: str) -> float:
    """Seconds, more than none."""
    seconds = si(text, "s", option)
    if seconds == 0:
        raise WeirError(f"{option}: {text!r} leaves no time at all")
    return seconds


def limit(seconds: float) -> float:
    """Seconds that may be spent on an answer."""
    if not 0 < seconds < math.inf:
        raise WeirError(f"--seconds must be more than 0, not {seconds:g}")
    return seconds


def per_second(text: str) -> float:
    """Requests a second, written ``2.5`` or ``2.5/s``."""
    try:
        rate = float(text.strip().removesuffix("/s"))
    except ValueError:
        rate = math.nan
    if not 0 < rate <= MOST:
        raise WeirError(f"--rate must be requests a second, such as 2.5 and at most {MOST:,}, not {text!r:.40}")
    return rate


def pairs(texts: Iterable[str], option: str, example: str) -> dict[str, str]:
    """``name=value`` as often as given; a name twice is refused, since only one could hold."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise WeirError(f"{option} {text!r:.80}: write {option} {example}")
        if name in found:
            raise WeirError(f"{option} {name}: given twice")
        found[name] = value
    return found


def clusters(names: Iterable[str], settings: dict[str, str]) -> tuple[Cluster, ...]:
    """The clusters named, each number of ``settings`` changed wherever a cluster has it."""
    from sim.arch import cluster

    made = [cluster(name) for name in names]
    for path, value in settings.items():
        having = [path in c.paths for c in made]
        if not any(having):
            made[0].with_(path, value)  # raises, naming the nearest path
        made = [c.with_(path, value) if has else c for c, has in zip(made, having, strict=True)]
    return tuple(made)


def tokens(text: str) -> int:
    """Tokens of a sequence: a number, with K or M for 1024 or 1024 times 1024 of them.

    >>> tokens("1M"), tokens("640K"), tokens("4096")
    (1048576, 655360, 4096)
    """
    number, factor = text.strip().replace("_", ""), 1
    if number[-1:].upper() in ("K", "M"):
        factor, number = {"K": K, "M": K * K}[number[-1].upper()], number[:-1]
    if not (number.isascii() and number.isdigit() and 0 < int(number[:9]) * factor <= 2**30):
        raise WeirError(f"--sequence must be tokens such as 65536, 640K or 1M, at most 1024M, not {text!r:.40}")
    return int(number) * factor


def bytes_of(text: str, option: str) -> float:
    """Bytes of an option: a number of them, or with a unit."""
    value = si(text if text.strip()[-1:].isalpha() else f"{text} B", "B", option)
    if not 0 < value < 2**62:
        raise WeirError(f"{option} must be more than 0 bytes and less than 2^62, not {text!r:.40}")
    return value


def writable(path: str | None, endings: tuple[str, ...], option: str) -> None:
    """Refuse now what could not be written after the work is done; any ending will do where none is given."""
    if path is None:
        return
    if endings and Path(path).suffix.lower() not in endings:
        raise WeirError(f"{option} {path!r:.80}: end the name in {' or '.join(endings)}")
    if not os.access(Path(path).absolute().parent, os.W_OK):
        raise WeirError(f"{option} {path!r:.80}: no folder that can be written to")
