"""What an operation must wait for: the last transfers and computations that touch the words it reads or writes.

The same as the compiler's order of descriptors (`accel/engine/order.py`), but for one thing: computations run in order
and wait for one another anyhow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum


class Queue(Enum):
    """Who runs an operation."""

    LOAD = 0
    STORE = 1
    COMPUTE = 2


@dataclass(frozen=True)
class Touch:
    """Rows [first, last) of a tensor in the activation memory, or words of one outside, that an operation reads or writes."""

    name: str
    first: int
    last: int
    writes: bool
    ring: int = 0  # rows after which places are taken again, 0: none

    def meets(self, other: Touch) -> bool:
        if not self.ring or max(self.last - self.first, other.last - other.first) >= self.ring:
            return (self.first < other.last and other.first < self.last) or bool(self.ring)
        after, before = (other.first - self.first) % self.ring, (self.first - other.first) % self.ring
        return after < self.last - self.first or before < other.last - other.first


@dataclass
class Waits:
    """Operations so far. `places`: first and last word of every tensor in the activation memory."""

    places: Mapping[str, tuple[int, int]]
    counts: dict[Queue, int] = field(default_factory=lambda: dict.fromkeys(Queue, 0))
    _touches: dict[tuple[str, Queue, bool], list[tuple[Touch, int]]] = field(default_factory=dict)
    _over: dict[str, list[str]] = field(default_factory=dict)

    def add(self, queue: Queue, touches: Iterable[Touch]) -> tuple[int, int, int]:
        """Append an operation: how many LOADs, STOREs and COMPUTEs must be complete before it."""
        found = dict.fromkeys(Queue, 0)
        touches = list(touches)
        if queue is Queue.COMPUTE:
            found[queue] = self.counts[queue]
        for touch in touches:
            for other in Queue:
                if other is not queue and self.counts[other]:
                    found[other] = max(found[other], self._last(touch, other))
        self.counts[queue] += 1
        for touch in touches:
            self._touches.setdefault((touch.name, queue, touch.writes), []).append((touch, self.counts[queue]))
        return found[Queue.LOAD], found[Queue.STORE], found[Queue.COMPUTE]

    def _last(self, touch: Touch, queue: Queue) -> int:
        """The last operation of a queue that must not be overtaken: a write meets a read or a write."""
        last = 0
        for writes in (True, False) if touch.writes else (True,):
            for name in self._overlapping(touch.name):
                for earlier, number in reversed(self._touches.get((name, queue, writes), ())):
                    if number <= last:
                        break
                    if name != touch.name or touch.meets(earlier):
                        last = number
                        break
        return last

    def _overlapping(self, name: str) -> list[str]:
        """A tensor and all that share words with it."""
        if name not in self.places:
            return [name]
        if name not in self._over:
            first, last = self.places[name]
            self._over[name] = [n for n, (a, b) in self.places.items() if a < last and first < b]
        return self._over[name]
