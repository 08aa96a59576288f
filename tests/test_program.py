"""The program's file: golden bytes, and nothing damaged, hostile or newer is accepted."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import random_model
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialize

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


def sealed(text, arrays):
    """A file with that header's text, its checksum as docs/formats.md says it."""
    covered = text.encode()
    for name, array in sorted(arrays.items()):
        letter = {"i": "I", "u": "U", "f": "F"}[array.dtype.kind]
        shape = ",".join(str(n) for n in array.shape)
        covered += f"\n{name} {letter}{8 * array.itemsize} {shape}\n".encode() + array.tobytes()
    return serialize(dict(arrays), {"ilmpq": f"{hashlib.sha256(covered).hexdigest()} {text}"})


def parts(content):
    """Header and arrays of a whole file."""
    length = int.from_bytes(content[:8], "little")
    text = json.loads(content[8 : 8 + length])["__metadata__"]["ilmpq"].partition(" ")[2]
    return json.loads(text), parse(content)


def hostile(header, arrays):
    """A file with a right checksum; the strings BIG and NAN stand for numbers that Python does not write."""
    text = json.dumps(header).replace('"BIG"', "1e400").replace('"NAN"', "NaN")
    return sealed(text, {k: np.ascontiguousarray(v) for k, v in arrays.items()})


def test_the_checksum_is_what_the_documentation_says(whole):
    for content in (whole[1], golden_program().to_bytes()):
        header, arrays = parts(content)
        assert hostile(header, arrays) == content


@given(st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines may be busy
def test_a_hostile_file_with_a_right_checksum_is_refused_or_legal(whole, data):
    header, arrays = parts(data.draw(st.sampled_from([whole[1], (GOLDEN / "program.safetensors").read_bytes()])))
    for _ in range(data.draw(st.integers(1, 2))):
        if data.draw(st.integers(0, 3)):
            spoil_header(header, data.draw)
        else:
            spoil_arrays(arrays, data.draw)
    path = whole[2]
    path.write_bytes(hostile(header, arrays))
    try:
        program = Program.load(path)
    except ModelError:
        return
    assert_executors_agree(program, data.draw(st.integers(0, 2**32)))


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 99),
    st.sampled_from(
        [1.0, 0.5, -0.0, "BIG", "NAN", 2.0**900, 2.0**-900, 2.0**-140, 2**31, 2**40, 2**64, 10**400, "no", ""]
    ),
    st.sampled_from([[], {}, [1], [1, 2], [0, 0, 1, 1], ["input"], {"a": 1}, "input", "conv", "max_pool", "avg_pool"]),
)


def places(tree):
    """Every dictionary and list of a header."""
    found = [tree]
    for value in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(value, dict | list):
            found += places(value)
    return [p for p in found if p]


def spoil_header(header, draw):
    """Change, remove, double or add one field or item anywhere."""
    place = draw(st.sampled_from(places(header)))
    key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    match draw(st.sampled_from(["change", "change", "change", "remove", "double", "add"])):
        case "change":
            place[key] = draw(JUNK)
        case "remove":
            del place[key]
        case "double" | "add" if isinstance(place, list):
            place.append(place[key])
        case "double":
            place[draw(st.sampled_from([*sorted(place), "new"]))] = place[key]
        case "add":
            fields = ("window", "groups", "relu", "relu_max", "count_pad", "channels_before", "new")
            place[draw(st.sampled_from(fields))] = draw(JUNK)


def spoil_arrays(arrays, draw):
    """Change, remove or add one tensor."""
    name = draw(st.sampled_from(sorted(arrays)))
    array = arrays[name]
    match draw(st.sampled_from(["remove", "cut", "type", "value", "matrix", "add"])):
        case "remove":
            del arrays[name]
        case "cut":
            arrays[name] = array[: draw(st.integers(0, 2))]
        case "type":
            arrays[name] = array.astype(draw(st.sampled_from([np.float64, np.int64, np.uint16, np.int8])))
        case "value":
            arrays[name] = array.copy()
            arrays[name].reshape(-1)[draw(st.integers(0, max(array.size - 1, 0))) :][:1] = draw(st.integers(0, 120))
        case "matrix":
            arrays[name] = array[None]
        case "add":
            arrays[f"{name}2"] = array


