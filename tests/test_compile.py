"""Compiled programs on the HLS engine: every tensor and every output equals the integer executor's."""

import dataclasses
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import NETWORKS, random_model, shaped

from accel.engine.compile import compile_program
from accel.engine.descriptor import WORDS, Image, Load
from accel.engine.hls_engine import HlsEngine
from accel.engine.layout import tiling
from accel.engine.tiles import row_tiles
from ilmpq.design import EngineConfig
from ilmpq.errors import DoesNotFit
from ilmpq.geometry import Geometry
from ilmpq.graph import Node, Op
from ilmpq.integer import Executor
from ilmpq.layout import Access, Layout, Tiling, layouts
from ilmpq.lower import lower
from ilmpq.network import network_of
from ilmpq.node import Window
from ilmpq.placeholder import placeholder
from ilmpq.schedule import Schedule
from ilmpq.schemes import BY_NAME

KERNELS = ((3, 3), (1, 3), (2, 2), (3, 1))
CONFIGS = [
    EngineConfig(Geometry.parse(arrays, tk, tp, a, acc), 4096, 512, 64, ports, KERNELS)
    for arrays, tk, tp, a, acc, ports in [
        ("pot4@lut:4, fix4@dsp:2, fix8@dsp:2", 8, 4, 4, 32, 1),
        ("pot4@lut:2, pot3@lut:2, fix4@dsp:2, fix8@dsp:2", 4, 6, 5, 24, 2),
        ("pot4@lut:4, fix4@lut:2, fix8@dsp:2", 16, 4, 8, 32, 3),
        ("pot3@lut:8, pot4@lut:2, fix4@dsp:4, fix8@dsp:2", 16, 6, 4, 24, 3),
    ]
]
REFUSALS = ("bits, the engine as", "reads 8-bit codes")


@pytest.fixture(
    scope="module", params=CONFIGS, ids=lambda c: f"A{c.geometry.act_bits}-TP{c.geometry.tp}-TK{c.geometry.tk}"
)
def engine(request):
    return HlsEngine(request.param)


def differences(program, engine, rng, **sizes):
    """Nodes whose codes differ, of one random image; the image is compiled to keep every tensor."""
    image = compile_program(program, dataclasses.replace(engine.config, **sizes), keep_all=True)
    codes = rng.integers(-127, 128, (1, *program.graph.input_shape)).astype(np.int8)
    seen = {}
    output = Executor(program)(
        torch.from_numpy(codes), lambda node, t: seen.__setitem__(node.name, t[0].long().numpy())
    )
    parts = [p.tobytes() for p in image.weights]
    given = image.encode_input(codes[0].astype(np.int64)).tobytes()
    run = (engine if not sizes else HlsEngine(image.config)).run(
        list(image.words), parts, image.scratch_bytes, given, image.output_bytes
    )
    result = run.require()
    scratch = np.frombuffer(result.scratch, np.uint8)
    found = {name: stored.decode(image.config, scratch, view) for name, (stored, view) in image.kept.items()}
    assert len(found) == len(network_of(program.graph, program.formats, image.config.geometry.tk).layers)
    found["output"] = image.decode_output(np.frombuffer(result.output, np.uint8))
    seen["output"] = output[0].numpy()
    return [name for name, value in found.items() if not np.array_equal(value.ravel(), seen[name].ravel())], image


def test_random_networks_are_exact(engine):
    """Every kind of layer; a refusal is only one for bits that the arrays do not have."""
    refused = 0
    for seed in range(NETWORKS):
        rng = np.random.default_rng([seed, engine.config.geometry.tk])
        program = lower(random_model(rng))
        try:
            assert differences(program, engine, rng)[0] == [], f"seed {seed}"
        except DoesNotFit as error:
            assert any(r in str(error) for r in REFUSALS)
            refused += 1
    assert refused < NETWORKS / 2


# The last layer before each that must be complete: the one it reads, or whose memory it takes.
LAST_NEEDED = {
    "pool": "first", "a1": "pool", "a2": "a1", "down": "a2", "b1": "a2", "b2": "b1", "mean": "b2", "fc": "mean"
}  # fmt: skip


