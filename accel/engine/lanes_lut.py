"""Lane codes of the LUT arrays and the constants their sums lack.

The arrays complement an activation where the weight is negative, so that with A-bit activations, per pass,

    acc_o = Σ weight·act + correction,    correction = (2^A − 1) · Σ |negative weights of the row|

    >>> POT3.encode(np.array([0, 1, -4], dtype=np.int8))
    array([3, 0, 6], dtype=uint8)
    >>> FIXED4.encode(np.array([0, 5, -5], dtype=np.int8))
    array([ 0,  5, 13], dtype=uint8)
    >>> POT4.correction(np.array([[1, -2], [4, 8]], dtype=np.int8), act_bits=4)
    array([30,  0])
    >>> POT4.correction(np.array([[1, -2], [4, 8]], dtype=np.int8), act_bits=4, passes=2)
    array([510,   0])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int8]
LaneCodes = NDArray[np.uint8]


@dataclass(frozen=True)
class LutLane:
    """What every LUT lane has: the module that computes it, the bits of its code and its constant."""

    module: str
    lane_bits: int

    def encode(self, codes: Codes) -> LaneCodes:
        """The lane codes of integer codes, in the same shape."""
        raise NotImplementedError

    def _sizes(self, codes: Codes) -> NDArray[np.int16]:
        if codes.dtype != np.int8:
            raise ValueError(f"{self.module} codes must be int8, not {codes.dtype}")
        return np.abs(codes.astype(np.int16))

    def correction(self, codes: Codes, act_bits: int, passes: int = 1) -> NDArray[np.int64]:
        """What the accumulator holds beyond Σ weight·act at the end of a frame: subtract it from the row's bias.

        `codes` is (…, K); with two passes over K the first one's share is shifted as its sum is.
        """
        negative = np.where(codes < 0, -codes.astype(np.int64), 0).sum(axis=-1)
        share = sum(2 ** (act_bits * n) for n in range(passes))
        return np.asarray((2**act_bits - 1) * share * negative, dtype=np.int64)


@dataclass(frozen=True)
class PowerOfTwoLane(LutLane):
    """{(tall,) negate, exponent}: the highest exponent of `exponent_bits` is the weight 0."""

    exponent_bits: int

    def encode(self, codes: Codes) -> LaneCodes:
        size = self._sizes(codes)
        zero = 2**self.exponent_bits - 1
        if np.any((size & (size - 1)) != 0) or np.any(size >= 2**zero):
            raise ValueError(f"{self.module} codes must be 0 or ±2^k with k < {zero}")
        exponent = np.where(size == 0, zero, np.log2(np.maximum(size, 1)).astype(np.int16))
        lane = exponent | (codes < 0) << self.exponent_bits
        if self.lane_bits > self.exponent_bits + 1:
            lane |= ((exponent == 5) | (exponent == 6)) << (self.exponent_bits + 1)
        return np.asarray(lane, dtype=np.uint8)


@dataclass(frozen=True)
class SignMagnitudeLane(LutLane):
    """{negate, magnitude}."""

    def encode(self, codes: Codes) -> LaneCodes:
        size = self._sizes(codes)
        if np.any(size >= 2 ** (self.lane_bits - 1)):
            raise ValueError(f"{self.module} codes must be at most {2 ** (self.lane_bits - 1) - 1} in size")
        return np.asarray(size | (codes < 0) << (self.lane_bits - 1), dtype=np.uint8)


POT3 = PowerOfTwoLane("pot3_array", lane_bits=3, exponent_bits=2)
POT4 = PowerOfTwoLane("pot4_array", lane_bits=5, exponent_bits=3)
TERNARY = SignMagnitudeLane("ternary_lut_array", lane_bits=2)
FIXED3 = SignMagnitudeLane("fixed3_lut_array", lane_bits=3)
FIXED4 = SignMagnitudeLane("fixed4_lut_array", lane_bits=4)
FIXED8 = SignMagnitudeLane("fixed8_lut_array", lane_bits=8)
