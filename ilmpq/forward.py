"""What each node computes, in float, in torch: the one definition that evaluation, calibration and emulation share.

Raw nodes (batch norm, lone ReLU, …) are in, so that a graph can be compared with its canonical form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .graph import Graph, Node, Op, Window

Weights = tuple[Tensor, Tensor]


def run_node(node: Node, inputs: Sequence[Tensor], weights: Weights | None = None) -> Tensor:
    """The output of one node for a batch of inputs, residual and clip included."""
    return clip(node, run_before_clip(node, inputs, weights))


def clip(node: Node, value: Tensor) -> Tensor:
    """The node's ReLU, if it has one."""
    if not (node.relu or node.op is Op.RELU):
        return value
    return value.clamp(min=0.0) if node.relu_max is None else value.clamp(0.0, node.relu_max)


def run_before_clip(node: Node, inputs: Sequence[Tensor], weights: Weights | None = None) -> Tensor:
    """The output of one node before its clip."""
    x = inputs[0]
    match node.op:
        case Op.CONV | Op.LINEAR:
            assert weights is not None
            y = _convolve(node, x, *weights) if node.op is Op.CONV else F.linear(x, *weights)
            return y if node.skip is None else y + inputs[1]
        case Op.MAX_POOL:
            w = _window(node)
            return F.max_pool2d(_pad(x, w, float("-inf")), w.kernel, w.stride, 0, w.dilation)
        case Op.AVG_POOL:
            return average_pool_sum(node, x) * average_pool_factor(node, x.shape[2], x.shape[3]).to(x.dtype)
        case Op.ADAPTIVE_POOL:
            return F.adaptive_avg_pool2d(x, _window(node).kernel)
        case Op.CONCAT:
            return torch.cat(tuple(inputs), dim=1)
        case Op.FLATTEN:
            return x.flatten(1)
        case Op.SUBSAMPLE:
            stride = _window(node).stride
            return F.pad(x[:, :, :: stride[0], :: stride[1]], (0, 0, 0, 0, node.channels_before, node.channels_after))
        case Op.BATCH_NORM:
            assert weights is not None
            shape = (1, -1, 1, 1) if x.ndim == 4 else (1, -1)
            return x * weights[0].view(shape) + weights[1].view(shape)
        case Op.ADD:
            return inputs[0] + inputs[1]
        case Op.RELU | Op.IDENTITY:
            return x
        case Op.INPUT:
            raise AssertionError("the input is given, not computed")


def _window(node: Node) -> Window:
    assert node.window is not None
    return node.window


def _pad(x: Tensor, w: Window, value: float = 0.0) -> Tensor:
    top, left, bottom, right = w.pad
    return F.pad(x, (left, right, top, bottom), value=value) if any(w.pad) else x


def _convolve(node: Node, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    w = _window(node)
    top, left, bottom, right = w.pad
    if (top, left) == (bottom, right):
        return F.conv2d(x, weight, bias, w.stride, (top, left), w.dilation, node.groups)
    return F.conv2d(_pad(x, w), weight, bias, w.stride, 0, w.dilation, node.groups)


def average_pool_sum(node: Node, x: Tensor) -> Tensor:
    """The sum over each window of an average pool."""
    w = _window(node)
    return F.avg_pool2d(_pad(x, w), w.kernel, w.stride, divisor_override=1)


def average_pool_factor(node: Node, height: int, width: int) -> Tensor:
    """What each sum is multiplied with: one number, or one per position where padding does not count."""
    w = _window(node)
    if node.count_pad or not any(w.pad):
        return torch.tensor(1.0 / (w.kernel[0] * w.kernel[1]))
    return 1.0 / average_pool_sum(node, torch.ones(1, 1, height, width))


def unfold(node: Node, x: Tensor) -> Tensor:
    """The columns a weighted node multiplies its rows with: (images, groups, K, positions)."""
    if node.op is Op.LINEAR:
        return x[:, None, :, None]
    w = _window(node)
    columns = F.unfold(_pad(x, w), w.kernel, w.dilation, 0, w.stride)
    return columns.view(x.shape[0], node.groups, -1, columns.shape[-1])


def float_weights(graph: Graph) -> dict[str, Weights]:
    """The graph's parameters as tensors (shared memory, not copies)."""
    return {k: (torch.from_numpy(p.weight), torch.from_numpy(p.bias)) for k, p in graph.parameters.items()}


def forward(
    graph: Graph,
    x: Tensor,
    weights: Mapping[str, Weights] | None = None,
    after: Callable[[Node, Tensor], Tensor] | None = None,
    read: Callable[[Node, Tensor], Tensor] | None = None,
) -> Tensor:
    """The logits of a batch. Tensors are freed after their last reader.

    `after` maps every node's output (quantizes it, records it); `read` maps the first input of weighted nodes.
    """
    weights = float_weights(graph) if weights is None else weights
    last = {source: node.name for node in graph.nodes for source in node.inputs}
    live: dict[str, Tensor] = {}
    for node in graph.nodes:
        if node.op is Op.INPUT:
            value = x
        else:
            inputs = [live[i] for i in node.inputs]
            if read is not None and node.weighted:
                inputs[0] = read(node, inputs[0])
            value = run_node(node, inputs, weights.get(node.name))
        live[node.name] = value if after is None else after(node, value)
        for source in node.inputs:
            if last[source] == node.name:
                live.pop(source, None)
    return live[graph.output.name]
