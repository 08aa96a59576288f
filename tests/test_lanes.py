"""Every lane of every array with all its operands, and the arrays as synthesised, against integers in C++ (`hw/sim`)."""

import re
import subprocess
from math import prod

import numpy as np
import pytest
from backends import (
    SIM,
    ArrayBench,
    RtlSplitArray,
    netlists,
    numpy_sums,
    primitives,
    random_frame,
    split_netlist,
)
from networks import NIGHTLY

from ilmpq.errors import ToolMissing
from ilmpq.geometry import Geometry, Resource

LUT_ARRAYS = ["pot4@lut:1", "pot3@lut:1", "fix4@lut:1", "fix3@lut:1", "fix2@lut:1", "fix8@lut:1"]
# Array, activation bits, positions: every way in which a DSP is packed.
PACKINGS = [
    ("fix4@dsp:2", 4, 2),
    ("fix4@dsp:2", 5, 2),
    ("fix4@dsp:2", 6, 2),
    ("fix4@dsp:2", 8, 1),
    ("fix4@dsp:2", 4, 1),
    ("fix4@dsp:1", 4, 2),
    ("fix4@dsp:1", 8, 2),
    ("fix8@dsp:1", 4, 2),
    ("fix8@dsp:1", 5, 2),
    ("fix8@dsp:2", 4, 1),
    ("fix4@dsp:2", 7, 2),
    ("fix4@dsp:2", 8, 2),
    ("fix8@dsp:1", 6, 2),
    ("fix8@dsp:1", 7, 2),
    ("fix8@dsp:1", 8, 2),
    ("fix8@dsp:2", 6, 1),
    ("fix8@dsp:2", 7, 1),
    ("fix8@dsp:2", 8, 1),
    ("fix4@dsp2:2", 4, 2),
    ("fix4@dsp2:2", 6, 2),
    ("fix4@dsp2:1", 5, 2),
    ("fix4@dsp1:3", 4, 2),
    ("fix4@dsp1:3", 8, 1),
    ("fix8@dsp1:2", 8, 2),
    ("fix8@dsp1:3", 4, 3),
]
# Array, its module, positions.
SYNTHESISED = [
    ("pot4@lut:1", "pot4_array", 1),
    ("pot3@lut:1", "pot3_array", 1),
    ("fix4@lut:1", "fixed4_lut_array", 1),
    ("fix4@dsp:2", "fixed4_dsp_array", 2),
    ("fix8@dsp:2", "fixed8_dsp_array", 2),
    ("fix4@dsp2:2", "fixed4_dsp_array", 2),
    ("fix4@dsp1:2", "fixed4_dsp_array", 2),
    ("fix8@dsp1:2", "fixed8_dsp_array", 2),
]

pytestmark = pytest.mark.usefixtures("verilator")


def passes(bench, *arguments):
    """The bench compared a number of accumulators and found none wrong."""
    done = bench.run(*arguments)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) (words|accumulators)", done.stdout)[1]) > 1000


@pytest.mark.parametrize("act_bits", [4, 5, 6, 7, 8])
@pytest.mark.parametrize("array", LUT_ARRAYS)
def test_lut_lanes_with_all_operands(array, act_bits):
    """All adders structural: every code with every activation in every lane, then frames with stalls and two passes."""
    passes(ArrayBench(array, 5, act_bits, 1), 3000)


@pytest.mark.parametrize(("array", "act_bits", "tp"), PACKINGS)
def test_packed_dsp_with_all_combinations(array, act_bits, tp):
    passes(ArrayBench(array, 1, act_bits, tp), "products")


@pytest.mark.parametrize(("array", "act_bits", "tp"), PACKINGS)
def test_packed_dsp_accumulates_random_and_extreme(array, act_bits, tp):
    """16 lanes: 10^6 accumulations of every field, in the nightly run 10^8."""
    bench = ArrayBench(array, 16, act_bits, tp)
    passes(bench, "extremes")
    passes(bench, "random", 6_250_000 if NIGHTLY else 62_500, 7)


@pytest.mark.parametrize(
    ("array", "act_bits", "unsafe"),
    [
        ("fix4@dsp:2", 4, "UNSAFE_PRODUCTS"),
        ("fix4@dsp:2", 4, "UNSAFE_BITS"),
        ("fix4@dsp:2", 5, "UNSAFE_PRODUCTS"),
        ("fix4@dsp:2", 5, "UNSAFE_BITS"),
        ("fix8@dsp:2", 8, "UNSAFE_PRODUCTS"),
        ("fix8@dsp:2", 8, "UNSAFE_BITS"),
    ],
)
def test_one_accumulation_too_many_or_a_guard_bit_less_fails(array, act_bits, unsafe):
    """The extremes overflow into the next field; sums that fit are right, so that it is the width that fails."""
    bench = ArrayBench(array, 32, act_bits, CHAIN=32, **{unsafe: 1})
    passes(bench, "mild", 2000, 3)
    failed = bench.run("extremes")
    assert failed.returncode == 1
    assert "acc_o must be" in failed.stdout


