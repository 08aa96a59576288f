"""An ONNX graph as plain data, and typed access to the inputs and attributes of its operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from .errors import ModelError
from .rawbuilder import GraphBuilder
from .rawgraph import NO_PAD, Constant, Pads, Unsupported, Value

Array = NDArray[Any]
Result = Value | Constant | Unsupported


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


def read(results: Mapping[str, Result], name: str, layer: str) -> Value | Constant:
    """What a name stands for, for a reader called `layer`."""
    result = results.get(name)
    if result is None:
        raise ModelError(f"{layer} reads {name[:80]!r}, which nothing before it computes; export the network again")
    if isinstance(result, Unsupported):
        raise ModelError(result.message)
    return result


class Operation:
    """Inputs and attributes of one node, with their types checked on the way out."""

    def __init__(
        self, builder: GraphBuilder, node: OnnxNode, index: int, batch: int, opset: int, results: Mapping[str, Result]
    ) -> None:
        self.builder, self.node, self.batch, self.opset = builder, node, batch, opset
        self._results = results
        self.layer = _scope(node) or f"{node.operation.rpartition(':')[2].lower()}_{index}"
        for name in node.inputs[1:2]:
            constant = results.get(name)
            if isinstance(constant, Constant) and constant.path.endswith(".weight"):
                self.layer = constant.path.removesuffix(".weight")

    def fail(self, rule: str) -> ModelError:
        return ModelError(f"{self.layer} ({self.node.operation}) {rule}")

    def has(self, index: int) -> bool:
        return index < len(self.node.inputs) and self.node.inputs[index] != ""

    def input(self, index: int) -> Value | Constant:
        if not self.has(index):
            raise self.fail(f"must have an input {index + 1}")
        return read(self._results, self.node.inputs[index], self.layer)

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
