"""Several images in one program: every output equals the integer executor's, weights are fetched once where that fits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from networks import random_model, shaped
from test_compile import CONFIGS, REFUSALS, chain
from test_workload import compiled, proportion, random_design, shapes
from test_workload import config as engine_of

from accel.engine.compile import compile_program
from accel.engine.descriptor import Average, Compute, Conv, Image, Load, Store
from accel.engine.hls_engine import HlsEngine
from ilmpq.batches import batched, shared
from ilmpq.bound import Designs, lower_bound, rows_in_proportion
from ilmpq.errors import DoesNotFit, IlmpqError
from ilmpq.graph import Node, Op
from ilmpq.integer import Executor
from ilmpq.lower import lower
from ilmpq.network import network_of
from ilmpq.node import Window
from ilmpq.perf import frame
from ilmpq.placeholder import placeholder
from ilmpq.schemes import BY_NAME
from ilmpq.work import Memory, Unit, machine_of
from ilmpq.workload import rows_in, works_for

RATIO = {BY_NAME["pot4"].ident: 60.0, BY_NAME["fix4"].ident: 35.0, BY_NAME["fix8"].ident: 5.0}
RANDOM_NETWORKS = 30


@pytest.fixture(scope="module")
def engine():
    return HlsEngine(CONFIGS[0])


@pytest.fixture(scope="module")
def larger():
    return lower(placeholder(chain(48, 24), np.random.default_rng(0), 4, RATIO))


def different(program, engine, images, **sizes):
    """Images of random ones whose outputs differ, and the compiled program."""
    image = compile_program(program, dataclasses.replace(engine.config, **sizes), images=images)
    rng = np.random.default_rng(images)
    codes = rng.integers(-127, 128, (images, *program.graph.input_shape)).astype(np.int8)
    expected = Executor(program)(torch.from_numpy(codes)).numpy()
    given = image.encode_input(*codes.astype(np.int64)).tobytes()
    parts = [p.tobytes() for p in image.weights]
    run = (engine if not sizes else HlsEngine(image.config)).run(
        list(image.words), parts, image.scratch_bytes, given, image.output_bytes
    )
    output = np.frombuffer(run.require().output, np.uint8)
    found = [image.decode_output(output, each).ravel() for each in range(images)]
    return [n for n in range(images) if not np.array_equal(found[n], expected[n].ravel())], image


def sharing(image):
    """Layers that compute several images at once."""
    return [s.layer for s in image.operations if isinstance(s.operation, Compute) and s.operation.image_rows]


@pytest.mark.parametrize("images", [2, 3])
def test_random_networks_are_exact(engine, images):
    """Every kind of layer; a refusal is only one for bits that the arrays do not have."""
    most = 0
    for seed in range(RANDOM_NETWORKS):
        rng = np.random.default_rng([seed, engine.config.geometry.tk])
        try:
            wrong, image = different(lower(random_model(rng)), engine, images)
        except DoesNotFit as error:
            assert any(r in str(error) for r in REFUSALS)
            continue
        assert wrong == [], f"seed {seed}"
        most = max(most, len(sharing(image)))
    assert most > 4


@pytest.mark.parametrize(("depth", "images"), [(4096, 4), (700, 4), (450, 2), (320, 3)])
def test_ever_less_memory_is_exact(larger, engine, depth, images):
    """From a later layer on, or fewer images together; with bands and with what goes outside."""
    wrong, image = different(larger, engine, images, am_depth=depth)
    assert wrong == []
    assert sharing(image)[-1] == "fc"


def test_weights_are_stored_once_and_fetched_once_by_those_who_share(larger):
    one, four = (compile_program(larger, CONFIGS[0], images=n) for n in (1, 4))
    assert sharing(four) == ["pool", "a1", "a2", "down", "b1", "b2", "mean", "fc"]
    for a, b in zip(one.weights, four.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    layers = [s.layer for s in four.operations if isinstance(s.operation, Conv)]
    assert layers == ["first"] * 4 + ["a1", "a2", "down", "b1", "b2", "fc"]
    kinds = [type(s.operation) for s in four.operations[:8]]
    assert kinds == [Image, Conv] * 4  # windows of the next image as soon as the last has been taken
    means = [s.operation for s in four.operations if isinstance(s.operation, Average)]
    assert [(m.rows, m.image_rows, m.stride_y) for m in means] == [(4, 1, 6)]
    assert [s.layer for s in four.operations if isinstance(s.operation, Store)] == ["store fc"]


def test_an_input_that_is_loaded_may_be_shared_too(larger):
    """With no windows of an image, all inputs lie one below the other from the first layer on."""
    without = dataclasses.replace(CONFIGS[0], image_kernels=((5, 3),))
    wrong, image = different(larger, HlsEngine(without), 2)
    assert wrong == []
    assert sharing(image)[0] == "first"
    assert sum(isinstance(s.operation, Load) for s in image.operations) == 1


def test_layers_whose_rows_do_not_go_on_run_image_by_image():
    """A kernel without padding has fewer rows of output; steps that the ring does not hold are one position's alone."""
    of = engine_of(ring_depth=100, am_depth=4096)
    network = shapes("resnet18", 64).on(16, 4).network
    graph = shapes("resnet18", 64).graph
    shares = [x.name for x in shared(network, graph, of, 2, True).layers if x.image_rows]
    assert shares == ["avgpool", "fc"]  # 3×3 over 128 channels and more takes 72 steps, over 256 more than 100
    squeeze = shapes("squeezenet1_1", 64)
    network = squeeze.on(16, 4).network
    pools = [x for x in network.layers if x.name.startswith("features.") and not x.node.weighted]
    after = {x.name for x in shared(network, squeeze.graph, of, 2, True).layers if x.image_rows}
    assert pools
    assert not after & {x.name for x in pools}


