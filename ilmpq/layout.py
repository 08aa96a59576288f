"""Where pixels lie in the activation memory, and in which tiles positions are computed.

A pixel's number is rowstart(y) + x, or with `split` even columns first: then a stride of two reads neighbours. The pixels
of a tile must come out of different banks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """How a tensor's pixels are numbered, and in how many memory words a group of it lies."""

    height: int
    width: int
    pitch: int
    half: int = 0  # 0: not split
    pair: bool = False

    @property
    def split(self) -> bool:
        return self.half > 0

    def column(self, x: Numbers) -> Numbers:
        """What a column adds to its row's start."""
        return (x & 1) * self.half + (x >> 1) if self.split else x

    def number(self, y: Numbers, x: Numbers) -> Numbers:
        """The numbers of pixels."""
        return y * self.pitch + self.column(x)

    def per_word(self, banks: int) -> int:
        """Pixels in a word."""
        return banks * (2 if self.pair else 1)

    def words(self, banks: int) -> int:
        """Memory words of a group."""
        return -(-self.height * self.pitch // self.per_word(banks))


@dataclass(frozen=True)
class Tiling:
    """How many output positions, in raster order, make a tile; whether a row's end also ends one.

    >>> Tiling(4).tiles(7, 7), Tiling(4, row_ends=True).tiles(7, 7)
    (13, 14)
    """

    positions: int
    row_ends: bool = False

    def tiles(self, rows: int, columns: int) -> int:
        """Tiles of a rectangle."""
        return rows * -(-columns // self.positions) if self.row_ends else -(-rows * columns // self.positions)


@lru_cache(maxsize=4096)
def tilings(rows: int, columns: int, most: int) -> tuple[Tiling, ...]:
    """Every tiling of a rectangle with at most so many positions, the fewest tiles first."""
    found = [Tiling(count, ends) for count in range(most, 0, -1) for ends in (False, True)]
    return tuple(sorted(found, key=lambda t: (t.tiles(rows, columns), t.row_ends)))


@dataclass(frozen=True)
class Access:
    """Who touches a tensor: output (oy, ox), from row `first_row` on, touches pixel (oy·sy + dy, ox·sx + dx) for each tap."""

    rows: int
    columns: int
    stride: tuple[int, int] = (1, 1)
    taps: tuple[tuple[int, int], ...] = ((0, 0),)
    first_row: int = 0
    writes: bool = False
    power: bool = False  # a tile's positions must be a power of two


def layouts(height: int, width: int, pair: bool, banks: int, strides: Iterable[int]) -> Iterator[Layout]:
    """The layouts worth trying, the most compact first; `split` only for readers with even strides."""
    for pitch in range(width, width + 2 * banks):
        yield Layout(height, width, pitch, pair=pair)
    if not pair and width > 1 and any(s % 2 == 0 for s in strides):
        for half in range((width + 1) // 2, (width + 1) // 2 + banks):
            for pitch in range(half + width // 2, half + width // 2 + banks):
                yield Layout(height, width, pitch, half)


def whole_bytes(number: Numbers, inside: NDArray[np.bool_]) -> bool:
    """Whether no odd pixel of a tile stands without its even one."""
    even, odd = number[:, 0::2], number[:, 1::2]
    return not ((inside[:, 0::2] & (even % 2 != 0)).any() or (inside[:, 1::2] & (odd != even + 1)).any())


def clash(unit: Numbers, inside: NDArray[np.bool_], banks: int) -> bool:
    """Whether two different bytes of a tile lie in one bank: sorted by bank, they are neighbours."""
    elsewhere = np.arange(unit.shape[1]) + banks
    bank = np.where(inside, unit % banks, elsewhere)
    key = np.sort(bank << 32 | np.where(inside, unit, 0), axis=1)
    return bool(((key[:, 1:] >> 32 == key[:, :-1] >> 32) & (key[:, 1:] != key[:, :-1])).any())
