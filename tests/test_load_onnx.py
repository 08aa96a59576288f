"""ONNX files: the raw graph computes what onnxruntime computes, and no file can do harm."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from example_nets import MAKERS, images, make
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from ilmpq.errors import ModelError, UsageError
from ilmpq.forward import forward
from ilmpq.graph import Graph, Op
from ilmpq.load_onnx import load_onnx

# Both sides add the same float32 products, but fused kernels and folded batch norms round in another order.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}

Array = NDArray[Any]
IR_VERSION = 10


def assert_same(path: Path, shape: Sequence[int], graph: Graph | None = None, batch: int = 3) -> Graph:
    """The file's raw graph, which must agree with onnxruntime."""
    graph = load_onnx(path, None) if graph is None else graph
    x = images((shape[0], shape[1], shape[2]), batch)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        actual = forward(graph, x).numpy()
    np.testing.assert_allclose(actual.reshape(expected.shape), expected, **TOLERANCE)
    return graph


# ---- files that torch writes ----


@pytest.mark.parametrize("name", MAKERS)
def test_torchscript_exporter(name: str, tmp_path: Path) -> None:
    module, shape = make(name)
    path = tmp_path / "net.onnx"
    # Below opset 19 onnxruntime counts what ceil mode adds to an average pool, against the specification and torch.
    opset, folding = 19 if name == "squeezenet" else 13, name != "vgg"
    options: dict[str, Any] = {"dynamo": False, "do_constant_folding": folding, "opset_version": opset}
    torch.onnx.export(module, (images(shape),), path, input_names=["x"], dynamic_axes={"x": {0: "batch"}}, **options)
    with torch.no_grad():
        torch.testing.assert_close(forward(load_onnx(path), images(shape)), module(images(shape)), **TOLERANCE)
    if name != "functional":  # onnxruntime does not run padding="same" with dilation
        assert_same(path, shape)


@pytest.mark.parametrize("name", ["residual", "option_a", "functional"])
def test_dynamo_exporter(name: str, tmp_path: Path) -> None:
    """It keeps the parameters in a second file."""
    module, shape = make(name)
    path = tmp_path / "net.onnx"
    torch.onnx.export(module, (images(shape),), path, dynamo=True, verbose=False)
    assert (tmp_path / "net.onnx.data").exists()
    assert_same(path, shape)
    (tmp_path / "net.onnx.data").rename(tmp_path / "moved")
    with pytest.raises(
        ModelError, match=r"keeps its parameters in 'net\.onnx\.data'; put that file into the same folder"
    ):
        load_onnx(path)


def test_names_and_statistics_come_through(tmp_path: Path) -> None:
    module, shape = make("residual")
    path, mode = tmp_path / "net.onnx", torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(module, (images(shape),), path, dynamo=False, training=mode, do_constant_folding=False)
    graph = assert_same(path, shape)
    weighted = ["0", "3.conv1", "3.conv2", "4.downsample.0", "4.conv1", "4.conv2", "7"]
    assert [n.name for n in graph.weighted] == weighted
    norm = module[1]
    np.testing.assert_array_equal(graph.statistics["1"].mean, norm.bias.detach().numpy())
    np.testing.assert_array_equal(graph.statistics["1"].std, norm.weight.detach().abs().numpy())


# ---- files by hand ----


