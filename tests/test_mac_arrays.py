"""Conformance of the MAC arrays: RTL (and HLS) equal numpy on every vector, whatever stalls; and what must fail fails."""

import numpy as np
import pytest
from backends import Frame, HlsSplitArray, RtlSplitArray, numpy_sums, random_frame

from ilmpq.geometry import Geometry

VECTORS = 10_000


def frames_for(geometry, rng):
    """Frames of 1 to 40 steps, one or two passes, all zero, extreme and random, until there are enough steps."""
    frames, steps = [], 0
    while steps < VECTORS:
        count, passes = int(rng.integers(1, 41)), int(rng.integers(1, 3))
        frame = random_frame(geometry, count, rng, passes, extreme=bool(rng.random() < 0.2))
        if rng.random() < 0.05:
            frame = Frame(np.zeros_like(frame.codes), frame.act, passes)
        frames.append(frame)
        steps += count * passes
    return frames


class Conformance:
    """Every test of a geometry; a configuration is a subclass with four numbers and a list of arrays."""

    arrays = "pot4@lut:2, fix4@dsp:2, fix8@dsp:2"
    tk, tp, act_bits, acc_bits = 16, 2, 4, 32

    @pytest.fixture(scope="class")
    @classmethod
    def geometry(cls):
        return Geometry.parse(cls.arrays, cls.tk, cls.tp, cls.act_bits, cls.acc_bits)

    @pytest.fixture(scope="class")
    @classmethod
    def rtl(cls, geometry, verilator):
        return RtlSplitArray(geometry)

    @pytest.mark.parametrize("stalls", [0.0, 0.3], ids=["back-to-back", "stalls"])
    def test_rtl_equals_numpy(self, geometry, rtl, stalls):
        rng = np.random.default_rng([1, int(10 * stalls)])
        frames = frames_for(geometry, rng)
        for frame, sums in zip(frames, rtl.run(frames, rng, stalls), strict=True):
            np.testing.assert_array_equal(sums, numpy_sums(geometry, frame))

    def test_hls_equals_numpy(self, geometry):
        frames = frames_for(geometry, np.random.default_rng(2))
        for frame, sums in zip(frames, HlsSplitArray(geometry).run(frames), strict=True):
            np.testing.assert_array_equal(sums, numpy_sums(geometry, frame))


class Structural(Conformance):
    """The adders as they are synthesised, LUT by LUT, where the others have behavioural twins."""

    tk = 4

    @pytest.fixture(scope="class")
    @classmethod
    def rtl(cls, geometry, verilator):
        return RtlSplitArray(geometry, structural=True)


class TestStructuralMission(Structural):
    arrays = "pot4@lut:1, fix4@dsp:2, fix8@dsp:1"


class TestStructuralLutsEightBits(Structural):
    arrays, act_bits, tp, tk = "pot4@lut:1, pot3@lut:1, fix4@lut:1, fix2@lut:1", 8, 1, 6


class TestMission(Conformance):
    """The three schemes of the mission."""


class TestMissionFiveBits(Conformance):
    act_bits = 5


class TestMissionSixBits(Conformance):
    act_bits, tk = 6, 8


class TestMissionEightBits(Conformance):
    act_bits, tk = 8, 8


class TestPot3Mix(Conformance):
    arrays, tp = "pot3@lut:3, fix4@dsp:2, fix8@dsp:1", 4


class TestPot3MixFiveBits(Conformance):
    arrays, act_bits, acc_bits = "pot3@lut:3, fix4@dsp:2, fix8@dsp:1", 5, 24


class TestPot3MixEightBits(Conformance):
    arrays, act_bits, tk = "pot3@lut:2, fix4@dsp:2, fix8@dsp:2", 8, 8


class TestFairFixed4(Conformance):
    """The rival that uses LUTs too."""

    arrays = "fix4@dsp:2, fix4@lut:2"


class TestFairFixed4EightBits(Conformance):
    arrays, act_bits, tk = "fix4@dsp:2, fix4@lut:2", 8, 8


class TestUniformFixed8(Conformance):
    arrays, act_bits = "fix8@dsp:2", 8


class TestCheapLanes(Conformance):
    arrays, tk = "fix2@lut:2, fix3@lut:2, fix8@lut:1", 9


class TestOnePosition(Conformance):
    """Pairs of rows instead of positions; a number of lanes that is no power of two."""

    tp, tk = 1, 12


class TestOneRowOfEach(Conformance):
    """Pairs of positions; many lanes."""

    arrays, tk = "pot4@lut:1, pot3@lut:1, fix4@dsp:1, fix8@dsp:1", 32


class TestFewerProductsPerDsp(Conformance):
    """Beside those that take as many as fit."""

    arrays = "fix4@dsp:2, fix4@dsp2:2, fix4@dsp1:3, fix8@dsp:2, fix8@dsp1:1"


class TestFewerProductsPerDspOddEverything(Conformance):
    """A product alone needs no pair of rows or positions."""

    arrays, tp, tk, act_bits, acc_bits = "fix4@dsp1:3, fix8@dsp1:1, fix4@dsp2:2", 3, 12, 8, 24


class TestNarrowAccumulator(Conformance):
    """Sums wrap around modulo 2^acc_bits as numpy's do."""

    arrays, acc_bits, tk = "pot4@lut:1, fix4@dsp:2", 18, 8
