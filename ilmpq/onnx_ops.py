"""An ONNX graph as plain data → raw `Graph`: one function per kind of operation, and the table of names.

Small integer arithmetic on shapes (`Shape → Gather → Concat → Reshape`) is carried out, because the input's shape is
known. Operations are accepted by name; anything else is refused with its name and its node's, if its result is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .graph import Graph
from .onnx_fold import FOLDS
from .rawbuilder import GraphBuilder
from .rawgraph import NO_PAD, SUPPORTED, Constant, Pads, Unsupported, Value
from .untrusted import Budget

Array = NDArray[Any]
Result = Value | Constant | Unsupported

FREE_BATCH = 1_000_003  # stands for a batch size the file leaves open; a prime, so that products with it are noticed
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinear", "ConvInteger", "MatMulInteger", "::Quant", "::IntQuant")
_CASTS = (1, 10, 11, 16)  # onnx.TensorProto: FLOAT, FLOAT16, DOUBLE, BFLOAT16


@dataclass(frozen=True)
class OnnxNode:
    """One operation; its attributes as Python values."""

    operation: str  # with the domain, if it is not ONNX's own
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    name: str


@dataclass(frozen=True)
class OnnxProgram:
    """A network with one input and one output."""

    name: str
    input: str
    input_shape: tuple[int, ...]  # with the batch; −1 where it is open
    output: str
    nodes: Sequence[OnnxNode]
    constants: Mapping[str, Array]
    opset: int


def convert(program: OnnxProgram, input_shape: Sequence[int], budget: Budget) -> Graph:
    """The raw graph of a program for one input shape (channels, height, width)."""
    for node in program.nodes:
        if any(q in node.operation for q in _QUANTIZED):
            raise ModelError(
                f"{program.name} must be the float network, but holds {node.operation} ({node.name or node.outputs[:1]}): "
                "it is quantized already; give the file it was made from"
            )
    builder = GraphBuilder(program.name, input_shape, budget)
    state = _State(program, builder, {k: Constant(k, v) for k, v in program.constants.items()}, budget)
    state.results[program.input] = builder.input
    for index, node in enumerate(program.nodes):
        state.run(node, index)
    output = state.read(program.output, "the output")
    if not isinstance(output, Value):
        raise ModelError(f"{program.name} must compute its output from its input, but it is constant")
    return builder.finish(output)


@dataclass
class _State:
    program: OnnxProgram
    builder: GraphBuilder
    results: dict[str, Result]
    budget: Budget
    batch: int = field(init=False)

    def __post_init__(self) -> None:
        declared = self.program.input_shape[0]
        self.batch = declared if declared > 0 else FREE_BATCH

    def run(self, node: OnnxNode, index: int) -> None:
        operation = Operation(self, node, index)
        try:
            result = self._result(operation)
        except ModelError as error:  # fails the network only if the result is read
            result = Unsupported(str(error))
        for name in node.outputs[:1]:
            self.results[name] = result
        for name in node.outputs[1:]:
            self.results[name] = Unsupported(
                f"{operation.layer} is used for more than its first result, which is not supported"
            )

    def _result(self, a: Operation) -> Result:
        inputs = [self.read(name, a.layer) if name else None for name in a.node.inputs]
        constants = [i for i in inputs if isinstance(i, Constant)]
        if a.node.operation in FOLDS and not any(isinstance(i, Value) for i in inputs):
            arrays = [i.array if isinstance(i, Constant) else None for i in inputs]
            array = FOLDS[a.node.operation](a.node.attributes, arrays)
            self.budget.spend(array.nbytes, a.layer)
            return Constant(constants[0].path if constants else a.node.outputs[0], array)
        handler = HANDLERS.get(a.node.operation)
        if handler is None:
            raise ModelError(
                f"{a.layer} uses {a.node.operation}, which is not supported; supported are {SUPPORTED}. "
                "Replace it in the network, or leave it out, and export again"
            )
        return handler(a)

    def read(self, name: str, layer: str) -> Result:
        result = self.results.get(name)
        if result is None:
            raise ModelError(f"{layer} reads {name[:80]!r}, which nothing before it computes; export the network again")
        if isinstance(result, Unsupported):
            raise ModelError(result.message)
        return result


class Operation:
    """Inputs and attributes of one node, with their types checked on the way out."""

    def __init__(self, state: _State, node: OnnxNode, index: int) -> None:
        self.state, self.node, self.builder = state, node, state.builder
        self.layer = _scope(node) or f"{node.operation.rpartition(':')[2].lower()}_{index}"
        for name in node.inputs[1:2]:
            constant = state.results.get(name)
            if isinstance(constant, Constant) and constant.path.endswith(".weight"):
                self.layer = constant.path.removesuffix(".weight")

    def fail(self, rule: str) -> ModelError:
        return ModelError(f"{self.layer} ({self.node.operation}) {rule}")

    def has(self, index: int) -> bool:
        return index < len(self.node.inputs) and self.node.inputs[index] != ""

    def input(self, index: int) -> Value | Constant:
        if not self.has(index):
            raise self.fail(f"must have an input {index + 1}")
        result = self.state.read(self.node.inputs[index], self.layer)
        assert not isinstance(result, Unsupported)
        return result

    def value(self, index: int = 0) -> Value:
        result = self.input(index)
        if not isinstance(result, Value):
            raise self.fail(f"input {index + 1} must be computed from the image, not be constant")
        return result

    def array(self, index: int) -> Array:
        result = self.input(index)
        if not isinstance(result, Constant):
            raise self.fail(f"input {index + 1} must be constant, not computed from the image")
        return result.array

    def optional(self, index: int) -> Array | None:
        return self.array(index) if self.has(index) else None

    def integer(self, name: str, default: int) -> int:
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.fail(f"{name} must be an integer")
        return value

    def number(self, name: str, default: float) -> float:
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise self.fail(f"{name} must be a number")
        return float(value)

    def text(self, name: str, default: str) -> str:
        return str(self.node.attributes.get(name, default))[:40]

    def integers(self, name: str, index: int | None = None) -> list[int] | None:
        """An attribute, or the constant input that newer opsets give instead."""
        if index is not None and self.has(index):
            array = self.array(index)
            if array.size > 64 or array.dtype.kind != "i":
                raise self.fail(f"{name} must be a few integers")
            return [int(v) for v in array.reshape(-1)]
        values = self.node.attributes.get(name)
        if values is None:
            return None
        if not isinstance(values, list) or not all(isinstance(v, int) for v in values):
            raise self.fail(f"{name} must be integers")
        return values

    def pair(self, name: str, default: tuple[int, int] | None) -> tuple[int, int]:
        values = self.integers(name) or default
        if values is None or len(values) != 2:
            raise self.fail(f"{name} must be two numbers (a 2-D layer)")
        return (values[0], values[1])

    def scalar(self, index: int, default: float) -> float:
        array = self.optional(index)
        if array is not None and array.size != 1:
            raise self.fail(f"input {index + 1} must be one number")
        return default if array is None else float(array.reshape(()))

    def axis(self, axis: int, rank: int) -> int:
        """A dimension, counted without the batch: −1 is the batch itself."""
        if not -rank - 1 <= axis <= rank:
            raise self.fail(f"dimension must be at most {rank}, not {axis}")
        return axis % (rank + 1) - 1

    def pads(self, x: Value, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> Pads:
        """(top, left, bottom, right), also where the file says only `SAME`."""
        mode = self.text("auto_pad", "NOTSET")
        if mode == "VALID":
            return NO_PAD
        if mode == "NOTSET":
            values = self.integers("pads") or list(NO_PAD)
            if len(values) != 4:
                raise self.fail("pads must be four numbers (a 2-D layer)")
            return (values[0], values[1], values[2], values[3])
        if mode not in ("SAME_UPPER", "SAME_LOWER") or len(x.shape) != 3 or min(*kernel, *stride, *dilation) < 1:
            raise self.fail(f"auto_pad must be NOTSET, VALID or SAME, not {mode}")
        low, high = [], []
        for size, k, s, d in zip(x.shape[1:], kernel, stride, dilation, strict=True):
            total = max(0, (-(-size // s) - 1) * s + d * (k - 1) + 1 - size)
            small, large = total // 2, total - total // 2
            low.append(small if mode == "SAME_UPPER" else large)
            high.append(large if mode == "SAME_UPPER" else small)
        return (low[0], low[1], high[0], high[1])


def _scope(node: OnnxNode) -> str:
    """A node's name as a module path: torch writes `/layer1/layer1.0/conv1/Conv` for layer1.0.conv1."""
    parts: list[str] = []
    for part in node.name.removeprefix("node_").split("/"):
        if parts and part.startswith(parts[-1] + "."):
            parts.pop()
        if part:
            parts.append(part)
    if len(parts) > 1 and parts[-1].split("_")[0] == node.operation:
        parts.pop()
    return ".".join(parts)


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
        full = (a.state.batch, *x.shape)
        sizes = [full[i] if s == 0 and i < len(full) else s for i, s in enumerate(sizes)]
    if len(sizes) < 2 or sizes[0] not in (a.state.batch, -1):
        raise a.fail("must keep the batch as its first dimension; use torch.flatten(x, 1)")
    return a.builder.reshape(a.layer, x, sizes[1:])


def _squeeze(a: Operation) -> Result:
    x, axes = a.value(), a.integers("axes", 1)
    if axes is None and a.state.batch == 1:
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
    return a.builder.softmax(
        a.layer, x, a.axis(a.integer("axis", 1 if a.state.program.opset < 13 else -1), len(x.shape))
    )


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
    full = (a.state.batch, *a.value().shape)
    start, end = a.integer("start", 0), a.integer("end", len(full))
    return Constant(a.layer, np.array(full[start:end], np.int64))


HANDLERS: Mapping[str, Callable[[Operation], Result]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "Relu": _relu,
    "Clip": _clip,
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
