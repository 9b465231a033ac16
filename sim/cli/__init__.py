"""The command line. What a user gets wrong is one line on stderr and exit 2; what cannot fit is exit 3.

Nothing but typer is imported until a command runs, so that ``weir --help`` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

WRONG, INFEASIBLE, FAILED, INTERRUPTED, CLOSED = 2, 3, 1, 130, 141  # exit codes; the last two as shells name signals


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``weir`` with the arguments of the command line, or those given, and return its exit code."""
    # The estimates never call BLAS: starting its threads would cost more than an estimate does.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    given = sys.argv[1:] if argv is None else argv
    if sys.stderr is None:  # closed by whoever started us: what would go there is lost
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  for as long as the process lives
    if sys.stdout is None:
        return _say("cannot write the output: standard output is closed", FAILED)
    try:
        from sim.cli.app import run

        code = run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except SystemExit as left:  # typer's own way out: 1 when the reader has gone, 0 after printing a completion
        return _closed(CLOSED) if left.code == 1 else 0
    except BrokenPipeError:
        return _closed(CLOSED)
    except Exception as error:
        return _report(error, given)
    return _say("interrupted", code) if code == INTERRUPTED else code  # typer heeds it first, and says nothing


def _say(text: str, code: int) -> int:
    """Write a message to stderr, each line of its own behind our name, and pass the exit code on."""
    for line in text.splitlines():
        # What is indented belongs to the line above: the cascade's text, with a caret under the culprit.
        print(line if line.startswith(" ") else f"weir: {line}", file=sys.stderr)
    return code


def _closed(code: int) -> int:
    """Give up a stdout that nobody reads, or that cannot be written, without Python complaining at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _report(error: Exception, argv: Sequence[str]) -> int:
    """Say what went wrong, by whose fault it was."""
    from einsum.errors import Infeasible, WeirError

    if isinstance(error, WeirError):
        return _say(str(error), INFEASIBLE if isinstance(error, Infeasible) else WRONG)
    if hasattr(error, "format_message"):  # typer's own, under whichever name this version of it has
        from sim.cli.usage import explain

        return _say(explain(error, argv), WRONG)
    if isinstance(error, OSError):
        return _closed(_say(f"cannot write the output: {error.strerror or error}", FAILED))
    return _crash(error)


def _crash(error: Exception) -> int:
    """A mistake of ours: one line, and the traceback for those who ask."""
    if os.environ.get("WEIR_TRACEBACK") == "1":
        import traceback

        traceback.print_exception(error)
    summary = " ".join(f"{type(error).__name__}: {error}".split())
    return _say(f"a bug in weir ({summary:.160}); please report it; WEIR_TRACEBACK=1 shows where it is", FAILED)
