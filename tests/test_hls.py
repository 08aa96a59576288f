"""The HLS arrays equal integer arithmetic: lanes on all operands, arrays over frames, the streaming unit, pragmas."""

import importlib.util
import re
import subprocess
from itertools import product

import numpy as np
import pytest

from accel.engine import lanes_dsp, lanes_lut
from accel.hls import COMPILE, SOURCES, HlsArray, HlsSplitArray, Lane, Part, headers
from ilmpq.errors import ToolMissing

LUT = {
    Lane.POT4: lanes_lut.POT4,
    Lane.POT3: lanes_lut.POT3,
    Lane.TERNARY_LUT: lanes_lut.TERNARY,
    Lane.FIXED3_LUT: lanes_lut.FIXED3,
    Lane.FIXED4_LUT: lanes_lut.FIXED4,
    Lane.FIXED8_LUT: lanes_lut.FIXED8,
}
LARGEST = {Lane.TERNARY_LUT: 1, Lane.FIXED3_LUT: 3, Lane.FIXED4_LUT: 7, Lane.FIXED4_DSP: 7}
POWERS = {Lane.POT3: 3, Lane.POT4: 7}


def levels(lane):
    """All codes of a lane."""
    if lane in POWERS:
        return np.array([0] + [sign << k for k in range(POWERS[lane]) for sign in (1, -1)], np.int8)
    top = LARGEST.get(lane, 127)
    return np.arange(-top, top + 1, dtype=np.int8)


def lane_of(part, tp, act_bits):
    """Encoder and correction of a part."""
    if part.lane in LUT:
        return LUT[Lane(part.lane)]
    packing = part.array.packing(tp, act_bits)
    return lanes_dsp.fixed8(*packing) if part.lane == Lane.FIXED8_DSP else lanes_dsp.fixed4(act_bits, *packing)


def lane_codes(unit, codes):
    """Lane codes of codes (steps, rows, tk), part by part."""
    found, start = [], 0
    for part in unit.parts:
        own = codes[:, start : start + part.rows].transpose(1, 0, 2)
        lane = lane_of(part, unit.tp, unit.act_bits).encode(own.reshape(part.rows, -1))
        found.append(lane.reshape(own.shape).transpose(1, 0, 2))
        start += part.rows
    return found


def step_sums(unit, codes, act):
    """Σ code·act + correction of every single step: (steps, rows, tp)."""
    sums = codes.astype(np.int64) @ act.astype(np.int64).transpose(0, 2, 1)
    start = 0
    for part in unit.parts:
        rows = slice(start, start + part.rows)
        sums[:, rows] += lane_of(part, unit.tp, unit.act_bits).correction(codes[:, rows], unit.act_bits)[:, :, None]
        start += part.rows
    return sums


def wrap(values, bits):
    half = 1 << (bits - 1)
    return (values + half) % (2 * half) - half


def accumulated(unit, sums, clear, shift):
    """What the accumulators hold after every step."""
    acc, found = np.zeros(sums.shape[1:], np.int64), np.empty_like(sums)
    for i, each in enumerate(sums):
        acc = wrap((0 if clear[i] else acc << unit.act_bits if shift[i] else acc) + each, unit.acc_bits)
        found[i] = acc
    return found


def check_products(unit, codes, act, chunk=100_000):
    """Every step on its own, some at a time."""
    for at in range(0, len(codes), chunk):
        c, a = codes[at : at + chunk], act[at : at + chunk]
        found = unit.run(a, lane_codes(unit, c), clear=np.ones(len(c), bool))
        np.testing.assert_array_equal(found, step_sums(unit, c, a))


