"""What each ONNX operation is in a raw graph: one function per kind, and the table of names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from .onnx_program import Array, Operation, Result
from .rawgraph import NO_PAD, Constant, Value

_CASTS = (1, 10, 11, 16)  # onnx.TensorProto: FLOAT, FLOAT16, DOUBLE, BFLOAT16


def _conv(a: Operation) -> Result:
    x, weight = a.value(), a.array(1)
    if weight.ndim != 4:
        raise a.fail(f"weight must have 4 dimensions (a 2-D convolution), not {weight.ndim}")
    kernel = (weight.shape[2], weight.shape[3])
    if a.pair("kernel_shape", kernel) != kernel:
        raise a.fail("kernel_shape must be that of its weight")
    stride, dilation = a.pair("strides", (1, 1)), a.pair("dilations", (1, 1))
    pads = a.pads(x, kernel, stride, dilation)
    return a.builder.conv(a.layer, x, weight, a.optional(2), stride, pads, dilation, a.integer("group", 1))


def _gemm(a: Operation) -> Result:
    x, weight, bias = a.value(), a.array(1), a.optional(2)
    if a.integer("transA", 0) or weight.ndim != 2:
        raise a.fail("must multiply each image's vector with a matrix (transA=0)")
    weight = weight if a.integer("transB", 0) else weight.T
    alpha, beta = a.number("alpha", 1.0), a.number("beta", 1.0)
    weight = weight if alpha == 1 else weight * np.float32(alpha)
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1) * np.float32(beta), weight.shape[:1])
    return a.builder.linear(a.layer, x, weight, bias)


def _matmul(a: Operation) -> Result:
    return a.builder.linear(a.layer, a.value(), a.array(1).T, None)


def _batch_norm(a: Operation) -> Result:
    if a.integer("training_mode", 0) or a.integer("spatial", 1) != 1:
        raise a.fail("must use its running statistics; export the network in evaluation mode")
    x, epsilon = a.value(), a.number("epsilon", 1e-5)
    return a.builder.batch_norm(a.layer, x, a.array(3), a.array(4), a.array(1), a.array(2), epsilon)


def _relu(a: Operation) -> Result:
    return a.builder.relu(a.layer, a.value())


def _clip(a: Operation) -> Result:
    low = a.scalar(1, a.number("min", -math.inf))
    if low != 0:
        raise a.fail(f"must clip at 0 from below (a ReLU), not at {low}")
    return a.builder.relu(a.layer, a.value(), a.scalar(2, a.number("max", math.inf)))


def _max(a: Operation) -> Result:
    operands = [_operand(a, i) for i in range(len(a.node.inputs))]
    values = [v for v in operands if isinstance(v, Value)]
    zeros = [v for v in operands if not isinstance(v, Value) and v.size == 1 and not v.any()]
    if len(values) != 1 or len(zeros) != len(operands) - 1 or not zeros:
        raise a.fail("must be the maximum of an activation and 0 (a ReLU)")
    return a.builder.relu(a.layer, values[0])


def _operand(a: Operation, index: int) -> Value | Array:
    result = a.input(index)
    return result if isinstance(result, Value) else result.array


def _arithmetic(a: Operation) -> Result:
    return a.builder.arithmetic(a.layer, a.node.operation.lower(), _operand(a, 0), _operand(a, 1))


def _sum(a: Operation) -> Result:
    total = a.value(0)
    for index in range(1, len(a.node.inputs)):
        total = a.builder.arithmetic(a.layer, "add", total, _operand(a, index))
    return total


def _max_pool(a: Operation) -> Result:
    x, kernel = a.value(), a.pair("kernel_shape", None)
    stride, dilation = a.pair("strides", (1, 1)), a.pair("dilations", (1, 1))
    pads, ceil = a.pads(x, kernel, stride, dilation), bool(a.integer("ceil_mode", 0))
    return a.builder.max_pool(a.layer, x, kernel, stride, pads, dilation, ceil)


def _average_pool(a: Operation) -> Result:
    x, kernel, stride = a.value(), a.pair("kernel_shape", None), a.pair("strides", (1, 1))
    if a.pair("dilations", (1, 1)) != (1, 1):
        raise a.fail("dilations must be 1")
    pads, ceil = a.pads(x, kernel, stride, (1, 1)), bool(a.integer("ceil_mode", 0))
    return a.builder.average_pool(a.layer, x, kernel, stride, pads, bool(a.integer("count_include_pad", 0)), ceil)


def _global_average(a: Operation) -> Result:
    x = a.value()
    return a.builder.global_average(a.layer, x, range(1, len(x.shape)), keep=True)


def _global_max(a: Operation) -> Result:
    x = a.value()
    if len(x.shape) != 3:
        raise a.fail("must read an image")
    size = (x.shape[1], x.shape[2])
    return a.builder.max_pool(a.layer, x, size, size, NO_PAD, (1, 1))


def _mean(a: Operation) -> Result:
    x = a.value()
    axes = [a.axis(v, len(x.shape)) for v in a.integers("axes", 1) or []]
    return a.builder.global_average(a.layer, x, axes, bool(a.integer("keepdims", 1)))


def _concat(a: Operation) -> Result:
    values = [a.value(i) for i in range(len(a.node.inputs))]
    if a.axis(a.integer("axis", 1), len(values[0].shape)) != 0:
        raise a.fail("must join channels (axis 1)")
    return a.builder.concat(a.layer, values)


def _flatten(a: Operation) -> Result:
    x = a.value()
    if a.axis(a.integer("axis", 1), len(x.shape)) != 0:
        raise a.fail("must keep the batch as its first dimension (axis 1)")
    return a.builder.reshape(a.layer, x, (-1,))


def _reshape(a: Operation) -> Result:
    x, sizes = a.value(), a.integers("shape", 1) or []
    if not a.integer("allowzero", 0):
        full = (a.batch, *x.shape)
        sizes = [full[i] if s == 0 and i < len(full) else s for i, s in enumerate(sizes)]
    if len(sizes) < 2 or sizes[0] not in (a.batch, -1):
        raise a.fail("must keep the batch as its first dimension; use torch.flatten(x, 1)")
    return a.builder.reshape(a.layer, x, sizes[1:])


def _squeeze(a: Operation) -> Result:
    x, axes = a.value(), a.integers("axes", 1)
    if axes is None and a.batch == 1:
        raise a.fail("must name its axes, or it drops the batch of one image; use torch.flatten(x, 1)")
    chosen = range(len(x.shape)) if axes is None else [a.axis(v, len(x.shape)) for v in axes]
    return a.builder.reshape(a.layer, x, [s for i, s in enumerate(x.shape) if s != 1 or i not in chosen])


def _unsqueeze(a: Operation) -> Result:
    x, axes = a.value(), a.integers("axes", 1) or []
    rank = len(x.shape) + len(axes)
    chosen = [a.axis(v, rank) for v in axes]
    if min(chosen, default=-1) < 0 or len(set(chosen)) < len(chosen):
        raise a.fail("must keep the batch as its first dimension")
    rest = iter(x.shape)
    return a.builder.reshape(a.layer, x, [1 if i in chosen else next(rest) for i in range(rank)])


def _same_value(a: Operation) -> Result:
    return a.value()


def _dropout(a: Operation) -> Result:
    if a.scalar(2, 0.0):
        raise a.fail("must not drop values; export the network in evaluation mode")
    return a.value()


def _cast(a: Operation) -> Result:
    if a.integer("to", 1) not in _CASTS:
        raise a.fail("must keep activations in floating point")
    return a.value()


def _softmax(a: Operation) -> Result:
    x = a.value()
    return a.builder.softmax(a.layer, x, a.axis(a.integer("axis", 1 if a.opset < 13 else -1), len(x.shape)))


def _pad(a: Operation) -> Result:
    x, mode = a.value(), a.text("mode", "constant")
    if mode != "constant":
        raise a.fail(f"must pad with zeros; the padding mode {mode!r} is not supported")
    pads, rank = a.integers("pads", 1) or [], len(x.shape) + 1
    axes = a.integers("axes", 3)
    axes = list(range(rank)) if axes is None else axes
    if len(pads) != 2 * len(axes):
        raise a.fail("pads must have two numbers for each dimension")
    pairs = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        pairs[a.axis(axis, rank - 1) + 1] = (pads[i], pads[i + len(axes)])
    if any(pairs[0]):
        raise a.fail("must not pad the batch")
    return a.builder.pad(a.layer, x, pairs[1:], a.scalar(2, a.number("value", 0.0)))


def _slice(a: Operation) -> Result:
    x = a.value()
    starts, ends = a.integers("starts", 1) or [], a.integers("ends", 2) or []
    axes, steps = a.integers("axes", 3), a.integers("steps", 4)
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index = a.axis(axis, len(x.shape))
        if index >= 0:
            x = a.builder.slice(a.layer, x, index, start, end, step)
        elif (start, step) != (0, 1) or end < 2**31 - 1:
            raise a.fail("must not slice the batch")
    return x


def _shape(a: Operation) -> Result:
    full = (a.batch, *a.value().shape)
    start, end = a.integer("start", 0), a.integer("end", len(full))
    return Constant(a.layer, np.array(full[start:end], np.int64))


HANDLERS: Mapping[str, Callable[[Operation], Result]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "Relu": _relu,
    "Clip": _clip,
    "Max": _max,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    "Sum": _sum,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "ReduceMean": _mean,
    "Concat": _concat,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Identity": _same_value,
    "Dropout": _dropout,
    "Cast": _cast,
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    "Pad": _pad,
    "Slice": _slice,
    "Shape": _shape,
}
