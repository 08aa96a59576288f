"""How a stage tells what it does: the silent reporter of the library; the command line's is in console.py."""

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
