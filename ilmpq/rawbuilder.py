"""What each operation of an imported network becomes in a raw graph.

The importers (`aten_ops.py`, `onnx_ops.py`) translate their formats' arguments and call one of these methods. All
arguments may come from a file that nobody vouches for: they are checked here, once for all formats.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .graph import FloatArray, Node, Op, OutputStatistics, Parameters, Shape, Window
from .rawgraph import NO_PAD, GraphEmitter, Pads, Value, bad_padding, check_size, words

_log = logging.getLogger(__name__)


class GraphBuilder(GraphEmitter):
    """One method per operation; `name` is the layer's, for the node and for messages."""

    # ---- weighted nodes and batch norm ----

    def conv(
        self,
        name: str,
        x: Value,
        weight: NDArray[Any],
        bias: NDArray[Any] | None,
        stride: tuple[int, int],
        pad: Pads,
        dilation: tuple[int, int],
        groups: int,
    ) -> Value:
        if weight.ndim != 4:
            raise ModelError(f"{name} weight must have 4 dimensions (a 2-D convolution), not {weight.ndim}")
        if groups < 1 or weight.shape[0] % groups:
            raise ModelError(f"{name} groups must divide its {weight.shape[0]} output channels, not be {groups}")
        if x.pad_value != 0:
            raise bad_padding(x)
        window = Window((weight.shape[2], weight.shape[3]), stride, _sum(pad, x.pad), dilation)
        return self._weighted(
            Node(name, Op.CONV, (self.settle(replace(x, pad=NO_PAD), x),), window, groups), weight, bias
        )

    def linear(self, name: str, x: Value, weight: NDArray[Any], bias: NDArray[Any] | None) -> Value:
        if weight.ndim != 2:
            raise ModelError(f"{name} weight must be a matrix, not have {weight.ndim} dimensions")
        if len(x.shape) != 1:
            raise ModelError(
                f"{name} must read one vector per image, not {words(x.shape)}; flatten before the linear layer"
            )
        return self._weighted(Node(name, Op.LINEAR, (self.settle(x),)), weight, bias)

    def _weighted(self, node: Node, weight: NDArray[Any], bias: NDArray[Any] | None) -> Value:
        if min(weight.shape) < 1:
            raise ModelError(f"{node.name} weight must not be empty, but is {words(weight.shape)}")
        node = replace(node, name=self.unique(node.name))
        values = self.float32(node.name, weight)
        shift = np.zeros(len(values), np.float32) if bias is None else self.float32(node.name, bias).reshape(-1)
        if len(shift) != len(values):
            raise ModelError(f"{node.name} bias must have {len(values)} values, not {len(shift)}")
        self.parameters[node.name] = Parameters(values, shift)
        return self.emit(node)

    def batch_norm(
        self,
        name: str,
        x: Value,
        mean: NDArray[Any],
        variance: NDArray[Any],
        gamma: NDArray[Any] | None,
        beta: NDArray[Any] | None,
        epsilon: float,
    ) -> Value:
        size = x.shape[:1]
        gamma = np.ones(size) if gamma is None else gamma
        beta = np.zeros(size) if beta is None else beta
        for label, values in (("mean", mean), ("variance", variance), ("weight", gamma), ("bias", beta)):
            if values.shape != size:
                raise ModelError(f"{name} {label} must have {words(size)} values, not {words(values.shape)}")
        gamma, beta = gamma.astype(np.float64), beta.astype(np.float64)
        with np.errstate(all="ignore"):  # NaN and infinity are reported by the graph's own check, with the layer's name
            scale = gamma / np.sqrt(variance.astype(np.float64) + epsilon)
            shift = beta - mean * scale
        pixels = (1,) * (len(x.shape) - 1)
        result = self.affine(name, x, scale.reshape(*size, *pixels), shift.reshape(*size, *pixels))
        self.statistics[result.node] = OutputStatistics(self.float32(name, beta), self.float32(name, np.abs(gamma)))
        return result

    def affine(self, name: str, x: Value, scale: NDArray[Any], shift: NDArray[Any]) -> Value:
        """x·scale + shift, broadcast as numpy does; both must be the same for all pixels of a channel."""
        name, source = self.unique(name), self.settle(x)
        self.parameters[name] = Parameters(
            self._per_channel(name, scale, x.shape), self._per_channel(name, shift, x.shape)
        )
        return self.emit(Node(name, Op.BATCH_NORM, (source,)))

    # ---- nodes without parameters ----

    def relu(self, name: str, x: Value, limit: float | None = None) -> Value:
        if limit is not None and math.isinf(limit):
            limit = None
        if limit is not None and not limit > 0:
            raise ModelError(f"{name} must clip to a range from 0 to a positive number, not to {limit}")
        return self.emit(Node(self.unique(name), Op.RELU, (self.settle(x),), relu_max=limit))

    def add(self, name: str, a: Value, b: Value) -> Value:
        return self.emit(Node(self.unique(name), Op.ADD, (self.settle(a), self.settle(b))))

    def arithmetic(self, name: str, operation: str, a: Value | NDArray[Any], b: Value | NDArray[Any]) -> Value:
        """`a add|sub|mul|div b`, where one may be constant; two activations can only be added."""
        if isinstance(a, Value) and isinstance(b, Value):
            if operation != "add":
                raise ModelError(
                    f"{name} must not combine two activations by {operation} (attention, gates), which is not supported"
                )
            return self.add(name, a, b)
        if isinstance(a, Value) and not isinstance(b, Value):
            one, zero, constant = np.ones(()), np.zeros(()), b.astype(np.float64)
            match operation:
                case "add":
                    return self.affine(name, a, one, constant)
                case "sub":
                    return self.affine(name, a, one, -constant)
                case "mul":
                    return self.affine(name, a, constant, zero)
                case "div":
                    with np.errstate(all="ignore"):
                        return self.affine(name, a, 1 / constant, zero)
        if isinstance(b, Value) and not isinstance(a, Value):
            if operation in ("add", "mul"):
                return self.arithmetic(name, operation, b, a)
            if operation == "sub":
                return self.affine(name, b, -np.ones(()), a)
        raise ModelError(f"{name} ({operation}) must have an activation as first operand; fold constants beforehand")

    def concat(self, name: str, values: Sequence[Value]) -> Value:
        if len(values) == 1:
            return values[0]
        if not values or len({len(v.shape) for v in values}) > 1:
            raise ModelError(f"{name} must join tensors of equal rank")
        return self.emit(Node(self.unique(name), Op.CONCAT, tuple(map(self.settle, values))))

    def max_pool(
        self, name: str, x: Value, kernel: tuple[int, int], stride: tuple[int, int], pad: Pads,
        dilation: tuple[int, int], ceil: bool = False,
    ) -> Value:  # fmt: skip
        image = self._image(name, x)
        source = self.settle(replace(x, pad=NO_PAD, pad_value=0.0), x)
        window = Window(kernel, stride, _sum(pad, x.pad), dilation)
        if any(x.pad) and x.pad_value != -math.inf and not self._pads_like_relu(source, window, x.pad_value):
            raise bad_padding(x)
        height, width = image[1] - x.pad[0] - x.pad[2], image[2] - x.pad[1] - x.pad[3]
        window = self._pool_window(name, window, height, width, ceil)
        return self.emit(Node(self.unique(name), Op.MAX_POOL, (source,), window))

    def average_pool(
        self, name: str, x: Value, kernel: tuple[int, int], stride: tuple[int, int], pad: Pads,
        count_pad: bool, ceil: bool = False,
    ) -> Value:  # fmt: skip
        image = self._image(name, x)
        source = self.settle(replace(x, pad=NO_PAD), x)
        if any(x.pad) and (x.pad_value != 0 or ceil or (any(pad) and not count_pad)):
            raise bad_padding(x)
        if any(x.pad):
            count_pad = True
        plain = Window(kernel, stride, _sum(pad, x.pad))
        height, width = image[1] - x.pad[0] - x.pad[2], image[2] - x.pad[1] - x.pad[3]
        window = self._pool_window(name, plain, height, width, ceil)
        if window.pad[2] > plain.pad[2] or window.pad[3] > plain.pad[3]:
            # The rows and columns that ceil mode adds never count; declared padding may. A node has one flag for both.
            if count_pad and any(plain.pad):
                raise ModelError(
                    f"{name} must not combine ceil_mode, padding and count_include_pad; "
                    "set ceil_mode=False or count_include_pad=False"
                )
            count_pad = False
        return self.emit(Node(self.unique(name), Op.AVG_POOL, (source,), window, count_pad=count_pad))

    def adaptive_average(self, name: str, x: Value, size: tuple[int, int]) -> Value:
        if min(size) < 1:
            raise ModelError(f"{name} output size must be positive, not {words(size)}")
        self._image(name, x)
        return self.emit(Node(self.unique(name), Op.ADAPTIVE_POOL, (self.settle(x),), Window(size)))

    def global_average(self, name: str, x: Value, axes: Sequence[int], keep: bool) -> Value:
        """Mean over `axes` (counted without the batch), which must be everything but the channels."""
        if any(x.pad):
            raise bad_padding(x)
        base = Value(self.settle(x), x.shape, x.label) if x.stride != (1, 1) or any(x.channels) else x
        image = self._shapes[base.node]
        if sorted(axes) != list(range(1, len(x.shape))) or len(image) != 3 or not axes or image[0] != x.shape[0]:
            raise ModelError(
                f"{name} must average over all pixels of each channel (dimensions 2 and 3), not over others"
            )
        size = (image[1], image[2])
        y = self.emit(Node(self.unique(name), Op.AVG_POOL, (base.node,), Window(size, size)))
        return replace(y, shape=(image[0], *(1,) * len(axes)) if keep else (image[0],), label=f"{name}.flatten")

    def softmax(self, name: str, x: Value, axis: int) -> Value:
        """The end of many classifiers: left out, because the graph's output is logits."""
        if axis != 0:
            raise ModelError(f"{name} must be a softmax over the classes (dimension 1), not over dimension {axis + 1}")
        _log.warning("%s is left out: the network's output is taken to be the logits before it", name)
        return replace(x, probabilities=True)

    # ---- changes held back ----

    def reshape(self, name: str, x: Value, shape: Sequence[int]) -> Value:
        """Another shape for the same values; one entry may be −1."""
        size, known = math.prod(x.shape), math.prod(s for s in shape if s != -1)
        if list(shape).count(-1) == 1 and known > 0 and size % known == 0:
            shape = [size // known if s == -1 else s for s in shape]
        if not shape or min(shape) < 1 or math.prod(shape) != size:
            raise ModelError(
                f"{name} must keep the {words(x.shape)} values of each image together, not make {words(shape) or 'one'}"
            )
        if x.stride != (1, 1) or any(x.channels) or any(x.pad):
            x = Value(self.settle(x), x.shape, x.label)
        return replace(x, shape=tuple(shape), label=name)

    def slice(self, name: str, x: Value, axis: int, start: int, stop: int, step: int) -> Value:
        """Every step-th row or column; `axis` counts without the batch."""
        if not 0 <= axis < len(x.shape) or step < 1:
            raise ModelError(f"{name} must slice rows or columns of an image")
        size = x.shape[axis]
        taken = range(*slice(start, stop, step).indices(size))
        if taken == range(size):
            return x
        if axis == 0 or len(x.shape) != 3 or any(x.pad) or taken != range(0, size, step):
            raise ModelError(
                f"{name} slices [{start}:{stop}:{step}] along dimension {axis + 1}, which is not supported; "
                "only whole strides over rows and columns are (x[:, :, ::2, ::2])"
            )
        if self.is_reshaped(x):
            x = Value(self.settle(x), x.shape, x.label)
        y, x_ = x.stride
        stride = (y * step, x_) if axis == 1 else (y, x_ * step)
        shape = tuple(len(taken) if i == axis else s for i, s in enumerate(x.shape))
        return replace(x, shape=shape, stride=stride, label=name)

    def pad(self, name: str, x: Value, pads: Sequence[tuple[int, int]], value: float) -> Value:
        """Constant padding; `pads` has (before, after) of channels, height, width."""
        if not any(map(any, pads)):
            return x
        if len(x.shape) != 3 or len(pads) != 3 or min(map(min, pads)) < 0:
            raise ModelError(f"{name} must pad the channels, rows or columns of an image with zeros, not crop it")
        channels, rows, columns = pads
        if (any(channels) and (value != 0 or x.pad_value != 0)) or (any(x.pad) and x.pad_value != value):
            raise ModelError(f"{name} must pad with zeros, not with {value}")
        if self.is_reshaped(x):
            x = Value(self.settle(x), x.shape, x.label)
        shape = tuple(s + before + after for s, (before, after) in zip(x.shape, pads, strict=True))
        spatial = any(rows) or any(columns)
        return replace(
            x,
            shape=check_size(name, shape),
            label=name,
            channels=(x.channels[0] + channels[0], x.channels[1] + channels[1]),
            pad=_sum(x.pad, (rows[0], columns[0], rows[1], columns[1])),
            pad_value=value if spatial else x.pad_value,
        )

    def _per_channel(self, name: str, values: NDArray[Any], shape: Shape) -> FloatArray:
        aligned = (1,) * (len(shape) + 1 - values.ndim) + values.shape
        if len(aligned) == len(shape) + 1 and values.size in (1, shape[0]) and aligned[1] == values.size:
            return self.float32(name, np.broadcast_to(values.reshape(-1), shape[:1]))
        raise ModelError(f"{name} must scale or shift by one value per channel, not by {words(values.shape)}")

    def _image(self, name: str, x: Value) -> Shape:
        if len(x.shape) != 3:
            raise ModelError(f"{name} needs an image (channels, height, width), not {words(x.shape)}")
        return x.shape

    def _pads_like_relu(self, source: str, window: Window, value: float) -> bool:
        """Zeros around a ReLU's output cannot win a maximum against any of its pixels."""
        relu = any(n.name == source and n.op is Op.RELU for n in self._nodes)
        return relu and value == 0 and max(window.pad) < min(window.kernel) and window.dilation == (1, 1)

    def _pool_window(self, name: str, window: Window, height: int, width: int, ceil: bool) -> Window:
        """The window with ceil mode said as padding, as torch resolves it."""
        window.verify(name)
        top, left, bottom, right = window.pad
        spans = [d * (k - 1) + 1 for k, d in zip(window.kernel, window.dilation, strict=True)]
        if ceil:
            bottom = _ceil_pad(height, spans[0], window.stride[0], top, bottom)
            right = _ceil_pad(width, spans[1], window.stride[1], left, right)
        return replace(window, pad=(top, left, bottom, right))


def _ceil_pad(size: int, span: int, stride: int, before: int, after: int) -> int:
    """Padding behind the image with which floor division gives ceil mode's output size.

    The last window must start inside the image or the padding before it (torch/aten `pooling_output_shape`).

    >>> _ceil_pad(size=6, span=3, stride=2, before=0, after=0)
    1
    """
    last = -(-(size + before + after - span) // stride)
    if last * stride >= size + before:
        last -= 1
    return max(0, last * stride + span - size - before)


def _sum(a: Pads, b: Pads) -> Pads:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])
