"""What is taken at which time, of a memory's bytes or of the weight ring's places, for the cycle model (`perf.py`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Busy:
    """From `begin` to `end` something takes so much of each cycle."""

    begin: float
    end: float
    rate: float


class Rate:
    """How much of each cycle is taken at a time that never goes back."""

    def __init__(self, busy: Sequence[Busy]) -> None:
        changes = sorted([(b.begin, b.rate) for b in busy] + [(b.end, -b.rate) for b in busy])
        self._changes, self._next, self._now = changes, 0, 0.0
        self.highest = max([0.0, *accumulate(rate for _, rate in changes)])

    def at(self, time: float) -> float:
        while self._next < len(self._changes) and self._changes[self._next][0] <= time:
            self._now += self._changes[self._next][1]
            self._next += 1
        return self._now


class Ring:
    """When the places of the weight ring are free: runs of them, one after another, the oldest first.

    A run's places are free a cycle apart, as the steps of a tile of positions are done with them, or all at once.
    """

    def __init__(self, places: int) -> None:
        self._runs = deque([(places, 0.0, 0)])

    def take(self, count: int, loader: float, each: float) -> list[tuple[int, float]]:
        """Fill the next places, `each` cycles for one, 1 at least: how many steps are there and since when all of them."""
        found = []
        while count:
            places, free, apart = self._runs.popleft()
            taken = min(places, count)
            loader = max(loader, free) + taken * each
            found.append((taken, loader))
            if taken < places:
                self._runs.appendleft((places - taken, free + taken * apart, apart))
            count -= taken
        return found

    def free(self, count: int, last: float, apart: int) -> None:
        """So many places are free again, the last at a certain time."""
        self._runs.append((count, last - (count - 1) * apart, apart))
