"""What the engine's compiler refuses: by name, with what to do, and with an exit code that tells a model from an engine."""

import dataclasses

import numpy as np
import pytest
from networks import shaped
from test_compile import CONFIGS, chain

from accel.engine import compile as compiler
from accel.engine import layouts, weights
from accel.engine.compile import compile_program
from ilmpq.design import EngineConfig
from ilmpq.errors import DoesNotFit, ModelError
from ilmpq.geometry import Geometry
from ilmpq.graph import Node, Op
from ilmpq.lower import lower
from ilmpq.node import Window
from ilmpq.placeholder import placeholder
from ilmpq.program import Program
from ilmpq.schemes import BY_NAME

CONFIG = CONFIGS[0]
POINT, SAME = Window((1, 1)), Window((3, 3), (1, 1), (1, 1, 1, 1))
INPUT = Node("input", Op.INPUT)
A = Node("a", Op.CONV, ("input",), SAME, relu=True)
B = Node("b", Op.CONV, ("input",), SAME, relu=True)
FLAT = Node("flat", Op.FLATTEN, ("a",))


def conv(name: str, *sources: str, window: Window = POINT) -> Node:
    return Node(name, Op.CONV, sources, window)


def pool(op: Op, source: str, side: int = 2) -> Node:
    return Node("pool", op, (source,), Window((side, side)))


def program_of(*nodes: Node, act_bits: int = 4, shape: tuple[int, int, int] = (3, 8, 8), **rows: int) -> Program:
    """Four rows a layer unless others are said."""
    every = {n.name: 4 for n in nodes if n.weighted} | rows
    return lower(
        placeholder(
            shaped("net", shape, (INPUT, *nodes), every),
            np.random.default_rng(0),
            act_bits,
            {BY_NAME["pot4"].ident: 1.0},
        )
    )


def large() -> Program:
    ratio = {BY_NAME["pot4"].ident: 60.0, BY_NAME["fix4"].ident: 35.0, BY_NAME["fix8"].ident: 5.0}
    return lower(placeholder(chain(48, 24), np.random.default_rng(0), 4, ratio))


def join(name: str, *members: str) -> Node:
    return Node(name, Op.CONCAT, members)


def stride(each: int) -> Window:
    return Window((1, 1), (each, each))


