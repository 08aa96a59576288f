"""The words in which `zoo_families.py` describes architectures: a builder of raw graphs, and where its tensors come from.

A description is run several times: with `Outline` to learn names and shapes, with `Checkpoint` to read a user's
weights, with `Random` to make some up. Widths (rows, groups, classes) are taken from a checkpoint where there is one,
so that a description needs to be right only about structure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .graph import FloatArray, Graph, Node, Op, OutputStatistics, Parameters, Shape, Window

EPSILON = 1e-5  # what torch adds to a batch norm's variance
COUNTERS = "num_batches_tracked"


@dataclass(frozen=True)
class Spread:
    """How random values of a tensor are distributed: normal, or the magnitude of that."""

    mean: float
    deviation: float
    positive: bool = False


class Outline:
    """Tensors that take no memory, each value its usual mean; `shapes` collects what was asked for.

    `known` gives the shapes of a checkpoint, from which widths are read.
    """

    def __init__(self, known: Mapping[str, Shape] | None = None) -> None:
        self.known = known or {}
        self.shapes: dict[str, Shape] = {}

    def rows(self, layer: str, usual: int) -> int:
        shape = self.known.get(f"{layer}.weight", ())
        return shape[0] if shape and shape[0] > 0 else usual

    def groups(self, layer: str, channels: int, usual: int) -> int:
        shape = self.known.get(f"{layer}.weight", ())
        fits = len(shape) == 4 and shape[1] > 0 and channels % shape[1] == 0
        return channels // shape[1] if fits else usual

    def take(self, name: str, shape: Shape, spread: Spread) -> FloatArray:
        self.shapes[name] = shape
        return np.broadcast_to(np.float32(spread.mean), shape)

    def count(self, name: str) -> None:
        """Note a batch norm's counter, which every checkpoint has and nobody needs."""


