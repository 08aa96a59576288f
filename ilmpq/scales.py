"""Which scales rows and tensors may have: any, or powers of two only, so that requantization is shifts alone."""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Scales(StrEnum):
    """The scales that a run may choose from."""

    FREE = "free"
    POWER_OF_TWO = "power-of-two"

    def up(self, x: NDArray[np.floating]) -> Array:
        """The least allowed scale that is not below `x`.

        >>> Scales.POWER_OF_TWO.up(np.float32([0.3, 0.5, 5]))
        array([0.5, 0.5, 8. ], dtype=float32)
        """
        if self is Scales.FREE:
            return np.asarray(x, np.float32)
        mantissa, exponent = np.frexp(x)
        return np.asarray(np.ldexp(1.0, exponent - (mantissa == 0.5)), np.float32)

    def between(self, cover: Array, low: float, high: float, count: int) -> Array:
        """Scales to try, along a new first axis: `count` from low·cover to high·cover, or the powers of two around these.

        >>> Scales.FREE.between(np.float32([3]), 0.5, 1.0, 2).ravel()
        array([1.5, 3. ], dtype=float32)
        >>> Scales.POWER_OF_TWO.between(np.float32([3]), 0.5, 1.0, 2).ravel()
        array([4., 2.], dtype=float32)
        """
        if self is Scales.FREE:
            factors = np.linspace(low, high, count, dtype=np.float32)
            return factors.reshape(-1, *[1] * cover.ndim) * cover
        halvings = np.arange(1 + math.ceil(math.log2(high / low)))
        return np.asarray(np.ldexp(self.up(cover * np.float32(high)), -halvings.reshape(-1, *[1] * cover.ndim)))


def is_power_of_two(x: NDArray[np.floating]) -> bool:
    """Whether every number is 2 to a whole power."""
    return bool((np.frexp(x)[0] == 0.5).all())


SIGNIFICANT_BITS = 16


def storable(scale: float) -> float:
    """The nearest number of at most 16 significant bits: what a stored tensor's scale must be.

    An 8-bit code times such a scale is exact in float32, so that float executors break the same ties as integers.

    >>> storable(0.1)
    0.10000038146972656
    """
    mantissa, exponent = math.frexp(scale)
    return math.ldexp(round(math.ldexp(mantissa, SIGNIFICANT_BITS)), exponent - SIGNIFICANT_BITS)
