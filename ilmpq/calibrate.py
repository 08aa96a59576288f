"""What the calibration images tell: activation scales, and second-order statistics of every layer's input.

`Streams` carries the images through the float network and through the network quantized so far, side by side, one node
at a time. A layer's statistics are taken where both are known: its input columns as the arrays will see them, and
the output that the float network would have given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .codes import layer_weights, read_codes, to_codes
from .errors import ModelError
from .forward import clip, float_weights, forward, run_before_clip, run_node, unfold
from .graph import Graph, Node, Op
from .moments import LayerStatistics, Moments
from .ranges import Histogram, choose_scale, choose_shift
from .rowquant import LayerQuant, TensorQuant
from .scales import Scales
from .storage import MOVES, formats, groups

CHUNK_VALUES = 1 << 23  # float values of unfolded columns held at once (32 MB)
COLUMNS_PER_INPUT = 256  # columns kept per matrix row and column, and in all so many that the products stay below
COLUMN_MACS = 4e11


class Streams:
    """The calibration images inside the float and the quantized network, up to the node reached."""

    def __init__(self, graph: Graph, images: Tensor, bits: Mapping[str, int], scales: Scales = Scales.FREE) -> None:
        self.graph = graph
        self.scales = scales
        self.bits = bits
        self.formats = formats(graph, bits)
        self.group = groups(graph)
        self.tensors: dict[str, TensorQuant] = {}
        self._images = images
        self._weights = float_weights(graph)
        self._last = {source: node.name for node in graph.nodes for source in node.inputs}
        self._float: dict[str, Tensor] = {}
        self._codes: dict[str, Tensor] = {}
        self._output = ("", torch.empty(0))
        self._histograms = self._shared_ranges()

    @torch.no_grad()
    def _shared_ranges(self) -> dict[str, Histogram]:
        """Ranges, from a float pass, of groups that several nodes write: their scale is needed before all are known."""
        writers = [n for n in self.graph.nodes if n.op not in MOVES]
        count = Counter(self.group[n.name] for n in writers)
        result: dict[str, Histogram] = {}

        def note(node: Node, value: Tensor) -> Tensor:
            group = self.group[node.name]
            if node.op not in MOVES and count[group] > 1:
                new = _histogram(node, value)
                result[group] = result[group].merged(new) if group in result else new
            return value

        if max(count.values()) > 1:
            for part in self._parts():
                forward(self.graph, self._images[part], self._weights, after=note)
        return result

    def _parts(self) -> Iterator[slice]:
        """Slices of the images such that a slice's largest tensor has a bounded size."""
        largest = max(int(np.prod(s)) for s in self.graph.shapes.values())
        return _chunks(len(self._images), CHUNK_VALUES // largest)

    def _parts_of(self, node: Node) -> Iterator[slice]:
        """Slices of the images such that the unfolded columns of a weighted node have a bounded size."""
        columns = int(np.prod(self.graph.weight_shape(node)[1:])) * node.groups
        positions = int(np.prod(self.graph.shapes[node.name][1:], dtype=np.int64))
        return _chunks(len(self._images), CHUNK_VALUES // (columns * positions))

    @torch.no_grad()
    def statistics(self, node: Node, rng: np.random.Generator, full: bool) -> LayerStatistics:
        """Statistics of a weighted node, `full` or energies only; the float output is kept for `advance`."""
        shape = self.graph.weight_shape(node)
        size, rows = int(np.prod(shape[1:])), shape[0] // node.groups
        positions = int(np.prod(self.graph.shapes[node.name][1:], dtype=np.int64))
        columns_kept = min(COLUMNS_PER_INPUT * size, max(8 * size, int(COLUMN_MACS / size**2)))
        keep = min(positions, max(1, -(-columns_kept // len(self._images))))
        shift = self.input_shift(node)
        moments = Moments(node.groups, size, rows, full)
        outputs = torch.empty(len(self._images), *self.graph.shapes[node.name])
        for part in self._parts_of(node):
            inputs = [self._float[i][part] for i in node.inputs]
            target = run_before_clip(replace(node, inputs=node.inputs[:1]), inputs[:1], self._weights[node.name])
            output = target if node.skip is None else target + inputs[1]
            columns = unfold(node, self._seen(node, part, shift))
            targets = target.reshape(len(columns), node.groups, rows, positions)
            moments.add_means(columns, targets)
            if keep < positions:
                chosen = torch.from_numpy(np.sort(rng.choice(positions, keep, replace=False)))
                columns, targets = columns.index_select(3, chosen), targets.index_select(3, chosen)
            moments.add(columns, targets)
            outputs[part] = clip(node, output)
        self._output = (node.name, outputs)
        return moments.result()

    @torch.no_grad()
    def advance(self, node: Node, layer: LayerQuant | None = None) -> None:
        """Compute the node's output in both networks; `layer` is the quantized form of a weighted node."""
        if node.op is Op.INPUT:
            self._float[node.name] = self._images
            self._store(node, self._images)
        elif node.op in MOVES:
            for stream in (self._float, self._codes):
                if node.inputs[0] in stream:
                    moved = run_before_clip(node, [stream[i].float() for i in node.inputs])
                    stream[node.name] = moved.to(stream[node.inputs[0]].dtype)
        else:
            self._float[node.name] = self._float_output(node)
            if self.group[node.name] in self.formats:  # logits are not stored
                self._store(node, self._quantized_output(node, layer))
        for stream in (self._float, self._codes):
            for source in node.inputs:
                if self._last[source] == node.name:
                    stream.pop(source, None)

    def _float_output(self, node: Node) -> Tensor:
        if self._output[0] == node.name:
            output, self._output = self._output[1], ("", torch.empty(0))
            return output
        output = torch.empty(len(self._images), *self.graph.shapes[node.name])
        for part in self._parts_of(node) if node.weighted else self._parts():
            output[part] = run_node(node, [self._float[i][part] for i in node.inputs], self._weights.get(node.name))
        return output

    def _quantized_output(self, node: Node, layer: LayerQuant | None) -> Tensor:
        """The quantized network's output of a node, before it is rounded to stored codes."""
        weights = None if layer is None else layer_weights(self.graph, node, layer)
        outputs = torch.empty(len(self._images), *self.graph.shapes[node.name])
        for part in self._parts():
            inputs = [self._values(i, part) for i in node.inputs]
            if layer is not None:
                inputs[0] = self._seen(node, part, layer.input_shift)
            outputs[part] = run_node(node, inputs, weights)
        return outputs

    def _values(self, name: str, part: slice) -> Tensor:
        return self._codes[name][part].float().mul_(self.tensors[self.group[name]].scale)

    def _seen(self, node: Node, part: slice, shift: int) -> Tensor:
        """The real values that a weighted node's arrays see."""
        group = self.group[node.inputs[0]]
        stored = self.formats[group]
        codes = read_codes(self._codes[node.inputs[0]][part], stored, stored.narrowed(self.bits[node.name]), shift)
        return codes.mul_(self.tensors[group].scale * 2.0**shift)

    def _store(self, node: Node, values: Tensor) -> None:
        """Round a node's output to stored codes, choosing its group's scale if it has none yet."""
        group = self.group[node.name]
        if group not in self.tensors:
            stored = self.formats[group]
            if group not in self._histograms:
                self._histograms[group] = _histogram(node, values)
            readers = [n for n in self.graph.weighted if self.group[n.inputs[0]] == group]
            bits = min((self.bits[n.name] for n in readers), default=stored.bits)
            scale = choose_scale(self._histograms[group], stored, stored.narrowed(bits), self.scales)
            self.tensors[group] = TensorQuant(stored, scale)
        self._codes[node.name] = to_codes(values, self.tensors[group])

    def input_shift(self, node: Node) -> int:
        """The shift with which `node` reads its input."""
        group = self.group[node.inputs[0]]
        stored = self.formats[group]
        read = stored.narrowed(self.bits[node.name])
        return choose_shift(self._histograms[group], self.tensors[group].scale, stored, read)

    def input_scale(self, node: Node) -> float:
        """The scale of the codes that `node`'s arrays see."""
        return self.tensors[self.group[node.inputs[0]]].scale * 2.0 ** self.input_shift(node)

    def skip_scale(self, node: Node) -> float:
        """The scale of the tensor that `node` adds; 0 where it adds none."""
        return 0.0 if node.skip is None else self.tensors[self.group[node.skip]].scale


def _histogram(node: Node, values: Tensor) -> Histogram:
    """The histogram of a node's output, which must be finite."""
    found = Histogram.of(values)
    if not np.isfinite(found.top):
        raise ModelError(
            f"{node.name} output overflows float32 on the calibration images: weights or images are too large"
        )
    return found


def _chunks(count: int, size: int) -> Iterator[slice]:
    size = max(size, 1)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
