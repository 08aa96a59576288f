"""A network on engines with certain lanes: layers, how they read, tiles of positions, bands and transfers.

None of this depends on how many rows an engine computes, so that a search finds it once for many designs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .design import EngineConfig
from .errors import DoesNotFit
from .graph import Graph, Op
from .layout import Access, Layout, Tiling
from .lower import pool_counts
from .network import Layer, Tensor, Transfer, network_of
from .perf import Unit
from .planning import Planner
from .positions import layout as layout_of
from .positions import tiling
from .schedule import Band, rows_read, views
from .storage import formats, layer_bits
from .waits import Queue, Touch, Waits

PAIR_BITS = 4
MOST_WINDOW_WORDS, MOST_STRIDE = 31, 15


@dataclass(frozen=True)
class Operation:
    """A computation of some rows of a layer, or a transfer."""

    layer: str
    unit: Unit
    waits: tuple[int, int, int] = (0, 0, 0)
    tiles: int = 0
    positions: int = 0
    outputs: int = 0  # positions in all
    taps: int = 0  # of a pool, in each of its groups
    groups: int = 0
    bytes: int = 0


@dataclass(eq=False)
class Numbered:
    """Where pixels lie, and the tiles of positions of every layer."""

    tensors: dict[str, Layout] = field(default_factory=dict)
    tilings: dict[str, Tiling] = field(default_factory=dict)


class Lanes:
    """A canonical network on engines with `tk` lanes and activations of `act_bits` bits."""

    def __init__(self, graph: Graph, tk: int, act_bits: int) -> None:
        self.graph, self.tk, self.act_bits = graph, tk, act_bits
        self.bits = layer_bits(graph, act_bits)
        self.network = network_of(graph, formats(graph, self.bits), tk)
        self.layers = {layer.name: layer for layer in self.network.layers}
        self.outputs = {n: x.target.tensor.height * x.target.tensor.width for n, x in self.layers.items()}
        self._averaged = {x.target.tensor.name for x in self.network.layers if x.node.op is Op.AVG_POOL}
        self._numbered: dict[tuple[int, int, bool], Numbered] = {}
        self._operations: dict[tuple[int, int, int, int, bool], tuple[Operation, ...] | DoesNotFit] = {}

    def passes(self, layer: Layer) -> int:
        """How often a layer that reads from the activation memory goes through its weights."""
        source = layer.source.tensor
        if self.bits[layer.name] < source.bits:
            return 1
        if source.bits > 2 * self.act_bits:
            raise DoesNotFit(
                f"{layer.name} reads {source.bits}-bit codes, which take more than two passes of {self.act_bits} bits: "
                f"use a geometry with act_bits {-(-source.bits // 2)} or more"
            )
        return 2 if source.bits > self.act_bits else 1

    def unrollable(self, config: EngineConfig) -> Layer | None:
        """The first layer, if the image unit has its windows."""
        first, source = self.network.layers[0], self.network.input
        w, channels = first.window, len(first.source.places)
        readers = [v for x in self.network.layers for v in (x.source, x.residual) if v and v.tensor is source]
        size = w.kernel[0] * w.kernel[1] * channels
        possible = (
            len(readers) == 1
            and first.node.op is Op.CONV
            and first.node.groups == 1
            and first.source.tensor is source
            and first.source.stride == (1, 1)
            and first.residual is None
            and (w.kernel[0], channels) in config.image_kernels
            and size <= config.image_bytes
            and w.kernel[1] <= w.kernel[0]
            and -(-size // self.tk) <= MOST_WINDOW_WORDS
            and w.dilation == (1, 1)
            and max(*w.stride, *w.pad[:2]) <= MOST_STRIDE
            and source.width <= config.line_width
            and not first.target.tensor.logits
        )
        return first if possible else None

    def operations(self, banks: int, tp: int, depth: int, word_bytes: int, unrolled: bool) -> tuple[Operation, ...]:
        """All operations in order, but for the rows of weighted layers."""
        key = banks, tp, depth, word_bytes, unrolled
        if key not in self._operations:
            numbered = self.numbered(banks, tp, unrolled)
            try:
                self._operations[key] = tuple(_Operations(self, numbered, banks, depth, word_bytes, unrolled).found)
            except DoesNotFit as refusal:  # a search asks many times
                self._operations[key] = refusal
        found = self._operations[key]
        if isinstance(found, DoesNotFit):
            raise found
        return found

    def numbered(self, banks: int, tp: int, unrolled: bool) -> Numbered:
        """How every tensor is numbered, and how many positions every layer computes at a time."""
        key = banks, tp, unrolled
        if key not in self._numbered:
            self._numbered[key] = self._number(banks, tp, unrolled)
        return self._numbered[key]

    def _number(self, banks: int, tp: int, unrolled: bool) -> Numbered:
        found = Numbered()
        apart = set(self._averaged)  # tensors whose positions are written one by one, in whole bytes

        def number(tensor: Tensor) -> Layout:
            height, width = tensor.height, tensor.width
            if tensor.logits:
                return Layout(height, width, width)
            every = [a for layer in self.network.layers for a in self._accesses(layer, tensor, unrolled)]
            pair = tensor.bits <= PAIR_BITS == self.act_bits and tensor.name not in apart
            best = layout_of(height, width, pair, tuple(every), banks, tp)
            if best is None:
                apart.add(tensor.name)
                best = layout_of(height, width, False, tuple(every), banks, tp)
            assert best is not None
            return best

        def tiled(layer: Layer) -> Tiling:
            if layer.target.tensor.logits or layer.node.op is Op.AVG_POOL:
                return Tiling(1)
            touched = {v.tensor.name: v.tensor for v in views(layer)}
            every = [(found.tensors[n], a) for n, t in touched.items() for a in self._accesses(layer, t, unrolled)]
            return tiling(every, banks, tp)

        for tensor in (self.network.input, *(layer.target.tensor for layer in self.network.layers)):
            if tensor.name not in found.tensors:
                found.tensors[tensor.name] = number(tensor)
        for layer in self.network.layers:
            target = layer.target.tensor
            if found.tensors[target.name].pair and tiled(layer).positions < 2:
                apart.add(target.name)
                found.tensors[target.name] = number(target)
        found.tilings = {layer.name: tiled(layer) for layer in self.network.layers}
        return found

    def _accesses(self, layer: Layer, tensor: Tensor, unrolled: bool) -> list[Access]:
        """How a layer touches a tensor."""
        w, target = layer.window, layer.target.tensor
        size, found = (target.height, target.width), []
        one_by_one = layer.node.op is Op.AVG_POOL
        image = unrolled and layer is self.network.layers[0]
        if layer.source.tensor is tensor and not image and not one_by_one:
            taps = tuple(
                (ky * w.dilation[0] - w.pad[0], kx * w.dilation[1] - w.pad[1])
                for ky in range(w.kernel[0])
                for kx in range(w.kernel[1])
            )
            found.append(Access(*size, w.stride, taps))
        if layer.residual is not None and layer.residual.tensor is tensor:
            found.append(Access(*size, layer.residual.stride))
        if target is tensor and not tensor.logits and not one_by_one:
            found.append(Access(*size, writes=True, power=layer.node.op is Op.MAX_POOL))
        return found


class _Operations:
    """A program under construction."""

    def __init__(
        self, lanes: Lanes, numbered: Numbered, banks: int, depth: int, word_bytes: int, unrolled: bool
    ) -> None:
        self.lanes, self.numbered, self.banks, self.word_bytes = lanes, numbered, banks, word_bytes
        self.planner = Planner(lanes.network, dict(numbered.tensors), banks, depth, unrolled)
        plan = self.planner.plan
        self.waits = Waits({n: (base, base + plan.sizes[n]) for n, base in plan.bases.items()})
        self.found: list[Operation] = []
        if unrolled:
            self.found.append(Operation(lanes.network.layers[0].name, Unit.IMAGE))
        for band in self.planner.bands:
            step = self.planner.steps[band.layer]
            if isinstance(step, Transfer):
                self._transfer(step, band)
            else:
                self._compute(step, band)

    def _transfer(self, step: Transfer, band: Band) -> None:
        """The words that hold some rows, of every group, in one or two runs if they lie in a ring."""
        inner, outer = (step.target, step.source) if step.loads else (step.source, step.target)
        tensor, numbers = inner.tensor, self.numbered_of(inner.tensor)
        ring, stride = self.planner.rings.get(tensor.name, 0), self.planner.stride(tensor)
        whole = self.planner.whole(tensor)
        per_word = numbers.per_word(self.banks)
        at, end = band.first * numbers.pitch // per_word, -(-band.last * numbers.pitch // per_word)
        if tensor.logits or ((band.first, band.last) == (0, tensor.height) and not ring):
            at, end = 0, whole
        where = self.planner.outside[outer.tensor.name]
        while at < end:
            count = min(end - at, stride - at % stride) if ring else end - at
            first = where.first_word + at
            outside = Touch(f"@{where.region.name}", first, first + (tensor.groups - 1) * whole + count, not step.loads)
            waits = self.waits.add(
                Queue.LOAD if step.loads else Queue.STORE,
                [outside, Touch(tensor.name, band.first, band.last, step.loads, ring)],
            )
            unit = Unit.LOAD if step.loads else Unit.STORE
            self.found.append(Operation(step.name, unit, waits, bytes=tensor.groups * count * self.word_bytes))
            at += count

    def numbered_of(self, tensor: Tensor) -> Layout:
        return self.planner.numberings[tensor.name]

    def _compute(self, layer: Layer, band: Band) -> None:
        target, rings, inside = layer.target.tensor, self.planner.rings, self.planner.plan.bases
        touches = [
            Touch(v.tensor.name, *rows_read(layer, v, band.first, band.last), False, rings.get(v.tensor.name, 0))
            for v in (layer.source, layer.residual)
            if v is not None and v.tensor.name in inside
        ]
        touches.append(Touch(target.name, band.first, band.last, True, rings.get(target.name, 0)))
        tiled, rows = self.numbered.tilings[layer.name], band.last - band.first
        pool = not layer.node.weighted
        taps = layer.window.kernel[0] * layer.window.kernel[1] if pool else 0
        groups = layer.source.group_range(self.lanes.tk)[1] if pool else 0
        parts = [(rows, target.width)]
        if layer.node.op is Op.AVG_POOL:
            parts = _parts(self.lanes.graph, layer, band)
        for height, width in parts:
            waits = self.waits.add(Queue.COMPUTE, touches)
            self.found.append(
                Operation(
                    layer.name,
                    Unit.POOL if pool else Unit.CONV,
                    waits,
                    tiled.tiles(height, width),
                    tiled.positions,
                    height * width,
                    taps,
                    groups,
                )
            )


def _parts(graph: Graph, layer: Layer, band: Band) -> list[tuple[int, int]]:
    """Rows and columns of the parts of an average that divide by the same number."""
    size = layer.target.tensor.height, layer.target.tensor.width
    counts = pool_counts(graph, layer.node)
    by_position = np.broadcast_to(counts if len(counts) == 1 else counts.reshape(size), size)[band.first : band.last]

    def runs(matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> list[int]:
        edges = np.flatnonzero((matrix[1:] != matrix[:-1]).any(axis=1)) + 1
        return [int(n) for n in np.diff([0, *edges, len(matrix)])]

    return [(height, width) for height in runs(by_position) for width in runs(by_position.T)]
