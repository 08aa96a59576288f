"""How many row tiles a layer takes on some arrays, and what they have: in closed form, for one design or for many at a time.

Codes of one scheme may be held by arrays of another: PoT3 ⊂ Fixed4 ⊂ Fixed8, PoT4 ⊂ Fixed8. By Hall's condition rows can
be dealt to t tiles exactly when no set of schemes has more rows than t tiles have room for them.

    >>> rows, room = {"pot4": 20, "fix4": 4}, {"pot4": 4, "fix4": 2, "fix8": 2}
    >>> int(tiles_needed(rows, room))
    4
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .schemes import scheme_named

Counts = NDArray[np.int64]
Parts = NDArray[np.float64]
SPREAD = 0.67  # standard deviations by which chance moves the ends of the stretch of a layer that a tile has; measured
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


def dealt(rows: Mapping[str, int], arrays: Sequence[tuple[str, int]], tiles: int) -> list[int]:
    """Rows of every array (scheme, rows): those of its own scheme, then what has no room there."""
    left = dict(rows)
    found = []
    for scheme, room in arrays:
        found.append(min(left.get(scheme, 0), tiles * room))
        left[scheme] = left.get(scheme, 0) - found[-1]
    for scheme, count in left.items():
        for j, (array, room) in enumerate(arrays):
            if count and holds(array, scheme):
                moved = min(count, tiles * room - found[j])
                found[j], count = found[j] + moved, count - moved
    return found


def stretches(queue: Counts, room: Counts, total: int, tile: Counts) -> tuple[Counts, Parts, Parts]:
    """Rows of tiles, and which part of the layer they have: from where to where, of 1. The first axis is that of arrays.

    Every array takes its `queue` of rows in their order, `room` of them a tile, so a tile has those of about one stretch.
    Rows of different schemes stand in any order, so that of each array's share it is that of a sample.
    """
    count = np.clip(queue - tile * room, 0, room)

    def at(rank: Counts) -> tuple[Parts, Parts]:
        part = np.minimum(rank, queue) / (queue + 1)
        return part, SPREAD * np.sqrt(part * (1 - part) / (queue + 2) * np.maximum(1 - queue / total, 0))

    (first, before), (last, behind) = at(tile * room + 1), at((tile + 1) * room)
    low = np.where(count > 0, np.maximum(first - before, 0), 1).min(axis=0)
    high = np.where(count > 0, np.minimum(last + behind, 1), 0).max(axis=0)
    return count.sum(axis=0), low, np.maximum(high, low)


def groups_read(low: Parts, high: Parts, channels: int, groups: int, tk: int | Counts) -> Counts:
    """Groups of lanes in which rows of a stretch of a grouped convolution have weights."""
    each = channels // groups
    first = np.minimum((low * groups).astype(np.int64), groups - 1)
    last = np.clip(np.ceil(high * groups).astype(np.int64), first + 1, groups)
    return np.asarray((last * each - 1) // tk - first * each // tk + 1)
