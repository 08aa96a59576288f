"""Operations in program order, each with how much of every queue must have completed before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .descriptor import Compute, Copy, Image, Load, Operation, Waits


@dataclass(frozen=True)
class Range:
    """Words of the activation memory or bytes of a region, [start, end); of a tensor, which rows of it.

    Rows count only against rows of the same tensor. In a ring of rows, row y and row y + ring are the same place.
    """

    space: str
    start: int
    end: int
    owner: str = ""
    rows: tuple[int, int] = (0, 0)
    ring: int = 0

    def meets(self, other: Range) -> bool:
        if self.space != other.space or self.start >= other.end or other.start >= self.end:
            return False
        if not self.owner or self.owner != other.owner:
            return True
        if not self.ring:
            return self.rows[0] < other.rows[1] and other.rows[0] < self.rows[1]
        return bool(self._places() & other._places())

    def _places(self) -> set[int]:
        return {row % self.ring for row in range(*self.rows)}


@dataclass(frozen=True)
class Scheduled:
    """An operation of a layer, and how many of each queue must have completed before it starts."""

    layer: str
    operation: Operation
    waits: Waits

    def words(self) -> list[int]:
        """The descriptor."""
        return self.operation.words(self.waits)


@dataclass(frozen=True)
class _Entry:
    layer: str
    operation: Operation
    queue: str
    number: int  # in its queue, from 1 on
    reads: Sequence[Range]
    writes: Sequence[Range]


@dataclass
class Order:
    """A program under construction."""

    entries: list[_Entry] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, layer: str, operation: Operation, reads: Sequence[Range] = (), writes: Sequence[Range] = ()) -> None:
        """Append an operation of a layer that reads and writes these ranges."""
        queue = _queue(operation)
        self.counts[queue] = self.counts.get(queue, 0) + 1
        self.entries.append(_Entry(layer, operation, queue, self.counts[queue], tuple(reads), tuple(writes)))

    def scheduled(self) -> list[Scheduled]:
        """The operations, each waiting for the last one of every queue that it must not overtake."""
        found = []
        for index, entry in enumerate(self.entries):
            waits = {"load": 0, "store": 0, "compute": 0}
            for earlier in self.entries[:index]:
                if earlier.queue in waits and _depends(entry, earlier):
                    waits[earlier.queue] = max(waits[earlier.queue], earlier.number)
            found.append(Scheduled(entry.layer, entry.operation, Waits(**waits)))
        return found


def _depends(later: _Entry, earlier: _Entry) -> bool:
    """Whether one must not start before the other is done: a write meets a read or a write."""
    return (
        any(a.meets(b) for a in later.reads for b in earlier.writes)
        or any(a.meets(b) for a in later.writes for b in earlier.reads)
        or any(a.meets(b) for a in later.writes for b in earlier.writes)
    )


def _queue(operation: Operation) -> str:
    if isinstance(operation, Compute):
        return "compute"
    if isinstance(operation, Copy):
        return "load" if isinstance(operation, Load) else "store"
    assert isinstance(operation, Image)
    return "image"
