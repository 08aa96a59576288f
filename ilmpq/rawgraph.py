"""Collects the nodes of a raw `Graph`: names, shapes, parameters, and the changes of a tensor that are held back.

What importers meet as several operations but a graph says in one — zero padding before a convolution, the slices and
the channel padding of an option-A shortcut, chains of reshapes — is held back in a `Value` until something reads it.
Everything here comes from a file nobody vouches for: sizes are checked before they are used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .graph import FloatArray, Graph, Node, Op, OutputStatistics, Parameters, Shape, Window
from .graph import check_size as check_size
from .graph import output_shape as output_shape
from .node import MAX_VALUES
from .untrusted import Budget

Pads = tuple[int, int, int, int]

SUPPORTED = (
    "convolutions, linear layers, batch norm, ReLU and ReLU6, additions, channel concatenation, "
    "max and average pools, flattening, dropout and option-A shortcuts"
)
NO_PAD: Pads = (0, 0, 0, 0)


@dataclass(frozen=True)
class Constant:
    """A parameter, buffer or number, under its path in the module or its name in the file."""

    path: str
    array: NDArray[Any]


@dataclass(frozen=True)
class Unsupported:
    """A result that cannot be had; the message is raised only if something reads it."""

    message: str


@dataclass(frozen=True)
class Value:
    """A tensor as its readers see it: what `node` computes, then the changes held back, in this order."""

    node: str
    shape: Shape  # without the batch; after all of the changes
    label: str  # name of the node that will carry the changes out
    stride: tuple[int, int] = (1, 1)  # every stride-th pixel
    channels: tuple[int, int] = (0, 0)  # zero channels before and after
    pad: Pads = NO_PAD
    pad_value: float = 0.0
    probabilities: bool = False  # went through a softmax, which must be the end of the network


class GraphEmitter:
    """Nodes in order, with `finish` to make them a graph. What each operation emits is in `rawbuilder.py`."""

    def __init__(self, name: str, input_shape: Sequence[int], budget: Budget | None = None) -> None:
        shape = tuple(input_shape)
        if len(shape) != 3 or min(shape) < 1 or math.prod(shape) > MAX_VALUES:
            raise ModelError(
                f"{name} input must be channels×height×width, not {words(shape)}; give another --input-shape"
            )
        self.name = name
        self.budget = budget
        self.parameters: dict[str, Parameters] = {}
        self.statistics: dict[str, OutputStatistics] = {}
        self._graph = Graph(name, (shape[0], shape[1], shape[2]), (), self.parameters)
        self._nodes: list[Node] = []
        self._shapes: dict[str, Shape] = {}
        self._settled: dict[Value, str] = {}
        self._uses: dict[str, int] = {"input": 0}
        self.input = self.emit(Node("input", Op.INPUT))

    def settle(self, x: Value, original: Value | None = None) -> str:
        """The node that computes `x`, emitted now if changes were held back.

        `original` is `x` before its reader took the padding over.
        """
        if x.probabilities:
            raise ModelError(f"{x.label} comes after a softmax, which must be the last operation of the network")
        if any(x.pad):
            raise bad_padding(x)
        if original is not None and any(original.pad):
            top, left, bottom, right = original.pad
            x = replace(x, shape=(x.shape[0], x.shape[1] - top - bottom, x.shape[2] - left - right))
        if x in self._settled:
            return self._settled[x]
        node = x.node
        if x.stride != (1, 1) or any(x.channels):
            before, after = x.channels
            picked = Node(
                self.unique(x.label), Op.SUBSAMPLE, (node,), Window((1, 1), x.stride),
                channels_before=before, channels_after=after,
            )  # fmt: skip
            node = self.emit(picked).node
        if x.shape != self._shapes[node]:
            if len(x.shape) != 1:
                raise ModelError(
                    f"{x.label} reshapes {words(self._shapes[node])} to {words(x.shape)}, which is not supported; "
                    "only flattening to one vector per image is"
                )
            node = self.emit(Node(self.unique(x.label), Op.FLATTEN, (node,))).node
        self._settled[x] = node
        return node

    def finish(self, output: Value) -> Graph:
        """The graph of everything the output depends on, checked."""
        last = self.settle(replace(output, probabilities=False))
        needed, by_name = {"input", last}, {n.name: n for n in self._nodes}
        for node in reversed(self._nodes):
            if node.name in needed:
                needed.update(by_name[node.name].inputs)
        nodes = tuple(n for n in self._nodes if n.name in needed)
        if not any(n.weighted for n in nodes):
            raise ModelError(f"{self.name} has no convolution or linear layer between its input and its output")
        graph = Graph(
            self.name,
            self._graph.input_shape,
            nodes,
            {k: v for k, v in self.parameters.items() if k in needed},
            {k: v for k, v in self.statistics.items() if k in needed},
        )
        return graph.verify(canonical=False)

    def unique(self, name: str) -> str:
        """`name` made printable and short, with a number if it is taken."""
        name = "".join(c for c in name if c.isprintable())[:120] or "node"
        candidate = name
        while candidate in self._uses:
            self._uses[name] += 1
            candidate = f"{name}_{self._uses[name]}"
        self._uses[candidate] = 0
        return candidate

    def float32(self, name: str, values: NDArray[Any]) -> FloatArray:
        """A copy of parameters that a node will own."""
        if self.budget is not None:
            self.budget.spend(4 * values.size, name)
        with np.errstate(over="ignore"):
            return np.array(values, dtype=np.float32, order="C")

    def emit(self, node: Node) -> Value:
        shape = output_shape(self._graph, node, [self._shapes[i] for i in node.inputs])
        self._nodes.append(node)
        self._shapes[node.name] = shape
        return Value(node.name, shape, node.name)

    def is_reshaped(self, x: Value) -> bool:
        return x.stride == (1, 1) and not any(x.channels) and not any(x.pad) and x.shape != self._shapes[x.node]


def bad_padding(x: Value) -> ModelError:
    return ModelError(
        f"{x.label} pads with {x.pad_value}, which is supported only directly before a convolution or a pool "
        "that pads the same way; give the padding to that layer instead"
    )


def words(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
