"""Typer's usage errors in one line, with the nearest name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einsum.errors import hint


def explain(error: Any, argv: Sequence[str]) -> str:
    """What was wrong with the command line, and where to read more."""
    context = getattr(error, "ctx", None)
    # An error from within the option parser does not say in which command; the command line does.
    path = context.command_path if context is not None else " ".join(["weir", *argv[:1]])
    return f"{_message(error, context)} (see {path} --help)"


def _message(error: Any, context: Any) -> str:
    """The error in our words: an option or a command that does not exist gets its nearest name."""
    text = " ".join(error.format_message().split()).rstrip(".")
    option = getattr(error, "option_name", None)
    if context is None:
        return _lower(text)
    if option and text.startswith("No such option"):
        return f"no such option {option}{_near(option, _options(context))}"
    if text.startswith("No such command"):
        name = text.split("'")[1]
        return f"no such command {name!r}{hint(name, context.command.commands)}"
    return _lower(text)


def _options(context: Any) -> list[str]:
    return [name for parameter in context.command.params for name in parameter.opts if name.startswith("-")]


def _near(option: str, known: list[str]) -> str:
    """The nearest option without the dashes, which every option shares."""
    bare = {name.lstrip("-"): name for name in known}
    near = hint(option.lstrip("-"), bare)
    return f"; did you mean {bare[near.split(chr(39))[1]]}?" if near.startswith("; did") else ""


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
