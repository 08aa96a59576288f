"""The program's file: golden bytes, and nothing damaged, hostile or newer is accepted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_model

from ilmpq import naive
from ilmpq.container import container_bytes, read_container
from ilmpq.errors import InvariantError, ModelError, UsageError
from ilmpq.graph import Graph, Node, Op, Window
from ilmpq.integer import Executor
from ilmpq.lower import lower
from ilmpq.program import KIND, VERSION, Arithmetic, Matrix, Program
from ilmpq.rowquant import TensorQuant
from ilmpq.storage import TensorFormat

GOLDEN = Path(__file__).parent / "golden"


def golden_program() -> Program:
    """A residual network of two convolutions with rows of four schemes, a pool and a linear layer, written by hand."""
    padded = Window((3, 3), (1, 1), (1, 1, 1, 1))
    nodes = (
        Node("input", Op.INPUT),
        Node("stem", Op.CONV, ("input",), Window((1, 1)), relu=True),
        Node("block", Op.CONV, ("stem", "stem"), padded, relu=True),
        Node("pool", Op.AVG_POOL, ("block",), Window((4, 4), (4, 4))),
        Node("flatten", Op.FLATTEN, ("pool",)),
        Node("fc", Op.LINEAR, ("flatten",)),
    )
    structure = {"stem": 4, "block": 4, "fc": 3}
    graph = Graph("golden", (1, 4, 4), nodes)
    object.__setattr__(graph, "_rows", structure)
    graph = Graph.from_json(graph.to_json()).verify()
    pattern = np.arange(4 * 36)
    block = np.stack(
        [
            np.array([0, 1, -2, 4, -8, 16, -32, 64])[pattern[:36] % 8],
            pattern[36:72] % 15 - 7,
            pattern[72:108] * 37 % 255 - 127,
            np.array([0, 1, -2, 4, -4, 2, -1])[pattern[108:] % 7],
        ]
    ).astype(np.int8)
    schemes = np.array([0, 1, 2, 3], np.uint8)
    matrices = {
        "stem": Matrix(np.array([[64], [-7], [127], [4]], np.int8), schemes, np.int32([1, -2, 3, -4]), 8, 0),
        "block": Matrix(block, schemes, np.int32([100, -100, 7, 0]), 4, 3),
        "fc": Matrix(np.int8([[1, 2, 4, 8], [7, 0, -7, 1], [-100, 50, 25, 0]]), schemes[:3], np.int32([0, 9, -9]), 4, 0),
    }  # fmt: skip
    arithmetic = {
        "stem": Arithmetic(np.int32([3000, 40000, 2000, 50000]), 15, 0, 255),
        "block": Arithmetic(np.int32([70, 900, 11, 1500]), 14, 0, 255, skip_multiplier=16384),
        "pool": Arithmetic(np.int32([380]), 16, 0, 15),
        "fc": Arithmetic(np.int32([5242, 300, 100]), 2, -(2**31), 2**31 - 1),
    }
    stored = {
        "input": TensorQuant(TensorFormat(8, True), 0.0078125),
        "stem": TensorQuant(TensorFormat(8, False), 0.015625),
        "block": TensorQuant(TensorFormat(8, False), 0.015625),
        "pool": TensorQuant(TensorFormat(4, False), 0.03125),
    }
    return Program(graph, matrices, arithmetic, stored, 0.0009765625, {"source": "golden"}).verify()


def golden_input() -> np.ndarray:
    return (np.arange(2 * 16) * 53 % 255 - 127).reshape(2, 1, 4, 4)


def test_golden_bytes_and_golden_logits():
    path = GOLDEN / "program.safetensors"
    assert golden_program().to_bytes() == path.read_bytes()
    expected = json.loads((GOLDEN / "logits.json").read_text())
    program = Program.load(path)
    assert Executor(program)(torch.from_numpy(golden_input().astype(np.int8))).tolist() == expected
    assert naive.run(program, golden_input()).tolist() == expected


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A program and its file."""
    program = lower(random_model(np.random.default_rng(3)))
    path = tmp_path_factory.mktemp("program") / "program.safetensors"
    program.save(path)
    return program, path.read_bytes(), path.with_name("other")


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_file_cut_anywhere_or_with_one_bit_flipped_is_refused(whole, data):
    _, content, path = whole
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        damaged = content[:position]
    else:
        changed = bytearray(content)
        changed[position] ^= 1 << data.draw(st.integers(0, 7))
        damaged = bytes(changed)
    path.write_bytes(damaged)
    with pytest.raises(ModelError, match="damaged|not a whole ILMPQ file|version|must hold"):
        Program.load(path)


