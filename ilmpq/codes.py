"""Between real values and integer codes, in torch: stored tensors, what arrays read of them, and layers' weights."""

from __future__ import annotations

import torch
from torch import Tensor

from .forward import Weights
from .graph import Graph, Node
from .rowquant import LayerQuant, TensorQuant
from .storage import TensorFormat


def to_codes(x: Tensor, tensor: TensorQuant) -> Tensor:
    """Round real values to stored codes, ties to even."""
    dtype = torch.int8 if tensor.format.signed else torch.uint8
    codes = torch.empty(x.shape, dtype=dtype)
    scale = torch.tensor(tensor.scale)  # a true division in float32, as every other executor does it
    for image, out in zip(x, codes, strict=True):  # one image at a time: no second float copy of the whole
        out.copy_((image / scale).round_().clamp_(tensor.format.low, tensor.format.high))
    return codes


def read_codes(codes: Tensor, stored: TensorFormat, read: TensorFormat, shift: int) -> Tensor:
    """The codes (as float) that a layer's arrays see."""
    x = codes.float()
    if shift == 0 and read.bits >= stored.bits:
        return x
    return (x * 2.0**-shift).round_().clamp_(read.low, read.high)


def layer_weights(graph: Graph, node: Node, layer: LayerQuant) -> Weights:
    """A quantized layer's weights and bias as real tensors in the shape of its node."""
    weight = torch.from_numpy(layer.rows.values()).view(graph.weight_shape(node))
    return weight, torch.from_numpy(layer.bias)
