"""What the calibration images tell: activation scales, and second-order statistics of every layer's input.

`Streams` carries the images through the float network and through the network quantized so far, side by side, one node
at a time. A layer's statistics are taken where both are known: its input columns as the arrays will see them, and
the output that the float network would have given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import blas
from torch import Tensor

from .forward import Weights, clip, float_weights, forward, run_before_clip, run_node, unfold
from .graph import Graph, Node, Op
from .rowquant import LayerQuant, TensorQuant
from .storage import MOVES, TensorFormat, formats, groups

BINS = 4096
FACTORS = np.linspace(0.1, 1.0, 61)
CHUNK_VALUES = 1 << 23  # float values of unfolded columns held at once (32 MB)
COLUMNS_PER_INPUT = 256  # columns kept per matrix row and column, and in all so many that the products stay below
COLUMN_MACS = 4e11
CONSTANT = 1e-5  # variance over mean square below which an input counts as constant


@dataclass(frozen=True)
class LayerStatistics:
    """Moments over all positions of all images, per group of the convolution.

    `hessian` = E[u·uᵀ] − E[u]·E[u]ᵀ of the input columns u (groups × K × K), `cross` = E[u·tᵀ] − E[u]·E[t]ᵀ with the
    float output t before residual and clip (groups × K × rows), and the two means.
    """

    hessian: NDArray[np.float32]
    cross: NDArray[np.float32]
    input_mean: NDArray[np.float32]
    target_mean: NDArray[np.float32]


@dataclass(frozen=True)
class Histogram:
    """How often |x| falls in each of `BINS` equal bins up to `top`, for x of one stored tensor."""

    counts: NDArray[np.float64]
    top: float

    @staticmethod
    def of(x: Tensor) -> Histogram:
        magnitude = x.abs()
        top = float(magnitude.max())
        if top == 0:
            return Histogram(np.zeros(BINS), 0.0)
        index = (magnitude * (BINS / top)).to(torch.int32).clamp_(max=BINS - 1).flatten()
        return Histogram(torch.bincount(index, minlength=BINS).numpy().astype(np.float64), top)

    def merged(self, other: Histogram) -> Histogram:
        """The histogram of both tensors together, on the larger of both ranges."""
        if self.top < other.top:
            return other.merged(self)
        if other.top == 0:
            return self
        index = ((np.arange(BINS) + 0.5) * (other.top / self.top)).astype(np.intp)
        return Histogram(self.counts + np.bincount(index, other.counts, BINS), self.top)

    def error(self, step: float, high: int, stored: float = 0.0, stored_high: int = 0) -> float:
        """Mean squared error of codes 0 … `high` with this step (read from codes of step `stored`, if given)."""
        x = (np.arange(BINS) + 0.5) * (self.top / BINS)
        x_hat = np.minimum(np.rint(x / stored), stored_high) * stored if stored else x
        x_hat = np.minimum(np.rint(x_hat / step), high) * step
        return float((self.counts * (x_hat - x) ** 2).sum() / max(self.counts.sum(), 1.0))

    def best_step(self, high: int) -> float:
        """The step with the least error among `FACTORS` of the step that just covers the range."""
        if self.top == 0:
            return 1.0
        return min((float(f) * self.top / high for f in FACTORS), key=lambda s: self.error(s, high))


def choose_scale(histogram: Histogram, stored: TensorFormat, read: TensorFormat) -> float:
    """The scale of a stored tensor such that its narrowest reader sees its best step.

    A tensor stored in more bits than it is read gets the reader's step divided by the largest power of two that still
    lets the stored codes cover the whole range.
    """
    step = histogram.best_step(read.high)
    shift = 0
    while shift < stored.bits - read.bits and stored.high * step / 2 ** (shift + 1) >= histogram.top:
        shift += 1
    return float(np.float32(step / 2**shift))


def choose_shift(histogram: Histogram, scale: float, stored: TensorFormat, read: TensorFormat) -> int:
    """The right shift with which a reader sees a stored tensor best."""
    shifts = range(stored.bits - read.bits + 1)
    return min(shifts, key=lambda k: histogram.error(scale * 2.0**k, read.high, scale, stored.high))


def to_codes(x: Tensor, tensor: TensorQuant) -> Tensor:
    """Round real values to stored codes, ties to even."""
    dtype = torch.int8 if tensor.format.signed else torch.uint8
    return (x * (1.0 / tensor.scale)).round_().clamp_(tensor.format.low, tensor.format.high).to(dtype)


def read_codes(codes: Tensor, stored: TensorFormat, read: TensorFormat, shift: int) -> Tensor:
    """The codes (as float) that a layer's arrays see."""
    x = codes.float()
    if shift == 0 and read.bits >= stored.bits:
        return x
    return (x * 2.0**-shift).round_().clamp_(read.low, read.high)