def test_a_newer_file_says_so(whole):
    _, content, path = whole
    path.write_bytes(content)
    header, arrays = read_container(path, KIND, VERSION)
    path.write_bytes(container_bytes(KIND, VERSION + 1, _fields(header), arrays))
    with pytest.raises(ModelError, match=f"version {VERSION + 1} of its format, this program knows {VERSION}: upgrade"):
        Program.load(path)


def _fields(header):
    return {k: v for k, v in header.items() if k not in ("kind", "version")}


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_hostile_file_with_a_right_checksum_is_refused_or_legal(whole, data):
    _, content, path = whole
    path.write_bytes(content)
    header, arrays = read_container(path, KIND, VERSION)
    header, arrays = _fields(header), dict(arrays)
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(arrays)))
        kind = data.draw(st.sampled_from(["drop", "cut", "type", "value"]))
        array = arrays.pop(name)
        if kind == "cut":
            arrays[name] = array[:-1]
        elif kind == "type":
            arrays[name] = array.astype(np.float64)
        elif kind == "value":
            changed = array.copy()
            changed.reshape(-1)[data.draw(st.integers(0, array.size - 1))] = data.draw(st.integers(0, 120))
            arrays[name] = changed
    else:
        junk = st.one_of(st.none(), st.integers(-3, 99), st.text(max_size=3), st.just([]), st.just({}))
        key = data.draw(st.sampled_from(sorted(header)))
        entry = header[key]
        if isinstance(entry, dict) and entry and data.draw(st.booleans()):
            inner = data.draw(st.sampled_from(sorted(entry)))
            if isinstance(entry[inner], dict) and data.draw(st.booleans()):
                innermost = data.draw(st.sampled_from(sorted(entry[inner])))
                entry[inner][innermost] = data.draw(junk)
            else:
                entry[inner] = data.draw(junk)
        else:
            header[key] = data.draw(junk)
    path.write_bytes(container_bytes(KIND, VERSION, header, arrays))
    try:
        read = Program.load(path)
    except ModelError:
        return
    Executor(read)(torch.zeros(1, *read.graph.input_shape, dtype=torch.int8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: replace(p, matrices={}), "matrices and arithmetic must be those of"),
        (lambda p: replace(p, logits_scale=float("nan")), "logits scale must be positive"),
        (lambda p: _layer(p, bias=np.zeros(2, np.int32)), "stem bias must be int32 .4,., not int32 .2,."),
        (lambda p: _layer(p, input_shift=1), "stem input bits or shift"),
        (lambda p: _sums(p, shift=63), "stem skip multiplier or shift"),
        (lambda p: _sums(p, multiplier=np.zeros(4, np.int32)), "stem multiplier must be from 1"),
        (lambda p: _sums(p, multiplier=np.ones(3, np.int32)), "stem multiplier must be int32 of length 4"),
        (lambda p: _sums(p, low=-1), r"stem range must lie within 0 … 255, not -1 … 255"),
    ],
)
def test_every_rule_is_checked(change, message):
    with pytest.raises(InvariantError, match=message):
        change(golden_program()).verify()


def _layer(program, **changes):
    return replace(program, matrices={**program.matrices, "stem": replace(program.matrices["stem"], **changes)})


def _sums(program, **changes):
    return replace(program, arithmetic={**program.arithmetic, "stem": replace(program.arithmetic["stem"], **changes)})


def test_input_codes_of_a_wrong_kind_are_told_what_was_expected():
    executor = Executor(golden_program())
    good = torch.zeros(1, 1, 4, 4, dtype=torch.int8)
    executor(good)
    for bad, message in (
        (good[:, :, :3], "must be int8 codes of N×1×4×4"),
        (good.float(), "not torch.float32"),
        (torch.full_like(good, -128), "from -127 to 127"),
    ):
        with pytest.raises(UsageError, match=message):
            executor(bad)