def chain(size, channels):
    """Convolutions, a pool and two residual blocks, one with a strided shortcut."""
    same, taps = Window((3, 3), (1, 1), (1, 1, 1, 1)), (3, 3)
    nodes = [
        Node("input", Op.INPUT),
        Node("first", Op.CONV, ("input",), Window(taps, (2, 2), (1, 1, 1, 1)), relu=True),
        Node("pool", Op.MAX_POOL, ("first",), Window(taps, (2, 2), (1, 1, 1, 1))),
        Node("a1", Op.CONV, ("pool",), same, relu=True),
        Node("a2", Op.CONV, ("a1", "pool"), same, relu=True),
        Node("down", Op.CONV, ("a2",), Window((1, 1), (2, 2))),
        Node("b1", Op.CONV, ("a2",), Window(taps, (2, 2), (1, 1, 1, 1)), relu=True),
        Node("b2", Op.CONV, ("b1", "down"), same, relu=True),
        Node("mean", Op.AVG_POOL, ("b2",), Window((size // 8, size // 8))),
        Node("flatten", Op.FLATTEN, ("mean",)),
        Node("fc", Op.LINEAR, ("flatten",)),
    ]
    rows = {"first": channels, "a1": channels, "a2": channels, "fc": 10}
    rows |= dict.fromkeys(("down", "b1", "b2"), 2 * channels)
    return shaped("chain", (3, size, size), nodes, rows)


@pytest.fixture(scope="module")
def larger():
    ratio = {BY_NAME["pot4"].ident: 60.0, BY_NAME["fix4"].ident: 35.0, BY_NAME["fix8"].ident: 5.0}
    return lower(placeholder(chain(48, 24), np.random.default_rng(0), 4, ratio))


@pytest.mark.parametrize("depth", [4096, 700, 450, 320])
def test_bands_in_rings_are_exact(larger, depth):
    """The same network in ever less memory: whole, then in bands of rows."""
    engine = HlsEngine(CONFIGS[0])
    wrong, image = differences(larger, engine, np.random.default_rng(1), am_depth=depth)
    assert wrong == []
    whole = compile_program(larger, CONFIGS[0])
    assert (len(image.words) > 2 * len(whole.words)) == (depth < 700)


def test_waits_let_nothing_overtake(larger):
    """Each operation waits for the last one before it in every queue that touches what it touches, and for no later."""
    image = compile_program(larger, CONFIGS[0], keep_all=True)
    words = np.array(image.words).reshape(-1, WORDS)[1:]
    kinds = words[:, 0] & 15
    computes, stores = np.isin(kinds, (3, 4, 5)), kinds == 2
    before = np.cumsum(computes) - computes
    assert (words[:, 2] <= before).all()
    assert (words[stores, 2] == before[stores]).all()  # a store takes what the operation before it wrote
    names = [layer.name for layer in network_of(larger.graph, larger.formats, 8).layers]
    needed = dict(zip(names, words[computes, 2].tolist(), strict=True))
    assert needed == {n: 1 + names.index(last) for n, last in LAST_NEEDED.items()} | {"first": 0}


def test_rows_are_dealt_in_the_least_number_of_tiles():
    """Rows fill their own arrays first, others where codes fit; every row once, slots share their groups."""
    geometry = Geometry.parse("pot4@lut:4, fix4@dsp:2, fix8@dsp:2", 16, 4)
    scheme = np.repeat([BY_NAME[n].ident for n in ("pot4", "fix4", "fix8")], [20, 4, 0]).astype(np.uint8)
    order = np.random.default_rng(0).permutation(24)
    keys = [(int(o) // 16, -1) for o in order]
    tiles = row_tiles("layer", geometry, scheme, order, keys)
    assert len(tiles) == 4  # 16 PoT4 rows on their own array, 4 on Fixed8's; 3 tiles have no place for 20
    rows = np.concatenate([t.rows for t in tiles])
    assert sorted(rows[rows >= 0]) == list(range(24))
    for tile in tiles:
        seats = [s for slot in tile.slots for s in (slot.even, slot.odd) if s >= 0]
        assert sorted(seats) == np.flatnonzero(tile.rows >= 0).tolist()
        for slot in tile.slots:
            assert slot.even < 0 or slot.even % 2 == 0
            assert slot.odd < 0 or slot.odd % 2 == 1
            assert len({keys[tile.rows[s]] for s in (slot.even, slot.odd) if s >= 0}) == 1


def test_a_stride_of_two_reads_as_many_positions_where_columns_are_split():
    taps = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))
    reader = Access(14, 14, (2, 2), taps)
    least = dict.fromkeys((False, True), 14 * 14)
    for layout in layouts(28, 28, False, 4, [2]):
        least[layout.split] = min(least[layout.split], tiling([(layout, reader)], 4, 4).tiles(14, 14))
    assert least[False] > least[True] == 14 * 14 // 4


def test_tiles_end_with_rows_where_the_next_row_has_the_same_banks():
    """Rows of seven, fourteen apart: the eighth pixel shares a bank with the first but one."""
    taps = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))
    reader, writer = Access(7, 7, (2, 2), taps), Access(7, 7, writes=True)
    found = tiling([(Layout(14, 14, 14, half=7), reader), (Layout(7, 7, 8), writer)], 4, 4)
    assert found == Tiling(4, row_ends=True)
    assert found.tiles(7, 7) == 14


def test_bands_cover_every_row_once_and_in_order(larger):
    layers = network_of(larger.graph, larger.formats, 8).layers
    rings = {"pool": 4, "a1": 4, "a2": 6}
    bands = Schedule(layers, {}).bands(rings, 1)
    for index, layer in enumerate(layers):
        own = [b for b in bands if b.layer == index]
        edges = [own[0].first, *(b.last for b in own)]
        assert edges[0] == 0
        assert edges[-1] == layer.target.tensor.height
        assert all(a.last == b.first for a, b in pairwise(own))


def test_codes_that_cannot_be_written_in_pairs_get_whole_bytes():
    """Rows of 13 pixels that are read with a stride of two rows."""
    nodes = [
        Node("input", Op.INPUT),
        Node("a", Op.CONV, ("input",), Window((1, 1))),
        Node("b", Op.CONV, ("a",), Window((1, 3), (2, 1))),
        Node("flatten", Op.FLATTEN, ("b",)),
        Node("fc", Op.LINEAR, ("flatten",)),
    ]
    graph = shaped("narrow", (3, 3, 13), nodes, {"a": 4, "b": 4, "fc": 2})
    program = lower(placeholder(graph, np.random.default_rng(0), 4, {BY_NAME["pot4"].ident: 1.0}))
    engine = HlsEngine(dataclasses.replace(CONFIGS[0], geometry=Geometry.parse("pot4@lut:6, fix8@dsp:2", 16, 4, 4, 24)))
    assert differences(program, engine, np.random.default_rng(1))[0] == []


def test_an_image_whose_rows_do_not_fit_the_table_is_loaded(larger):
    """The first layer's windows need all its row tiles at a time."""
    tight = dataclasses.replace(CONFIGS[0], table_depth=16)
    assert isinstance(compile_program(larger, CONFIGS[0]).operations[0].operation, Image)
    assert isinstance(compile_program(larger, tight).operations[0].operation, Load)


def test_the_same_program_gives_the_same_image():
    """Whatever the order in which Python keeps sets of names."""
    code = (
        "import sys, zlib; sys.path.insert(0, 'tests')\n"
        "from test_compile import CONFIGS, chain, lower, placeholder, np, BY_NAME, compile_program\n"
        "import dataclasses\n"
        "program = lower(placeholder(chain(48, 24), np.random.default_rng(0), 4, {BY_NAME['pot4'].ident: 1.0}))\n"
        "image = compile_program(program, dataclasses.replace(CONFIGS[0], am_depth=320))\n"
        "print(len(image.words), zlib.crc32(repr(image.words).encode()))\n"
    )
    root = Path(__file__).parents[1]
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
    assert int(found.pop().split()[0]) > 500
