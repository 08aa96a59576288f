"""The nodes of an ONNX graph that computes a program in real numbers: standard QDQ operations, or QONNX's `Quant`.

A stored tensor with scale s holds code × s. A layer's sum is a convolution of such values, the residual is added, and
storing rounds to s again. Where all scales are powers of two, every value up to the rounding is a whole multiple of a
power of two, so that float32 is exact below 2^24 multiples and both graphs give the program's integers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .graph import Node, Op, Window
from .program import ACCUMULATOR, Program
from .rowquant import TensorQuant
from .storage import TensorFormat

INPUT, OUTPUT = "input", "logits"
QONNX_DOMAIN = "qonnx.custom_op.general"
BIAS_BITS = 32
_END = np.iinfo(np.int64).max
Array = NDArray[Any]


@dataclass
class Parts:
    """What a graph is made of, in order. `stored` says which tensor holds what a node stores."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)

    def constant(self, name: str, value: Array) -> str:
        """Add a constant tensor, once."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        """Add a node, named as its one output."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def rename(self, old: str, new: str) -> None:
        """Give a tensor another name."""
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]
        self.stored = {k: new if name == old else name for k, name in self.stored.items()}


class Translator(ABC):
    """Writes a program down node by node. Tensors are named NODE/WHAT, so that no two names can meet."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.parts = Parts()
        self._values: dict[str, str] = {}  # of each node, the tensor of its real values
        self._seen: dict[tuple[str, int, int], str] = {}

    def parts_of_program(self) -> Parts:
        """The whole graph, from `INPUT` to `OUTPUT`."""
        for node in self.program.graph.nodes:
            self._values[node.name] = self._translate(node)
        self.parts.rename(self._values[self.program.graph.output.name], OUTPUT)
        return self.parts

    @abstractmethod
    def quantize(self, name: str, x: str, tensor: TensorQuant, low: int, high: int, relu: bool) -> tuple[str, str]:
        """Round x to codes from low to high; the tensors that hold the codes (or stand for them) and their values.

        Names of what is added begin with `name`.
        """

    @abstractmethod
    def parameter(self, name: str, codes: Array, scale: Array, bits: int) -> str:
        """Add a weight or a bias, codes × scale of the row; its tensor of real values."""

    def _translate(self, node: Node) -> str:
        match node.op:
            case Op.INPUT:
                return self._store(node, INPUT)
            case Op.CONV | Op.LINEAR:
                return self._store(node, self._sum(node))
            case Op.AVG_POOL:
                return self._store(node, self._average(node))
        value = self._move(node)
        if (stored := self._stored_move(value)) is not None and self.program.tensor(node.name) is not None:
            self.parts.stored[node.name] = stored
        return value

    def _stored_move(self, value: str) -> str | None:
        """The tensor that stands for the codes that a node has moved, if there is one."""
        return None

    def _store(self, node: Node, x: str) -> str:
        """What is computed becomes codes, or logits."""
        tensor = self.program.tensor(node.name)
        if tensor is None:
            return self._clip_logits(node, x)
        low, high = tensor.format.low, tensor.format.high
        if node.op is not Op.INPUT:
            low, high = self.program.arithmetic[node.name].low, self.program.arithmetic[node.name].high
        self.parts.stored[node.name], value = self.quantize(f"{node.name}/", x, tensor, low, high, node.relu)
        return value

    def _clip_logits(self, node: Node, x: str) -> str:
        a = self.program.arithmetic[node.name]
        if (a.low, a.high) == (-ACCUMULATOR - 1, ACCUMULATOR):
            return x
        if (a.low, a.high) == (0, ACCUMULATOR):
            return self.parts.add("Relu", [x], f"{node.name}/relu")
        return self.clip(f"{node.name}/", x, self.program.logits_scale, a.low, a.high)

    def clip(self, name: str, x: str, scale: float, low: int, high: int) -> str:
        """Clamp real values to low × scale … high × scale."""
        bounds = {"low": low, "high": high}
        names = [self._float(f"{name}{label}", code * scale) for label, code in bounds.items()]
        return self.parts.add("Clip", [x, *names], f"{name}clipped")

    def _float(self, name: str, value: float) -> str:
        return self.parts.constant(name, np.array(value, np.float32))

    def _sum(self, node: Node) -> str:
        """Convolution or matrix product with bias, and the residual."""
        matrix, name = self.program.matrices[node.name], node.name
        shape = self.program.graph.weight_shape(node)
        x, scale = self._read(node)
        rows = self.program.row_scale(name)
        unit = (rows.astype(np.float64) * scale).astype(np.float32)
        weight = self.parameter(f"{name}/weight", matrix.codes.reshape(shape), rows, 8)
        inputs = [x, weight, self.parameter(f"{name}/bias", matrix.bias, unit, BIAS_BITS)]
        if node.op is Op.LINEAR:
            total = self.parts.add("Gemm", inputs, f"{name}/sum", transB=1)
        else:
            total = self.parts.add("Conv", inputs, f"{name}/sum", group=node.groups, **_sliding(_window(node)))
        return total if node.skip is None else self.parts.add("Add", [total, self._values[node.skip]], f"{name}/added")

    def _read(self, node: Node) -> tuple[str, float]:
        """The tensor that a layer's arrays see, and what its code 1 is worth."""
        source, matrix = node.inputs[0], self.program.matrices[node.name]
        stored = self.program.tensor(source)
        assert stored is not None
        seen = TensorQuant(self.program.seen(node.name), stored.scale * 2.0**matrix.input_shift)
        if seen == stored:
            return self._values[source], stored.scale
        key = (source, seen.format.bits, matrix.input_shift)
        if key not in self._seen:
            low, high = seen.format.low, seen.format.high
            self._seen[key] = self.quantize(f"{node.name}/seen_", self._values[source], seen, low, high, False)[1]
        return self._seen[key], seen.scale

    def _average(self, node: Node) -> str:
        """The exact sum of each window, times one constant (or one per position)."""
        name, window, x = node.name, _window(node), self._values[node.inputs[0]]
        channels, *size = self.program.graph.shapes[node.inputs[0]]
        if tuple(size) == window.kernel and not any(window.pad):
            axes = self.parts.constant("image_axes", np.array([2, 3]))
            total = self.parts.add("ReduceSum", [x, axes], f"{name}/sum", keepdims=1)
        else:
            ones = self.parts.constant(f"{name}/ones", np.ones((channels, 1, *window.kernel), np.float32))
            total = self.parts.add("Conv", [x, ones], f"{name}/sum", group=channels, **_sliding(window))
        factor = self.parts.constant(f"{name}/factor", self._pool_factor(node))
        return self.parts.add("Mul", [total, factor], f"{name}/average")

    def _pool_factor(self, node: Node) -> NDArray[np.float32]:
        """multiplier × 2^-shift × scale of the output / scale of the input."""
        a, program = self.program.arithmetic[node.name], self.program
        factor = a.multiplier * 2.0**-a.shift * (program.scale(node.name) / program.scale(node.inputs[0]))
        shape = (1, 1, *program.graph.shapes[node.name][1:]) if len(factor) > 1 else ()
        return factor.astype(np.float32).reshape(shape)

    def _move(self, node: Node) -> str:
        """Pools of maxima, concatenation, flattening and subsampling: the same on values as on codes."""
        x, value = self._values[node.inputs[0]], f"{node.name}/value"
        match node.op:
            case Op.MAX_POOL:
                return self._max_pool(node, x, value)
            case Op.CONCAT:
                return self.parts.add("Concat", [self._values[i] for i in node.inputs], value, axis=1)
            case Op.FLATTEN:
                return self.parts.add("Flatten", [x], value, axis=1)
            case Op.SUBSAMPLE:
                return self._subsample(node, x, value)
        raise AssertionError(f"{node.op} is not an operation of a program")

    def _max_pool(self, node: Node, x: str, value: str) -> str:
        window = _window(node)
        sliding = _sliding(window)
        if any(p >= k for p, k in zip(window.pad, window.kernel * 2, strict=True)):  # onnxruntime refuses such a pool
            top, left, bottom, right = window.pad
            pads = self.parts.constant(f"{node.name}/pads", np.array([0, 0, top, left, 0, 0, bottom, right]))
            outside = self._float("never", float(np.finfo(np.float32).min))
            x = self.parts.add("Pad", [x, pads, outside], f"{node.name}/padded")
            sliding["pads"] = (0, 0, 0, 0)
        return self.parts.add("MaxPool", [x], value, **sliding)

    def _subsample(self, node: Node, x: str, value: str) -> str:
        named = {"starts": (0, 0), "ends": (_END, _END), "axes": (2, 3), "steps": _window(node).stride}
        inputs = [self.parts.constant(f"{node.name}/{k}", np.array(v, np.int64)) for k, v in named.items()]
        kept = self.parts.add("Slice", [x, *inputs], f"{node.name}/kept")
        channels = np.array([0, node.channels_before, 0, 0, 0, node.channels_after, 0, 0])
        return self.parts.add("Pad", [kept, self.parts.constant(f"{node.name}/pads", channels)], value)