@pytest.mark.parametrize("defines", [(), ("SYNTHESIS",)], ids=["twins", "primitives"])
def test_cells_are_right_for_all_inputs(tmp_path, defines):
    """Adders and products one by one: our models of the LUTs, and the primitives in Yosys' models."""
    models = [str(primitives())] if defines else []
    command = [
        "verilator",
        "--binary",
        "-Wno-fatal",
        "-Wno-lint",
        "--Mdir",
        str(tmp_path),
        "--top-module",
        "lut_twins_tb",
    ]
    files = ["-f", str(SIM.parent / "rtl" / "lut_arrays.f"), str(SIM / "lut_twins_tb.sv")]
    command += [*(f"+define+{d}" for d in defines), f"-I{SIM.parent / 'rtl'}", *models, *files]
    built = subprocess.run(command, cwd=SIM.parent / "rtl", capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([str(tmp_path / "Vlut_twins_tb")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"ok: (\d+) checks", done.stdout)[1]) > 10_000


NETLIST_BITS = (4, 5, 8) if NIGHTLY else (4, 8)


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory):
    primitives()  # skips where yosys is missing
    folder = tmp_path_factory.mktemp("netlists")
    return folder, netlists(folder, 16, NETLIST_BITS)


def test_no_cost_grew(synthesised):
    """LUT, FF, carry, DSP and BRAM of every array at 16 lanes, within 2 % of the baseline; at most 3 LUTs deep."""
    _, run = synthesised
    assert run.returncode == 0, run.stdout[-3000:]
    assert run.stderr.count("LUT/MAC") == (32 if NIGHTLY else 21)


@pytest.mark.parametrize("act_bits", NETLIST_BITS)
@pytest.mark.parametrize(("array", "module", "tp"), SYNTHESISED)
def test_netlist_equals_integers(synthesised, array, module, tp, act_bits):
    folder, _ = synthesised
    lut = "@lut" in array
    rows, positions = Geometry.parse(array, 16, tp, act_bits).arrays[0].packing(tp, act_bits)
    netlist = folder / f"{module}-16-{act_bits}-{0 if lut else rows * positions}.v"
    bench = ArrayBench(array, 16, act_bits, tp, netlist=netlist)
    if lut:
        passes(bench, 3000)
    else:
        passes(bench, "extremes")
        passes(bench, "random", 5000, 11)


@pytest.mark.parametrize(
    ("arrays", "act_bits"),
    [
        ("pot4@lut:2, fix4@dsp:2, fix8@dsp:2", 4),
        ("pot4@lut:2, fix4@dsp:2, fix8@dsp:2", 8),
        ("fix4@dsp:2, fix4@dsp2:2, fix4@dsp1:3, fix8@dsp1:1", 4),
    ],
)
def test_split_array_as_synthesised(tmp_path, arrays, act_bits):
    """Arrays, waits and handshake together: frames with stalls, garbage and a reset; DSPs as many as the packing says."""
    geometry = Geometry.parse(arrays, 4, 2, act_bits, 24)
    rng = np.random.default_rng(act_bits)
    frames = [random_frame(geometry, int(rng.integers(1, 9)), rng, int(rng.integers(1, 3))) for _ in range(200)]
    netlist = split_netlist(tmp_path, geometry)
    dsps = [
        a.rows * geometry.tk * geometry.tp // prod(a.packing(geometry.tp, act_bits))
        for a in geometry.arrays
        if a.resource is Resource.DSP
    ]
    assert netlist.read_text().count("DSP48E1 #(") == sum(dsps)
    rtl = RtlSplitArray(geometry, netlist=netlist)
    for frame, sums in zip(frames, rtl.run(frames, rng, 0.3), strict=True):
        np.testing.assert_array_equal(sums, numpy_sums(geometry, frame))


@pytest.mark.parametrize(
    ("array", "more", "message"),
    [
        ("fix4@dsp:2", {"ACT_BITS": 3}, "ACT_BITS must be 4 to 8"),
        ("fix4@dsp:2", {"ACT_BITS": 5, "SEGMENT": 8}, "lower SEGMENT"),
        ("fix4@dsp:2", {"TP": 3}, "needs even ROWS, even TP"),
        ("fix4@dsp:2", {"PRODUCTS": 3}, "PRODUCTS 1, 2 or 4"),
        ("fix4@dsp2:1", {"TP": 3}, "needs even ROWS or even TP; or set PRODUCTS to 1"),
        ("fix8@dsp:2", {"PRODUCTS": 4}, "PRODUCTS 1 or 2"),
        ("pot4@lut:1", {"ACT_BITS": 9}, "ACT_BITS must be 4 to 8"),
    ],
)
def test_a_module_refuses_parameters_it_cannot_compute_with(array, more, message):
    with pytest.raises(ToolMissing, match=message):
        ArrayBench(array, 16, 4, **more)
