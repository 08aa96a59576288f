"""A network as the engine sees it: layers that compute, and the tensors between them.

Flattening, concatenation and subsampling move no data: a concatenation's members write into one tensor, a flattened
tensor is read by a layer whose kernel covers it, a subsampled tensor is read with a stride. Channels lie in groups of TK
lanes: a channel's place is TK · group + lane, or -1 if it is zero everywhere and stored nowhere.

A network may be of several images (`ilmpq/batches.py`): a tensor is then one image's own, or has those of all images one
below the other, and a layer computes one image or all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .graph import Graph, Node, Op
from .node import Window
from .storage import TensorFormat, groups

Places = NDArray[np.int64]


class Region(IntEnum):
    """A region of the memory around the engine, by the number that descriptors have."""

    SCRATCH = 0
    INPUT = 1
    OUTPUT = 2


@dataclass(frozen=True, eq=False)
class Tensor:
    """What is stored: groups of height × width codes of so many bits, or 32-bit logits."""

    stem: str  # its name where there is one image
    height: int  # of all its images
    width: int
    bits: int
    signed: bool
    groups: int
    logits: bool = False
    image: int | None = None  # whose own it is, or the first
    images: int = 1  # that lie one below the other

    @property
    def name(self) -> str:
        if self.image is None:
            return self.stem
        return f"{self.stem}#{self.image}" + (f"-{self.image + self.images - 1}" if self.images > 1 else "")

    @property
    def image_height(self) -> int:
        """Rows of an image."""
        return self.height // self.images

    @property
    def offset(self) -> int:
        """What is added to a code so that it is not negative."""
        return 1 << (self.bits - 1) if self.signed and not self.logits else 0


@dataclass(frozen=True, eq=False)
class View:
    """The output of a node: channel c of pixel (y, x) is at `places[c]` of pixel (y · stride, x · stride)."""

    tensor: Tensor
    places: Places
    stride: tuple[int, int] = (1, 1)
    flat: bool = False
    image: int | None = None  # which of those in the tensor; None: all

    @property
    def first_row(self) -> int:
        """The row of the tensor at which it begins."""
        return (self.image or 0) * self.tensor.image_height

    @property
    def height(self) -> int:
        """Rows of the tensor that it has."""
        return self.tensor.height if self.image is None else self.tensor.image_height

    def group_range(self, tk: int) -> tuple[int, int]:
        """The first group that holds a channel, and how many groups there are to the last."""
        used = self.places[self.places >= 0] // tk
        return (int(used.min()), int(used.max() - used.min()) + 1) if len(used) else (0, 1)


@dataclass(frozen=True, eq=False)
class Layer:
    """One node that the engine computes; the window is in pixels of the source tensor."""

    node: Node
    source: View
    target: View
    window: Window
    residual: View | None = None

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def copy(self) -> tuple[str, str, int | None]:
        """Which of the layers that are one node."""
        return self.name, self.target.tensor.name, self.target.image

    @property
    def image_rows(self) -> int:
        """Rows of outputs after which the next image begins; 0 where there is one."""
        target = self.target
        return target.tensor.image_height if target.image is None and target.tensor.images > 1 else 0


@dataclass(frozen=True, eq=False)
class Transfer:
    """Rows of a tensor to or from a memory region: source and target are one tensor inside and outside the engine."""

    name: str
    source: View
    target: View
    loads: bool

    window = Window((1, 1))
    residual = None


Step = Layer | Transfer


@dataclass(frozen=True)
class Network:
    """Layers in order, and input and output of every image."""

    layers: tuple[Layer, ...]
    inputs: tuple[View, ...]
    outputs: tuple[View, ...]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Inputs and what layers write, by name."""
        every = (*self.inputs, *(layer.target for layer in self.layers))
        return {view.tensor.name: view.tensor for view in every}


def network_of(graph: Graph, formats: Mapping[str, TensorFormat], tk: int) -> Network:
    """Layers and tensors, from the formats of storage groups; `ModelError` names what the engine does not run."""
    builder = _Builder(graph, formats, tk)
    layers = tuple(builder.layer(n) for n in graph.nodes if n.weighted or n.op in (Op.MAX_POOL, Op.AVG_POOL))
    output = builder.view(graph.output.name)
    if output.stride != (1, 1) or (output.places < 0).any():
        raise ModelError(
            f"{graph.output.name} must be computed by a layer to be the engine's output, not be taken out of a tensor: "
            "let a 1×1 convolution follow it, or end the network before it and take its part on the host"
        )
    return Network(layers, (builder.view(graph.input.name),), (output,))


