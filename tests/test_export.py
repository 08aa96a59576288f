"""Exports: other people's executors give the program's integers, and a damaged or foreign file is refused."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from nets import concat_net, parameters, residual_net
from networks import random_model
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.change_batchsize import ChangeBatchSize
from qonnx.transformation.fold_constants import FoldConstants
from qonnx.transformation.infer_datatypes import InferDataTypes
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.util.cleanup import cleanup_model
from test_pipeline import QUICK, quantize_graph
from typer.testing import CliRunner

from ilmpq import pipeline
from ilmpq.commands import app
from ilmpq.errors import ModelError, UsageError
from ilmpq.export import Format, describe, export_bytes, file_name, read_export, stored_values
from ilmpq.graph import Graph, Node, Op, Window
from ilmpq.integer import Executor
from ilmpq.lower import lower
from ilmpq.program import Program
from ilmpq.scales import Scales
from ilmpq.schemes import BY_IDENT
from ilmpq.storage import MOVES

IMAGES = 3
EXACT = 2**24  # float32 holds every whole number up to here
OPTIMISATIONS = (
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
)


def inputs(program, rng):
    """Random and saturating images, as real numbers."""
    codes = rng.integers(-200, 201, (IMAGES, *program.graph.input_shape))
    codes[1] = rng.choice([-127, 127], program.graph.input_shape)
    return (codes * program.scale("input")).astype(np.float32)


def reference(program, x):
    """Codes of every node, and real logits."""
    codes = {}
    logits = Executor(program).logits(torch.from_numpy(x), lambda n, v: codes.__setitem__(n.name, v.numpy().copy()))
    return codes, logits.numpy()


def run_onnxruntime(data, x, level, tensors=()):
    """Logits, and the tensors asked for."""
    model = onnx.load_from_string(data)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")  # CPUs without VNNI saturate otherwise
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(["logits", *tensors], session.run(["logits", *tensors], {"input": x}), strict=True))


def run_qonnx(data, x):
    """Every tensor, with the file's own names."""
    model = ModelWrapper(data)
    for step in (ChangeBatchSize(len(x)), InferShapes(), FoldConstants(exclude_op_types=["Quant"])):
        model = model.transform(step)
    return execute_onnx(model, {"input": x}, return_full_exec_context=True)


def stored_codes(program, form, found):
    """What an export stores, as codes by node."""
    names = stored_values(program, form)
    if form is Format.QDQ:
        return {node: found[name].astype(np.int64) for node, name in names.items()}
    return {node: np.rint(found[name] / program.scale(node)).astype(np.int64) for node, name in names.items()}


def assert_same(program, form, found, codes, logits):
    for node, value in stored_codes(program, form, found).items():
        np.testing.assert_array_equal(value, codes[node], err_msg=node)
    np.testing.assert_array_equal(found["logits"], logits)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_with_power_of_two_scales_onnxruntime_gives_every_integer(seed):
    rng = np.random.default_rng(seed)
    program = lower(random_model(rng, power_of_two=True))
    assume(program.exact_in_float32)
    x = inputs(program, rng)
    codes, logits = reference(program, x)
    data, tensors = export_bytes(program, Format.QDQ), list(stored_values(program, Format.QDQ).values())
    for level in OPTIMISATIONS:
        assert_same(program, Format.QDQ, run_onnxruntime(data, x, level, tensors), codes, logits)
        np.testing.assert_array_equal(run_onnxruntime(data, x, level)["logits"], logits)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_with_power_of_two_scales_qonnx_gives_every_integer(seed):
    rng = np.random.default_rng(seed)
    program = lower(random_model(rng, power_of_two=True))
    assume(program.exact_in_float32)
    x = inputs(program, rng)
    assert_same(program, Format.QONNX, run_qonnx(export_bytes(program, Format.QONNX), x), *reference(program, x))


@pytest.fixture(scope="module", params=[residual_net, concat_net], ids=lambda make: make.__name__)
def run(request, tmp_path_factory):
    """The program of a quantized network with the scales that calibration gives, and images."""
    x, model, _ = quantize_graph(request.param(), tmp_path_factory.mktemp("run"), QUICK)
    return lower(model), x.numpy()


