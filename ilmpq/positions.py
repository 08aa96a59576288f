"""How many output positions an engine computes at a time: as many as lie in different banks of the activation memory.

A compiler proves this for every tile and tap (`accel/engine/layout.py`); here columns are looked at exactly and rows
only until they repeat, which gives the same numbers but for the first and last rows, where padding hides clashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


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


@dataclass(frozen=True)
class RowNumbers:
    """A tensor whose rows begin `pitch` numbers apart; even columns come first if there is a `half`, two share a byte in pairs."""

    height: int
    width: int
    pitch: int
    half: int = 0
    pair: bool = False

    def per_word(self, banks: int) -> int:
        """Pixels in a memory word."""
        return banks * (2 if self.pair else 1)

    def words(self, banks: int) -> int:
        """Memory words of a group."""
        return -(-self.height * self.pitch // self.per_word(banks))

    def number(self, y: Numbers, x: Numbers) -> Numbers:
        return y * self.pitch + ((x & 1) * self.half + (x >> 1) if self.half else x)


@dataclass(frozen=True)
class Access:
    """Who touches a tensor: output (oy, ox) of rows × columns touches pixel (oy·sy + dy, ox·sx + dx) for each tap."""

    rows: int
    columns: int
    stride: tuple[int, int] = (1, 1)
    taps: tuple[tuple[int, int], ...] = ((0, 0),)
    writes: bool = False
    power: bool = False  # a tile's positions must be a power of two

    def most(self, tp: int) -> int:
        """Positions that a tile may have at most."""
        return 1 << (tp.bit_length() - 1) if self.power else tp


@lru_cache(maxsize=4096)
def tilings(rows: int, columns: int, most: int, row_ends: bool) -> tuple[Tiling, ...]:
    """Every tiling of a rectangle with at most so many positions, the fewest tiles first."""
    ends = (False, True) if row_ends else (False,)
    found = [Tiling(count, end) for count in range(most, 0, -1) for end in ends]
    return tuple(sorted(found, key=lambda t: (t.tiles(rows, columns), t.row_ends)))


def tiling(accesses: Sequence[tuple[RowNumbers, Access]], banks: int, tp: int, row_ends: bool) -> Tiling:
    """The fewest tiles for which every access, all of one rectangle, has the pixels of a tile in different banks."""
    most = min(a.most(tp) for _, a in accesses)
    rows, columns = accesses[0][1].rows, accesses[0][1].columns
    every = tilings(rows, columns, most, row_ends)
    return next(t for t in every if t == Tiling(1) or all(_fits(n, a, banks, t) for n, a in accesses))


@lru_cache(maxsize=4096)
def numbering(
    height: int, width: int, pair: bool, accesses: tuple[Access, ...], banks: int, tp: int, row_ends: bool
) -> RowNumbers | None:
    """The most compact numbering that costs those who touch a tensor the fewest cycles; None where it cannot be of pairs."""
    best: tuple[float, RowNumbers] | None = None
    least = [tilings(a.rows, a.columns, a.most(tp), row_ends)[0].tiles(a.rows, a.columns) for a in accesses]
    for each in _numberings(height, width, pair, banks, [a.stride[1] for a in accesses if not a.writes]):
        found = [tiling([(each, a)], banks, tp, row_ends) for a in accesses]
        if pair and min((t.positions for t in found), default=2) < 2:
            continue
        tiles = [t.tiles(a.rows, a.columns) for t, a in zip(found, accesses, strict=True)]
        cost = float(sum(n * len(a.taps) for n, a in zip(tiles, accesses, strict=True)))
        cost *= 1 + each.words(banks) / 1e6
        if best is None or cost < best[0]:
            best = cost, each
        if tiles == least:
            break
    return best and best[1]


def _numberings(height: int, width: int, pair: bool, banks: int, strides: Sequence[int]) -> Iterator[RowNumbers]:
    """The numberings worth trying, the most compact first; halves only for readers with even strides."""
    for pitch in range(width, width + 2 * banks):
        yield RowNumbers(height, width, pitch, pair=pair)
    if not pair and width > 1 and any(s % 2 == 0 for s in strides):
        for half in range((width + 1) // 2, (width + 1) // 2 + banks):
            for pitch in range(half + width // 2, half + width // 2 + banks):
                yield RowNumbers(height, width, pitch, half)


@lru_cache(maxsize=65536)
def _fits(numbers: RowNumbers, access: Access, banks: int, tiled: Tiling) -> bool:
    count = tiled.positions
    if access.writes and numbers.pair and count % 2:
        return False
    if access.power and count & (count - 1):
        return False
    rows = min(access.rows, 2 if tiled.row_ends else 2 * count)
    oy, ox, exists = _positions(rows, access.columns, tiled)
    for dy in sorted({dy % 2 for dy, _ in access.taps}) if numbers.pair else [0]:
        for dx in sorted({dx for _, dx in access.taps}):
            x = ox * access.stride[1] + dx
            inside = exists & (x >= 0) & (x < numbers.width)
            number = numbers.number(oy * access.stride[0] + dy, x)
            if access.writes and numbers.pair and not _whole_bytes(number, inside):
                return False
            if _clash(number >> 1 if numbers.pair else number, inside, banks):
                return False
    return True


@lru_cache(maxsize=4096)
def _positions(rows: int, columns: int, tiled: Tiling) -> tuple[Numbers, Numbers, NDArray[np.bool_]]:
    """Rows and columns of the positions of each tile, and which there are."""
    run = columns if tiled.row_ends else rows * columns
    index = np.arange(-(-run // tiled.positions) * tiled.positions)
    start = np.arange(0, rows * columns, run)[:, None]
    oy, ox = np.divmod(start + np.minimum(index, run - 1), columns)
    exists = np.broadcast_to(index < run, oy.shape)
    return oy.reshape(-1, tiled.positions), ox.reshape(-1, tiled.positions), exists.reshape(-1, tiled.positions)


def _whole_bytes(number: Numbers, inside: NDArray[np.bool_]) -> bool:
    """Whether no odd pixel of a tile stands without its even one."""
    even, odd = number[:, 0::2], number[:, 1::2]
    return not ((inside[:, 0::2] & (even % 2 != 0)).any() or (inside[:, 1::2] & (odd != even + 1)).any())


def _clash(unit: Numbers, inside: NDArray[np.bool_], banks: int) -> bool:
    """Whether two different bytes of a tile lie in one bank: sorted by bank, they are neighbours."""
    elsewhere = np.arange(unit.shape[1]) + banks
    key = np.sort(np.where(inside, unit % banks, elsewhere) << 32 | np.where(inside, unit, 0), axis=1)
    return bool(((key[:, 1:] >> 32 == key[:, :-1] >> 32) & (key[:, 1:] != key[:, :-1])).any())
