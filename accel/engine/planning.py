"""Where every tensor lies and in which bands of rows every layer runs: whole, in a ring of rows, or outside and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from ilmpq.design import EngineConfig
from ilmpq.errors import DoesNotFit

from .descriptor import Region
from .image import Stored, group_words
from .layout import Layout
from .layouts import Layouts
from .memory import Plan, in_place, place, spans
from .network import Layer, Network, Step, Tensor, Transfer, View
from .order import Range
from .schedule import MEMORY_MEND, Band, Known, Stuck, clusters, schedule


@dataclass(frozen=True)
class Held:
    """A tensor in the activation memory: at word `base`, groups `stride` words apart, in a ring of `rows` or whole (0)."""

    layout: Layout
    base: int
    stride: int
    rows: int = 0

    @property
    def ring(self) -> int:
        return self.rows * self.layout.pitch

    def row(self, y: int) -> int:
        """A row's start."""
        return (y % self.rows) * self.layout.pitch if self.rows else y * self.layout.pitch % (1 << 24)


class Placement:
    """The steps of a network, their bands, and the place of every tensor while it is needed."""

    def __init__(self, network: Network, layouts: Layouts, config: EngineConfig) -> None:
        self.network, self.layouts, self.config = network, layouts.of, config
        self.input_is_unrolled = layouts.image_layer is not None
        self._own = {network.input.name: network.input} | {t.name: t for t in (x.target.tensor for x in network.layers)}
        self.rings: dict[str, int] = {}  # rows of the tensors that do not stay whole
        self.plan, self.bands = self._plan()

    def inside(self, name: str) -> bool:
        """Whether a tensor lies in the activation memory."""
        return name in self.plan.bases

    def held(self, tensor: Tensor) -> Held:
        rows = self.rings.get(tensor.name, 0)
        return Held(self.layouts[tensor.name], self.plan.bases[tensor.name], self._group_words(tensor, rows), rows)

    def range(self, tensor: Tensor, rows: tuple[int, int]) -> Range:
        base = self.plan.bases[tensor.name]
        end = base + self.plan.sizes[tensor.name]
        return Range("memory", base, end, tensor.name, rows, self.rings.get(tensor.name, 0))

    def _plan(self) -> tuple[Plan, list[Band]]:
        """Everything whole if that fits; else the largest tensors in rings, in bands as high as fit; else some outside."""
        rings: set[str] = set()
        spilled: set[str] = set()
        self._place_outside(spilled)
        while True:
            plan, bands = self._try(rings, 1)
            if isinstance(plan, Plan):
                return self._widened(rings) if rings else (plan, bands)
            candidates = [n for n in plan if n not in rings and not self.tensors[n].logits]
            if candidates:
                rings.add(candidates[0])
                continue
            worst = max(
                (n for n in sorted(rings) if n in self.spillable - spilled), key=self._whole_words, default=None
            )
            if worst is None:
                sizes = self._sizes(self.rings)
                raise DoesNotFit(
                    f"{plan[0]} takes {sizes[plan[0]]:,} words of the activation memory, which has "
                    f"{self.config.am_depth:,}, beside what must be there at the same time: {MEMORY_MEND}"
                )
            spilled.add(worst)
            rings = set()
            self._place_outside(spilled)

    def _widened(self, rings: set[str]) -> tuple[Plan, list[Band]]:
        """The highest bands that fit, where low ones do: fewer operations, and weights are fetched less often."""
        for spread in (32, 16, 8, 4, 2, 1):
            plan, bands = self._try(rings, spread)
            if isinstance(plan, Plan):
                return plan, bands
        raise AssertionError("bands of one row must fit again")

    def _whole_words(self, name: str) -> int:
        tensor = self.tensors[name]
        return tensor.groups * group_words(tensor, self.layouts[name], self.config.banks)

    def _place_outside(self, spilled: set[str]) -> None:
        """The steps: layers, and transfers of input, output and of what is spilled between its writers and its readers."""
        self.outside: dict[str, tuple[Region, Stored]] = {}
        self.tensors = dict(self._own)
        layers = self.network.layers
        steps: list[Step] = []
        inside: dict[str, Tensor] = {}  # what readers of a tensor read from now on
        if not self.input_is_unrolled:
            source = self.network.input
            inside[source.name] = self._transfer_of(steps, source, Region.INPUT, 0, loads=True)
        last_writer = {layer.target.tensor.name: i for i, layer in enumerate(layers)}
        for i, layer in enumerate(layers):
            name = layer.target.tensor.name
            steps.append(_reading(layer, inside))
            if name in spilled and last_writer[name] == i:
                offset = self._scratch_used(spilled, name)
                self._transfer_of(steps, layer.target.tensor, Region.SCRATCH, offset, loads=False)
                inside[name] = self._transfer_of(steps, layer.target.tensor, Region.SCRATCH, offset, loads=True)
        output = self.network.output.tensor
        self._transfer_of(steps, inside.get(output.name, output), Region.OUTPUT, 0, loads=False)
        self.steps = steps
        self._known: Known = {}  # bands of these steps
        self.spillable = set(last_writer) - {output.name}
        self.scratch = self._scratch_used(spilled, None)

    def _scratch_used(self, spilled: set[str], name: str | None) -> int:
        """Bytes of scratch before a spilled tensor, or of all."""
        total = 0
        for each in sorted(spilled):
            if each == name:
                break
            total += self._whole_words(each) * self.config.word_bytes
        return total

    def _transfer_of(self, steps: list[Step], tensor: Tensor, region: Region, offset: int, loads: bool) -> Tensor:
        """Append a transfer; the tensor that comes out of it."""
        twin = replace(tensor, name=f"{tensor.name}@{'loaded' if loads else region.name.lower()}")
        self.layouts[twin.name] = self.layouts[tensor.name]
        stored = Stored(tensor, self.layouts[tensor.name], offset)
        places = np.zeros(0, np.int64)
        if loads:
            outer = replace(tensor, name=f"{tensor.name}@{region.name.lower()}")
            self.outside[outer.name] = (region, stored)
            self.layouts[outer.name] = self.layouts[tensor.name]
            self.tensors[twin.name] = twin
            steps.append(Transfer(f"load {tensor.name}", View(outer, places), View(twin, places), loads=True))
        else:
            self.outside[twin.name] = (region, stored)
            steps.append(Transfer(f"store {tensor.name}", View(tensor, places), View(twin, places), loads=False))
        return twin

    def _try(self, rings: set[str], spread: int) -> tuple[Plan | list[str], list[Band]]:
        """A plan with these rings, or what does not fit, and the bands."""
        rows: dict[str, int] = {}
        for members in clusters(self.steps, sorted(rings)):
            smallest = min(self.steps[i].target.tensor.height for i in members)
            written = sorted({self.steps[i].target.tensor.name for i in members} & rings)
            rows |= {n: self._ring_rows(n, spread, smallest) for n in written}
        while True:
            try:
                bands = schedule(self.steps, rows, self._starts(), spread, self._known)
                break
            except Stuck as stuck:
                for name in stuck.full:
                    rows[name] += self._ring_unit(name)
                if any(rows[n] > 4 * self.tensors[n].height + 64 for n in rows):
                    raise DoesNotFit(
                        f"{stuck.full[0]} is larger than the activation memory and cannot be computed in bands of rows: "
                        f"{MEMORY_MEND}"
                    ) from None
        groups = clusters(self.steps, rows)
        alive = spans(self.steps, groups)
        sizes = self._sizes(rows)
        shared = {a: b for a, b in in_place(self.steps, groups, alive, self.layouts).items() if {a, b} <= sizes.keys()}
        self.rings = rows
        return place(sizes, alive, shared, self.config.am_depth), bands

    def _sizes(self, rings: dict[str, int]) -> dict[str, int]:
        """Memory words of every tensor; an unrolled image takes none."""
        return {
            n: t.groups * self._group_words(t, rings.get(n, 0))
            for n, t in self.tensors.items()
            if t is not self.network.input
        }

    def _group_words(self, tensor: Tensor, rows: int) -> int:
        layout = self.layouts[tensor.name]
        if rows:
            return rows * layout.pitch // layout.per_word(self.config.banks)
        return group_words(tensor, layout, self.config.banks)

    def _ring_unit(self, name: str) -> int:
        """Rings begin again at a whole word."""
        layout = self.layouts[name]
        per_word = layout.per_word(self.config.banks)
        return per_word // gcd(layout.pitch, per_word)

    def _ring_rows(self, name: str, spread: int, smallest: int) -> int:
        """Rows for what a reader sees at once and for the bands of writer and reader."""
        tensor, unit = self.tensors[name], self._ring_unit(name)
        spans_ = [x.window.dilation[0] * (x.window.kernel[0] - 1) + 1 for x in self.steps if x.source.tensor is tensor]
        rows = max(spans_, default=1) + spread * tensor.height // smallest
        return -(-min(rows, tensor.height) // unit) * unit

    def _starts(self) -> dict[int, int]:
        """Bands start where a tile of whole bytes, or a transfer of whole words, starts."""
        return {i: self._ring_unit(x.target.tensor.name) for i, x in enumerate(self.steps)}


def _reading(layer: Layer, inside: Mapping[str, Tensor]) -> Layer:
    """A layer that reads tensors where they are now."""

    def moved(view: View) -> View:
        return replace(view, tensor=inside[view.tensor.name]) if view.tensor.name in inside else view

    residual = layer.residual and moved(layer.residual)
    return replace(layer, source=moved(layer.source), residual=residual)
