"""What a user sees when something goes wrong: one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class UsageError(Exception):
    """The command was called in a way that cannot work; exit code 2."""


def one_line(text: object) -> str:
    """`text` without line ends."""
    return " ".join(str(text).split())


def guarded(run: Callable[[], int]) -> int:
    """Runs `run`, turns exceptions into one line each, and returns the exit code.

    With CUPEL_TRACEBACK set in the environment they come out as they are.
    """
    try:
        return run()
    except KeyboardInterrupt:
        message, code = "interrupted; nothing was written.", INTERRUPTED
    except BrokenPipeError:  # `cupel ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if os.environ.get("CUPEL_TRACEBACK"):
            raise
        message, code = describe(error), USAGE if isinstance(error, UsageError) else FAILED
    print(f"cupel: {message}", file=sys.stderr)
    return code


def describe(error: Exception) -> str:
    """What to tell the user of an exception."""
    if isinstance(error, UsageError | ValueError | ArithmeticError | ImportError | OSError):
        return one_line(error)
    if isinstance(error, MemoryError):
        return "out of memory; fewer --samples or a shorter --length need less."
    return (
        f"{type(error).__name__}: {one_line(error)} "
        "(CUPEL_TRACEBACK=1 shows where; please report it)"
    )


SHORTER = "a longer text or a smaller --length will do"


@contextmanager
def hint(rule: str, advice: str) -> Iterator[None]:
    """Adds what to do on the command line to the library's own words for a broken rule."""
    try:
        yield
    except ValueError as error:
        if rule not in str(error):
            raise
        raise ValueError(f"{one_line(error).rstrip('.')}; {advice}.") from error
