"""Errors a user can cause, each with the exit code the command line gives it.

A message says what, where, why and what to do; see `docs/cli.md` for the table of exit codes.
"""

from __future__ import annotations


class IlmpqError(Exception):
    """A problem the user can understand and mend; never shown with a traceback."""

    exit_code = 1


class UsageError(IlmpqError):
    """An option, a configuration, a data set or an output folder that cannot be used."""

    exit_code = 2


class ModelError(IlmpqError):
    """A model file that is damaged, hostile or holds an operation that is not supported."""

    exit_code = 3


class AccuracyMissed(IlmpqError):
    """The accuracy asked for was not reached; the results are written all the same."""

    exit_code = 4


class InvariantError(IlmpqError):
    """One of our own data structures broke its rules: a bug in ILMPQ, not a user's mistake."""

    exit_code = 1