class Streams:
    """The calibration images inside the float and the quantized network, up to the node reached."""

    def __init__(self, graph: Graph, images: Tensor, bits: Mapping[str, int]) -> None:
        self.graph = graph
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
                new = Histogram.of(value)
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
    def statistics(self, node: Node, rng: np.random.Generator) -> LayerStatistics:
        """Second-order statistics of a weighted node; the float output computed here is kept for `advance`."""
        shape = self.graph.weight_shape(node)
        size, rows = int(np.prod(shape[1:])), shape[0] // node.groups
        positions = int(np.prod(self.graph.shapes[node.name][1:], dtype=np.int64))
        columns_kept = min(COLUMNS_PER_INPUT * size, max(8 * size, int(COLUMN_MACS / size**2)))
        keep = min(positions, max(1, -(-columns_kept // len(self._images))))
        shift = self.input_shift(node)
        moments = Moments(node.groups, size, rows)
        outputs = []
        for part in self._parts_of(node):
            inputs = [self._float[i][part] for i in node.inputs]
            output = run_before_clip(node, inputs, self._weights[node.name])
            target = output if node.skip is None else output - inputs[1]
            columns = unfold(node, self._seen(node, part, shift))
            targets = target.reshape(len(columns), node.groups, rows, positions)
            moments.add_means(columns, targets)
            if keep < positions:
                chosen = torch.from_numpy(np.sort(rng.choice(positions, keep, replace=False)))
                columns, targets = columns.index_select(3, chosen), targets.index_select(3, chosen)
            moments.add(columns, targets)
            outputs.append(clip(node, output))
        self._output = (node.name, torch.cat(outputs))
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
            return self._output[1]
        return torch.cat(
            [
                run_node(node, [self._float[i][part] for i in node.inputs], self._weights.get(node.name))
                for part in (self._parts_of(node) if node.weighted else self._parts())
            ]
        )

    def _quantized_output(self, node: Node, layer: LayerQuant | None) -> Tensor:
        """The quantized network's output of a node, before it is rounded to stored codes."""
        weights = None if layer is None else layer_weights(self.graph, node, layer)
        outputs = []
        for part in self._parts():
            inputs = [self._values(i, part) for i in node.inputs]
            if layer is not None:
                inputs[0] = self._seen(node, part, layer.input_shift)
            outputs.append(run_node(node, inputs, weights))
        return torch.cat(outputs)

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
                self._histograms[group] = Histogram.of(values)
            readers = [n for n in self.graph.weighted if self.group[n.inputs[0]] == group]
            bits = min((self.bits[n.name] for n in readers), default=stored.bits)
            scale = choose_scale(self._histograms[group], stored, stored.narrowed(bits))
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


class Moments:
    """Running sums for `LayerStatistics`; the means are over all positions, the rest over those that were kept."""

    def __init__(self, groups: int, size: int, rows: int) -> None:
        self._second = np.zeros((groups, size, size), np.float32)
        self._cross = np.zeros((groups, size, rows), np.float32)
        self._kept_sums = (np.zeros((groups, size)), np.zeros((groups, rows)))
        self._sums = (np.zeros((groups, size)), np.zeros((groups, rows)))
        self._kept = 0
        self._count = 0

    def add_means(self, columns: Tensor, targets: Tensor) -> None:
        """Count columns (images × groups × K × positions) and targets (… × rows × …) for the means."""
        for total, values in zip(self._sums, (columns, targets), strict=True):
            total += values.sum(3).sum(0, dtype=torch.float64).numpy()
        self._count += columns.shape[0] * columns.shape[3]

    def add(self, columns: Tensor, targets: Tensor) -> None:
        """Count the same for the second moments."""
        groups, size = self._second.shape[:2]
        u = columns.permute(1, 2, 0, 3).reshape(groups, size, -1).numpy()
        t = targets.permute(1, 2, 0, 3).reshape(groups, targets.shape[2], -1).numpy()
        if groups == 1:  # half the work: one triangle only, C order read as Fortran order
            total = blas.ssyrk(1.0, u[0].T, trans=1, beta=1.0, c=self._second[0].T, overwrite_c=1)
            self._second[0] = total.T
        else:
            self._second += np.matmul(u, u.transpose(0, 2, 1))
        self._cross += np.matmul(u, t.transpose(0, 2, 1))
        for total, values in zip(self._kept_sums, (u, t), strict=True):
            total += values.sum(2)
        self._kept += u.shape[2]

    def result(self) -> LayerStatistics:
        """The centred moments."""
        second = self._second
        if len(second) == 1:
            second[0] = np.tril(second[0]) + np.tril(second[0], -1).T
        mean, target_mean = (total / self._kept for total in self._kept_sums)
        hessian = second / self._kept - (mean[:, :, None] * mean[:, None, :]).astype(np.float32)
        cross = self._cross / self._kept - (mean[:, :, None] * target_mean[:, None, :]).astype(np.float32)
        energy = np.einsum("gkk->gk", second) / self._kept
        constant = (
            np.einsum("gkk->gk", hessian) <= CONSTANT * energy
        )  # what float32 sums leave of an input that never varies
        hessian[constant] = 0
        hessian.transpose(0, 2, 1)[constant] = 0
        cross[constant] = 0
        input_mean, target_mean = (total / self._count for total in self._sums)
        return LayerStatistics(*(m.astype(np.float32) for m in (hessian, cross, input_mean, target_mean)))


def layer_weights(graph: Graph, node: Node, layer: LayerQuant) -> Weights:
    """A quantized layer's weights and bias as real tensors in the shape of its node."""
    weight = torch.from_numpy(layer.rows.values()).view(graph.weight_shape(node))
    return weight, torch.from_numpy(layer.bias)


def _chunks(count: int, size: int) -> Iterator[slice]:
    size = max(size, 1)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
