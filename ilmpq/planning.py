"""What becomes of every tensor: it stays whole in the activation memory, or in a ring of rows, or goes outside and back.

From this follow the steps of a network (layers and transfers), the bands of rows in which they run, and where in the
memory every tensor lies while it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Generic, TypeVar

import numpy as np

from .errors import MemoryTooSmall
from .memory import Numbering, Plan, group_words, in_place, place, replaceable, spans
from .network import Layer, Network, Region, Step, Tensor, Transfer, View
from .schedule import Band, Schedule, views

MEMORY_MEND = "use an engine with a larger activation memory, or give a smaller --input-shape"
SPREADS = (32, 16, 8, 4, 2, 1)  # rows of a cluster's smallest output that are tried for the height of its bands
N = TypeVar("N", bound=Numbering)


@dataclass(frozen=True)
class Outside:
    """Where a tensor lies in the memory around the engine: a region, and the word of it at which the tensor begins."""

    region: Region
    first_word: int


class Planner(Generic[N]):
    """The steps of a network, their bands, and the place of every tensor while it is needed.

    `numberings` gets those of the tensors that are loaded and stored, which are the same inside and outside.
    """

    def __init__(self, network: Network, numberings: dict[str, N], banks: int, depth: int, unrolled: bool) -> None:
        self.network, self.numberings, self.banks, self.depth = network, numberings, banks, depth
        self.unrolled = unrolled  # whether the input never lies in the activation memory
        self._own = network.tensors
        self.rings: dict[str, int] = {}  # rows of the tensors that do not stay whole
        self.plan, self.bands = self._plan()

    def _plan(self) -> tuple[Plan, list[Band]]:
        """Everything whole if that fits; else the largest tensors in rings, in bands as high as fit; else some outside.

        All images are treated alike; a tensor of all of them stays whole.
        """
        rings: set[str] = set()
        spilled: set[str] = set()
        self._place_outside(spilled)
        while failed := self._with_rings(rings):
            worst = max(sorted(rings & self.spillable - spilled), key=self._gain, default=None)
            if worst is None:
                sizes = self._sizes(self.rings)
                raise MemoryTooSmall(
                    f"{failed[0]} takes {sizes[failed[0]]:,} words of the activation memory, which has "
                    f"{self.depth:,}, beside what must be there at the same time: {MEMORY_MEND}"
                )
            spilled |= self._alike(worst)
            self._place_outside(spilled)
            rings = rings.difference(failed) & self.tensors.keys()
        for name in sorted(spilled, key=lambda n: (-self._words[n], n)):  # what need not be, as others are outside
            fewer = spilled - self._alike(name)
            if fewer < spilled:
                self._place_outside(fewer)
                again = rings & self.tensors.keys()
                if not self._with_rings(again):
                    spilled, rings = fewer, again
        self._place_outside(spilled)
        return self._widened(rings)

    def _with_rings(self, rings: set[str]) -> list[str]:
        """Add rings until everything fits; what does not, if there is such a thing."""
        while isinstance(plan := self._try(rings, 1), list):
            candidates = [n for n in plan if n not in rings and self._divisible(self.tensors[n])]
            if not candidates:
                return plan
            rings |= self._alike(candidates[0])
        return []

    def _gain(self, name: str) -> tuple[int, int]:
        """How much room there is without a tensor: what nobody needs for the longest time goes first."""
        first, last = self._schedule.touched[name]
        return last - first, self._words[name]

    def _divisible(self, tensor: Tensor) -> bool:
        """Whether its rows may come and go."""
        return not tensor.logits and tensor.images == 1

    def _alike(self, name: str) -> set[str]:
        """The same tensor of every image."""
        stem = self.tensors[name].stem
        return {n for n, tensor in self.tensors.items() if tensor.stem == stem}

    def _widened(self, rings: set[str]) -> tuple[Plan, list[Band]]:
        """The highest bands that fit, where low ones do: fewer operations, and weights are fetched less often."""
        for spread in SPREADS:
            plan = self._try(rings, spread)
            if isinstance(plan, Plan):
                return plan, self._schedule.bands(self.rings, spread)
        raise AssertionError("bands of one row must fit again")

    def _place_outside(self, spilled: set[str]) -> None:
        """The steps: layers, and transfers of input, output and of what is spilled between its writers and its readers."""
        self.outside: dict[str, Outside] = {}
        self.tensors = dict(self._own)
        layers = self.network.layers
        steps: list[Step] = []
        inside: dict[str, Tensor] = {}  # what readers of a tensor read from now on
        last_writer = {layer.target.tensor.name: i for i, layer in enumerate(layers)}
        inputs = {} if self.unrolled else self._regions(self.network.inputs, Region.INPUT)
        outputs = self._regions(self.network.outputs, Region.OUTPUT)
        self.regions = inputs | outputs
        offsets, self.scratch_words = {}, 0
        for name in sorted(spilled):
            offsets[name] = self.scratch_words
            self.scratch_words += self.all_words(self._own[name])
        for i, layer in enumerate(layers):
            tensor = layer.target.tensor
            for view in (layer.source, layer.residual):
                if view is not None and view.tensor.name in inputs.keys() - inside.keys():
                    inside[view.tensor.name] = self._loaded(steps, view.tensor, inputs[view.tensor.name])
            steps.append(_reading(layer, inside))
            if tensor.name in spilled and last_writer[tensor.name] == i:
                place_ = Outside(Region.SCRATCH, offsets[tensor.name])
                self._stored(steps, tensor, place_)
                inside[tensor.name] = self._loaded(steps, tensor, place_)
            if tensor.name in outputs and last_writer[tensor.name] == i:
                self._stored(steps, tensor, outputs[tensor.name])
        self.steps = steps
        # Bands start where a tile of whole bytes, or a transfer of whole words, starts.
        self._schedule = Schedule(steps, {i: self._ring_unit(x.target.tensor.name) for i, x in enumerate(steps)})
        self._ring_rows_found: dict[tuple[range, tuple[str, ...], int], dict[str, int]] = {}
        self._candidates = replaceable(steps, self.numberings)
        self._lasting = {view.tensor.name for step in steps for view in views(step) if view.image is not None}
        outer = {view.tensor.name for view in self.network.inputs}
        self._words = {n: self.all_words(t) for n, t in self.tensors.items() if n not in outer}
        self._spans: dict[str, int] = {}  # rows of a tensor that its readers see at once
        for step in steps:
            w = step.window
            name, span = step.source.tensor.name, w.dilation[0] * (w.kernel[0] - 1) + 1
            self._spans[name] = max(self._spans.get(name, 1), span)
        self.spillable = {n for n in last_writer if self._own[n].images == 1 and n not in outputs}

    def _regions(self, views: Sequence[View], region: Region) -> dict[str, Outside]:
        """Where the tensors of inputs or outputs lie, one after another."""
        found: dict[str, Outside] = {}
        at = 0
        for view in views:
            if view.tensor.name not in found:
                found[view.tensor.name] = Outside(region, at)
                at += self.all_words(view.tensor)
        return found

    def _loaded(self, steps: list[Step], tensor: Tensor, where: Outside) -> Tensor:
        """Append a transfer from outside; the tensor that comes out of it."""
        twin, outer = self._twin(tensor, "loaded"), self._twin(tensor, where.region.name.lower())
        self.outside[outer.name] = where
        self.tensors[twin.name] = twin
        steps.append(Transfer(f"load {tensor.stem}", _whole(outer), _whole(twin), loads=True))
        return twin

    def _stored(self, steps: list[Step], tensor: Tensor, where: Outside) -> None:
        """Append a transfer to the outside."""
        outer = self._twin(tensor, where.region.name.lower())
        self.outside[outer.name] = where
        steps.append(Transfer(f"store {tensor.stem}", _whole(tensor), _whole(outer), loads=False))

    def _twin(self, tensor: Tensor, suffix: str) -> Tensor:
        twin = replace(tensor, stem=f"{tensor.stem}@{suffix}")
        self.numberings[twin.name] = self.numberings[tensor.name]
        return twin

    def _try(self, rings: set[str], spread: int) -> Plan | list[str]:
        """A plan with these rings, or what does not fit."""
        rows: dict[str, int] = {}
        groups = self._schedule.clusters(sorted(rings))
        for members in groups:
            written = rings.intersection([self.steps[i].target.tensor.name for i in members])
            if written:
                rows |= self._rows_of_rings(members, tuple(sorted(written)), spread)
        alive = spans(self._schedule.touched, groups)
        sizes = self._sizes(rows)
        shared = {a: b for a, b in in_place(self._candidates, groups, alive).items() if {a, b} <= sizes.keys()}
        self.rings = rows
        return place(sizes, alive, shared, self.depth, self._lasting)

    def _rows_of_rings(self, members: range, names: tuple[str, ...], spread: int) -> dict[str, int]:
        """Rows for the rings that a cluster writes, so many that it can go on; other clusters do not matter."""
        if (members, names, spread) not in self._ring_rows_found:
            smallest = min(self.steps[i].target.height for i in members)
            rows = {n: self._ring_rows(n, spread, smallest) for n in names}
            while stuck := self._schedule.stuck(members, rows, spread):
                for name in stuck:
                    rows[name] += self._ring_unit(name)
                if any(rows[n] > 4 * self.tensors[n].height + 64 for n in stuck):
                    raise MemoryTooSmall(
                        f"{stuck[0]} is larger than the activation memory and cannot be computed in bands of rows: "
                        f"{MEMORY_MEND}"
                    )
            self._ring_rows_found[members, names, spread] = rows
        return self._ring_rows_found[members, names, spread]

    def _sizes(self, rings: Mapping[str, int]) -> dict[str, int]:
        """Memory words of every tensor; an unrolled image takes none."""
        return self._words | {n: self.tensors[n].groups * self._ring_words(n, rows) for n, rows in rings.items()}

    def stride(self, tensor: Tensor) -> int:
        """Memory words from one group of a tensor to the next."""
        rows = self.rings.get(tensor.name, 0)
        return self._ring_words(tensor.name, rows) if rows else self.whole(tensor)

    def whole(self, tensor: Tensor) -> int:
        """Memory words of a group of a tensor that is whole, as it is outside."""
        return group_words(tensor, self.numberings[tensor.name], self.banks)

    def all_words(self, tensor: Tensor) -> int:
        """Of all groups."""
        return tensor.groups * self.whole(tensor)

    def _ring_words(self, name: str, rows: int) -> int:
        numbering = self.numberings[name]
        return rows * numbering.pitch // numbering.per_word(self.banks)

    def _ring_unit(self, name: str) -> int:
        """Rings begin again at a whole word."""
        numbering = self.numberings[name]
        per_word = numbering.per_word(self.banks)
        return per_word // gcd(numbering.pitch, per_word)

    def _ring_rows(self, name: str, spread: int, smallest: int) -> int:
        """Rows for what a reader sees at once and for the bands of writer and reader."""
        tensor, unit = self.tensors[name], self._ring_unit(name)
        rows = self._spans.get(name, 1) + spread * tensor.height // smallest
        return -(-min(rows, tensor.height) // unit) * unit


def _whole(tensor: Tensor) -> View:
    """A view of a tensor for a transfer, which knows no channels."""
    return View(tensor, np.zeros(0, np.int64))


def _reading(layer: Layer, inside: Mapping[str, Tensor]) -> Layer:
    """A layer that reads tensors where they are now."""

    def moved(view: View) -> View:
        return replace(view, tensor=inside[view.tensor.name]) if view.tensor.name in inside else view

    if not any(v is not None and v.tensor.name in inside for v in (layer.source, layer.residual)):
        return layer
    return replace(layer, source=moved(layer.source), residual=layer.residual and moved(layer.residual))
