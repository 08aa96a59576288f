"""Cycles that no design can stay under: `perf.frame` in short, for thousands of designs at a time.

Every layer takes its steps, its results or its positions, whichever takes longest, in the fewest tiles that there can be;
weights come one after another, and no more of them before a layer starts than ring and table hold. What is left out only
adds: bands, results of single rows, transfers, banks that clash, and that several images fetch weights more than once.

    >>> import numpy as np
    >>> from ilmpq.canonical import canonical
    >>> from ilmpq.design import EngineConfig
    >>> from ilmpq.geometry import Geometry
    >>> from ilmpq.perf import frame
    >>> from ilmpq.work import machine_of
    >>> from ilmpq.workload import shapes_of, works_for
    >>> from ilmpq.zoo import build
    >>> shapes = shapes_of(canonical(build("cifar_resnet20")))
    >>> configs = [EngineConfig(Geometry.parse(f"fix4@dsp:{rows}", tk=16, tp=4)) for rows in (16, 32)]
    >>> designs = Designs.of(configs)
    >>> least = lower_bound(shapes, designs, rows_in_proportion(shapes, designs.rows), Memory(32))
    >>> works = works_for(shapes, configs[1], {name: {"fix4": rows} for name, rows in shapes.rows.items()})
    >>> bool(0.95 < least[1] / frame(works, machine_of(configs[1]), Memory(32)).cycles < 1)
    True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .design import PORT_BITS, SLOT_WORDS, EngineConfig
from .graph import Op
from .lanes import Lanes, Operation
from .network import Layer
from .perf import (
    DESCRIPTORS_AHEAD,
    FIRST_OPERATION,
    LEAD,
    OVERHEAD,
    TRANSFER_LATENCY,
    WEIGHTS_PER_OPERATION,
    WEIGHTS_TO_STEP,
    Cycles,
)
from .rowtiles import NO_TILES, Counts, groups_read, stretches, tiles_needed
from .schemes import scheme_named
from .storage import WIDE
from .windows import windows_of
from .work import PORT_BYTES, READ_AHEAD, Memory, Unit, machine_of
from .workload import Shapes

MOST_TILES = 64  # for which the groups that each reads are counted
LayerRows = Mapping[str, Counts]  # rows of each scheme in a layer, for every design


@dataclass(frozen=True)
class Designs:
    """Engines, one for each place of the arrays."""

    rows: Mapping[str, Counts]  # of the arrays of each scheme
    tk: Counts
    tp: Counts
    act_bits: Counts
    weight_ports: Counts
    ring: Counts
    table: Counts
    latency: Counts  # of the arrays
    apart: NDArray[np.bool_]  # whether every scheme stands on one array

    @staticmethod
    def of(configs: Sequence[EngineConfig]) -> Designs:
        machines = [machine_of(c) for c in configs]
        schemes = [{s.name: n for s, n in c.geometry.schemes().items()} for c in configs]

        def column(values: Sequence[int]) -> Counts:
            return np.array(values, np.int64)

        return Designs(
            {name: column([s.get(name, 0) for s in schemes]) for name in dict.fromkeys(n for s in schemes for n in s)},
            column([c.geometry.tk for c in configs]),
            column([c.geometry.tp for c in configs]),
            column([c.geometry.act_bits for c in configs]),
            column([c.weight_ports for c in configs]),
            column([c.ring_depth for c in configs]),
            column([c.table_depth for c in configs]),
            column([m.latency for m in machines]),
            np.array([len(c.geometry.arrays) == len(c.geometry.schemes()) for c in configs]),
        )

    @property
    def step_beats(self) -> Cycles:
        """Of all ports together, for a step's weights."""
        bits = self.tk * sum((n * scheme_named(s).bits for s, n in self.rows.items()), np.int64(0))
        return np.asarray(-(-bits // PORT_BITS) / self.weight_ports)


def rows_in_proportion(shapes: Shapes, shares: Mapping[str, Counts]) -> dict[str, LayerRows]:
    """Rows of each scheme in every weighted layer, as arrays have them: largest remainder, ties to the earlier scheme."""
    share = np.stack([np.atleast_1d(s) for s in shares.values()])
    total = share.sum(axis=0)
    by_count: dict[int, LayerRows] = {}
    for rows in set(shapes.rows.values()):
        whole, rest = np.divmod(rows * share, total)
        place = np.argsort(np.argsort(-rest, axis=0, kind="stable"), axis=0)
        counts = whole + (place < rows - whole.sum(axis=0))
        by_count[rows] = dict(zip(shares, counts, strict=True))
    return {name: by_count[rows] for name, rows in shapes.rows.items()}


def lower_bound(
    shapes: Shapes, designs: Designs, rows: Mapping[str, LayerRows], memory: Memory, images: int = 1
) -> Cycles:
    """At most the cycles of a program of so many images on each design; infinite where a layer's rows can go nowhere."""
    bound = _Bound(shapes, designs, memory, images)
    for layer in bound.some.network.layers:
        if layer.node.weighted:
            bound.conv(layer, rows[layer.name])
        else:
            bound.pool(layer)
    return bound.end + memory.latency + TRANSFER_LATENCY  # of the output


def lower_bound_of_plan(
    shapes: Shapes, designs: Designs, rows: Mapping[str, LayerRows], memory: Memory, plan: Sequence[Operation]
) -> Cycles:
    """The same, nearer, for designs with the same operations: in these bands, after the transfers that they wait for."""
    bound = _PlanBound(shapes, designs, memory, rows)
    for operation in plan:
        bound.add(operation)
    return np.asarray(np.maximum.reduce([bound.end, *(ends[-1] for ends in bound.ends)]))


class _Bound:
    """The clocks of computation and of the weights."""

    def __init__(self, shapes: Shapes, designs: Designs, memory: Memory, images: int) -> None:
        self.designs, self.images = designs, images
        kinds, self.kind = np.unique(np.stack([designs.tk, designs.act_bits]), axis=1, return_inverse=True)
        self.kind = self.kind.reshape(-1)
        self.lanes = [shapes.on(int(tk), int(bits)) for tk, bits in kinds.T]
        self.some = self.lanes[0]
        beat = PORT_BYTES * designs.weight_ports / memory.bytes_per_cycle
        self.beat = np.maximum(np.maximum(beat, 1.0), (memory.latency + 19) / READ_AHEAD)
        self.step = np.maximum(designs.step_beats * self.beat, np.ceil(designs.step_beats))
        self.slot_beats = -(-SLOT_WORDS // designs.weight_ports)
        self.ahead = designs.ring * self.step + designs.table * (self.slot_beats + 1) * self.beat
        self.end = np.full(len(designs.tk), 2.0 * memory.latency + FIRST_OPERATION)
        self.loaded = np.zeros(len(designs.tk))  # cycles of the loader
        self.behind = self.end.copy()  # when the loader began, if it has never waited since
        self.starts: list[Cycles] = []  # of layers
        self._tiles: dict[int, Counts] = {}
        self._groups: dict[tuple[int, int, int], Counts] = {}

    def conv(self, layer: Layer, rows: LayerRows) -> None:
        tiles, total, passes, slots = self._of_a_layer(layer, rows)
        tensor = layer.target.tensor
        height = self.images * tensor.height
        outputs = height * tensor.width
        of_positions = np.full(len(tiles), outputs) if tensor.logits else -(-outputs // self.designs.tp)
        written = slots * (1 if layer.residual is None else 2)
        # A band's first tile may have its results beside those of another operation, if there is an image.
        first = layer is self.some.network.layers[0]
        of_results = np.maximum(of_positions - height, 0) if first else of_positions
        apart = tiles * np.maximum(outputs - height * self.designs.tp, 0)
        took = np.maximum(np.maximum(of_positions * total * passes, of_results * written), 0 if first else apart)
        self.behind = np.maximum(self.behind, self.end - self.loaded - self.ahead)
        self.starts.append(self.end)
        if len(self.starts) > DESCRIPTORS_AHEAD:
            self.behind = np.maximum(self.behind, self.starts[-1 - DESCRIPTORS_AHEAD] - self.loaded)
        self.loaded = self.loaded + total * self.step + (tiles + slots * self.slot_beats) * self.beat
        weights = self.behind + self.loaded + WEIGHTS_TO_STEP - LEAD
        self.end = np.maximum(self.end + took, weights) + OVERHEAD + self.designs.latency
        self.end[tiles >= NO_TILES] = np.inf

    def pool(self, layer: Layer) -> None:
        self.starts.append(self.end)
        tensor, taps = layer.target.tensor, layer.window.kernel[0] * layer.window.kernel[1]
        outputs, tp = self.images * tensor.height * tensor.width, self.designs.tp
        (groups,) = self._of_kinds(
            [(lanes.layers[layer.name].source.group_range(lanes.tk)[1],) for lanes in self.lanes]
        )
        if layer.node.op is Op.MAX_POOL:
            power = 1 << (np.frexp(tp)[1] - 1)
            tiles = -(-outputs // power)
        else:
            tiles = np.full(len(tp), outputs)
        self.end = self.end + tiles * groups * np.maximum(taps, self.designs.tk // 2) + OVERHEAD

    def _of_a_layer(self, layer: Layer, rows: LayerRows) -> tuple[Counts, Counts, Counts, Counts]:
        """Row tiles of a convolution, steps of all of them in a pass at least, passes, and slots at least."""
        steps, passes, least = self._of_kinds([self._steps(lanes, layer.name) for lanes in self.lanes])
        tiles = self._tiles_of(rows)
        total = np.maximum(tiles * steps, least)
        if layer.node.groups > 1:
            taps = layer.window.kernel[0] * layer.window.kernel[1]
            total = np.maximum(total, taps * self._groups_of(layer, rows, tiles))
        return tiles, total, passes, np.asarray(-(-sum(rows.values(), np.int64(0)) // 2))

    def _steps(self, lanes: Lanes, name: str) -> tuple[int, int, int]:
        """Steps of a row tile and pass at least, passes, and steps of all row tiles at least."""
        layer = lanes.layers[name]
        taps = layer.window.kernel[0] * layer.window.kernel[1]
        if layer is lanes.network.layers[0] and layer.source.tensor is lanes.network.inputs[0].tensor:
            # Windows, if they are unrolled, have the fewest words.
            words = min(windows_of(layer, lanes.tk).patch_words, taps * layer.source.group_range(lanes.tk)[1])
            return words, 2 if lanes.act_bits < WIDE else 1, words
        groups = layer.source.group_range(lanes.tk)[1]
        return taps * (groups if layer.node.groups == 1 else 1), lanes.passes(layer), taps * groups

    def _groups_of(self, layer: Layer, rows: LayerRows, tiles: Counts) -> Counts:
        """Groups that a grouped convolution's row tiles read, all together; 0 where that is not known."""
        channels, groups = len(layer.source.places), layer.node.groups
        key = id(rows), channels, groups  # layers are often alike
        if key in self._groups:
            return self._groups[key]
        own = [np.minimum(np.broadcast_to(n, tiles.shape), tiles * self.designs.rows[s]) for s, n in rows.items()]
        queue, room = np.stack(own), np.stack([self.designs.rows[s] for s in rows])
        total = int(self.some.graph.shapes[layer.name][0])
        known = (queue.sum(axis=0) == total) & (tiles <= MOST_TILES) & self.designs.apart
        found = np.zeros(len(tiles), np.int64)
        if known.any():
            tile = np.arange(tiles[known].max())[:, None]
            _, low, high = stretches(queue[:, None, known], room[:, None, known], total, tile)
            each = groups_read(low, high, channels, groups, self.designs.tk[known])
            found[known] = np.where(tile < tiles[known], each, 0).sum(axis=0)
        self._groups[key] = found
        return found

    def _of_kinds(self, values: Sequence[tuple[int, ...]]) -> Sequence[Counts]:
        """Numbers of each kind of lanes, for every design."""
        return list(np.array(values, np.int64).T[:, self.kind])

    def _tiles_of(self, rows: LayerRows) -> Counts:
        """Row tiles; layers often share their rows."""
        if id(rows) not in self._tiles:
            found = tiles_needed(dict(rows), dict(self.designs.rows))
            self._tiles[id(rows)] = np.broadcast_to(found, self.designs.tk.shape)
        return self._tiles[id(rows)]


@dataclass(frozen=True)
class _Asked:
    """What a weighted layer asks of each design: of a tile of positions, and of the weights' clock."""

    tiles: Counts  # of rows
    steps: Counts
    written: Counts
    together: bool  # all row tiles of a tile of positions, then the next
    loading: Cycles


class _PlanBound(_Bound):
    """The clocks of computation, of the weights and of the transfers, operation by operation."""

    def __init__(self, shapes: Shapes, designs: Designs, memory: Memory, rows: Mapping[str, LayerRows]) -> None:
        super().__init__(shapes, designs, memory, 1)  # operations say what they do for all images
        self.rows, self.memory = rows, memory
        self.first = self.end  # cycles until the first operation
        self.ends: tuple[list[Cycles], ...] = tuple([np.zeros(len(designs.tk))] for _ in range(3))
        self._asked: dict[str, _Asked] = {}

    def add(self, operation: Operation) -> None:
        ready = self.first
        for ends, count in zip(self.ends, operation.waits, strict=True):
            ready = np.maximum(ready, ends[count])
        loads, stores, computes = self.ends
        if operation.unit in (Unit.LOAD, Unit.STORE):
            ends = loads if operation.unit is Unit.LOAD else stores
            moved = operation.bytes / self.memory.port_bytes_per_cycle
            ends.append(np.maximum(ready, ends[-1]) + moved + self.memory.latency + TRANSFER_LATENCY)
        elif operation.unit is not Unit.IMAGE:
            self.end = np.maximum(ready, computes[-1])
            self.starts.append(self.end)
            if operation.unit is Unit.CONV:
                self._convolve(operation)
            else:
                each = operation.groups * max(operation.taps, int(self.designs.tk[0]) // 2)
                self.end = self.end + operation.tiles * max(each, operation.positions) + OVERHEAD
            computes.append(self.end)

    def _convolve(self, operation: Operation) -> None:
        asked, more = self._asked_by(operation.layer), operation.tiles - 1
        took = np.maximum(operation.tiles * asked.steps, (more if asked.together else more + 1) * asked.written)
        if not asked.together:
            took = np.maximum(took, more * operation.positions * asked.tiles)
        self.behind = np.maximum(self.behind, self.end - self.loaded - self.ahead)
        if len(self.starts) > DESCRIPTORS_AHEAD:
            self.behind = np.maximum(self.behind, self.starts[-1 - DESCRIPTORS_AHEAD] - self.loaded)
        self.loaded = self.loaded + asked.loading
        weights = self.behind + self.loaded + WEIGHTS_TO_STEP - LEAD
        self.end = np.maximum(self.end + took, weights) + OVERHEAD + self.designs.latency

    def _asked_by(self, name: str) -> _Asked:
        if name not in self._asked:
            layer, rows = self.some.layers[name], self.rows[name]
            tiles, total, passes, slots = self._of_a_layer(layer, rows)
            self._asked[name] = _Asked(
                tiles,
                total * passes,
                slots * (1 if layer.residual is None else 2),
                layer is self.some.network.layers[0],
                total * self.step + (tiles + slots * self.slot_beats) * self.beat + WEIGHTS_PER_OPERATION,
            )
        return self._asked[name]