class Random(Outline):
    """Tensors drawn from a generator; `drawn` collects them."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self.drawn: dict[str, NDArray[Any]] = {}
        self._rng = rng

    def take(self, name: str, shape: Shape, spread: Spread) -> FloatArray:
        values = self._rng.standard_normal(shape, dtype=np.float32)
        values *= np.float32(spread.deviation)
        values += np.float32(spread.mean)
        if spread.positive:
            np.abs(values, out=values)
        self.drawn[name] = values
        return values

    def count(self, name: str) -> None:
        self.drawn[name] = np.array(0, dtype=np.int64)


class Checkpoint(Outline):
    """Tensors of a state dict that is known to have them all."""

    def __init__(self, state: Mapping[str, NDArray[Any]]) -> None:
        super().__init__({k: v.shape for k, v in state.items()})
        self._state = state

    def take(self, name: str, shape: Shape, spread: Spread) -> FloatArray:
        return np.asarray(self._state[name], dtype=np.float32)


class Builder:
    """Appends nodes; each method starts from node `at` (the newest if not given) and returns its node's name.

    `power` estimates the mean square of every tensor, so that random batch norm statistics fit random weights.
    """

    def __init__(self, tensors: Outline, input_shape: tuple[int, int, int]) -> None:
        self.tensors = tensors
        self.input_shape = input_shape
        self.nodes = [Node("input", Op.INPUT)]
        self.parameters: dict[str, Parameters] = {}
        self.statistics: dict[str, OutputStatistics] = {}
        self.shapes: dict[str, Shape] = {"input": input_shape}
        self.power = {"input": 1.0}
        self.newest = "input"
        self._sums: set[str] = set()

    def graph(self, name: str) -> Graph:
        return Graph(name, self.input_shape, tuple(self.nodes), self.parameters, self.statistics)

    def channels(self, at: str | None = None) -> int:
        return self.shapes[at or self.newest][0]

    def conv(
        self,
        name: str,
        rows: int,
        kernel: int,
        stride: int = 1,
        pad: int = 0,
        groups: int | Literal["any"] = 1,
        bias: bool = False,
        at: str | None = None,
        usual_groups: int = 1,
    ) -> str:
        """A convolution; `groups="any"` takes the number of groups from the checkpoint."""
        at = at or self.newest
        rows = self.tensors.rows(name, rows)
        if groups == "any":
            groups = self.tensors.groups(name, self.channels(at), usual_groups)
        shape = (rows, self.channels(at) // groups, kernel, kernel)
        window = Window((kernel, kernel), (stride, stride), (pad,) * 4)
        power = self._weights(name, shape, bias, self.power[at])
        return self._add(Node(name, Op.CONV, (at,), window, groups), (rows, *self._size(at, window)), power)

    def linear(self, name: str, rows: int) -> str:
        at = self.newest
        rows = self.tensors.rows(name, rows)
        power = self._weights(name, (rows, self.channels(at)), True, self.power[at])
        return self._add(Node(name, Op.LINEAR, (at,)), (rows,), power)

    def batch_norm(self, name: str, small: bool = False) -> str:
        """A batch norm; `small` marks the last one of a residual branch, whose random scale is smaller."""
        at, shape = self.newest, (self.channels(),)
        power = self.power[at]
        size = 0.4 if small else 1.0
        gamma = self._double(f"{name}.weight", shape, Spread(size, 0.2 * size, positive=True))
        beta = self._double(f"{name}.bias", shape, Spread(0.0, 0.2 * size))
        mean = self._double(f"{name}.running_mean", shape, Spread(0.0, 0.1 * power**0.5))
        var = self._double(f"{name}.running_var", shape, Spread(power, 0.2 * power, positive=True))
        self.tensors.count(f"{name}.{COUNTERS}")
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # `verify` names the layer
            scale = gamma / np.sqrt(var + EPSILON)
            values = Parameters(scale.astype(np.float32), (beta - mean * scale).astype(np.float32))
        self.parameters[name] = values
        self.statistics[name] = OutputStatistics(beta.astype(np.float32), np.abs(gamma).astype(np.float32))
        return self._add(Node(name, Op.BATCH_NORM, (at,)), self.shapes[at], size**2)

    def relu(self, top: float | None = None, at: str | None = None) -> str:
        at = at or self.newest
        halved = 1.0 if at in self._sums else 0.5  # a residual stream is seldom negative
        return self._add(Node(f"{at}.relu", Op.RELU, (at,), relu_max=top), self.shapes[at], halved * self.power[at])

    def add(self, name: str, first: str, second: str) -> str:
        node = Node(name, Op.ADD, (first, second))
        self._sums.add(name)
        return self._add(node, self.shapes[first], self.power[first] + self.power[second])

    def concat(self, name: str, *parts: str) -> str:
        shape = (sum(self.channels(p) for p in parts), *self.shapes[parts[0]][1:])
        return self._add(Node(name, Op.CONCAT, parts), shape, self.power[parts[0]])

    def max_pool(self, name: str, kernel: int, stride: int, pad: int = 0, ceil: bool = False) -> str:
        """A max pool; torch's ceil mode becomes padding at the bottom and the right."""
        at = self.newest
        sizes = self.shapes[at][1:]
        more = [_ceil_padding(size, kernel, stride, pad) if ceil else 0 for size in sizes]
        window = Window((kernel, kernel), (stride, stride), (pad, pad, pad + more[0], pad + more[1]))
        return self._add(Node(name, Op.MAX_POOL, (at,), window), (self.channels(at), *self._size(at, window)))

    def adaptive_pool(self, name: str, size: int) -> str:
        node = Node(name, Op.ADAPTIVE_POOL, (self.newest,), Window((size, size)))
        return self._add(node, (self.channels(), size, size))

    def flatten(self) -> str:
        return self._add(Node("flatten", Op.FLATTEN, (self.newest,)), (int(np.prod(self.shapes[self.newest])),))

    def subsample(self, name: str, stride: int, padding: int, at: str) -> str:
        """An option-A shortcut: every stride-th pixel, `padding` zero channels on either side."""
        window = Window((1, 1), (stride, stride))
        node = Node(name, Op.SUBSAMPLE, (at,), window, channels_before=padding, channels_after=padding)
        return self._add(node, (self.channels(at) + 2 * padding, *self._size(at, window)), self.power[at])

    def _add(self, node: Node, shape: Shape, power: float | None = None) -> str:
        self.nodes.append(node)
        self.shapes[node.name] = shape
        self.power[node.name] = self.power[node.inputs[0]] if power is None else power
        self.newest = node.name
        return node.name

    def _weights(self, name: str, shape: Shape, bias: bool, power: float) -> float:
        """Register weight and bias (Kaiming: a ReLU behind keeps the power); the power of the output."""
        fan_in = max(int(np.prod(shape[1:])), 1)
        weight = self.tensors.take(f"{name}.weight", shape, Spread(0.0, (2 / fan_in) ** 0.5))
        zeros = np.zeros(shape[0], np.float32)
        self.parameters[name] = Parameters(
            weight, self.tensors.take(f"{name}.bias", shape[:1], Spread(0.0, 0.05)) if bias else zeros
        )
        return 2 * power

    def _double(self, name: str, shape: Shape, spread: Spread) -> NDArray[np.float64]:
        return self.tensors.take(name, shape, spread).astype(np.float64)

    def _size(self, at: str, window: Window) -> tuple[int, int]:
        height, width = self.shapes[at][1:]
        return window.output_size(height, width)


def _ceil_padding(size: int, kernel: int, stride: int, pad: int) -> int:
    """Extra padding at the end that gives the size of torch's ceil mode (a window never starts in the end's padding).

    >>> _ceil_padding(54, 3, 2, 0), _ceil_padding(109, 3, 2, 0), _ceil_padding(4, 1, 2, 0)
    (1, 0, 0)
    """
    windows = -(-(size + 2 * pad - kernel) // stride) + 1
    if (windows - 1) * stride >= size + pad:
        windows -= 1
    return max((windows - 1) * stride + kernel - size - 2 * pad, 0)
