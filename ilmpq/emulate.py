"""The quantized network in float arithmetic: every stored tensor on its codes, every layer with its rows' values.

It differs from the integer network only where a sum lies within float rounding of a tie.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .codes import layer_weights, read_codes, to_codes
from .forward import Weights, forward
from .graph import Graph, Node
from .rowquant import QuantModel
from .storage import MOVES, groups


class Emulator:
    """A callable that maps a batch of images to the quantized network's logits."""

    def __init__(self, model: QuantModel) -> None:
        self._model = model
        self._group = groups(model.graph)
        self._weights: dict[str, Weights] = {
            name: layer_weights(model.graph, model.graph[name], layer) for name, layer in model.layers.items()
        }

    @torch.no_grad()
    def __call__(self, images: Tensor, observe: Callable[[Node, Tensor], None] | None = None) -> Tensor:
        """Logits of a batch; `observe` sees every node's output as real values."""

        def store(node: Node, value: Tensor) -> Tensor:
            stored = self._stored(node, value)
            if observe is not None:
                observe(node, stored)
            return stored

        return forward(self._model.graph, images, self._weights, after=store, read=self._read)

    def _stored(self, node: Node, value: Tensor) -> Tensor:
        tensor = self._model.tensors.get(self._group[node.name])
        if tensor is None or node.op in MOVES:  # logits stay real, moves carry what is rounded already
            return value
        return to_codes(value, tensor).float().mul_(tensor.scale)

    def _read(self, node: Node, value: Tensor) -> Tensor:
        layer = self._model.layers[node.name]
        tensor = self._model.tensors[self._group[node.inputs[0]]]
        read = tensor.format.narrowed(layer.input_bits)
        if layer.input_shift == 0 and read == tensor.format:
            return value
        codes = (value * (1.0 / tensor.scale)).round_()
        return read_codes(codes, tensor.format, read, layer.input_shift).mul_(tensor.scale * 2.0**layer.input_shift)


def float_logits(graph: Graph, images: Tensor, observe: Callable[[Node, Tensor], None] | None = None) -> Tensor:
    """Logits of the float network; `observe` sees every node's output."""

    def note(node: Node, value: Tensor) -> Tensor:
        if observe is not None:
            observe(node, value)
        return value

    with torch.no_grad():
        return forward(graph, images, after=note)