class _Builder:
    def __init__(self, graph: Graph, formats: Mapping[str, TensorFormat], tk: int) -> None:
        self.graph, self.formats, self.tk = graph, formats, tk
        self.leaders = groups(graph)
        self.views: dict[str, View] = {}

    def view(self, name: str) -> View:
        """Where a node's output lies."""
        if name not in self.views:
            node = self.graph[name]
            if node.op is Op.FLATTEN:
                source = self.view(node.inputs[0])
                self.views[name] = View(source.tensor, source.places, source.stride, flat=True)
            elif node.op is Op.SUBSAMPLE:
                self.views[name] = self._subsampled(node)
            elif node.op is Op.CONCAT:
                self._concatenate(node)
            else:
                self._place(node)
        return self.views[name]

    def layer(self, node: Node) -> Layer:
        source, target = self.view(node.inputs[0]), self.view(node.name)
        window = node.window or Window((1, 1))
        if source.tensor.logits:
            raise ModelError(
                f"{node.name} must not pool the network's results, 32-bit sums, on the engine: "
                "end the network before it and pool on the host, or let a convolution or linear layer follow it"
            )
        if source.flat:
            s = source.stride
            window = Window((-(-source.tensor.height // s[0]), -(-source.tensor.width // s[1])))
        residual = None if node.skip is None else self.view(node.skip)
        if residual is not None and residual.flat and (residual.tensor.height, residual.tensor.width) != (1, 1):
            raise ModelError(
                f"{node.name} must not add {node.skip}, whose pixels are flattened, on the engine: "
                "let a linear layer write what it adds"
            )
        return Layer(node, source, target, _spread(window, source.stride), residual)

    def _subsampled(self, node: Node) -> View:
        assert node.window is not None
        source = self.view(node.inputs[0])
        absent = [np.full(n, -1, np.int64) for n in (node.channels_before, node.channels_after)]
        stride = (source.stride[0] * node.window.stride[0], source.stride[1] * node.window.stride[1])
        return View(source.tensor, np.concatenate([absent[0], source.places, absent[1]]), stride)

    def _place(self, node: Node) -> None:
        """A tensor of its own, or a share of a concatenation's."""
        joined = [r for r in self.graph.readers(node.name) if r.op is Op.CONCAT]
        if len(joined) > 1 or any(r.inputs.count(node.name) > 1 for r in joined):
            raise ModelError(
                f"{node.name} must be concatenated once to run on the engine: "
                "let a 1×1 convolution write a copy for each further time"
            )
        if joined:
            self._concatenate(joined[0])
            return
        places = self._own_places(node)
        self.views[node.name] = View(self._tensor(node, _groups(places, self.tk)), places)

    def _own_places(self, node: Node) -> Places:
        """Channels side by side; a pool leaves them in the lanes in which they are."""
        if node.op in (Op.MAX_POOL, Op.AVG_POOL):
            source = self.view(node.inputs[0])
            first = source.group_range(self.tk)[0]
            return np.where(source.places < 0, -1, source.places - first * self.tk)
        return np.arange(self.graph.shapes[node.name][0])

    def _concatenate(self, concat: Node) -> None:
        """One tensor for all members, each from a group of its own on."""
        members = [self.graph[name] for name in concat.inputs]
        if any(r.op is Op.CONCAT for r in self.graph.readers(concat.name)):
            raise ModelError(
                f"{concat.name} must not be concatenated again to run on the engine: join all members at once"
            )
        for member in members:
            if member.op in (Op.INPUT, Op.FLATTEN, Op.SUBSAMPLE, Op.CONCAT):
                raise ModelError(
                    f"{concat.name} must join what layers compute to run on the engine, not {member.name}: "
                    "let a 1×1 convolution follow that"
                )
        every, groups = [], 0
        for member in members:
            own = self._own_places(member)
            every.append(np.where(own < 0, -1, own + groups * self.tk))
            groups += _groups(own, self.tk)
        tensor = self._tensor(concat, groups)
        for member, places in zip(members, every, strict=True):
            self.views[member.name] = View(tensor, places)
        self.views[concat.name] = View(tensor, np.concatenate(every))

    def _tensor(self, node: Node, groups: int) -> Tensor:
        shape, stored = self.graph.shapes[node.name], self.formats.get(self.leaders[node.name])
        height, width = (shape[1], shape[2]) if len(shape) == 3 else (1, 1)
        bits, signed = (32, True) if stored is None else (stored.bits, stored.signed)
        return Tensor(node.name, height, width, bits, signed, groups, logits=stored is None)


def _groups(places: Places, tk: int) -> int:
    return int(places.max(initial=0)) // tk + 1


def _spread(window: Window, stride: tuple[int, int]) -> Window:
    """A window over every stride-th pixel, in pixels."""
    (sy, sx), (top, left, bottom, right) = stride, window.pad
    return Window(
        window.kernel,
        (window.stride[0] * sy, window.stride[1] * sx),
        (top * sy, left * sx, bottom * sy, right * sx),
        (window.dilation[0] * sy, window.dilation[1] * sx),
    )
