"""Files that a user names: what cannot be one is refused before it is opened, and what is written is written whole."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from einsum.errors import WeirError

NESTED = 32  # parts of a dotted key; reading one takes time and memory by their square
_read: dict[str, tuple[Path, int, int]] = {}  # by name as given: where it was, when it was changed, its size
_CHAIN = re.compile(rf"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){{{NESTED}}}""")


def regular(path: Path, what: str, largest: int) -> None:
    """Refuse what is no ordinary file of at most ``largest`` bytes: opening a pipe or a device could wait for ever."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise WeirError(f"no such {what} file: {path}") from None
    except (OSError, ValueError) as problem:  # ValueError: a NUL character in the path
        why = problem.strerror if isinstance(problem, OSError) else problem
        raise WeirError(f"cannot read the {what} file {str(path)!r:.200}: {why}") from None
    if stat.S_ISDIR(found.st_mode):
        raise WeirError(f"{path} is a folder, not a {what} file")
    if not stat.S_ISREG(found.st_mode):
        raise WeirError(f"{path} is a pipe or a device, not a {what} file")
    if found.st_size > largest:
        raise WeirError(f"{path.name}: larger than {_size(largest)}, which no {what} file is")
    _read[str(path)] = path.absolute(), found.st_mtime_ns, found.st_size


def inputs() -> dict[str, str]:
    """Every file read so far in this process, by its name as given, and a hash of what is in it.

    The hash is empty where the file has changed since it was read, or is gone.
    """
    return {name: _content(path) if _unchanged(path, *seen) else "" for name, (path, *seen) in sorted(_read.items())}


def forget(keep: Path) -> None:
    """Begin anew to note the files that are read; those of the folder ``keep`` stay noted, since some are read once."""
    for name in [name for name, (path, *_) in _read.items() if not path.is_relative_to(keep)]:
        del _read[name]


def _unchanged(path: Path, changed: int, size: int) -> bool:
    try:
        now = path.stat()
    except OSError:
        return False
    return (now.st_mtime_ns, now.st_size) == (changed, size)


def _content(path: Path) -> str:
    return content(path.read_bytes())


def content(raw: bytes) -> str:
    """A hash of what is in a file: BLAKE2b of 16 bytes, in hexadecimal digits."""
    from hashlib import blake2b

    return blake2b(raw, digest_size=16).hexdigest()


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


def read_text(path: Path, what: str, largest: int = 1 << 20) -> str:
    """The file as text: UTF-8, with or without a byte order mark."""
    regular(path, what, largest)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise WeirError(f"{path.name}: not UTF-8 text (byte {error.start}); is it compressed?") from None
    except OSError as error:
        raise WeirError(f"cannot read the {what} file {str(path)!r:.200}: {error.strerror or error}") from None


def parse_toml(content: str, name: str) -> dict[str, Any]:
    """The tables of TOML text; ``name`` is the file the message blames."""
    import tomllib

    chain = _CHAIN.search(content)
    if chain:
        at = content.count("\n", 0, chain.start()) + 1
        raise WeirError(f"{name}:{at}:1: not valid TOML: a key of more than {NESTED} parts")
    try:
        return tomllib.loads(content)
    except (ValueError, RecursionError) as problem:
        raise WeirError(f"{name}:{_where(str(problem), content)}") from None


def quoted(text: str) -> str:
    """A text as a string of TOML, on one line, which ``parse_toml`` reads back; bytes of a file's name that are no
    text are shown as ``\\udcff``."""
    shown = text.encode("utf-8", "backslashreplace").decode("utf-8")
    dots = "." if _CHAIN.search(shown) else ""  # that the reader would take for a key of too many parts
    return '"' + re.sub(rf'["\\\x00-\x1f\x7f{dots}]', _escaped, shown) + '"'


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    return f"\\{char}" if char in '"\\' else f"\\u{ord(char):04x}"


def _where(problem: str, content: str) -> str:
    """What ``tomllib`` says, its place in front; the first line where it gives none."""
    said, place = re.fullmatch(r"(.*?)(?: \(at ([^()]*)\))?", problem, re.DOTALL).groups("")  # type: ignore[union-attr]  # always
    digits = re.findall(r"\d+", place)
    if place == "end of document":
        digits = [str(content.count("\n") + 1), str(len(content) - content.rfind("\n"))]
    return f"{':'.join(digits or ('1', '1'))}: not valid TOML: {said}"


def write(path: Path, content: bytes, what: str) -> None:
    """Write a file whole or not at all: beside its place first, then moved there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except (OSError, ValueError) as problem:  # ValueError: a NUL character in the path
        with suppress(OSError, ValueError):
            beside.unlink()
        raise WeirError(f"cannot write the {what} {str(path)!r:.200}: {problem}") from None
