"""What a network is: nodes in order, the float parameters of its weighted nodes, and every shape.

A graph as a loader builds it may hold batch norms, lone ReLUs, additions and identities ("raw"). `canonical.py`
turns it into the form every later stage works on: a node is one of `CANONICAL`, a convolution or linear node carries
its own bias, an optional residual input (`inputs[1]`, added before the clip) and an optional clip at zero.

    output = clip(conv(inputs[0]) + bias + inputs[1])

Every node has one output and bears its name; the input is one image, the output one row of logits per image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvariantError, ModelError

FloatArray = NDArray[np.float32]
Shape = tuple[int, ...]


class Op(StrEnum):
    """What a node computes."""

    INPUT = "input"
    CONV = "conv"
    LINEAR = "linear"
    MAX_POOL = "max_pool"
    AVG_POOL = "avg_pool"
    CONCAT = "concat"
    FLATTEN = "flatten"
    SUBSAMPLE = "subsample"  # every stride-th pixel, zero channels before and after: an option-A shortcut
    # Only in raw graphs:
    BATCH_NORM = "batch_norm"
    RELU = "relu"
    ADD = "add"
    IDENTITY = "identity"
    ADAPTIVE_POOL = "adaptive_pool"  # average over `window.kernel` = output size


CANONICAL = frozenset({Op.INPUT, Op.CONV, Op.LINEAR, Op.MAX_POOL, Op.AVG_POOL, Op.CONCAT, Op.FLATTEN, Op.SUBSAMPLE})
WEIGHTED = frozenset({Op.CONV, Op.LINEAR})


@dataclass(frozen=True)
class Window:
    """The sliding window of a convolution or a pool; pairs are (vertical, horizontal).

    `pad` is (top, left, bottom, right); a pool's ceil mode is expressed by padding at the bottom and the right.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the output; zero or less when the window does not fit.

        >>> Window((3, 3), (2, 2), (1, 1, 1, 1)).output_size(56, 56)
        (28, 28)
        """
        top, left, bottom, right = self.pad
        span_y = self.dilation[0] * (self.kernel[0] - 1) + 1
        span_x = self.dilation[1] * (self.kernel[1] - 1) + 1
        return (
            (height + top + bottom - span_y) // self.stride[0] + 1,
            (width + left + right - span_x) // self.stride[1] + 1,
        )


@dataclass(frozen=True)
class Node:
    """One operation. Fields that its `op` does not use keep their defaults."""

    name: str
    op: Op
    inputs: tuple[str, ...] = ()
    window: Window | None = None
    groups: int = 1
    relu: bool = False  # clip at zero from below (CONV, LINEAR, AVG_POOL; a raw RELU node always clips)
    relu_max: float | None = None  # and at this from above (ReLU6)
    count_pad: bool = True  # AVG_POOL: padded pixels count in the divisor
    channels_before: int = 0  # SUBSAMPLE: zero channels put before and after
    channels_after: int = 0

    @property
    def weighted(self) -> bool:
        return self.op in WEIGHTED

    @property
    def skip(self) -> str | None:
        """The residual tensor that is added before the clip."""
        return self.inputs[1] if self.weighted and len(self.inputs) == 2 else None


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
        _verify(self, canonical)
        return self

    def to_json(self) -> str:
        """Structure only (no parameters), on one line, with keys in a fixed order."""
        nodes = [
            {k: v for k, v in asdict(n).items() if v != _DEFAULTS.get(k, ...)} | {"op": n.op.value} for n in self.nodes
        ]
        rows = {n.name: self.weight_shape(n)[0] for n in self.weighted}
        return json.dumps({"name": self.name, "input_shape": self.input_shape, "nodes": nodes, "rows": rows})

    @staticmethod
    def from_json(text: str) -> Graph:
        """The inverse of `to_json`; the graph has no parameters."""
        data = json.loads(text)
        graph = Graph(data["name"], _ints(data["input_shape"]), tuple(_node(n) for n in data["nodes"]))
        object.__setattr__(graph, "_rows", {str(k): int(v) for k, v in data["rows"].items()})
        return graph


_DEFAULTS = {f.name: f.default for f in fields(Node)}


def _ints(values: Iterable[Any]) -> Any:
    return tuple(int(v) for v in values)


def _node(data: dict[str, Any]) -> Node:
    data = dict(data)
    window = data.pop("window", None)
    return Node(
        op=Op(data.pop("op")),
        inputs=tuple(data.pop("inputs", ())),
        window=Window(**{k: _ints(v) for k, v in window.items()}) if window else None,
        **data,
    )


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
    if node.op is Op.INPUT:
        return graph.input_shape
    source = sources[0]
    if node.op is Op.FLATTEN:
        return (int(np.prod(source)),)
    if node.op is Op.LINEAR:
        shape: Shape = (_rows(graph, node),)
        if node.name in graph.parameters:
            expected = graph.parameters[node.name].weight.shape[1]
            if source != (expected,):
                raise ModelError(
                    f"{node.name} reads {expected} values but gets {_words(source)}: "
                    f"the network does not fit an input of {_words(graph.input_shape)}; give --input-shape"
                )
    elif node.op is Op.ADD and any(s != source for s in sources):
        raise ModelError(f"{node.name} adds tensors of different shapes: {' and '.join(map(_words, sources))}")
    elif node.op in (Op.BATCH_NORM, Op.RELU, Op.ADD, Op.IDENTITY):
        return source
    elif node.op is Op.CONCAT:
        if any(s[1:] != source[1:] for s in sources):
            raise ModelError(f"{node.name} joins tensors of different sizes: {', '.join(map(_words, sources))}")
        return (sum(s[0] for s in sources), *source[1:])
    else:
        if len(source) != 3:
            raise ModelError(f"{node.name} needs an image (channels, height, width), not {_words(source)}")
        assert node.window is not None
        channels = source[0]
        if node.op is Op.CONV:
            channels = _rows(graph, node)
            if node.name in graph.parameters:
                expected = graph.parameters[node.name].weight.shape[1] * node.groups
                if source[0] != expected:
                    raise ModelError(f"{node.name} reads {expected} channels but gets {_words(source)}")
        elif node.op is Op.SUBSAMPLE:
            channels += node.channels_before + node.channels_after
        size = node.window.kernel if node.op is Op.ADAPTIVE_POOL else node.window.output_size(*source[1:])
        if min(size) < 1:
            raise ModelError(
                f"{node.name} ({node.op.value}, {_words(node.window.kernel)}) does not fit its input of {_words(source)}: "
                f"an input of {_words(graph.input_shape)} is too small for this network; give a larger --input-shape"
            )
        shape = (channels, *size)
    if node.skip is not None and sources[1] != shape:
        raise ModelError(f"{node.name} adds a residual of {_words(sources[1])} to an output of {_words(shape)}")
    return shape


def _words(shape: Iterable[int]) -> str:
    return "×".join(str(v) for v in shape)


def _verify(graph: Graph, canonical: bool) -> None:
    seen: set[str] = set()
    if not graph.nodes or graph.nodes[0].op is not Op.INPUT:
        raise InvariantError("graph must begin with its input")
    for node in graph.nodes:
        if node.name in seen:
            raise InvariantError(f"{node.name} must be the name of one node only")
        if canonical and node.op not in CANONICAL:
            raise InvariantError(f"{node.name} must be one of {', '.join(sorted(CANONICAL))}, not {node.op.value}")
        if (node.op is Op.INPUT) != (node is graph.nodes[0]):
            raise InvariantError(f"{node.name} must be the only input and come first")
        for source in node.inputs:
            if source not in seen:
                raise InvariantError(f"{node.name} must come after its input {source}")
        if node.weighted and node.groups > 1 and _rows(graph, node) % node.groups:
            raise ModelError(f"{node.name} rows must be a multiple of its {node.groups} groups")
        seen.add(node.name)
    for name, values in graph.parameters.items():
        if name not in seen:
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
    _ = graph.shapes
    if canonical:
        used = {i for n in graph.nodes for i in n.inputs} | {graph.output.name}
        unread = [n.name for n in graph.nodes if n.name not in used]
        if unread:
            raise InvariantError(f"{', '.join(unread)} must be read by another node")