def combinations(*axes):
    """All combinations of the axes' values, one row each."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def random_codes(unit, steps, rng, extreme=False):
    rows = []
    for part in unit.parts:
        choice = levels(Lane(part.lane))
        choice = np.array([choice.min(), choice.max()]) if extreme else choice
        rows.append(rng.choice(choice, (steps, part.rows, unit.tk)))
    return np.concatenate(rows, axis=1).astype(np.int8)


def random_acts(unit, steps, rng, extreme=False):
    top = 2**unit.act_bits - 1
    shape = (steps, unit.tp, unit.tk)
    return rng.choice([0, top], shape) if extreme else rng.integers(0, top + 1, shape)


@pytest.mark.parametrize("act_bits", range(4, 9))
def test_every_lut_lane_on_all_operands(act_bits):
    unit = HlsSplitArray([Part(lane, 1) for lane in LUT], tk=1, tp=1, act_bits=act_bits)
    operands = combinations(np.arange(255), np.arange(2**act_bits))
    codes = np.stack([levels(lane)[operands[:, 0] % len(levels(lane))] for lane in LUT], axis=1)
    check_products(unit, codes[:, :, None], operands[:, 1][:, None, None])


def dsp_unit(act_bits, tp, tk):
    """Every way to pack products that so many positions allow, side by side: rows that share a DSP, or one."""
    if tp == 1:
        return HlsSplitArray([Part(Lane.FIXED8_DSP, 2)], tk, tp, act_bits)
    four = [Part(Lane.FIXED4_DSP, 2)] if act_bits <= 6 else []
    pairs = [Part(Lane.FIXED4_DSP, 2, 2), Part(Lane.FIXED4_DSP, 1, 2), Part(Lane.FIXED8_DSP, 1)]
    singles = [Part(Lane.FIXED4_DSP, 1, 1), Part(Lane.FIXED8_DSP, 1, 1)]
    return HlsSplitArray(four + pairs + singles, tk, tp, act_bits)


@pytest.mark.parametrize("act_bits", [4, 5])
def test_every_dsp_lane_on_all_combinations_of_operands(act_bits):
    acts, four, eight = np.arange(2**act_bits), levels(Lane.FIXED4_DSP), levels(Lane.FIXED8_DSP)
    operands = combinations(eight, eight, acts)
    check_products(dsp_unit(act_bits, 1, 1), operands[:, :2, None].astype(np.int8), operands[:, 2:, None])
    operands = combinations(np.arange(255), acts, acts)
    number = operands[:, 0]
    low, high = four[number % 15], four[number // 15 % 15]
    codes = np.stack([low, high, low, high, low, eight[number], low, eight[number]], axis=1)
    check_products(dsp_unit(act_bits, 2, 1), codes[:, :, None], operands[:, 1:, None])


@pytest.mark.parametrize(("act_bits", "tp"), [(6, 1), (6, 2), (7, 1), (7, 2), (8, 1), (8, 2)])
def test_every_dsp_lane_on_all_products_and_a_million_random_ones(act_bits, tp):
    rng = np.random.default_rng(act_bits)
    unit = dsp_unit(act_bits, tp, tk=16)
    # All products of each row and position of a DSP, one per lane; in its other fields extremes or random values.
    pairs = combinations(np.arange(255), np.arange(2**act_bits))
    steps = -(-len(pairs) // unit.tk)
    each = np.resize(pairs, (steps, unit.tk, 2))
    rows = [(part.lane, place) for part in unit.parts for place in range(part.rows)]
    for row, position, extreme in product(range(2), range(tp), (False, True)):
        codes, act = random_codes(unit, steps, rng, extreme), random_acts(unit, steps, rng, extreme)
        for r, (lane, place) in enumerate(rows):
            if place == row:
                codes[:, r] = levels(lane)[each[:, :, 0] % len(levels(lane))]
        act[:, position] = each[:, :, 1]
        check_products(unit, codes, act)
    steps = 10**6 // unit.tk if act_bits == 8 else 1000
    for share, extreme in ((steps, False), (steps // 10, True)):
        check_products(unit, random_codes(unit, share, rng, extreme), random_acts(unit, share, rng, extreme))


CONFIGURATIONS = {  # lane, rows, tk, tp, act_bits, acc_bits, most products per DSP
    "pot4": (Lane.POT4, 4, 16, 2, 4, 32),
    "pot4, 8-bit": (Lane.POT4, 2, 7, 1, 8, 24),
    "pot3": (Lane.POT3, 3, 16, 2, 4, 16),
    "pot3, 5-bit": (Lane.POT3, 1, 32, 1, 5, 32),
    "fixed4 in LUTs": (Lane.FIXED4_LUT, 4, 8, 2, 4, 24),
    "fixed8 in LUTs, 7-bit": (Lane.FIXED8_LUT, 1, 5, 3, 7, 32),
    "fixed4": (Lane.FIXED4_DSP, 4, 16, 4, 4, 32),
    "fixed4, 5-bit": (Lane.FIXED4_DSP, 2, 13, 2, 5, 24),
    "fixed4, 6-bit": (Lane.FIXED4_DSP, 4, 3, 2, 6, 32),
    "fixed4, 8-bit": (Lane.FIXED4_DSP, 2, 20, 3, 8, 32),
    "fixed4, odd rows": (Lane.FIXED4_DSP, 3, 9, 2, 4, 32),
    "fixed8": (Lane.FIXED8_DSP, 3, 40, 2, 4, 32),
    "fixed8, 8-bit": (Lane.FIXED8_DSP, 1, 15, 4, 8, 32),
    "fixed8, odd positions": (Lane.FIXED8_DSP, 2, 16, 1, 8, 24),
    "fixed4, two products": (Lane.FIXED4_DSP, 4, 16, 2, 4, 32, 2),
    "fixed4, two products, odd rows": (Lane.FIXED4_DSP, 3, 9, 2, 5, 24, 2),
    "fixed4, one product": (Lane.FIXED4_DSP, 3, 16, 3, 4, 32, 1),
    "fixed8, one product": (Lane.FIXED8_DSP, 3, 32, 1, 8, 32, 1),
}


def random_frames(steps, rng):
    """Frames of 1 … 6 steps back to back, half of them of two passes: clear, shift and last of every step."""
    clear, shift = np.zeros(steps + 1, bool), np.zeros(steps, bool)
    at = 0
    while at < steps:
        clear[at] = True
        length = min(int(rng.integers(1, 7)), steps - at)
        if rng.random() < 0.5:
            length = min(2 * length, steps - at)
            shift[at + length // 2] = length > 1
        at += length
    clear[steps] = True
    return clear[:-1], shift, clear[1:]


def check_frames(unit, rng, steps=10_000):
    half = steps // 2
    codes = np.concatenate([random_codes(unit, half, rng), random_codes(unit, steps - half, rng, extreme=True)])
    act = np.concatenate([random_acts(unit, half, rng), random_acts(unit, steps - half, rng, extreme=True)])
    clear, shift, last = random_frames(steps, rng)
    expected = accumulated(unit, step_sums(unit, codes, act), clear, shift)
    lanes = lane_codes(unit, codes)
    np.testing.assert_array_equal(unit.run(act, lanes, clear, shift), expected)
    np.testing.assert_array_equal(unit.stream(act, lanes, last, shift), expected[last])


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_array_and_streaming_unit_equal_numpy_over_frames(name):
    lane, rows, tk, tp, act_bits, acc_bits, *limit = CONFIGURATIONS[name]
    unit = HlsSplitArray([Part(lane, rows, *limit)], tk, tp, act_bits, acc_bits)
    check_frames(unit, np.random.default_rng(len(name)))


@pytest.mark.parametrize(("tk", "tp", "act_bits"), [(16, 2, 4), (6, 4, 5), (4, 1, 8)])
def test_split_array_equals_numpy_over_frames(tk, tp, act_bits):
    parts = [(lane, 2) for lane in Lane]
    check_frames(HlsSplitArray(parts, tk, tp, act_bits), np.random.default_rng(tk), steps=3000)


def test_two_passes_compute_8_bit_activations():
    rng = np.random.default_rng(8)
    unit = HlsSplitArray([("pot4", 2), ("fixed4_dsp", 2), ("fixed8_dsp", 1)], tk=8, tp=2, act_bits=5)
    codes = np.tile(random_codes(unit, 3, rng), (2, 1, 1))
    act = rng.integers(0, 256, (3, 2, 8))
    nibbles = np.concatenate([act >> unit.act_bits, act % 2**unit.act_bits])
    frame = np.arange(6)
    found = unit.stream(nibbles, lane_codes(unit, codes), last=frame == 5, shift=frame == 3)[0]
    expected = np.einsum("srk,spk->rp", codes[:3].astype(np.int64), act)
    start = 0
    for part in unit.parts:
        row = codes[:3, start : start + part.rows].transpose(1, 0, 2).reshape(part.rows, -1)
        constant = lane_of(part, unit.tp, unit.act_bits).correction(row, unit.act_bits, passes=2)
        expected[start : start + part.rows] += constant[:, None]
        start += part.rows
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("lane", "act_bits", "tp", "tk"),
    [("fixed4_dsp", 4, 2, 10), ("fixed4_dsp", 5, 2, 3), ("fixed8_dsp", 8, 2, 3), ("fixed8_dsp", 8, 1, 3)],
)
def test_one_product_too_many_and_one_bit_too_few_are_noticed(lane, act_bits, tp, tk):
    parts = [Part(lane, 2), Part(lane, 2, unsafe_products=1), Part(lane, 2, unsafe_bits=1)]
    unit = HlsSplitArray(parts, tk, tp, act_bits)
    codes = combinations(*[[-levels(Lane(lane)).max(), levels(Lane(lane)).max()]] * 2).astype(np.int8)
    acts = combinations(*[[0, 2**act_bits - 1]] * tp)
    pairs = combinations(range(len(codes)), range(len(acts)))
    codes = np.tile(codes[pairs[:, 0]][:, :, None], (1, 3, tk))
    act = np.tile(acts[pairs[:, 1]][:, :, None], (1, 1, tk))
    expected = step_sums(unit, codes, act)
    found = unit.run(act, lane_codes(unit, codes), clear=np.ones(len(codes), bool))
    np.testing.assert_array_equal(found[:, :2], expected[:, :2])
    assert np.any(found[:, 2:4] != expected[:, 2:4])
    assert np.any(found[:, 4:] != expected[:, 4:])


@pytest.mark.parametrize("standard", ["c++11", "c++14"])
def test_sources_compile_without_warnings(standard, tmp_path):
    flags = [f"-std={standard}", "-O1", "-Wall", "-Wextra", "-pedantic", "-c", "-o", str(tmp_path / "top.o")]
    done = compiled("-isystem", str(headers()), *flags, str(SOURCES / "matrix_vector_top.cpp"))
    assert done.returncode == 0, done.stderr
    ours = [
        line
        for line in done.stderr.splitlines()
        if "warning:" in line and str(headers()) not in line.split("warning:")[0]
    ]
    assert ours == []


# As much of the tools' own headers as our sources use; theirs are not free.
STREAM = "#pragma once\nnamespace hls { template <class T> struct stream { T read(); void write(const T &); }; }\n"
AXI = """#pragma once
#include <ap_int.h>
template <int D, int U, int I, int T> struct ap_axiu { ap_uint<D> data; ap_uint<D / 8> keep, strb; ap_uint<U> user; ap_uint<1> last; };
"""


@pytest.mark.parametrize(
    ("tool", "binding"),
    [
        ("ILMPQ_VITIS", "#pragma HLS bind_op variable=product op=mul impl=dsp"),
        ("ILMPQ_VIVADO_HLS", "#pragma HLS resource variable=product core=DSP48"),
    ],
)
def test_pragmas_reach_the_vendors_tools(tool, binding, tmp_path):
    (tmp_path / "hls_stream.h").write_text(STREAM)
    (tmp_path / "ap_axi_sdata.h").write_text(AXI)
    flags = [
        "-std=c++11",
        "-Wno-unknown-pragmas",
        f"-D{tool}",
        f"-isystem{tmp_path}",
        f"-isystem{headers()}",
    ]
    top = str(SOURCES / "matrix_vector_top.cpp")
    done = compiled(*flags, "-fsyntax-only", top)
    assert done.returncode == 0, done.stderr
    text = " ".join(compiled(*flags, "-E", top).stdout.split())
    assert binding in text
    assert "#pragma HLS pipeline II=1" in text
    assert "#pragma HLS interface axis port=acts" in text
    assert "ILMPQ_" not in re.sub(r'"[^"]*"', "", text)


def test_synthesis_without_naming_the_tool_is_refused():
    done = compiled(
        "-std=c++11", "-D__SYNTHESIS__", f"-isystem{headers()}", "-fsyntax-only", str(SOURCES / "mac_array.hpp")
    )
    assert "define ILMPQ_VITIS (Vitis HLS) or ILMPQ_VIVADO_HLS" in done.stderr


def compiled(*arguments):
    return subprocess.run([COMPILE[0], *arguments], capture_output=True, text=True, check=False)


def test_four_products_of_wide_activations_are_refused(tmp_path):
    source = tmp_path / "wide.cpp"
    source.write_text('#include "lanes.hpp"\nint segment = ilmpq::Fixed4Dsp<7, ilmpq::FOUR>::SEGMENT;\n')
    done = compiled("-std=c++11", f"-isystem{headers()}", f"-I{SOURCES}", "-fsyntax-only", str(source))
    assert "DspLane fields must hold a product" in done.stderr


def test_wrong_shapes_and_unfinished_frames_are_refused():
    unit = HlsArray("ternary_lut", rows=2, tk=3, tp=1)
    act, lanes = np.zeros((4, 1, 3), int), np.zeros((4, 2, 3), int)
    with pytest.raises(ValueError, match=r"HLS activations must be \(steps, tp, tk\) = \(4, 1, 3\), not \(4, 3\)"):
        unit.run(act[:, 0], lanes)
    with pytest.raises(ValueError, match=r"ternary_lut lane codes must be .* = \(4, 2, 3\), not \(4, 2, 2\)"):
        unit.run(act, lanes[:, :, :2])
    with pytest.raises(ValueError, match="HLS stream last must be set in the final step"):
        unit.stream(act, lanes, last=np.array([True, False, False, False]))
    with pytest.raises(ValueError, match="HLS weights must be of 1 parts, not 2"):
        unit.run(act, [lanes, lanes])


def test_missing_headers_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="make hw-tools"):
        headers()
