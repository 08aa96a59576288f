"""How a stage tells what it does: the silent reporter, and one that joins stages; the command line's is in console.py."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Receives the progress of long work."""

    def stage(self, title: str, total: float) -> None:
        """A stage begins that will take `total` steps."""

    def advance(self, steps: float = 1) -> None:
        """Some steps of the current stage are done."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class Silent:
    """Tells nothing."""

    def stage(self, title: str, total: float) -> None:
        pass

    def advance(self, steps: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class OneBar:
    """The stages of a point as parts of one step of a longer stage; a note only once."""

    def __init__(self, reporter: Reporter, stages: int) -> None:
        self._reporter, self._stages = reporter, stages
        self._share = self._done = 0.0
        self._said: set[str] = set()

    def stage(self, title: str, total: float) -> None:
        self._share = 1 / (self._stages * max(total, 1))

    def advance(self, steps: float = 1) -> None:
        some = min(self._share * steps, 1 - self._done)
        self._done += some
        self._reporter.advance(some)

    def note(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._reporter.note(text)

    def next(self) -> None:
        """The point is done, whatever its stages said."""
        self._reporter.advance(1 - self._done)
        self._done = 0.0
