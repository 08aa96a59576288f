"""In what order layers run, and in which bands of rows where a tensor is too large to stay in the activation memory.

Such a tensor lives in a ring of rows: its writer runs some rows ahead of its readers, and a row's place is taken again
when the last reader is past it. Layers that a ring connects run interleaved, as a cluster, the most downstream first,
so that no more rows than necessary are alive; all others run whole, one after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .network import Step, Transfer, View

NEVER = 1 << 30  # rows


@dataclass(frozen=True)
class Band:
    """Rows [first, last) of a layer's outputs."""

    layer: int
    first: int
    last: int


def views(layer: Step) -> list[View]:
    """What a layer touches."""
    return [v for v in (layer.source, layer.target, layer.residual) if v is not None]


def rows_read(layer: Step, view: View, first: int, last: int) -> tuple[int, int]:
    """The rows of a source's or residual's tensor that outputs [first, last) take."""
    start, end = _reading(layer, view, 0).rows(first, last)
    return view.first_row + start, view.first_row + end


def rows_written(layer: Step, first: int, last: int) -> tuple[int, int]:
    """The rows of the target's tensor that outputs [first, last) are."""
    return layer.target.first_row + first, layer.target.first_row + last


@dataclass(frozen=True)
class _Reading:
    """How a layer reads a tensor's rows: output y takes `span` of them from y · stride − pad on."""

    tensor: int  # its number in the cluster
    height: int
    stride: int
    pad: int
    span: int

    def rows(self, first: int, last: int) -> tuple[int, int]:
        start = first * self.stride - self.pad
        end = (last - 1) * self.stride - self.pad + self.span
        return min(max(start, 0), self.height), min(max(end, 0), self.height)

    def possible(self, available: int) -> int:
        """How many of the layer's first output rows can be computed from so many rows."""
        return NEVER if available >= self.height else (available + self.pad - self.span) // self.stride + 1


def _reading(layer: Step, view: View, tensor: int) -> _Reading:
    height = view.height
    if view is layer.residual:
        return _Reading(tensor, height, view.stride[0], 0, 1)
    w = layer.window
    return _Reading(tensor, height, w.stride[0], w.pad[0], w.dilation[0] * (w.kernel[0] - 1) + 1)


@dataclass(frozen=True)
class _Member:
    """What a layer of a cluster computes: rows of a tensor, in bands that start at multiples of `unit`."""

    target: int
    height: int
    unit: int
    fills_words: bool  # a transfer's last row may not stand beside one that is still needed
    reads: tuple[_Reading, ...]


class Schedule:
    """The bands of some steps, for any choice of rings. `units`: rows by which a step's bands must start, 1 if not given."""

    def __init__(self, steps: Sequence[Step], units: Mapping[int, int]) -> None:
        self.steps, self.units = steps, units
        self.touched: dict[str, tuple[int, int]] = {}  # the first and the last step that touch a tensor
        for index, step in enumerate(steps):
            for view in views(step):
                self.touched[view.tensor.name] = self.touched.get(view.tensor.name, (index, 0))[0], index
        self._clustered: tuple[tuple[str, ...] | None, list[range]] = None, []  # the last rings and their clusters
        self._members: dict[range, tuple[tuple[str, ...], tuple[_Member, ...]]] = {}

    def clusters(self, rings: Iterable[str]) -> list[range]:
        """Consecutive steps that run interleaved."""
        names = tuple(rings)
        if names == self._clustered[0]:
            return self._clustered[1]
        until = list(range(len(self.steps)))  # the last step of a ring that a step begins
        for name in names:
            first, last = self.touched[name]
            until[first] = max(until[first], last)
        found, start, end = [], 0, 0
        for index, last in enumerate(until):
            if index > end:
                found.append(range(start, index))
                start = index
            end = max(end, last)
        self._clustered = names, [*found, range(start, len(until))]
        return self._clustered[1]

    def stuck(self, members: range, rings: Mapping[str, int], spread: int) -> tuple[str, ...]:
        """Rings of a cluster that are full while their readers starve, so that it cannot go on; none if it can."""
        if self._alone(members, rings) or self._interleaved(members, rings, spread) is not None:
            return ()
        names, content = self._content(members)
        written = {m.target for m in content}
        return tuple(n for i, n in enumerate(names) if n in rings and i in written)

    def bands(self, rings: Mapping[str, int], spread: int) -> list[Band]:
        """All bands in order, of `spread` rows of each cluster's smallest output where that is possible."""
        found: list[Band] = []
        for members in self.clusters(rings):
            first = members.start
            if self._alone(members, rings):
                found.append(Band(first, 0, self.steps[first].target.height))
                continue
            bands = self._interleaved(members, rings, spread)
            assert bands is not None, "rings of which none is stuck"
            found += [Band(first + i, begin, end) for i, begin, end in bands]
        return found

    def _alone(self, members: range, rings: Mapping[str, int]) -> bool:
        """Whether a step runs whole."""
        return len(members) == 1 and self.steps[members[0]].target.tensor.name not in rings

    def _interleaved(self, members: range, rings: Mapping[str, int], spread: int) -> _Bands | None:
        names, content = self._content(members)
        return _interleaved(content, tuple([rings.get(n, 0) for n in names]), spread)

    def _content(self, members: range) -> tuple[tuple[str, ...], tuple[_Member, ...]]:
        """A cluster without names, so that equal ones are scheduled once, and its tensors' names by number."""
        if members not in self._members:
            numbers: dict[str, int] = {}
            content = []
            for index in members:
                step = self.steps[index]
                for view in views(step):
                    numbers.setdefault(view.tensor.name, len(numbers))
                reads = tuple(
                    _reading(step, v, numbers[v.tensor.name]) for v in (step.source, step.residual) if v is not None
                )
                target, unit = step.target, self.units.get(index, 1)
                number = numbers[target.tensor.name]
                content.append(_Member(number, target.height, unit, isinstance(step, Transfer), reads))
            self._members[members] = tuple(numbers), tuple(content)
        return self._members[members]