def test_with_any_scales_other_executors_agree_but_for_rare_steps(run):
    program, x = run
    codes, logits = reference(program, x)
    found = {
        Format.QDQ: run_onnxruntime(
            export_bytes(program, Format.QDQ), x, OPTIMISATIONS[0], list(stored_values(program, Format.QDQ).values())
        ),
        Format.QONNX: run_qonnx(export_bytes(program, Format.QONNX), x),
    }
    for form, tensors in found.items():
        for node, value in stored_codes(program, form, tensors).items():
            # float32 rounds sums that integers hold: what lies next to a tie may fall to its other side
            assert (value != codes[node]).mean() < 0.001, node
        assert (tensors["logits"].argmax(axis=1) == logits.argmax(axis=1)).all()


def test_every_storing_node_can_be_looked_at(run):
    program, _ = run
    storing = {n.name for n in program.graph.nodes if program.tensor(n.name) is not None}
    moving = {n.name for n in program.graph.nodes if n.op in MOVES}
    assert set(stored_values(program, Format.QONNX)) == storing
    assert set(stored_values(program, Format.QDQ)) == storing - moving


def test_the_files_are_legal_and_small(run):
    program, _ = run
    weights = sum(m.codes.size for m in program.matrices.values())
    rows = sum(len(m.bias) for m in program.matrices.values())
    for form in Format:
        data = export_bytes(program, form)
        model = onnx.load_from_string(data)
        assert data == export_bytes(program, form)
        assert (model.ir_version, model.opset_import[0].version) == (8, 17)
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
        assert len(data) < weights + 13 * rows + 1200 * len(program.graph.nodes)
    onnx.checker.check_model(onnx.load_from_string(export_bytes(program, Format.QDQ)), full_check=True)


def test_qonnx_survives_cleanup_and_knows_its_data_types(run):
    program, x = run
    _, logits = reference(program, x[:4])
    model = cleanup_model(ModelWrapper(export_bytes(program, Format.QONNX)), override_inpsize=4)
    assert {n.op_type for n in model.graph.node}.isdisjoint({"Cast", "DequantizeLinear", "Identity"})
    assert model.check_all_tensor_shapes_specified()
    plain = execute_onnx(model, {model.graph.input[0].name: x[:4]})[model.graph.output[0].name]
    np.testing.assert_allclose(plain, logits, atol=0.3 * np.abs(logits).max())  # a step in a code may reach a logit

    model = model.transform(InferDataTypes(allow_scaledint_dtypes=True))
    quants = model.get_nodes_by_op_type("Quant")
    weights = [n for n in quants if model.get_initializer(n.input[0]) is not None]
    assert len(weights) == 2 * len(program.matrices)  # a weight and a bias each
    for node in quants:
        bits = int(model.get_initializer(node.input[3]))
        assert model.get_tensor_datatype(node.output[0]).name == f"SCALEDINT<{bits}>"
        signed = getCustomOp(node).get_nodeattr("signed")
        assert getCustomOp(node).get_integer_datatype(model).name == f"{'INT' if signed else 'UINT'}{bits}"
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm") and model.get_tensor_datatype(node.input[1]).name != "FLOAT32":
            assert model.get_tensor_datatype(node.output[0]).name == "SCALEDINT<32>"
    activations = sorted(int(model.get_initializer(n.input[3])) for n in quants if n not in weights)
    seen = {program.seen(n.name).bits for n in program.graph.weighted}
    assert seen <= set(activations) <= {4, 8}