def test_steps_beyond_the_ring_are_shared_where_all_positions_are_one_tile(engine):
    """As those of a linear layer over a whole map: eight images of four positions a tile are two times four."""
    nodes = [
        Node("input", Op.INPUT),
        Node("first", Op.CONV, ("input",), Window((3, 3), (2, 2), (1, 1, 1, 1)), relu=True),
        Node("flatten", Op.FLATTEN, ("first",)),
        Node("hidden", Op.LINEAR, ("flatten",), relu=True),
        Node("fc", Op.LINEAR, ("hidden",)),
    ]
    graph = shaped("perceptron", (3, 14, 14), nodes, {"first": 16, "hidden": 40, "fc": 5})
    program = lower(placeholder(graph, np.random.default_rng(0), 4, RATIO))
    wrong, image = different(program, engine, 8, ring_depth=32)
    assert wrong == []
    assert sharing(image) == 2 * ["hidden", "fc"]
    assert max(steps for _, steps in image.row_tiles["hidden"]) == 7 * 7 * 2


def test_images_are_named_in_layers_and_tensors(larger):
    network = network_of(larger.graph, larger.formats, 8)
    found = batched(network, 4, 2, 2)
    names = [layer.name for layer in network.layers]
    assert [layer.name for layer in found.layers] == 2 * (2 * names[:2] + names[2:])
    assert len({layer.copy for layer in found.layers}) == len(found.layers)
    assert [v.tensor.name for v in found.inputs] == ["input#0", "input#1", "input#2", "input#3"]
    assert [(v.tensor.name, v.first_row) for v in found.outputs] == [
        ("fc#0-1", 0), ("fc#0-1", 1), ("fc#2-3", 0), ("fc#2-3", 1)
    ]  # fmt: skip


CASES = [
    ("cifar_resnet20", 32, engine_of(), 4, 0.01),
    ("cifar_resnet20", 32, engine_of(am_depth=400, tk=8), 2, 0.02),  # in rings, some outside and back
    ("squeezenet1_1", 64, engine_of("pot4@lut:44, fix4@dsp:16, fix8@dsp:4", tp=8, am_depth=512), 2, 0.02),
]


@pytest.mark.parametrize(("network", "size", "of", "images", "near"), CASES)
def test_operations_are_those_of_the_compiler(network, size, of, images, near):
    net = shapes(network, size)
    real, found = compiled(network, size, of, images), works_for(net, of, rows_in(net, proportion(of)), images)
    what = ("layer", "unit", "tiles", "positions", "bytes", "macs", "passes", "together", "windows")
    for a, b in zip(real, found, strict=True):
        assert [getattr(a, w) for w in what] == [getattr(b, w) for w in what]
        np.testing.assert_array_equal(a.steps, b.steps)
        queues = [q for q in range(3) if q != {Unit.LOAD: 0, Unit.STORE: 1}.get(a.unit, 2)]
        assert [a.waits[q] for q in queues] == [b.waits[q] for q in queues], a.layer
    cycles = [frame(works, machine_of(of), Memory(16)).cycles for works in (real, found)]
    assert cycles[1] == pytest.approx(cycles[0], rel=near)
    assert sum(w.macs for w in found) == images * sum(net.macs.values())


@pytest.mark.parametrize("rate", [32.0, 8.0])
@pytest.mark.parametrize("images", [2, 4])
def test_no_design_is_faster_than_its_bound(images, rate):
    rng = np.random.default_rng(1)
    engines, net = [random_design(rng) for _ in range(8)], shapes("cifar_resnet20", 32)
    designs = Designs.of(engines)
    least = lower_bound(net, designs, rows_in_proportion(net, designs.rows), Memory(rate), images)
    fitting = 0
    for engine, bound in zip(engines, least, strict=True):
        try:
            works = works_for(net, engine, rows_in(net, proportion(engine)), images)
        except IlmpqError:
            continue
        assert bound <= frame(works, machine_of(engine), Memory(rate)).cycles
        fitting += 1
    assert fitting > 4


def test_a_batch_that_memory_binds_takes_fewer_cycles_an_image():
    net, of = shapes("cifar_resnet20", 32), engine_of()
    cycles = [
        frame(works_for(net, of, rows_in(net, proportion(of)), n), machine_of(of), Memory(1)).cycles / n
        for n in (1, 2, 4)
    ]
    assert cycles[0] > 1.3 * cycles[1] > 1.3 * cycles[2]


def test_what_is_not_done_is_said(larger):
    with pytest.raises(ValueError, match="images must be 1 where every tensor is kept, not 2"):
        compile_program(larger, CONFIGS[0], keep_all=True, images=2)
    with pytest.raises(ValueError, match="images must be 1 or more, not 0"):
        compile_program(larger, CONFIGS[0], images=0)
    image = compile_program(larger, CONFIGS[0], images=2)
    with pytest.raises(ValueError, match="images must be 2, not 1: compile the program for so many"):
        image.encode_input(np.zeros(larger.graph.input_shape, np.int64))
