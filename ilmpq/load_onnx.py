"""An `.onnx` file → raw `Graph`. The only file on the loading side that imports onnx.

    graph = load_onnx("resnet18.onnx")

The file is parsed, checked, and handed on as plain Python (`OnnxProgram`). Parameters kept in a second file are read
if that lies in the same folder, as torch's exporter writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .errors import ModelError
from .graph import Graph
from .load_export import resolve_shape
from .onnx_graph import convert
from .onnx_program import Array, OnnxNode, OnnxProgram
from .untrusted import Budget, reading

OLDEST_OPSET = 7
MAX_BYTES = 2**31 - 2**20  # protobuf's limit
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
_NUMBERS = (
    *_FLOATS,
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.INT16,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.BOOL,
)


def load_onnx(path: str | Path, input_shape: Sequence[int] | None = None) -> Graph:
    """The raw graph in an ONNX file (opset 7 or later, floating point).

    `input_shape` (channels, height, width) is needed only if the file leaves the size of its input open.
    """
    path = Path(path)
    with reading(path):
        data = path.read_bytes()
        budget = Budget(path, len(data))
        model = _parse(path, data)
        _check_head(path, model)
        _attach_external(path, model, budget)
        for (
            output
        ) in model.graph.output:  # the checker wants a shape here, which other programs leave out; nothing reads it
            if output.type.HasField("tensor_type"):
                output.type.tensor_type.shape.SetInParent()
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as error:
            reason = " ".join(str(error).split())[:400]
            raise ModelError(f"{path} must be a valid ONNX file: {reason}; export the network again") from error
        program = _program(path, model)
        return convert(program, resolve_shape(path.name, program.input_shape, input_shape), budget)


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(data, format="protobuf")
    except Exception as error:  # protobuf's own error types, which have no common base worth naming
        raise ModelError(
            f"{path} must be an ONNX file, but cannot be parsed: it is damaged or of another kind"
        ) from error


def _check_head(path: Path, model: onnx.ModelProto) -> None:
    opsets = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not opsets or min(opsets) < OLDEST_OPSET:
        found = str(min(opsets)) if opsets else "none"
        raise ModelError(f"{path} must use ONNX opset {OLDEST_OPSET} or later, not {found}; export it again")
    if model.functions:
        raise ModelError(
            f"{path} must not define functions of its own ({model.functions[0].name[:80]}); "
            "inline them with onnx.inliner.inline_local_functions"
        )
    if model.graph.sparse_initializer:
        raise ModelError(f"{path} must not hold sparse parameters; export the network with dense ones")


def _attach_external(path: Path, model: onnx.ModelProto, budget: Budget) -> None:
    """Read parameters that lie in another file of the same folder into the model."""
    tensors = [*model.graph.initializer, *(a.t for n in model.graph.node for a in n.attribute if a.HasField("t"))]
    sizes: dict[str, int] = {}
    total = 0
    for tensor in tensors:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {e.key: e.value for e in tensor.external_data}
        location = entries.get("location", "")
        file = path.parent / location
        if location in ("", "..") or file.name != location:
            raise ModelError(
                f"{path} {tensor.name[:80]!r} must keep its data in a file beside the model, not in {location[:80]!r}; "
                "save the model as one file"
            )
        if file.is_symlink() or not file.is_file():
            raise ModelError(f"{path} keeps its parameters in {location[:80]!r}; put that file into the same folder")
        if location not in sizes:
            sizes[location] = file.stat().st_size
            budget.allow(sizes[location])
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", sizes[location] - offset))
        total += length
        if offset < 0 or length < 0 or offset + length > sizes[location] or total > MAX_BYTES:
            raise ModelError(f"{path} {tensor.name[:80]!r} must lie inside {location!r}; are the files of one export?")
        budget.spend(length, tensor.name[:80])
        with file.open("rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(length)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _program(path: Path, model: onnx.ModelProto) -> OnnxProgram:
    graph = model.graph
    constants = {t.name: _array(path, t) for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ModelError(
            f"{path} must have one input and one output, not {len(inputs)} and {len(graph.output)}; "
            "export a module that takes images and returns logits"
        )
    kind = inputs[0].type.tensor_type
    if kind.elem_type not in _FLOATS:
        raise ModelError(
            f"{path} input must be floating point, not {_type_name(kind.elem_type)}; "
            "ILMPQ quantizes the float network, not one that is quantized already"
        )
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in kind.shape.dim)
    nodes = [_node(path, n) for n in graph.node]
    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return OnnxProgram(path.stem, inputs[0].name, shape, graph.output[0].name, nodes, constants, opset)


def _node(path: Path, node: onnx.NodeProto) -> OnnxNode:
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif isinstance(value, TensorProto):
            value = _array(path, value)
        elif not isinstance(value, int | float):
            is_numbers = attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS)
            value = list(value) if is_numbers else None
        attributes[attribute.name] = value
    operation = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
    return OnnxNode(operation, tuple(node.input), tuple(node.output), attributes, node.name)


def _array(path: Path, tensor: TensorProto) -> Array:
    if tensor.data_type not in _NUMBERS:
        raise ModelError(
            f"{path} {tensor.name[:80]!r} must hold numbers of a common type, not {_type_name(tensor.data_type)}"
        )
    array = numpy_helper.to_array(tensor)
    return array.astype(np.float32) if tensor.data_type in _FLOATS else array


def _type_name(kind: int) -> str:
    return TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else f"type {kind}"