class Qdq(Translator):
    """Standard ONNX: QuantizeLinear and DequantizeLinear with zero points 0; weights and biases are integer constants."""

    def quantize(self, name: str, x: str, tensor: TensorQuant, low: int, high: int, relu: bool) -> tuple[str, str]:
        scale = self._float(f"{name}scale", tensor.scale)
        dtype = np.dtype(np.int8 if tensor.format.signed else np.uint8)
        zero = self.parts.constant(f"zero_{dtype}", np.zeros((), dtype))
        clipped = self.clip(name, x, tensor.scale, low, high)
        codes = self.parts.add("QuantizeLinear", [clipped, scale, zero], f"{name}codes")
        return codes, self.parts.add("DequantizeLinear", [codes, scale, zero], f"{name}value")

    def parameter(self, name: str, codes: Array, scale: Array, bits: int) -> str:
        inputs = [self.parts.constant(f"{name}_codes", codes), self.parts.constant(f"{name}_scale", scale)]
        if bits == 8:  # a zero point of int32 is not in the standard
            inputs.append(self.parts.constant(f"{name}_zero", np.zeros(scale.shape, codes.dtype)))
        return self.parts.add("DequantizeLinear", inputs, name, axis=0)


class Qonnx(Translator):
    """QONNX: a `Quant` node wherever codes come into being.

    Weights are codes times scales in front of their `Quant`; `cleanup_model` turns that into one float constant.
    """

    def quantize(self, name: str, x: str, tensor: TensorQuant, low: int, high: int, relu: bool) -> tuple[str, str]:
        lowest = tensor.format.low
        if relu and low >= 0:
            x, lowest = self.parts.add("Relu", [x], f"{name}relu"), max(lowest, 0)
        if (low, high) != (lowest, tensor.format.high):
            x = self.clip(name, x, tensor.scale, low, high)
        scale = self._float(f"{name}scale", tensor.scale)
        value = self._quant(x, scale, f"{name}value", tensor.format)
        return value, value

    def parameter(self, name: str, codes: Array, scale: Array, bits: int) -> str:
        whole = self.parts.constant(f"{name}_codes", codes)
        rows = self.parts.constant(f"{name}_scale", scale.reshape(-1, *[1] * (codes.ndim - 1)))
        real = self.parts.add("Cast", [whole], f"{name}_float", to=TensorProto.FLOAT)
        real = self.parts.add("Mul", [real, rows], f"{name}_real")
        return self._quant(real, rows, name, TensorFormat(bits, True))

    def _quant(self, x: str, scale: str, output: str, tensor: TensorFormat) -> str:
        inputs = [x, scale, self._float("zero", 0), self._float(f"bits_{tensor.bits}", tensor.bits)]
        signed = int(tensor.signed)
        attributes = {"signed": signed, "narrow": signed, "rounding_mode": "ROUND"}
        return self.parts.add("Quant", inputs, output, QONNX_DOMAIN, **attributes)

    def _stored_move(self, value: str) -> str | None:
        return value


def _window(node: Node) -> Window:
    assert node.window is not None
    return node.window


def _sliding(window: Window) -> dict[str, Any]:
    """A window as ONNX's attributes; both order pads as top, left, bottom, right."""
    return {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "pads": window.pad,
        "dilations": window.dilation,
    }
