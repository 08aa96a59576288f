"""What a reader gets in one cycle is proved here, tile by tile and tap by tap, not assumed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from ilmpq.layout import Access, Layout, Tiling, clash, tilings, whole_bytes


def tiling(accesses: Iterable[tuple[Layout, Access]], banks: int, most: int) -> Tiling:
    """The fewest tiles for which every access, all of one rectangle, has the pixels of a tile in different banks."""
    found = list(accesses)
    rows, columns = found[0][1].rows, found[0][1].columns
    candidates = tilings(rows, columns, most)
    return next(t for t in candidates if t == Tiling(1) or all(_fits(layout, a, banks, t) for layout, a in found))


@lru_cache(maxsize=65536)
def _fits(layout: Layout, access: Access, banks: int, tiled: Tiling) -> bool:
    count = tiled.positions
    if access.writes and layout.pair and count % 2:
        return False
    if access.power and count & (count - 1):
        return False
    run = access.columns if tiled.row_ends else access.rows * access.columns
    index = np.arange(-(-run // count) * count)
    start = np.arange(0, access.rows * access.columns, run)
    exists = np.tile(index < run, len(start)).reshape(-1, count)
    oy, ox = np.divmod((start[:, None] + np.minimum(index, run - 1)).ravel(), access.columns)
    oy = oy + access.first_row
    for dy, dx in access.taps:
        y, x = oy * access.stride[0] + dy, ox * access.stride[1] + dx
        inside = ((y >= 0) & (y < layout.height) & (x >= 0) & (x < layout.width)).reshape(-1, count) & exists
        number = layout.number(y, x).reshape(-1, count)
        if access.writes and layout.pair and not whole_bytes(number, inside):
            return False
        if clash(number >> 1 if layout.pair else number, inside, banks):
            return False
    return True