def build(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Array],
    shape: Sequence[int | str] = (3, 3, 8, 8),
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
) -> Path:
    """A model that reads `x` and whose last node is its output."""
    tensors = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    ends = [
        helper.make_tensor_value_info(n, k, s) for n, k, s in (("x", kind, shape), (nodes[-1].output[0], kind, None))
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
    path.write_bytes(model.SerializeToString())
    return path


def op(kind: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    name = attributes.pop("name", "")
    return helper.make_node(kind, ["" if i == "_" else i for i in inputs.split()], [output], name=name, **attributes)


def random(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


CONV = op("Conv", "x conv.weight", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
WEIGHT = {"conv.weight": random(4, 3, 3, 3)}
HEAD = [op("Flatten", "h", "f"), op("Gemm", "f fc.weight fc.bias", transB=1)]

Case = tuple[list[onnx.NodeProto], dict[str, Array]]

# Each reads c (4×8×8, after a convolution) and ends in h; a head follows where h is an image.
BODIES: dict[str, Case] = {
    "batch norm": ([op("BatchNormalization", "c s b m v", "h", epsilon=1e-3)], {
        "s": random(4), "b": random(4), "m": random(4), "v": abs(random(4)) + 1}),
    "clip": ([op("Clip", "c lo hi", "h")], {"lo": np.array(0, np.float32), "hi": np.array(1.5, np.float32)}),
    "a maximum with zero": ([op("Max", "z c", "h")], {"z": np.zeros(1, np.float32)}),
    "clip from below only": ([op("Clip", "c lo", "h")], {"lo": np.array(0, np.float32)}),
    "sum of three": ([op("Relu", "c", "r"), op("Sum", "c r c", "h")], {}),
    "scale and shift per channel": ([op("Mul", "s c", "m"), op("Sub", "b m", "h")], {
        "s": random(4, 1, 1), "b": random(1, 4, 1, 1)}),
    "division": ([op("Div", "c s", "h")], {"s": np.array([2.5], np.float32)}),
    "max pool": ([op("MaxPool", "c", "h", kernel_shape=[3, 2], strides=[2, 3], pads=[0, 1, 1, 0])], {}),
    "max pool, ceil": ([op("MaxPool", "c", "h", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {}),
    "max pool, dilated": ([op("MaxPool", "c", "h", kernel_shape=[2, 2], dilations=[3, 2])], {}),
    "average pool": ([op("AveragePool", "c", "h", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 0, 1])], {}),
    "average pool, counted": ([op("AveragePool", "c", "h", kernel_shape=[3, 3], pads=[1, 1, 1, 1],
        count_include_pad=1)], {}),
    "pools of the same size": ([op("MaxPool", "c", "m", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
        op("AveragePool", "m", "h", kernel_shape=[2, 2], auto_pad="SAME_LOWER")], {}),
    "global max": ([op("GlobalMaxPool", "c", "h")], {}),
    "global average": ([op("GlobalAveragePool", "c", "h")], {}),
    "mean": ([op("ReduceMean", "c", "h", axes=[-1, -2], keepdims=0)], {}),
    "concat": ([op("Relu", "c", "r"), op("Concat", "c r", "h", axis=1)], {}),
    "padding before a convolution": ([op("Pad", "c p", "q"), op("Conv", "q w", "h")], {
        "p": ints(0, 0, 1, 0, 0, 0, 2, 1), "w": random(2, 4, 3, 3)}),
    "padding before a max pool": ([op("Relu", "c", "r"), op("Pad", "r p", "q"),
        op("MaxPool", "q", "h", kernel_shape=[3, 3], strides=[2, 2])], {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}),
    "option A": ([op("Slice", "c a e d t", "s"), op("Pad", "s p z", "h")], {
        "a": ints(0, 0), "e": ints(8, 2**40), "d": ints(2, 3), "t": ints(2, 3),
        "p": ints(0, 1, 0, 0, 0, 3, 0, 0), "z": np.array(0, np.float32)}),
    "grouped, dilated, oblong": ([op("Conv", "c w b", "d", group=2, dilations=[2, 1], strides=[1, 2]),
        op("Conv", "d v", "h", strides=[2, 1], auto_pad="SAME_LOWER")], {
        "w": random(6, 2, 2, 3), "b": random(6), "v": random(2, 6, 3, 2)}),
    "identities": ([op("Identity", "c", "i"), op("Dropout", "i", "d"), op("Cast", "d", "h", to=1)], {}),
    "a shape computed": ([op("Shape", "c", "s"), op("Gather", "s zero", "n"), op("Unsqueeze", "n axis", "u"),
        op("Constant", "", "k", value_ints=[-1]), op("Concat", "u k", "t", axis=0), op("Reshape", "c t", "h")], {
        "zero": np.array(0, np.int64), "axis": ints(0)}),
    "a shape from pieces": ([op("Shape", "c", "s"), op("Slice", "s zero one", "n"), op("Slice", "s one four", "r"),
        op("Gather", "r i0", "r0"), op("Gather", "r i1", "r1"), op("Mul", "r0 r1", "m"), op("Div", "m i1", "m1"),
        op("Mul", "m1 r1", "m2"), op("Cast", "m2", "m3", to=7), op("Concat", "n m3", "t", axis=0),
        op("Reshape", "c t", "h")], {
        "zero": ints(0), "one": ints(1), "four": ints(4), "i0": ints(0), "i1": ints(1)}),
    "zero keeps a dimension": ([op("Reshape", "c t", "r"), op("Flatten", "r", "h")], {"t": ints(0, 4, -1)}),
    "squeezed and back": ([op("GlobalAveragePool", "c", "g"), op("Squeeze", "g a", "q"), op("Unsqueeze", "q a", "h")], {
        "a": ints(2, 3)}),
    "parameters in half precision": ([op("Cast", "w16", "w", to=1), op("Conv", "c w", "h")], {
        "w16": random(2, 4, 1, 1).astype(np.float16)}),
    "a transposed matrix": ([op("Flatten", "c", "f0"), op("Transpose", "w", "wt", perm=[1, 0]),
        op("MatMul", "f0 wt", "m"), op("Add", "m b", "h")], {"w": random(5, 256), "b": random(5)}),
    "scaled linear": ([op("Flatten", "c", "f0"), op("Gemm", "f0 w b", "h", alpha=0.5, beta=2.0)], {
        "w": random(256, 3), "b": random(1, 3)}),
}  # fmt: skip


def with_head(body: Case, path: Path, **options: Any) -> Path:
    """The body between a convolution and a linear layer as wide as what the body leaves."""
    nodes, constants = body
    build(path, [CONV, *nodes], {**WEIGHT, **constants}, **options)
    features = int(np.prod(load_onnx(path).shapes[load_onnx(path).output.name]))
    head = {"fc.weight": random(2, features), "fc.bias": random(2)}
    return build(path, [CONV, *nodes, *HEAD], {**WEIGHT, **constants, **head}, **options)


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("shape", [(3, 3, 8, 8), ("N", 3, 8, 8)], ids=["batch 3", "free batch"])
def test_ways_to_write_it(name: str, shape: Sequence[int | str], tmp_path: Path) -> None:
    graph = assert_same(with_head(BODIES[name], tmp_path / "net.onnx", shape=shape), (3, 8, 8))
    assert (graph.nodes[1].name, graph.output.name) == ("conv", "fc")


def test_older_opsets(tmp_path: Path) -> None:
    nodes = [
        *(
            CONV,
            op("Clip", "c", "r", min=0.0, max=6.0),
            op("Pad", "r", "p", pads=[0, 0, 1, 1, 0, 0, 0, 0], mode="constant"),
        ),
        *(op("Conv", "p w", "d"), op("Dropout", "d", "e", ratio=0.5), op("GlobalAveragePool", "e", "g")),
        *(op("Squeeze", "g", "s", axes=[2, 3]), op("Gemm", "s f b", "h")),
    ]
    constants = {**WEIGHT, "w": random(5, 4, 3, 3), "f": random(5, 2), "b": random(2)}
    path = build(tmp_path / "net.onnx", nodes, constants, opset=9)
    assert_same(path, (3, 8, 8))
    with pytest.raises(ModelError, match="must use ONNX opset 7 or later, not 6; export it again"):
        load_onnx(build(path, nodes, constants, opset=6))


def test_half_precision_model(tmp_path: Path) -> None:
    weight = random(4, 3, 3, 3).astype(np.float16)
    path = build(tmp_path / "net.onnx", [op("Conv", "x w", "c")], {"w": weight}, kind=TensorProto.FLOAT16)
    np.testing.assert_array_equal(load_onnx(path).parameters["conv_0"].weight, weight.astype(np.float32))


def test_free_size_needs_an_input_shape(tmp_path: Path) -> None:
    nodes = [CONV, op("GlobalAveragePool", "c", "g"), op("Flatten", "g")]
    path = build(tmp_path / "net.onnx", nodes, WEIGHT, ("N", 3, "H", "W"))
    with pytest.raises(ModelError, match=r"net\.onnx leaves the size of its input open; say it with --input-shape"):
        load_onnx(path)
    assert_same(path, (3, 9, 7), load_onnx(path, (3, 9, 7)))
    with pytest.raises(ModelError, match=r"was exported for an input of 3×\?×\?, not 1×9×7"):
        load_onnx(path, (1, 9, 7))
    with pytest.raises(ModelError, match=r"input must be images \(batch, channels, height, width\), not 2-dimensional"):
        load_onnx(build(path, [op("Relu", "x")], {}, (1, 8)))


def test_names_without_parameter_names(tmp_path: Path) -> None:
    nodes = [
        op("Conv", "x onnx::Conv_1", "a", name="/layer1/layer1.0/conv1/Conv"),
        op("Relu", "a", "b", name="/layer1/layer1.0/relu/Relu_1"),
        op("Conv", "b onnx::Conv_2", "c"),
        op("Conv", "c onnx::Conv_2", "d", name="/layer1/layer1.0/conv1/Conv"),
    ]
    constants = {"onnx::Conv_1": random(4, 3, 1, 1), "onnx::Conv_2": random(4, 4, 1, 1)}
    graph = load_onnx(build(tmp_path / "net.onnx", nodes, constants))
    assert [n.name for n in graph.nodes[1:]] == ["layer1.0.conv1", "layer1.0.relu", "conv_2", "layer1.0.conv1_1"]


def test_softmax_at_the_end_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = build(
        tmp_path / "net.onnx", [CONV, op("Flatten", "c", "f"), op("Softmax", "f", name="/soft/Softmax")], WEIGHT
    )
    assert load_onnx(path).output.op is Op.FLATTEN
    assert "soft is left out: the network's output is taken to be the logits" in caplog.text


REFUSED: dict[str, tuple[list[onnx.NodeProto], dict[str, Array], str]] = {
    "an activation": (
        [op("Sigmoid", "c", name="/act/Sigmoid")],
        {},
        r"^act uses Sigmoid, which is not supported; supported are",
    ),
    "without a name": ([op("Tanh", "c")], {}, "^tanh_1 uses Tanh, which is not supported"),
    "only the first": ([op("Sin", "c", "s"), op("Tanh", "s")], {}, "^sin_1 uses Sin,"),
    "quantized": (
        [op("QuantizeLinear", "c s", "q"), op("DequantizeLinear", "q s")],
        {"s": np.array(1, np.float32)},
        "must be the float network, but holds QuantizeLinear.*give the file it was made from",
    ),
    "leaky": ([op("LeakyRelu", "c", name="n")], {}, "^n uses LeakyRelu"),
    "a clip not at zero": ([op("Clip", "c lo")], {"lo": np.array(-1, np.float32)}, "must clip at 0 from below"),
    "a gate": ([op("Mul", "c c")], {}, "must not combine two activations by mul"),
    "one value per pixel": ([op("Mul", "c s")], {"s": random(8)}, "one value per channel"),
    "weights computed": ([op("Conv", "c c")], {}, r"input 2 must be constant"),
    "one dimension": ([op("Conv", "c w")], {"w": random(4, 4, 3)}, "weight must have 4 dimensions"),
    "channels that do not fit": (
        [op("Conv", "c w")],
        {"w": random(4, 5, 1, 1)},
        "conv_1 reads 5 channels but gets 4×8×8",
    ),
    "groups that do not fit": (
        [op("Conv", "c w", group=3)],
        {"w": random(4, 1, 1, 1)},
        "groups must divide its 4 output",
    ),
    "a bias that does not fit": (
        [op("Conv", "c w b")],
        {"w": random(4, 4, 1, 1), "b": random(3)},
        "bias must have 4 values",
    ),
    "a pool that does not fit": ([op("MaxPool", "c", kernel_shape=[9, 9])], {}, "does not fit its input of 4×8×8"),
    "a stride of zero": (
        [op("MaxPool", "c", kernel_shape=[2, 2], strides=[0, 1])],
        {},
        "stride and dilation must be positive",
    ),
    "negative padding": ([op("Conv", "c w", pads=[-1, 0, 0, 0])], {"w": random(4, 4, 1, 1)}, "padding not negative"),
    "huge padding": ([op("Conv", "c w", pads=[2**40, 0, 0, 0])], {"w": random(4, 4, 1, 1)}, "must have at most"),
    "a huge shape": (
        [op("ConstantOfShape", "n", "k"), op("Add", "c k")],
        {"n": ints(2**40)},
        "must have at most 64 numbers",
    ),
    "a linear layer over an image": (
        [op("MatMul", "c w")],
        {"w": random(8, 2)},
        "must read one vector per image, not 4×8×8",
    ),
    "a linear layer that does not fit": (
        [op("Flatten", "c", "f"), op("Gemm", "f w")],
        {"w": random(9, 2)},
        "reads 9 values",
    ),
    "reordered": ([op("Transpose", "c", perm=[0, 2, 3, 1])], {}, "uses Transpose"),
    "the batch folded in": ([op("Reshape", "c t")], {"t": ints(1, -1)}, "must keep the batch as its first dimension"),
    "the batch flattened": ([op("Flatten", "c", axis=0)], {}, "must keep the batch"),
    "a shape of the wrong size": (
        [op("Reshape", "c t")],
        {"t": ints(-1, 100)},
        "must keep the 4×8×8 values of each image",
    ),
    "a slice of channels": (
        [op("Slice", "c a e d")],
        {"a": ints(0), "e": ints(2), "d": ints(1)},
        r"slices \[0:2:1\] along",
    ),
    "edge padding": ([op("Pad", "c p", mode="edge")], {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}, "padding mode 'edge'"),
    "the indices of a pool": (
        [helper.make_node("MaxPool", ["c"], ["m", "i"], kernel_shape=[2, 2]), op("Cast", "i", to=1)],
        {},
        "more than its first result",
    ),
    "training": (
        [op("Dropout", "c r t")],
        {"r": np.array(0.5, np.float32), "t": np.array(True)},
        "must not drop values",
    ),
    "an infinite weight": ([op("Conv", "c w")], {"w": np.full((1, 4, 1, 1), np.inf, np.float32)}, "must be finite"),
    "a constant output": ([op("Constant", "", value_float=1.0)], {}, "must compute its output from its input"),
    "out of order": ([op("Relu", "later", "r"), op("Relu", "c", "later")], {}, "must be a valid ONNX file.*later"),
    "unknown": ([op("Convolve", "c")], {}, "must be a valid ONNX file.*Convolve"),
    "text": ([op("Relu", "c", "k"), op("Concat", "k s", axis=1)], {"s": np.array(["a"])}, "must hold numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_by_name(name: str, tmp_path: Path) -> None:
    nodes, constants, message = REFUSED[name]
    path = build(tmp_path / "net.onnx", [CONV, *nodes], {**WEIGHT, **constants})
    with pytest.raises(ModelError, match=message):
        load_onnx(path)


# ---- files that are not what they seem ----


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    nodes = [
        *(CONV, op("BatchNormalization", "c g b m v", "n"), op("Relu", "n", "r"), op("Shape", "r", "s")),
        *(op("Gather", "s zero", "i"), op("Unsqueeze", "i axis", "u"), op("Constant", "", "k", value_ints=[-1])),
        *(op("Concat", "u k", "t", axis=0), op("Reshape", "r t", "f"), op("Gemm", "f w", "y")),
    ]
    norm = {"g": random(4), "b": random(4), "m": random(4), "v": abs(random(4)) + 1}
    constants = {**WEIGHT, **norm, "zero": np.array(0, np.int64), "axis": ints(0), "w": random(256, 2)}
    return build(path, nodes, constants).read_bytes()


def external(model: bytes, path: Path, **entries: str | int) -> Path:
    """The model with its first parameter in another file."""
    proto = onnx.load_model_from_string(model)
    tensor = proto.graph.initializer[0]
    (path.parent / "net.data").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "net.data", **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(proto.SerializeToString())
    return path


def test_external_data_stays_in_the_folder(model: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = folder / "net.onnx"
    (tmp_path / "secret").write_bytes(bytes(10**4))
    path.write_bytes(model)
    whole = load_onnx(path)
    np.testing.assert_array_equal(
        load_onnx(external(model, path)).parameters["conv"].weight, whole.parameters["conv"].weight
    )
    for location in ("../secret", str(tmp_path / "secret"), "..", ".", "", "sub/net.data"):
        with pytest.raises(
            ModelError, match=r"must keep its data in a file beside the model|put that file into the same"
        ):
            load_onnx(external(model, path, location=location))
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="keeps its parameters in 'link'"):
        load_onnx(external(model, path, location="link"))
    for entries in ({"offset": 10**6}, {"offset": -1}, {"length": 10**6}, {"length": -1}):
        with pytest.raises(ModelError, match=r"'conv\.weight' must lie inside 'net\.data'"):
            load_onnx(external(model, path, **entries))
    for entries in ({"offset": "a"}, {"length": 8}):
        with pytest.raises(ModelError, match=r"undamaged|valid ONNX"):
            load_onnx(external(model, path, **entries))


def test_quantized_input_functions_and_several_inputs_are_refused(model: bytes, tmp_path: Path) -> None:
    path = build(tmp_path / "net.onnx", [op("Cast", "x", to=1)], {}, kind=TensorProto.UINT8)
    with pytest.raises(ModelError, match="input must be floating point, not UINT8"):
        load_onnx(path)
    proto = onnx.load_model_from_string(model)
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="must have one input and one output, not 2 and 1"):
        load_onnx(path)
    proto.functions.append(helper.make_function("own", "F", ["a"], ["b"], [op("Relu", "a", "b")], []))
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"must not define functions of its own \(F\)"):
        load_onnx(path)


def test_parameters_used_often_do_not_fill_the_memory(tmp_path: Path) -> None:
    """A megabyte of weights used by a thousand layers would take a gigabyte."""
    nodes = [op("Conv", f"{'x' if i == 0 else i - 1} w", str(i), pads=[1, 1, 1, 1]) for i in range(1000)]
    path = build(tmp_path / "net.onnx", nodes, {"w": np.zeros((170, 170, 3, 3), np.float32)}, (1, 170, 8, 8))
    with pytest.raises(ModelError, match="claims more data than the file holds"):
        load_onnx(path)


def test_wrong_files(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    for data in (b"", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(100), bytes(1000), b"text" * 100):
        path.write_bytes(data)
        with pytest.raises(ModelError, match=re.escape(str(path)) + " must"):
            load_onnx(path)
    with pytest.raises(UsageError, match="cannot be read: No such file or directory; check the path"):
        load_onnx(tmp_path / "missing.onnx")


def load_or_refuse(data: bytes, path: Path) -> None:
    """What loads must run; any error but a `ModelError` fails the test."""
    path.write_bytes(data)
    with contextlib.suppress(ModelError):
        graph = load_onnx(path)
        forward(graph, torch.zeros(1, *graph.input_shape))


def test_truncated_files(model: bytes, tmp_path: Path) -> None:
    for length in range(0, len(model), 61):
        load_or_refuse(model[:length], tmp_path / "net.onnx")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_files_load_or_are_refused(model: bytes, tmp_path_factory: Any, data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([0, len(model) - 600]))  # structure; the middle is numbers
    damaged = bytearray(model)
    for position in data.draw(st.lists(st.integers(start, len(model) - 1), min_size=1, max_size=3)):
        damaged[position] = data.draw(st.integers(0, 255))
    load_or_refuse(bytes(damaged), tmp_path_factory.getbasetemp() / "damaged.onnx")


@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
def test_random_chains_round_trip(data: st.DataObject, tmp_path_factory: Any) -> None:
    torch.manual_seed(data.draw(st.integers(0, 99)))
    channels, layers = 3, []
    for _ in range(data.draw(st.integers(1, 4))):
        kernel, outputs = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
        layers.append(nn.Conv2d(channels, outputs, kernel, data.draw(st.integers(1, 2)), kernel // 2))
        layers += data.draw(
            st.sampled_from([[], [nn.ReLU()], [nn.BatchNorm2d(outputs), nn.ReLU6()], [nn.AvgPool2d(3, 1, 1)]])
        )
        channels = outputs
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2)).eval()
    path = tmp_path_factory.getbasetemp() / "chain.onnx"
    torch.onnx.export(module, (images((3, 9, 9)),), path, dynamo=False, opset_version=17)
    assert_same(path, (3, 9, 9))