_Bands = tuple[tuple[int, int, int], ...]  # member, first and last row


@lru_cache(maxsize=4096)
def _interleaved(members: tuple[_Member, ...], rings: tuple[int, ...], spread: int) -> _Bands | None:
    """The bands of a cluster; None where no member can go on. `rings`: rows of each tensor's, 0: none."""
    smallest = min(m.height for m in members)
    wanted = [max(1, spread * m.height // smallest) for m in members]
    progress = _Progress(members, rings, wanted)
    found = []
    while progress.left:
        best = progress.best()
        if best < 0:
            return None
        found.append((best, *progress.advance(best)))
    return tuple(found)


class _Progress:
    """How many rows each member of a cluster has computed, and can compute now; the most downstream members come first."""

    def __init__(self, members: tuple[_Member, ...], rings: tuple[int, ...], wanted: list[int]) -> None:
        self.members, self.rings, self.wanted = members, rings, wanted
        self.done = [0] * len(members)
        self.left = len(members)  # that have rows to compute
        self.writers: list[list[int]] = [[] for _ in rings]
        self.readers: list[list[tuple[int, _Reading]]] = [[] for _ in rings]
        for i, member in enumerate(members):
            self.writers[member.target].append(i)
            for reading in member.reads:
                self.readers[reading.tensor].append((i, reading))
        self.possible = [0] * len(members)
        self.willing = [False] * len(members)  # whether what is wanted is possible, the last member first
        self.touched = [
            {i}
            | {j for j, _ in self.readers[member.target]}
            | {j for reading in member.reads for j in self.writers[reading.tensor]}
            for i, member in enumerate(members)
        ]
        for i in range(len(members)):
            self._look(i)

    def best(self) -> int:
        """The most downstream member that can compute what is wanted, else the one that can compute the largest part; -1: none."""
        if True in self.willing:
            return len(self.members) - 1 - self.willing.index(True)
        best, share = -1, 0.0
        for i in reversed(range(len(self.members))):
            if self.possible[i] / self.members[i].height > share:
                best, share = i, self.possible[i] / self.members[i].height
        return best

    def advance(self, i: int) -> tuple[int, int]:
        """Compute all rows that are possible: the first and the last."""
        first = self.done[i]
        self.done[i] += self.possible[i]
        self.left -= self.done[i] == self.members[i].height
        for j in self.touched[i]:
            self._look(j)
        return first, self.done[i]

    def _look(self, i: int) -> None:
        """What a member can compute after a change."""
        left = self.members[i].height - self.done[i]
        self.possible[i] = self._possible(i) if left else 0
        self.willing[-1 - i] = left > 0 and self.possible[i] >= min(self.wanted[i], left)

    def _possible(self, i: int) -> int:
        """How many rows a member can compute now."""
        member, done = self.members[i], self.done[i]
        most = member.height - done
        for reading in member.reads:
            writers = self.writers[reading.tensor]
            if len(writers) == 1:
                most = min(most, reading.possible(self.done[writers[0]]) - done)
            elif writers:
                most = min(most, reading.possible(min([self.done[w] for w in writers])) - done)
            if most <= 0:
                return 0
        if self.rings[member.target]:
            spare = member.unit - 1 if member.fills_words else 0
            most = min(most, self._needed_from(member.target) + self.rings[member.target] - done - spare)
        most = max(most, 0)
        return most if done + most == member.height else most - most % member.unit

    def _needed_from(self, tensor: int) -> int:
        """The first row that some reader still needs."""
        rows = NEVER
        for i, reading in self.readers[tensor]:
            done = self.done[i]
            if done < self.members[i].height:
                rows = min(rows, reading.rows(done, done + 1)[0])
        return rows
