"""What a network is: nodes in order, the float parameters of its weighted nodes, and every shape.

A graph as a loader builds it may hold batch norms, lone ReLUs, additions and identities ("raw"). `canonical.py`
turns it into the form every later stage works on: a node is one of `CANONICAL`, a convolution or linear node carries
its own bias, an optional residual input (`inputs[1]`, added before the clip) and an optional clip at zero.

    output = clip(conv(inputs[0]) + bias + inputs[1])

Every node has one output and bears its name; the input is one image, the output one row of logits per image.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from . import strict
from .errors import InvariantError, ModelError
from .node import CANONICAL as CANONICAL
from .node import MAX_VALUES, POOLS
from .node import WEIGHTED as WEIGHTED
from .node import Node as Node
from .node import Op as Op
from .node import Window as Window

FloatArray = NDArray[np.float32]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Parameters:
    """Weight (rows first: R×C/g×kh×kw or R×K) and bias of a convolution or linear node.

    A raw batch norm holds its scale and shift here, both of one value per channel.
    """

    weight: FloatArray
    bias: FloatArray


@dataclass(frozen=True)
class OutputStatistics:
    """Mean and standard deviation per row that batch norm gave a layer's output, before residual and clip."""

    mean: FloatArray
    std: FloatArray


@dataclass(frozen=True)
class Graph:
    """A network. `nodes` are in an order in which inputs come before their readers; the last one is the output."""

    name: str
    input_shape: tuple[int, int, int]
    nodes: tuple[Node, ...]
    parameters: Mapping[str, Parameters] = field(default_factory=dict)
    statistics: Mapping[str, OutputStatistics] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Node:
        return self.by_name[name]

    @property
    def by_name(self) -> dict[str, Node]:
        cached: dict[str, Node] | None = self.__dict__.get("_by_name")
        if cached is None:
            cached = {n.name: n for n in self.nodes}
            object.__setattr__(self, "_by_name", cached)
        return cached

    @property
    def input(self) -> Node:
        return self.nodes[0]

    @property
    def output(self) -> Node:
        return self.nodes[-1]

    @property
    def weighted(self) -> tuple[Node, ...]:
        """The convolution and linear nodes, in order."""
        return tuple(n for n in self.nodes if n.weighted)

    @property
    def classes(self) -> int:
        return int(np.prod(self.shapes[self.output.name]))

    @property
    def shapes(self) -> dict[str, Shape]:
        """Output shape of every node, without the batch dimension."""
        cached: dict[str, Shape] | None = self.__dict__.get("_shapes")
        if cached is None:
            cached = _infer_shapes(self)
            object.__setattr__(self, "_shapes", cached)
        return cached

    def readers(self, name: str) -> tuple[Node, ...]:
        """The nodes that read `name`."""
        return tuple(n for n in self.nodes if name in n.inputs)

    def macs(self, node: Node) -> int:
        """Multiplications for one image."""
        if not node.weighted:
            return 0
        positions = int(np.prod(self.shapes[node.name][1:], dtype=np.int64))
        return positions * int(self.weight_shape(node)[0]) * int(np.prod(self.weight_shape(node)[1:]))

    def weight_shape(self, node: Node) -> Shape:
        """Shape of a weighted node's weight, also in a graph without parameters."""
        if node.name in self.parameters:
            return self.parameters[node.name].weight.shape
        rows = self.shapes[node.name][0]
        source = self.shapes[node.inputs[0]]
        if node.op is Op.LINEAR:
            return (rows, source[0])
        assert node.window is not None
        return (rows, source[0] // node.groups, *node.window.kernel)

    def with_nodes(
        self,
        nodes: Iterable[Node],
        parameters: Mapping[str, Parameters] | None = None,
        statistics: Mapping[str, OutputStatistics] | None = None,
    ) -> Graph:
        """A copy with other nodes (and parameters, statistics if given)."""
        return replace(
            self,
            nodes=tuple(nodes),
            parameters=self.parameters if parameters is None else parameters,
            statistics=self.statistics if statistics is None else statistics,
        )

    def structure(self) -> Graph:
        """The graph without parameters and statistics."""
        return Graph.from_json(self.to_json())

    def verify(self, canonical: bool = True) -> Graph:
        """Check every rule above; returns the graph, raises `InvariantError` or `ModelError`."""
        _verify_nodes(self, canonical)
        _verify_parameters(self, canonical)
        _ = self.shapes
        if canonical:
            _verify_read(self)
        return self

    def to_json(self) -> str:
        """Structure only (no parameters), on one line, with keys in a fixed order."""
        rows = {n.name: self.weight_shape(n)[0] for n in self.weighted}
        nodes = [n.to_data() for n in self.nodes]
        return json.dumps({"name": self.name, "input_shape": self.input_shape, "nodes": nodes, "rows": rows})

    @staticmethod
    def from_json(text: str) -> Graph:
        """The inverse of `to_json`; the graph has no parameters."""
        return Graph.from_data(json.loads(text))

    @staticmethod
    def from_data(data: object) -> Graph:
        """The same from parsed JSON; `ValueError` if there is a field too few, too many or of another type."""
        found = strict.record(data, "the graph", {"name", "input_shape", "nodes", "rows"})
        channels, height, width = strict.wholes(found["input_shape"], "input_shape", 3)
        nodes = tuple(map(Node.from_data, strict.items(found["nodes"], "nodes")))
        graph = Graph(strict.text(found["name"], "the graph's name"), (channels, height, width), nodes)
        rows = strict.record(found["rows"], "rows", {n.name for n in nodes if n.weighted})
        object.__setattr__(graph, "_rows", {k: strict.whole(v, f"{k} rows") for k, v in rows.items()})
        return graph


def _rows(graph: Graph, node: Node) -> int:
    if node.name in graph.parameters:
        return int(graph.parameters[node.name].weight.shape[0])
    return int(graph.__dict__["_rows"][node.name])


def _infer_shapes(graph: Graph) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for node in graph.nodes:
        shapes[node.name] = output_shape(graph, node, [shapes[i] for i in node.inputs])
    return shapes


def output_shape(graph: Graph, node: Node, sources: list[Shape]) -> Shape:
    """Shape of a node's output from those of its inputs; a `ModelError` names the node when they do not fit."""
    shape = check_size(node.name, _shape(graph, node, sources))
    if node.skip is not None and sources[1] != shape:
        raise ModelError(f"{node.name} adds a residual of {_words(sources[1])} to an output of {_words(shape)}")
    return shape


def check_size(name: str, shape: Shape) -> Shape:
    """The shape, unless it has more values than anyone should hold."""
    if math.prod(shape) > MAX_VALUES:
        raise ModelError(f"{name} must have at most {MAX_VALUES} values per image, not {_words(shape)}")
    return shape


def _shape(graph: Graph, node: Node, sources: list[Shape]) -> Shape:
    match node.op:
        case Op.INPUT:
            return graph.input_shape
        case Op.FLATTEN:
            return (math.prod(sources[0]),)
        case Op.LINEAR:
            return _linear_shape(graph, node, sources[0])
        case Op.CONCAT:
            if any(s[1:] != sources[0][1:] for s in sources):
                raise ModelError(f"{node.name} joins tensors of different sizes: {', '.join(map(_words, sources))}")
            return (sum(s[0] for s in sources), *sources[0][1:])
        case Op.ADD if any(s != sources[0] for s in sources):
            raise ModelError(f"{node.name} adds tensors of different shapes: {' and '.join(map(_words, sources))}")
        case Op.BATCH_NORM | Op.RELU | Op.ADD | Op.IDENTITY:
            return sources[0]
    return (_channels(graph, node, sources[0]), *_window_size(graph, node, sources[0]))


def _linear_shape(graph: Graph, node: Node, source: Shape) -> Shape:
    if node.name in graph.parameters:
        expected = graph.parameters[node.name].weight.shape[1]
        if source != (expected,):
            raise ModelError(
                f"{node.name} reads {expected} values but gets {_words(source)}: "
                f"the network does not fit an input of {_words(graph.input_shape)}; give --input-shape"
            )
    elif len(source) != 1:
        raise ModelError(f"{node.name} must read one vector per image, not {_words(source)}")
    return (_rows(graph, node),)


def _channels(graph: Graph, node: Node, source: Shape) -> int:
    """Channels of the output of a node that reads an image."""
    if len(source) != 3:
        raise ModelError(f"{node.name} needs an image (channels, height, width), not {_words(source)}")
    if node.op is not Op.CONV:
        return source[0] + node.channels_before + node.channels_after
    if node.name in graph.parameters:
        expected = graph.parameters[node.name].weight.shape[1] * node.groups
        if source[0] != expected:
            raise ModelError(f"{node.name} reads {expected} channels but gets {_words(source)}")
    if source[0] % node.groups or _rows(graph, node) % node.groups:
        raise ModelError(f"{node.name} rows and channels must be a multiple of its {node.groups} groups")
    return _rows(graph, node)


def _window_size(graph: Graph, node: Node, source: Shape) -> tuple[int, int]:
    """Rows and columns of the output of a node with a window."""
    window = node.window
    assert window is not None
    window.verify(node.name)
    top, left, bottom, right = window.pad
    check_size(node.name, (source[0], source[1] + top + bottom, source[2] + left + right))
    size = window.kernel if node.op is Op.ADAPTIVE_POOL else window.output_size(*source[1:])
    if min(size) < 1:
        raise ModelError(
            f"{node.name} ({node.op.value}, {_words(window.kernel)}) does not fit its input of {_words(source)}: "
            f"an input of {_words(graph.input_shape)} is too small for this network; give a larger --input-shape"
        )
    if node.op in POOLS and not window.always_meets(*source[1:]):
        raise ModelError(
            f"{node.name} must pad so that each of its windows holds a pixel, not by {window.pad} around {_words(source)}"
        )
    return size


def _words(shape: Iterable[int]) -> str:
    return "×".join(str(v) for v in shape)


def _verify_nodes(graph: Graph, canonical: bool) -> None:
    seen: set[str] = set()
    if not graph.nodes or graph.nodes[0].op is not Op.INPUT:
        raise InvariantError("graph must begin with its input")
    if min(graph.input_shape) < 1:
        raise ModelError(f"{graph.name} input must have positive sizes, not {_words(graph.input_shape)}")
    for node in graph.nodes:
        node.verify()
        if node.name in seen:
            raise InvariantError(f"{node.name} must be the name of one node only")
        if canonical and node.op not in CANONICAL:
            raise InvariantError(f"{node.name} must be one of {', '.join(sorted(CANONICAL))}, not {node.op.value}")
        if (node.op is Op.INPUT) != (node is graph.nodes[0]):
            raise InvariantError(f"{node.name} must be the only input and come first")
        for source in node.inputs:
            if source not in seen:
                raise InvariantError(f"{node.name} must come after its input {source}")
        if node.weighted and _rows(graph, node) < 1:
            raise ModelError(f"{node.name} must have at least one row")
        seen.add(node.name)


def _verify_parameters(graph: Graph, canonical: bool) -> None:
    for name, values in graph.parameters.items():
        if name not in graph.by_name:
            raise InvariantError(f"parameters of {name} must belong to a node")
        for label, array in (("weight", values.weight), ("bias", values.bias)):
            if array.dtype != np.float32:
                raise InvariantError(f"{name} {label} must be float32, not {array.dtype}")
            if not np.isfinite(array).all():
                raise ModelError(
                    f"{name} {label} must be finite, but it has NaN or infinite values: the checkpoint is damaged"
                )
        if canonical and values.bias.shape != values.weight.shape[:1]:
            raise InvariantError(f"{name} bias must have one value per row")


def _verify_read(graph: Graph) -> None:
    used = {i for n in graph.nodes for i in n.inputs} | {graph.output.name}
    unread = [n.name for n in graph.nodes if n.name not in used]
    if unread:
        raise InvariantError(f"{', '.join(unread)} must be read by another node")
