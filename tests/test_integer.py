"""Lowering and the reference executor: each node against plain integer arithmetic, and against the ideal network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import concat_net, residual_net
from networks import NETWORKS, random_model
from test_pipeline import quantize_graph

from ilmpq import naive
from ilmpq.codes import layer_weights, read_codes, to_codes
from ilmpq.emulate import Emulator
from ilmpq.errors import ModelError, UsageError
from ilmpq.forward import run_node, unfold
from ilmpq.graph import Graph, Node, Op, Window
from ilmpq.integer import Executor
from ilmpq.lower import lower, pool_counts
from ilmpq.options import Options
from ilmpq.program import Program
from ilmpq.rowquant import LayerQuant, QuantModel, RowQuant, TensorQuant
from ilmpq.scales import Scales, storable
from ilmpq.schemes import FIX8
from ilmpq.storage import MOVES, TensorFormat

NETS = [(make, bits) for make in (residual_net, concat_net) for bits in ("4", "8")]


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=NETWORKS, deadline=None)
def test_the_reference_equals_the_naive_executor_on_every_integer(seed, power_of_two):
    rng = np.random.default_rng(seed)
    program = lower(random_model(rng, power_of_two))
    shape = (3, *program.graph.input_shape)
    codes = rng.integers(-127, 128, shape)
    codes[1] = rng.choice([-127, 127], shape[1:])  # saturating
    fast, slow = {}, {}
    Executor(program)(
        torch.from_numpy(codes.astype(np.int8)), lambda node, value: fast.__setitem__(node.name, value.numpy())
    )
    naive.run(program, codes, lambda node, value: slow.__setitem__(node.name, value))
    for node in program.graph.nodes:
        np.testing.assert_array_equal(fast[node.name].astype(np.int64), slow[node.name], err_msg=node.name)


@pytest.fixture(scope="module", params=NETS, ids=lambda p: f"{p[0].__name__}-{p[1]}")
def run(request, tmp_path_factory):
    """A quantized model, its program, and the codes of every node."""
    make, bits = request.param
    graph = make()
    x, model, _ = quantize_graph(graph, tmp_path_factory.mktemp("run"), Options(act_bits=bits))
    executor = Executor(lower(model))
    codes = {}
    executor(executor.input_codes(x), lambda node, value: codes.__setitem__(node.name, value))
    return model, executor.program, codes


def rounded_shift(v, shift):
    """v / 2^shift, ties to even, in integers: the formula of DESIGN and of docs/formats.md."""
    return (v + (1 << (shift - 1)) - 1 + ((v >> shift) & 1)) >> shift if shift else v


def test_every_layer_is_integer_arithmetic(run):
    _, program, codes = run
    for node in program.graph.weighted:
        matrix, a = program.matrices[node.name], program.arithmetic[node.name]
        stored = program.tensor(node.inputs[0]).format
        seen = read_codes(codes[node.inputs[0]], stored, program.seen(node.name), matrix.input_shift)
        columns = unfold(node, seen).numpy().astype(np.int64)  # images × groups × K × positions
        w = matrix.codes.astype(np.int64).reshape(node.groups, -1, matrix.codes.shape[1])
        acc = np.einsum("grk,ngkp->ngrp", w, columns).reshape(len(columns), -1, columns.shape[-1])
        acc += matrix.bias.astype(np.int64)[None, :, None]
        v = acc * a.multiplier.astype(np.int64)[None, :, None]
        if node.skip is not None:
            v += codes[node.skip].numpy().astype(np.int64).reshape(v.shape) * a.skip_multiplier
        expected = np.clip(rounded_shift(v, a.shift), a.low, a.high)
        np.testing.assert_array_equal(codes[node.name].numpy().astype(np.int64).reshape(v.shape), expected)


def test_every_node_is_within_one_step_of_the_ideal_one_without_drift(run):
    model, program, codes = run
    for node in program.graph.nodes:
        stored = program.tensor(node.name)
        if node.op is Op.INPUT or node.op in MOVES or stored is None:
            continue
        inputs = [codes[i].double() * model.tensor(i).scale for i in node.inputs]
        weights = None
        if node.weighted:
            layer = model.layers[node.name]
            source = program.tensor(node.inputs[0]).format
            seen = read_codes(codes[node.inputs[0]], source, program.seen(node.name), layer.input_shift)
            inputs[0] = seen.double() * model.input_scale(node.name)
            weight, bias = layer_weights(model.graph, node, layer)
            weights = weight.double(), bias.double()
        ideal = to_codes(run_node(node, inputs, weights), stored).int()
        difference = codes[node.name].int() - ideal
        assert int(difference.abs().max()) <= 1, node.name
        assert abs(float(difference.float().mean())) < 0.05, node.name


def test_a_program_is_the_same_after_its_file(run, tmp_path):
    _, program, codes = run
    program.save(tmp_path / "program")
    again = Program.load(tmp_path / "program")
    executor = Executor(again)
    seen = {}
    executor(codes["input"], lambda node, value: seen.__setitem__(node.name, value))
    for name, value in codes.items():
        assert torch.equal(seen[name], value)
    again.save(tmp_path / "again")
    assert (tmp_path / "program").read_bytes() == (tmp_path / "again").read_bytes()


def test_a_wrong_input_is_told_what_was_expected(run):
    _, program, _ = run
    with pytest.raises(UsageError, match="input must be float images of N×3"):
        Executor(program).logits(torch.zeros(1, 3, 5, 5))
    with pytest.raises(UsageError, match=r"not torch\.int64"):
        Executor(program).logits(torch.zeros(1, *program.graph.input_shape, dtype=torch.int64))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=NETWORKS, deadline=None)
def test_with_powers_of_two_requantization_is_shifts_alone(seed):
    model = random_model(np.random.default_rng(seed), power_of_two=True)
    assert model.power_of_two
    program = lower(model)
    for name, a in program.arithmetic.items():
        node, stored = program.graph[name], program.tensor(name)
        scale = program.logits_scale if stored is None else stored.scale
        source = model.tensor(node.inputs[0])
        if node.weighted:
            real = model.layers[name].rows.scale.astype(np.float64) * model.input_scale(name) / scale
            np.testing.assert_array_equal(a.multiplier * 2.0**-a.shift, real)  # exact, hence powers of two
            assert a.skip_multiplier * 2.0**-a.shift == model.skip_scale(name) / scale
        else:
            counts = pool_counts(program.graph, node)
            assert (a.multiplier * counts * source.format.high).max() < 2**24
            np.testing.assert_allclose(a.multiplier * 2.0**-a.shift * counts, source.scale / scale, rtol=0.005)
        assert stored is not None or a.shift == 0  # logits are not rounded


@pytest.mark.parametrize("make", [residual_net, concat_net])
@pytest.mark.parametrize("bits", ["4", "8"])
def test_with_powers_of_two_float32_computes_the_same_integers(tmp_path, make, bits):
    options = Options(act_bits=bits, scales=Scales.POWER_OF_TWO)
    x, model, _ = quantize_graph(make(), tmp_path, options)
    program, real = lower(model), {}
    Emulator(model)(x, lambda node, value: real.__setitem__(node.name, value.double()))

    def compare(node, codes):
        stored = program.tensor(node.name)
        scale = program.logits_scale if stored is None else stored.scale
        if node.op is Op.FLATTEN and stored is None:
            return  # an average pool's logits: float32 divides where integers multiply
        np.testing.assert_array_equal(codes.double() * scale, real[node.name], err_msg=node.name)

    executor = Executor(program)
    executor(executor.input_codes(x), compare)


def test_logits_of_several_layers_have_one_scale():
    nodes = (
        Node("input", Op.INPUT),
        Node("a", Op.CONV, ("input",), Window((1, 1))),
        Node("b", Op.CONV, ("input",), Window((1, 1))),
        Node("join", Op.CONCAT, ("a", "b")),
    )
    graph = Graph("two", (1, 2, 2), nodes)
    object.__setattr__(graph, "_rows", {"a": 1, "b": 1})
    graph = Graph.from_json(graph.to_json()).verify()

    def layer(scale):
        rows = RowQuant(np.array([[3]], np.int8), np.array([scale], np.float32), np.array([1], np.uint8))
        return LayerQuant(rows, np.zeros(1, np.float32), 8)

    for scales in ((0.7, 0.003), (0.003, 0.7), (0.5, 2.0**-9)):
        tensors = {"input": TensorQuant(TensorFormat(8, True), 1.0)}
        program = lower(QuantModel(graph, dict(zip("ab", map(layer, scales), strict=True)), tensors).verify())
        logits = Executor(program).logits(torch.full((1, 1, 2, 2), 100.0))[0, :, 0, 0]
        np.testing.assert_allclose(logits, [300 * s for s in scales], rtol=1e-5)


def test_a_clip_between_two_codes_is_rounded_to_even(tmp_path):
    graph = residual_net()
    nodes = tuple(replace(n, relu_max=2.5) if n.name == "depthwise" else n for n in graph.nodes)
    _, model, _ = quantize_graph(replace(graph, nodes=nodes), tmp_path, Options(scales=Scales.POWER_OF_TWO))
    tensors = {**model.tensors, "depthwise": replace(model.tensor("depthwise"), scale=1.0)}
    layer = model.layers["depthwise"]
    whole = replace(layer, bias=np.rint(layer.bias))
    program = lower(replace(model, tensors=tensors, layers={**model.layers, "depthwise": whole}))
    assert program.arithmetic["depthwise"].high == 2


def test_a_row_that_a_multiplier_cannot_follow_is_refused_by_layer(tmp_path):
    _, model, _ = quantize_graph(residual_net(), tmp_path, Options(act_bits="8"))
    layer = model.layers["conv2"]
    scale = layer.rows.scale.copy()
    scale[3] = scale.max() * 2.345e-5
    bias = layer.bias.copy()
    bias[3] = 2.0**29 * scale[3] * model.input_scale("conv2")
    spoiled = replace(layer, rows=replace(layer.rows, scale=scale), bias=bias)
    with pytest.raises(ModelError, match="conv2 row 3: its scale is too small beside the layer's largest"):
        lower(replace(model, layers={**model.layers, "conv2": spoiled}))


def residual_row(scale, bias, skip_scale):
    """A model whose second row adds a tensor of that scale to a product of that scale, in steps of the output."""
    window = Window((1, 1))
    nodes = (
        Node("input", Op.INPUT),
        Node("a", Op.CONV, ("input",), window, relu=True),
        Node("b", Op.CONV, ("a", "a"), window, relu=True),
        Node("flatten", Op.FLATTEN, ("b",)),
        Node("fc", Op.LINEAR, ("flatten",)),
    )
    graph = Graph("row", (2, 2, 2), nodes)
    object.__setattr__(graph, "_rows", {"a": 2, "b": 2, "fc": 1})
    graph = Graph.from_json(graph.to_json()).verify()

    def layer(codes, scales, biases):
        schemes = np.full(len(codes), FIX8.ident, np.uint8)
        rows = RowQuant(np.array(codes, np.int8), np.array(scales, np.float32), schemes)
        return LayerQuant(rows, np.array(biases, np.float32), 8)

    layers = {
        "a": layer([[127, 0], [0, 127]], [0.25, 0.25], [0, 0]),
        "b": layer([[1, 0], [0, 1]], [1 / skip_scale, scale / skip_scale], [0, bias]),
        "fc": layer([[1] * 8], [1], [0]),
    }
    whole, signed = TensorFormat(8, False), TensorFormat(8, True)
    tensors = {
        "input": TensorQuant(signed, 1.0),
        "a": TensorQuant(whole, skip_scale),
        "b": TensorQuant(whole, 1.0),
    }
    return QuantModel(graph, layers, tensors).verify()


def test_a_residual_counts_when_a_multiplier_is_judged():
    lower(residual_row(2.0**-10 * 1.00098, -1.0, 1.0))
    with pytest.raises(ModelError, match="b row 1: its scale is too small beside"):
        lower(residual_row(2.0**-10 * 1.00098, -3900.0, 16.0))


@pytest.mark.parametrize("size", [7, 14, 28, 56])
@pytest.mark.parametrize("power_of_two", [False, True])
def test_large_average_pools_are_within_one_step(size, power_of_two):
    scale = 0.25 if power_of_two else 0.3
    nodes = (
        Node("input", Op.INPUT),
        Node("pool", Op.AVG_POOL, ("input",), Window((size, size), (size, size))),
        Node("flatten", Op.FLATTEN, ("pool",)),
        Node("fc", Op.LINEAR, ("flatten",)),
    )
    graph = Graph("pool", (1, size, size), nodes)
    object.__setattr__(graph, "_rows", {"fc": 1})
    graph = Graph.from_json(graph.to_json()).verify()
    rows = RowQuant(np.ones((1, 1), np.int8), np.ones(1, np.float32), np.full(1, FIX8.ident, np.uint8))
    signed = TensorFormat(8, True)
    tensors = {"input": TensorQuant(signed, storable(scale)), "pool": TensorQuant(signed, storable(scale))}
    program = lower(QuantModel(graph, {"fc": LayerQuant(rows, np.zeros(1, np.float32), 8)}, tensors).verify())
    values = torch.arange(-127, 128, dtype=torch.int8)
    images = values.view(-1, 1, 1, 1).expand(-1, 1, size, size)
    found = {}
    Executor(program)(images, lambda node, codes: found.__setitem__(node.name, codes))
    assert torch.equal(found["pool"].flatten(), values)


def test_a_sum_that_could_leave_the_accumulator_is_refused_by_layer(tmp_path):
    _, model, _ = quantize_graph(residual_net(), tmp_path, Options(ratio="fix8:100", act_bits="8"))
    program = lower(model)
    program.matrices["fc"].bias[2] = 2**31 - 5
    with pytest.raises(ModelError, match="fc row 2: sums can reach .* beyond the int32 accumulator"):
        program.verify()


def test_extreme_inputs_saturate(run):
    _, program, _ = run
    executor = Executor(program)
    shape = (2, *program.graph.input_shape)
    for value in (127, -127):
        seen = {}
        executor(
            torch.full(shape, value, dtype=torch.int8),
            lambda node, codes, seen=seen: seen.__setitem__(node.name, codes),
        )
        for name, codes in seen.items():
            stored = program.tensor(name)
            if stored is not None:
                assert stored.format.low <= int(codes.min()) <= int(codes.max()) <= stored.format.high


def test_the_executor_stays_exact_whatever_torch_is_told(run):
    _, program, codes = run
    executor = Executor(program)
    many = codes["input"][:1].expand(16, -1, -1, -1)
    expected = executor(many)
    with torch.autocast("cpu"), torch.backends.mkldnn.flags(enabled=False):  # NNPACK's convolutions would be next
        assert torch.equal(executor(many), expected)
