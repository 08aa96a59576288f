"""The number schemes of a row: which integer codes it may hold, and the nearest code to a number.

A scheme is data: its levels (the codes ≥ 0), the bits of a packed code and an identifier that is
stored in files. This is the only place that rounds a weight.

    >>> import numpy as np
    >>> nearest(np.array([1.4, 1.5, -5.0, 99.0]), POT4)
    array([ 1.,  2., -4., 64.])
    >>> nearest(np.array([1.4, 1.5, -5.0, 99.0]), FIX4)
    array([ 1.,  2., -5.,  7.])
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError


class Kind(Enum):
    """How the levels of a scheme are spaced."""

    FIXED = "fixed"
    POWER_OF_TWO = "power-of-two"


@dataclass(frozen=True)
class Scheme:
    """A set of signed integer codes, symmetric about zero.

    `levels` are the codes ≥ 0 in rising order; `ident` is the number stored in files and never changes.
    """

    name: str
    ident: int
    bits: int
    kind: Kind
    levels: tuple[int, ...]

    @property
    def top(self) -> int:
        """The largest code."""
        return self.levels[-1]

    @property
    def rule(self) -> str:
        """The codes in words, for messages."""
        if self.kind is Kind.FIXED:
            return f"from -{self.top} to {self.top}"
        return f"0 or ±2^k with k ≤ {len(self.levels) - 2}"

    def holds(self, codes: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Which of `codes` are codes of this scheme."""
        magnitude = np.abs(codes.astype(np.int16))
        if self.kind is Kind.FIXED:
            return magnitude <= self.top
        return np.isin(magnitude, np.array(self.levels, dtype=np.int16))


def _fixed(bits: int, ident: int) -> Scheme:
    return Scheme(f"fix{bits}", ident, bits, Kind.FIXED, tuple(range(2 ** (bits - 1))))


def _power_of_two(bits: int, ident: int) -> Scheme:
    levels = (0, *(2**k for k in range(2 ** (bits - 1) - 1)))
    return Scheme(f"pot{bits}", ident, bits, Kind.POWER_OF_TWO, levels)


POT4 = _power_of_two(4, 0)
FIX4 = _fixed(4, 1)
FIX8 = _fixed(8, 2)
POT3 = _power_of_two(3, 3)
FIX2 = _fixed(2, 4)
FIX3 = _fixed(3, 5)
FIX5 = _fixed(5, 6)
FIX6 = _fixed(6, 7)
FIX7 = _fixed(7, 8)

SCHEMES: tuple[Scheme, ...] = tuple(
    sorted((POT4, FIX4, FIX8, POT3, FIX2, FIX3, FIX5, FIX6, FIX7), key=lambda s: s.ident)
)
BY_NAME: dict[str, Scheme] = {s.name: s for s in SCHEMES}
BY_IDENT: dict[int, Scheme] = {s.ident: s for s in SCHEMES}


def scheme_named(name: str) -> Scheme:
    """The scheme of that name, or a `UsageError` that lists the names.

    >>> scheme_named("PoT4").top
    64
    """
    found = BY_NAME.get(name.strip().lower())
    if found is None:
        raise UsageError(f"scheme must be one of {', '.join(BY_NAME)}, not {name!r}")
    return found


_EXPONENT = {4: (np.int32, np.int32(0x7F800000)), 8: (np.int64, np.int64(0x7FF0000000000000))}
Real = TypeVar("Real", np.float32, np.float64)


def nearest(x: NDArray[Real], scheme: Scheme) -> NDArray[Real]:
    """The code nearest to each number, in the linear domain; a tie goes to the larger magnitude.

    `x` is in units of the row's scale. The result has the type of `x` (float32 holds every code exactly).

    >>> nearest(np.array([0.49, 0.5, 3.0, 48.0], dtype=np.float32), POT4)
    array([ 0.,  1.,  4., 64.], dtype=float32)
    """
    magnitude = np.abs(x)
    if scheme.kind is Kind.FIXED:
        rounded = np.floor(magnitude + magnitude.dtype.type(0.5))
    else:
        # Between 2^k and 2^(k+1) the border is 1.5·2^k, so the level is 2·2^floor(log2(|x|/1.5));
        # the power of two below a number is the number without its mantissa bits.
        scaled = magnitude / magnitude.dtype.type(1.5)
        integer, exponent_bits = _EXPONENT[scaled.dtype.itemsize]
        rounded = (scaled.view(integer) & exponent_bits).view(scaled.dtype)
        rounded += rounded
        rounded = np.where(magnitude < 1.5, magnitude >= 0.5, rounded).astype(x.dtype, copy=False)
    np.minimum(rounded, scheme.top, out=rounded)
    np.copysign(rounded, x, out=rounded)
    return cast("NDArray[Real]", rounded)


def fields(codes: NDArray[np.int8], scheme: Scheme) -> NDArray[np.uint8]:
    """Codes as they are packed: numbers of `scheme.bits` bits.

    A fixed-point code is in two's complement. A power of two has its sign in the highest bit and below it 0 for the
    code 0, k + 1 for ±2^k.

    >>> [format(f, "04b") for f in fields(np.array([0, 1, -64], np.int8), POT4)]
    ['0000', '0001', '1111']
    >>> [format(f, "04b") for f in fields(np.array([7, -1, -7], np.int8), FIX4)]
    ['0111', '1111', '1001']
    """
    if scheme.kind is Kind.FIXED:
        return codes.view(np.uint8) & np.uint8(2**scheme.bits - 1)
    exponent = np.frexp(np.abs(codes.astype(np.float32)))[1].astype(np.uint8)  # 2^k = 0.5·2^(k+1)
    return np.where(codes < 0, exponent | np.uint8(1 << (scheme.bits - 1)), exponent)


def codes_of(packed: NDArray[np.uint8], scheme: Scheme) -> NDArray[np.int8]:
    """The inverse of `fields`; a field that no code has gives one that the scheme does not hold, or a second zero."""
    sign = np.uint8(1 << (scheme.bits - 1))
    if scheme.kind is Kind.FIXED:
        return ((packed ^ sign).astype(np.int16) - np.int16(sign)).astype(np.int8)
    exponent = (packed & (sign - np.uint8(1))).astype(np.int16)
    magnitude = np.where(exponent > 0, 1 << np.maximum(exponent - 1, 0), 0)
    return np.where(packed & sign, -magnitude, magnitude).astype(np.int8)
