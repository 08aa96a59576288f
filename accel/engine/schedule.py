"""In what order layers run, and in which bands of rows where a tensor is too large to stay in the activation memory.

Such a tensor lives in a ring of rows: its writer runs some rows ahead of its readers, and a row's place is taken again
when the last reader is past it. Layers that a ring connects run interleaved, as a cluster, the most downstream first,
so that no more rows than necessary are alive; all others run whole, one after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .network import Step, Transfer, View

MEMORY_MEND = "use an engine with a larger activation memory, or give a smaller --input-shape"


@dataclass(frozen=True)
class Band:
    """Rows [first, last) of a layer's outputs."""

    layer: int
    first: int
    last: int


@dataclass(frozen=True)
class Stuck(Exception):
    """No layer can go on: these rings are full and their readers starve."""

    full: tuple[str, ...]


def clusters(layers: Sequence[Step], rings: Iterable[str]) -> list[range]:
    """Consecutive layers that run interleaved."""
    joined = [False] * len(layers)  # whether a layer runs with the one before it
    for name in rings:
        touching = [i for i, layer in enumerate(layers) if name in {v.tensor.name for v in views(layer)}]
        for i in range(min(touching) + 1, max(touching) + 1):
            joined[i] = True
    found: list[range] = []
    for i in range(len(layers)):
        start = found.pop().start if joined[i] else i
        found.append(range(start, i + 1))
    return found


def views(layer: Step) -> list[View]:
    """What a layer touches."""
    return [v for v in (layer.source, layer.target, layer.residual) if v is not None]


def rows_read(layer: Step, view: View, first: int, last: int) -> tuple[int, int]:
    """The rows of a source or residual that outputs [first, last) take."""
    height = view.tensor.height
    if view is layer.residual:
        s = view.stride[0]
        return min(first * s, height), min((last - 1) * s + 1, height)
    w = layer.window
    start = first * w.stride[0] - w.pad[0]
    end = (last - 1) * w.stride[0] - w.pad[0] + w.dilation[0] * (w.kernel[0] - 1) + 1
    return min(max(start, 0), height), min(max(end, 0), height)


def rows_possible(layer: Step, view: View, available: int) -> int:
    """How many of a layer's first output rows can be computed from so many rows of a source or residual."""
    if available >= view.tensor.height:
        return 1 << 30
    if view is layer.residual:
        return (available - 1) // view.stride[0] + 1
    w = layer.window
    span = w.dilation[0] * (w.kernel[0] - 1) + 1
    return (available + w.pad[0] - span) // w.stride[0] + 1


class _Cluster:
    """The progress of some layers."""

    def __init__(
        self, layers: Sequence[Step], members: range, rings: Mapping[str, int], step: Mapping[int, int]
    ) -> None:
        self.layers, self.members, self.rings, self.step = layers, members, rings, step
        self.done = dict.fromkeys(members, 0)
        self.writers: dict[str, list[int]] = {}
        self.readers: dict[str, list[tuple[int, View]]] = {}
        for i in members:
            layer = layers[i]
            self.writers.setdefault(layer.target.tensor.name, []).append(i)
            for view in (layer.source, layer.residual):
                if view is not None:
                    self.readers.setdefault(view.tensor.name, []).append((i, view))

    def height(self, layer: int) -> int:
        return self.layers[layer].target.tensor.height

    def available(self, name: str, height: int) -> int:
        """Rows of a tensor that are there; all of them if no member writes it."""
        return min((self.done[i] for i in self.writers.get(name, ())), default=height)

    def needed_from(self, name: str) -> int:
        """The first row that some reader still needs."""
        rows = []
        for i, view in self.readers.get(name, ()):
            if self.done[i] < self.height(i):
                rows.append(rows_read(self.layers[i], view, self.done[i], self.done[i] + 1)[0])
        return min(rows, default=1 << 30)

    def possible(self, i: int) -> int:
        """How many rows a layer can compute now."""
        layer, done, height = self.layers[i], self.done[i], self.height(i)
        most = height - done
        name = layer.target.tensor.name
        if name in self.rings:
            spare = self.step.get(i, 1) - 1 if isinstance(layer, Transfer) else 0  # it fills whole words
            most = min(most, self.needed_from(name) + self.rings[name] - done - spare)
        for view in (layer.source, layer.residual):
            if view is not None:
                there = self.available(view.tensor.name, view.tensor.height)
                most = min(most, rows_possible(layer, view, there) - done)
        most = max(most, 0)
        return most if done + most == height else most - most % self.step.get(i, 1)

    def run(self, wanted: Mapping[int, int]) -> list[Band]:
        """Bands, of as many rows as wanted where that is possible."""
        found = []
        while any(self.done[i] < self.height(i) for i in self.members):
            open_ = [i for i in reversed(self.members) if self.done[i] < self.height(i)]
            rows: dict[int, int] = {}
            able: list[int] = []
            for i in open_:
                rows[i] = self.possible(i)
                if rows[i] >= min(wanted[i], self.height(i) - self.done[i]):
                    able = [i]
                    break
            else:
                able = sorted((i for i in open_ if rows[i]), key=lambda i: rows[i] / self.height(i), reverse=True)
            if not able:
                raise Stuck(tuple(n for n in self.rings if n in self.writers))
            chosen = able[0]
            found.append(Band(chosen, self.done[chosen], self.done[chosen] + rows[chosen]))
            self.done[chosen] += rows[chosen]
        return found


Known = dict[tuple[object, ...], "list[Band] | Stuck"]  # the bands of clusters


def schedule(
    layers: Sequence[Step], rings: Mapping[str, int], step: Mapping[int, int], spread: int, known: Known | None = None
) -> list[Band]:
    """All bands in order. `step`: rows by which a layer's bands must start; `spread`: how many rows of the cluster's
    smallest output are wanted at a time; `known`: what was found for the same layers and steps before."""
    found: list[Band] = []
    for members in clusters(layers, rings):
        if len(members) == 1 and layers[members[0]].target.tensor.name not in rings:
            found.append(Band(members[0], 0, layers[members[0]].target.tensor.height))
            continue
        own = {n: rings[n] for i in members for n in (v.tensor.name for v in views(layers[i])) if n in rings}
        bands = _bands(layers, members, own, step, spread, {} if known is None else known)
        if isinstance(bands, Stuck):
            raise bands
        found += bands
    return found


def _bands(
    layers: Sequence[Step], members: range, rings: Mapping[str, int], step: Mapping[int, int], spread: int, known: Known
) -> list[Band] | Stuck:
    """The bands of a cluster, or why there are none."""
    key = (members, spread, *rings.items())
    if key not in known:
        smallest = min(layers[i].target.tensor.height for i in members)
        wanted = {i: max(1, spread * layers[i].target.tensor.height // smallest) for i in members}
        try:
            known[key] = _Cluster(layers, members, rings, step).run(wanted)
        except Stuck as stuck:
            known[key] = stuck
    return known[key]