def test_a_pool_that_pads_by_its_window_or_more_is_exported(tmp_path):
    nodes = (
        Node("input", Op.INPUT),
        Node("conv", Op.CONV, ("input",), Window((1, 1))),
        Node("pool", Op.MAX_POOL, ("conv",), Window((2, 2), (3, 3), (2, 0, 2, 0), (4, 1))),
        Node("flatten", Op.FLATTEN, ("pool",)),
        Node("fc", Op.LINEAR, ("flatten",)),
    )
    rng = np.random.default_rng(0)
    values = {"conv": parameters(rng, 2, 3, 1, 1), "fc": parameters(rng, 3, 8)}
    options = replace(QUICK, scales=Scales.POWER_OF_TWO)
    x, model, _ = quantize_graph(Graph("pads", (3, 6, 6), nodes, values).verify(), tmp_path, options)
    program, x = lower(model), x.numpy()
    codes, logits = reference(program, x)
    data, tensors = export_bytes(program, Format.QDQ), list(stored_values(program, Format.QDQ).values())
    assert_same(program, Format.QDQ, run_onnxruntime(data, x, OPTIMISATIONS[1], tensors), codes, logits)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small program, another one, and a folder."""
    rng = np.random.default_rng(0)
    return lower(random_model(rng)), lower(random_model(rng)), tmp_path_factory.mktemp("exports")


def test_an_export_is_read_back_and_says_what_it_is(exported):
    program, other, folder = exported
    for form in Format:
        path, data = folder / file_name(form), export_bytes(program, form)
        path.write_bytes(data)
        assert read_export(path) == read_export(path, program, form) == data
        (other_form,) = set(Format) - {form}
        with pytest.raises(ModelError, match=f"in the form {other_form.value}, not '{form.value}'"):
            read_export(path, program, other_form)
        with pytest.raises(ModelError, match="was made from another program"):
            read_export(path, other)
        metadata = {p.key: p.value for p in onnx.load_from_string(data).metadata_props}
        assert metadata["ilmpq.format"] == form.value
        assert metadata["ilmpq.program"] == program.checksum()
        schemes = json.loads(metadata["ilmpq.schemes"])
        for name, matrix in program.matrices.items():
            assert [int(c) for c in schemes[name]] == matrix.scheme.tolist()
        assert describe(form)


def test_every_identifier_of_a_scheme_is_one_digit():
    assert all(0 <= ident <= 9 for ident in BY_IDENT)


@given(position=st.integers(0, 10**9), bit=st.integers(0, 7), form=st.sampled_from(list(Format)))
@settings(max_examples=150, deadline=None)
@example(position=-1, bit=0, form=Format.QDQ)
def test_one_flipped_bit_is_found(exported, position, bit, form):
    program, _, folder = exported
    data = bytearray(export_bytes(program, form))
    data[position % len(data)] ^= 1 << bit
    (folder / "flipped").write_bytes(data)
    with pytest.raises(ModelError, match="flipped is"):
        read_export(folder / "flipped")


@given(length=st.integers(0, 10**9), form=st.sampled_from(list(Format)))
@settings(max_examples=100, deadline=None)
@example(length=0, form=Format.QDQ)
def test_a_cut_file_is_found(exported, length, form):
    program, _, folder = exported
    data = export_bytes(program, form)
    (folder / "cut").write_bytes(data[: length % len(data)])
    expected = "cut is damaged" if length % len(data) >= 9 else "cut is"
    with pytest.raises(ModelError, match=expected):
        read_export(folder / "cut")


def test_a_newer_a_foreign_and_a_missing_file_are_told_apart(exported, monkeypatch):
    program, _, folder = exported
    path = folder / "file.onnx"
    monkeypatch.setattr("ilmpq.export.VERSION", 2)
    path.write_bytes(export_bytes(program, Format.QDQ))
    monkeypatch.undo()
    with pytest.raises(ModelError, match="has version 2 of its format, this program knows 1: upgrade ilmpq"):
        read_export(path)
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    foreign = onnx.helper.make_model(onnx.helper.make_graph([], "foreign", [value], [value]))
    path.write_bytes(foreign.SerializeToString())
    with pytest.raises(ModelError, match="is not an export of ilmpq"):
        read_export(path)
    with pytest.raises(UsageError, match="is not a file"):
        read_export(folder / "nothing")
    with pytest.raises(UsageError, match="is not a file"):
        read_export(folder)


def test_the_command_writes_both_files(tmp_path):
    pipeline.quantize("digits", tmp_path / "run", QUICK)
    program = Program.load(tmp_path / "run" / "program.safetensors")

    def export(*words):
        return CliRunner().invoke(app, ["export", str(tmp_path / "run"), *map(str, words)])

    for form in Format:
        shown = export("--format", form.value, "--json")
        path = tmp_path / "run" / "export" / file_name(form)
        assert json.loads(shown.stdout) == {"path": str(path), "format": form.value, "bytes": path.stat().st_size}
        assert read_export(path, program) == export_bytes(program, form)
    mine = tmp_path / "mine.onnx"
    assert "standard ONNX" in export("--format", "qdq", "--out", mine).stdout
    assert export("--format", "qdq", "--out", mine, "-q").stdout == f"{mine}\n"
    own = export("--format", "qdq", "--out", tmp_path / "run" / "program.safetensors").exception
    assert isinstance(own, UsageError)
    assert "program.safetensors cannot be written: it is read here; choose another place with --out" in str(own)
    wrong = export("--format", "tflite").exception
    assert isinstance(wrong, UsageError)
    assert "--format must be one of qdq, qonnx, not 'tflite'" in str(wrong)
