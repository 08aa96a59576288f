"""A network on engines with certain lanes: layers, how they read, tiles of positions, bands and transfers.

None of this depends on how many rows an engine computes, so that a search finds it once for many designs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .batches import shared, windows_before
from .design import EngineConfig
from .errors import DoesNotFit
from .graph import Graph, Op
from .layout import Layout
from .lower import pool_counts
from .network import Layer, Network, Tensor, Transfer, network_of
from .numbered import Numbered, numbered
from .planning import Planner
from .schedule import Band, rows_read, rows_written
from .storage import formats, layer_bits
from .waits import Queue, Touch, Waits
from .work import Unit


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


class Lanes:
    """A canonical network on engines with `tk` lanes and activations of `act_bits` bits."""

    def __init__(self, graph: Graph, tk: int, act_bits: int) -> None:
        self.graph, self.tk, self.act_bits = graph, tk, act_bits
        self.bits = layer_bits(graph, act_bits)
        self.network = network_of(graph, formats(graph, self.bits), tk)
        self.layers = {layer.name: layer for layer in self.network.layers}
        self.outputs = {n: x.target.tensor.height * x.target.tensor.width for n, x in self.layers.items()}
        self._operations: dict[tuple[int, ...], tuple[Operation, ...] | DoesNotFit] = {}

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

    def operations(self, config: EngineConfig, unrolled: bool, images: int = 1) -> tuple[Operation, ...]:
        """All operations in order, but for the rows of weighted layers."""
        tp, depth = config.geometry.tp, config.am_depth
        ring = config.ring_depth if images > 1 else 0  # which decides what may be shared
        key = config.banks, tp, depth, config.word_bytes, unrolled, images, ring
        if key not in self._operations:
            try:
                network = shared(self.network, self.graph, config, images, unrolled)
                numbers = numbered(network, self.act_bits, config.banks, tp, unrolled)
                self._operations[key] = tuple(_Operations(self, network, numbers, config, unrolled).found)
            except DoesNotFit as refusal:  # a search asks many times
                self._operations[key] = refusal
        found = self._operations[key]
        if isinstance(found, DoesNotFit):
            raise found
        return found


class _Operations:
    """A program under construction."""

    def __init__(
        self, lanes: Lanes, network: Network, numbered: Numbered, config: EngineConfig, unrolled: bool
    ) -> None:
        self.lanes, self.numbered, self.banks, self.word_bytes = lanes, numbered, config.banks, config.word_bytes
        self.planner = Planner(network, dict(numbered.tensors), config.banks, config.am_depth, unrolled)
        plan = self.planner.plan
        self.waits = Waits({n: (base, base + plan.sizes[n]) for n, base in plan.bases.items()})
        self.found: list[Operation] = []
        first = network.layers[0].name
        for begin, band in windows_before(self.planner.steps, self.planner.bands, first if unrolled else None):
            if begin:
                self.found.append(Operation(first, Unit.IMAGE))
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
        written = rows_written(layer, band.first, band.last)
        touches = [
            Touch(v.tensor.name, *rows_read(layer, v, band.first, band.last), False, rings.get(v.tensor.name, 0))
            for v in (layer.source, layer.residual)
            if v is not None and v.tensor.name in inside
        ]
        touches.append(Touch(target.name, *written, True, rings.get(target.name, 0)))
        tiled, rows = self.numbered.tilings[layer.copy], band.last - band.first
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
    target = layer.target
    size = target.tensor.image_height, target.tensor.width
    counts = pool_counts(graph, layer.node)
    of_image = np.broadcast_to(counts if len(counts) == 1 else counts.reshape(size), size)
    by_position = np.tile(of_image, (target.height // size[0], 1))[band.first : band.last]

    def runs(matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> list[int]:
        edges = np.flatnonzero((matrix[1:] != matrix[:-1]).any(axis=1)) + 1
        return [int(n) for n in np.diff([0, *edges, len(matrix)])]

    return [(height, width) for height in runs(by_position) for width in runs(by_position.T)]
