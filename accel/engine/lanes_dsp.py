"""Lane codes of the DSP arrays and the constants their sums lack.

Two rows that share a DSP are one number w0 + w1·2^s: the second row's lane code is w1 − (w0 < 0), so that the lane codes
side by side, the first one's sign extended, are that number. Where activations are on the pre-adder's side, 2^(A−1) is
taken from each, so that with A-bit activations, per pass,

    acc_o = Σ weight·act + correction,    correction = −2^(A−1) · Σ weights of the row

    >>> codes = np.array([[1, -2, 7], [3, 3, -7]], dtype=np.int8)
    >>> fixed4(act_bits=4).encode(codes)
    array([[ 1, 14,  7],
           [ 3,  2,  9]], dtype=uint8)
    >>> fixed4(act_bits=4).correction(codes, act_bits=4)
    array([-48,   8])
    >>> fixed4(act_bits=4).correction(codes, act_bits=4, passes=2)
    array([-816,  136])
    >>> fixed4(act_bits=5).correction(codes, act_bits=5)
    array([0, 0])

With one product per DSP the lane code is the integer code, and the constant is 0:

    >>> fixed4(act_bits=4, rows=1, positions=1).encode(codes)
    array([[ 1, 14,  7],
           [ 3,  3,  9]], dtype=uint8)
    >>> fixed4(act_bits=4, rows=1, positions=1).correction(codes, act_bits=4)
    array([0, 0])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int8]
LaneCodes = NDArray[np.uint8]


@dataclass(frozen=True)
class DspLane:
    """The module that computes it, the bits of its code, and how one of its configurations packs products."""

    module: str
    lane_bits: int
    pairs_rows: bool
    offsets_activations: bool

    def encode(self, codes: Codes) -> LaneCodes:
        """The lane codes of integer codes (rows × K), in the same shape."""
        if codes.dtype != np.int8 or codes.ndim < 2:
            raise ValueError(f"{self.module} codes must be int8[rows, …], not {codes.dtype} {codes.shape}")
        wide = codes.astype(np.int16)
        largest = 2 ** (self.lane_bits - 1) - 1
        if np.any(np.abs(wide) > largest):
            raise ValueError(f"{self.module} codes must be from {-largest} to {largest}")
        if self.pairs_rows:
            if len(codes) % 2:
                raise ValueError(f"{self.module} rows must be even in number, not {len(codes)}: add a row of zeros")
            wide[1::2] -= wide[0::2] < 0
        return np.asarray(wide & (2**self.lane_bits - 1), dtype=np.uint8)

    def correction(self, codes: Codes, act_bits: int, passes: int = 1) -> NDArray[np.int64]:
        """What the accumulator holds beyond Σ weight·act at the end of a frame: subtract it from the row's bias.

        `codes` is (…, K); with two passes over K the first one's share is shifted as its sum is.
        """
        offset = 2 ** (act_bits - 1) if self.offsets_activations else 0
        share = sum(2 ** (act_bits * n) for n in range(passes))
        return np.asarray(-offset * share * codes.astype(np.int64).sum(axis=-1), dtype=np.int64)


def fixed4(act_bits: int, rows: int = 2, positions: int = 2) -> DspLane:
    """The lane of a `fixed4_dsp_array` in which so many rows and positions share a DSP."""
    return DspLane("fixed4_dsp_array", 4, rows == 2, positions == 2 and (rows == 1 or act_bits == 4))


def fixed8(rows: int = 1, positions: int = 2) -> DspLane:
    """The lane of a `fixed8_dsp_array`, likewise."""
    return DspLane("fixed8_dsp_array", 8, rows == 2, positions == 2)
