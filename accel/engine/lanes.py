"""The lane codes of a geometry's arrays: what the weight memory holds in place of integer codes.

Every array adds a constant of its row to its sums (`correction`), which offline work subtracts from the row's bias, so
that it costs no hardware.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ilmpq.geometry import Array, Geometry, Resource

from . import lanes_dsp, lanes_lut


class Lane(Protocol):
    """How an array reads its weights."""

    @property
    def lane_bits(self) -> int: ...

    def encode(self, codes: NDArray[np.int8]) -> NDArray[np.uint8]: ...

    def correction(self, codes: NDArray[np.int8], act_bits: int, passes: int = 1) -> NDArray[np.int64]: ...


LUT_LANES = {
    "pot4": lanes_lut.POT4,
    "pot3": lanes_lut.POT3,
    "fix2": lanes_lut.TERNARY,
    "fix3": lanes_lut.FIXED3,
    "fix4": lanes_lut.FIXED4,
    "fix8": lanes_lut.FIXED8,
}


def lane_of(array: Array, geometry: Geometry) -> Lane:
    """The lane of one of a geometry's arrays."""
    if array.resource is Resource.LUT:
        return LUT_LANES[array.scheme]
    rows, positions = array.packing(geometry.tp, geometry.act_bits)
    return (
        lanes_dsp.fixed8(rows, positions)
        if array.scheme == "fix8"
        else lanes_dsp.fixed4(geometry.act_bits, rows, positions)
    )


def lanes_of(geometry: Geometry) -> tuple[Lane, ...]:
    """The lanes of a geometry's arrays."""
    return tuple(lane_of(array, geometry) for array in geometry.arrays)