def assert_executors_agree(program, seed):
    """Both executors compute the same of a small program."""
    graph = program.graph
    kernels = [1, *(int(np.prod(n.window.kernel)) for n in graph.nodes if n.window)]
    if max(int(np.prod(s)) for s in graph.shapes.values()) * max(kernels) > 2**16:
        return
    codes = np.random.default_rng(seed).integers(-127, 128, (1, *graph.input_shape))
    expected, found = {}, {}
    naive.run(program, codes, lambda n, v: expected.__setitem__(n.name, v))
    Executor(program)(torch.from_numpy(codes.astype(np.int8)), lambda n, v: found.__setitem__(n.name, v.numpy()))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def node(place, **fields):
    """A change of a node of the golden program: 1 stem, 2 block, 3 pool, 4 flatten, 5 fc."""
    return lambda header, _: header["graph"]["nodes"][place].update(fields)


def window(place, **fields):
    return lambda header, _: header["graph"]["nodes"][place]["window"].update(fields)


def entry(key, name, **fields):
    return lambda header, _: header[key][name].update(fields)


def field(name, value):
    return lambda header, _: header.__setitem__(name, value)


def scales(scale):
    """The golden program's logits, or one of its tensors, with another scale."""
    return [field("logits_scale", scale), entry("tensors", "pool", scale=scale)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (window(2, stride=[0, 1]), "block kernel, stride and dilation must be positive"),
        (window(2, kernel=[3, 3.0]), "block window kernel must be a whole number"),
        (window(2, pad=[1, 1, -1, 1]), "padding not negative"),
        (window(2, pad=[1, 1]), "an array of 4"),
        (window(2, pad=[2**40, 0, 0, 0]), "block kernel, stride, dilation and padding must be at most"),
        (window(2, pad=[2**26, 0, 0, 0]), "block must have at most"),
        (window(3, dilation=[1, 2]), "pool .an average pool. must not be dilated"),
        (window(3, new=1), "must not have a field 'new'"),
        (window(3, kernel=[2, 2], pad=[2, 0, 0, 0]), "each of its windows holds a pixel"),
        (node(2, groups=0), "groups must be positive"),
        (node(2, groups=3), "multiple of its 3 groups"),
        (node(2, window=None), "block window must be an object"),
        (node(2, inputs=[]), "must not have 0 inputs"),
        (node(3, inputs=["block", "stem"]), "pool .avg_pool. must not have 2 inputs"),
        (node(4, relu=True), "flatten .flatten. must not have relu"),
        (node(5, relu="no"), "fc relu must be true or false"),
        (node(5, relu=True, relu_max=-1.0), "fc must clip from 0 to a positive number"),
        (node(5, relu=True), "fc range must lie within 0"),
        (node(5, op="max"), "'max' is not a valid Op"),
        (lambda h, _: h["graph"]["nodes"][3].pop("window"), "pool .avg_pool. must have a window"),
        (lambda h, _: h["graph"].update(input_shape=[1, 2**40, 2**40]), "input must have at most"),
        (lambda h, _: h["graph"].update(input_shape=[0, 4, 4]), "positive sizes"),
        (lambda h, _: h["graph"].update(input_shape=[1, 4]), "an array of 3"),
        (lambda h, _: h["graph"]["rows"].update(stem=2**30), "must have at most"),
        (lambda h, _: h["graph"]["rows"].update(fc=0), "fc must have at least one row"),
        (lambda h, _: h["graph"]["rows"].update(fc=2**26), "fc must have 67108864 schemes and 67108864×4 codes"),
        (entry("arithmetic", "fc", shift=1.0), "fc shift must be a whole number"),
        (entry("arithmetic", "fc", low=True), "fc low must be a whole number"),
        (entry("arithmetic", "fc", skip_multiplier=1.5), "fc skip_multiplier must be a whole number"),
        (entry("arithmetic", "fc", skip_multiplier=1), "fc skip multiplier must be 0 without a residual"),
        (entry("arithmetic", "fc", more=1), "must not have a field 'more'"),
        (entry("matrices", "fc", input_bits="4"), "fc input_bits must be a whole number"),
        (entry("tensors", "pool", signed="no"), "pool signed must be true or false"),
        (field("logits_scale", "BIG"), "logits_scale must be a finite number"),
        (field("logits_scale", 10**400), "logits_scale must be a finite number"),
        (field("logits_scale", "NAN"), "a number must be finite, not NaN"),
        *((change, "from 2.-126 to 2.119") for s in (2.0**900, 2.0**-900, 2.0**-127, 0.0, -1.0) for change in scales(s)),
        *((change, "16 significant bits") for change in scales(1 + 2.0**-16)),
        (field("metadata", []), "metadata must be an object"),
        (field("more", 1), "the header must not have a field 'more'"),
        (field("version", True), "version must be a whole number"),
        (field("version", 0), "version must be positive"),
        (lambda _, arrays: arrays.update(more=np.zeros(1, np.uint8)), "tensors must not have a field 'more'"),
        (lambda _, arrays: arrays.pop("fc/bias"), "tensors must have the field fc/bias"),
        (lambda _, arrays: arrays.update({"fc/scheme": arrays["fc/scheme"][None]}), "fc/scheme must be a vector of uint8"),
        (lambda _, arrays: arrays.update({"fc/bias": arrays["fc/bias"][None]}), "fc/bias must be a vector of int32"),
    ],
)  # fmt: skip
def test_an_illegal_file_is_told_what_is_wrong(tmp_path, change, message):
    header, arrays = parts(golden_program().to_bytes())
    change(header, arrays)
    (tmp_path / "p").write_bytes(hostile(header, arrays))
    with pytest.raises(ModelError, match=message):
        Program.load(tmp_path / "p")