AGAIN = "let a 1×1 convolution write a copy for each further time"
POOLED = (
    "pool must not pool the network's results, 32-bit sums, on the engine: "
    "end the network before it and pool on the host, or let a convolution or linear layer follow it"
)
# No engine runs these.
MODELS = {
    "ends in a max pool": ((A, pool(Op.MAX_POOL, "a")), POOLED),
    "ends in a max pool of a concatenation": ((A, B, join("j", "a", "b"), pool(Op.MAX_POOL, "j")), POOLED),
    "ends in a subsampled tensor": (
        (A, Node("s", Op.SUBSAMPLE, ("a",), stride(2))),
        "s must be computed by a layer to be the engine's output, not be taken out of a tensor: "
        "let a 1×1 convolution follow it",
    ),
    "joined twice": ((A, join("j", "a", "a"), conv("c", "j")), f"a must be concatenated once to run on the engine: {AGAIN}"),
    "joined, and joined again": (
        (A, B, join("j", "a", "b"), conv("c", "j"), join("k", "j", "c"), conv("d", "k")),
        "j must not be concatenated again to run on the engine: join all members at once",
    ),
    "joins the input": (
        (A, join("j", "a", "input"), conv("c", "j")),
        "j must join what layers compute to run on the engine, not input: let a 1×1 convolution follow that",
    ),
    "strides of more than four bits": (
        (conv("a", "input", window=stride(16)), conv("b", "a")),
        "a stride y must be at most 15 on the engine, not 16: use smaller strides",
    ),
    "a residual's strides, of two layers": (
        (
            A,
            Node("s", Op.SUBSAMPLE, ("a",), stride(16)),
            *(conv("t", "a", window=stride(8)), conv("u", "t", window=stride(2)), conv("b", "u", "s"), conv("c", "b")),
        ),
        "b residual stride y must be at most 15 on the engine, not 16: use smaller strides",
    ),
    "a large average": (
        (conv("a", "input", window=Window((3, 3), (1, 1), (20, 20, 20, 20))), pool(Op.AVG_POOL, "a", 40)),
        "pool must average at most 1,028 pixels on the engine, not 1,600: average in two pools, one after the other",
    ),
    "a large kernel": (
        (conv("a", "input", window=Window((1, 256), (1, 1), (0, 128, 0, 127))), conv("b", "a")),
        "a kernel x must be at most 255 on the engine, not 256: replace the layer by several",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_network_that_no_engine_runs_is_refused_by_name(name):
    nodes, message = MODELS[name]
    with pytest.raises(ModelError) as caught:
        compile_program(program_of(*nodes), CONFIG)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code == 3


def test_a_flattened_residual_is_refused_but_for_single_pixels():
    linear = (Node("b", Op.LINEAR, ("flat",)), Node("c", Op.LINEAR, ("b", "flat")), Node("d", Op.LINEAR, ("c",)))
    with pytest.raises(
        ModelError, match="c must not add flat, whose pixels are flattened, on the engine: let a linear"
    ):
        compile_program(program_of(A, FLAT, *linear, a=1, b=64, c=64), CONFIG)
    assert compile_program(program_of(A, FLAT, *linear, shape=(3, 1, 1)), CONFIG).operations


def test_an_average_stays_in_the_accumulators():
    narrow = dataclasses.replace(CONFIG, geometry=dataclasses.replace(CONFIG.geometry, acc_bits=16))
    nodes = (conv("a", "input", window=Window((1, 1), (1, 1), (5, 5, 5, 5))), pool(Op.AVG_POOL, "a", 17))
    assert compile_program(program_of(*nodes), CONFIG).operations
    with pytest.raises(ModelError, match="pool must average at most 257 pixels on the engine, not 289"):
        compile_program(program_of(*nodes), narrow)


def geometry(**changes: int) -> EngineConfig:
    return dataclasses.replace(CONFIG, geometry=dataclasses.replace(CONFIG.geometry, **changes))


MEMORY = "use an engine with a larger activation memory, or give a smaller --input-shape"
FIX4 = dataclasses.replace(CONFIG, geometry=Geometry.parse("fix4@dsp:4", 8, 4))
# Another engine runs these.
ENGINES = {
    "memory": (
        dataclasses.replace(CONFIG, am_depth=60),
        rf"takes [\d,]+ words of the activation memory, which has 60, beside what .* time: {MEMORY}",
    ),
    "ring": (
        dataclasses.replace(CONFIG, ring_depth=16),
        "a1 has 27 steps, more than the weight ring's 16: use an engine with a deeper weight ring, or .* a larger tk",
    ),
    "accumulators": (geometry(acc_bits=16), r"first sums can reach 155,458, beyond .* 16-bit .*: use a geometry with acc_bits 19 or more"),
    "schemes": (
        FIX4,
        "first has rows of pot4, which no array of the geometry computes: quantize with a --ratio of fix4, or use",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENGINES)
def test_what_an_engine_does_not_hold_is_refused_by_name(name):
    config, message = ENGINES[name]
    with pytest.raises(DoesNotFit, match=message) as caught:
        compile_program(large(), config)
    assert caught.value.exit_code == 5


def test_bits_that_the_arrays_do_not_have_are_refused():
    nodes = (A, conv("b", "a"), conv("c", "b", "a"))  # a is added: stored in 8 bits
    message = r"b reads 8-bit codes as 6 bits, the engine as 4: quantize with --act-bits 4, or .* with act_bits 6"
    with pytest.raises(DoesNotFit, match=message):
        compile_program(program_of(*nodes, act_bits=6), CONFIG)


@pytest.mark.parametrize(
    ("module", "limit", "message"),
    [
        (layouts, "MOST_GROUPS", "a must have at most 2 groups of 8 channels on the engine, not 3: .* a larger tk"),
        (weights, "MOST_STEPS", "a2 must have at most 2 steps of weights in a row tile, not .*: .* a larger tk"),
        (compiler, "MOST_DESCRIPTORS", f"chain must take at most 2 operations on the engine, not .*: {MEMORY}"),
    ],
)
def test_limits_of_fields(module, limit, message, monkeypatch):
    """Networks that reach them take minutes to compile, so the limits are lowered."""
    monkeypatch.setattr(module, limit, 2)
    with pytest.raises(DoesNotFit, match=message.replace("a must", "first must").replace("a2 ", ".* ")):
        compile_program(large(), CONFIG)
