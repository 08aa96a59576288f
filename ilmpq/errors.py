"""Errors a user can cause, each with the exit code the command line gives it.

A message says what, where, why and what to do; see `docs/guide.md` for the table of exit codes.
"""

from __future__ import annotations


class IlmpqError(Exception):
    """A problem the user can understand and mend; never shown with a traceback."""

    exit_code = 1


class UsageError(IlmpqError):
    """An option, a configuration, a data set or an output folder that cannot be used."""

    exit_code = 2


class NotWritable(UsageError):
    """A place where nothing can be written; tells which option gave it."""

    def __init__(self, place: object, why: str, option: str = "--out") -> None:
        super().__init__(f"{place} cannot be written: {why}; choose another place with {option}")
        self.place, self.why = place, why


class ModelError(IlmpqError):
    """A model file that is damaged, hostile or holds an operation that is not supported."""

    exit_code = 3


class AccuracyMissed(IlmpqError):
    """The accuracy asked for was not reached; the results are written all the same."""

    exit_code = 4


class DoesNotFit(IlmpqError):
    """A network or a design that the engine or the device it is meant for does not hold; another one may."""

    exit_code = 5


class MemoryTooSmall(DoesNotFit):
    """An activation memory that does not hold what a network needs at one time."""


class ToolMissing(IlmpqError):
    """A package that is needed here is not installed."""

    exit_code = 6


class Mismatch(IlmpqError):
    """Two executors of one program gave different integers."""

    exit_code = 7


class Interrupted(IlmpqError):
    """Ctrl-C, after which something was kept to go on with."""

    exit_code = 130


class InvariantError(IlmpqError):
    """One of our own data structures broke its rules: a bug in ILMPQ, not a user's mistake."""

    exit_code = 1


def printable(text: str) -> str:
    r"""Text from a file or a name, safe for a terminal: control characters and broken Unicode are spelt out.

    >>> printable("conv\x1b[31m1\udcff ×")
    'conv\\x1b[31m1\\udcff ×'
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