def test_a_pool_whose_sum_could_overflow_is_refused(tmp_path):
    header, arrays = parts(golden_program().to_bytes())
    header["graph"]["input_shape"] = [1, 4, 2**22]
    header["graph"]["nodes"][3]["window"].update(kernel=[4, 2**22], stride=[4, 2**22])
    (tmp_path / "p").write_bytes(hostile(header, arrays))
    with pytest.raises(ModelError, match="pool: sums can reach 4,278,190,080"):
        Program.load(tmp_path / "p")


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


def test_what_is_computed_with_is_stored():
    nodes = (
        Node("input", Op.INPUT),
        Node("pool", Op.AVG_POOL, ("input",), Window((1, 1))),
        Node("both", Op.CONCAT, ("input", "pool")),
    )
    graph = Graph("joined", (1, 2, 2), nodes)
    program = Program(graph, {}, {"pool": Arithmetic(np.int32([1]), 0, -127, 127)}, {}, 1.0)
    with pytest.raises(ModelError, match="pool must not average input, which is a part of the output both"):
        program.verify()


def test_logits_that_a_layer_reads_too_have_one_scale():
    nodes = (
        Node("input", Op.INPUT),
        Node("a", Op.CONV, ("input",), Window((1, 1))),
        Node("b", Op.CONV, ("a",), Window((1, 1))),
        Node("both", Op.CONCAT, ("a", "b")),
    )
    graph = Graph("joined", (1, 2, 2), nodes)
    object.__setattr__(graph, "_rows", {"a": 1, "b": 1})
    matrix = Matrix(np.int8([[1]]), np.uint8([1]), np.int32([0]), 8, 0)
    arithmetic = Arithmetic(np.int32([1]), 0, -127, 127)
    stored = dict.fromkeys(("input", "a"), TensorQuant(TensorFormat(8, True), 0.5))
    program = Program(graph, dict.fromkeys("ab", matrix), dict.fromkeys("ab", arithmetic), stored, 0.5).verify()
    with pytest.raises(InvariantError, match=r"logits scale must be that of the stored output, not 0\.25"):
        replace(program, logits_scale=0.25).verify()
    assert_executors_agree(program, 0)
