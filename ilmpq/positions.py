"""How many output positions an engine computes at a time: as many as lie in different banks of the activation memory.

The compiler proves this for every tile and tap (`accel/engine/layout.py`); here columns are looked at exactly and rows
only until they repeat, which gives the same but where padding hides a clash in the first or last row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .layout import Access, Layout, Numbers, Tiling, clash, layouts, tilings, whole_bytes


def tiling(accesses: Sequence[tuple[Layout, Access]], banks: int, tp: int) -> Tiling:
    """The fewest tiles for which every access, all of one rectangle, has the pixels of a tile in different banks."""
    most = min(_most(a, tp) for _, a in accesses)
    rows, columns = accesses[0][1].rows, accesses[0][1].columns
    every = tilings(rows, columns, most)
    return next(t for t in every if t == Tiling(1) or all(_fits(n, a, banks, t) for n, a in accesses))


@lru_cache(maxsize=4096)
def layout(height: int, width: int, pair: bool, accesses: tuple[Access, ...], banks: int, tp: int) -> Layout | None:
    """The most compact layout that costs those who touch a tensor the fewest cycles; None where it cannot be of pairs."""
    best: tuple[float, Layout] | None = None
    least = [Tiling(_most(a, tp)).tiles(a.rows, a.columns) for a in accesses]
    for each in layouts(height, width, pair, banks, [a.stride[1] for a in accesses if not a.writes]):
        found = [tiling([(each, a)], banks, tp) for a in accesses]
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


def _most(access: Access, tp: int) -> int:
    """Positions that a tile may have at most."""
    return 1 << (tp.bit_length() - 1) if access.power else tp


@lru_cache(maxsize=65536)
def _fits(of: Layout, access: Access, banks: int, tiled: Tiling) -> bool:
    count = tiled.positions
    if access.writes and of.pair and count % 2:
        return False
    if access.power and count & (count - 1):
        return False
    rows = min(access.rows, 2 if tiled.row_ends else 2 * count)
    oy, ox, exists = _positions(rows, access.columns, tiled)
    oy = oy + access.first_row
    for dy in sorted({dy % 2 for dy, _ in access.taps}) if of.pair else [0]:
        for dx in sorted({dx for _, dx in access.taps}):
            x = ox * access.stride[1] + dx
            inside = exists & (x >= 0) & (x < of.width)
            number = of.number(oy * access.stride[0] + dy, x)
            if access.writes and of.pair and not whole_bytes(number, inside):
                return False
            if clash(number >> 1 if of.pair else number, inside, banks):
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
