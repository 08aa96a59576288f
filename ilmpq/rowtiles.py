"""How many row tiles a layer takes on some arrays: in closed form, for one design or for many at a time.

Codes of one scheme may be held by arrays of another: PoT3 ⊂ Fixed4 ⊂ Fixed8, PoT4 ⊂ Fixed8. By Hall's condition rows can
be dealt to t tiles exactly when no set of schemes has more rows than t tiles have room for them.

    >>> rows, room = {"pot4": 20, "fix4": 4}, {"pot4": 4, "fix4": 2, "fix8": 2}
    >>> int(tiles_needed(rows, room))
    4
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .schemes import scheme_named

Counts = NDArray[np.int64]
NO_TILES = np.iinfo(np.int32).max  # as many tiles as would be needed where no array holds a scheme's codes


@cache
def holds(array: str, scheme: str) -> bool:
    """Whether an array of one scheme has all the levels of another."""
    return bool(scheme_named(array).holds(np.array(scheme_named(scheme).levels, np.int8)).all())


def tiles_needed(rows: Mapping[str, int | Counts], room: Mapping[str, int | Counts]) -> Counts:
    """Row tiles for so many rows of each scheme, where a tile has room for so many on the arrays of each.

    Numbers may be arrays that broadcast, such as layers × designs; `NO_TILES` where rows can go nowhere.
    """
    present = [name for name, count in rows.items() if np.any(np.asarray(count) > 0)]
    found = np.zeros(np.broadcast_shapes(*(np.shape(x) for x in (*rows.values(), *room.values()))), np.int64)
    for size in range(1, len(present) + 1):
        for chosen in combinations(present, size):
            count = sum((np.asarray(rows[name], np.int64) for name in chosen), np.int64(0))
            fitting = [np.asarray(n, np.int64) for a, n in room.items() if any(holds(a, s) for s in chosen)]
            capacity = sum(fitting, np.int64(0))
            tiles = np.where(
                np.equal(capacity, 0), np.where(np.equal(count, 0), 0, NO_TILES), -(-count // np.maximum(capacity, 1))
            )
            # A scheme that has no rows here must not count the room of its arrays: those sets come on their own.
            found = np.maximum(found, tiles)
    return found
