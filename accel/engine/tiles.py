"""Which row of a layer is computed by which hardware row of which row tile, and in which slot its result is written.

Rows go to arrays that have their codes: those of their own scheme first, wider ones where that saves a tile. Within an
array rows are dealt out in the order of their places, so that a tile's results lie close together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from ilmpq.errors import DoesNotFit
from ilmpq.geometry import Geometry
from ilmpq.rowtiles import holds, tiles_needed
from ilmpq.schemes import BY_IDENT


@dataclass(frozen=True)
class Slot:
    """The results of up to two rows for one destination group: hardware rows, -1 where there is none."""

    even: int
    odd: int


@dataclass(frozen=True)
class RowTile:
    """The layer's row of each hardware row (-1: none), and the slots that write them."""

    rows: NDArray[np.int64]
    slots: tuple[Slot, ...]


def row_tiles(
    name: str, geometry: Geometry, scheme: NDArray[np.uint8], order: NDArray[np.int64], keys: Sequence[tuple[int, int]]
) -> list[RowTile]:
    """The tiles of a layer. `order`: what rows are sorted by; `keys`: groups that two rows of a slot must share."""
    share = _shares(name, geometry, scheme)
    count, dealt = share
    queues = _deal(geometry, scheme, order, dealt)
    tiles = []
    for tile in range(count):
        rows = np.full(geometry.rows, -1, np.int64)
        balance: dict[tuple[int, int], int] = {}
        start = 0
        for array, queue in zip(geometry.arrays, queues, strict=True):
            own = queue[tile * array.rows : (tile + 1) * array.rows]
            _seat(rows, range(start, start + array.rows), own, keys, balance)
            start += array.rows
        tiles.append(RowTile(rows, _slots(rows, keys)))
    return tiles


def tile_count(name: str, geometry: Geometry, scheme: NDArray[np.uint8]) -> int:
    """How many row tiles a layer with these rows takes."""
    return _shares(name, geometry, scheme)[0]


def _shares(name: str, geometry: Geometry, scheme: NDArray[np.uint8]) -> tuple[int, dict[tuple[int, int], int]]:
    """The least number of tiles, and how many rows of each scheme go to each array."""
    idents, counts = np.unique(scheme, return_counts=True)
    names = [BY_IDENT[int(ident)].name for ident in idents]
    fits = [[holds(array.scheme, each) for array in geometry.arrays] for each in names]
    for each, row in zip(names, fits, strict=True):
        if not any(row):
            raise DoesNotFit(
                f"{name} has rows of {each}, which no array of the geometry computes: quantize with "
                f"a --ratio of {', '.join(s.name for s in geometry.schemes())}, or use a geometry with such an array"
            )
    room = {scheme.name: rows for scheme, rows in geometry.schemes().items()}
    tiles = int(tiles_needed(dict(zip(names, counts.tolist(), strict=True)), room))
    return tiles, _flow(counts, fits, [tiles * a.rows for a in geometry.arrays], geometry, idents)


def _flow(
    counts: NDArray[np.int64],
    fits: list[list[bool]],
    capacity: list[int],
    geometry: Geometry,
    idents: NDArray[np.uint8],
) -> dict[tuple[int, int], int]:
    """Rows of each scheme to arrays: a maximum flow, after each scheme has filled the arrays of its own."""
    left, room = counts.astype(np.int64).copy(), list(capacity)
    found: dict[tuple[int, int], int] = {}
    for i, ident in enumerate(idents):
        for j, array in enumerate(geometry.arrays):
            if array.scheme == BY_IDENT[int(ident)].name:
                own = min(int(left[i]), room[j])
                found[i, j] = own
                left[i] -= own
                room[j] -= own
    schemes, arrays = len(counts), len(capacity)
    size = schemes + arrays + 2
    edges = np.zeros((size, size), np.int32)
    for i in range(schemes):
        edges[0, 1 + i] = left[i]
        for j in range(arrays):
            edges[1 + i, 1 + schemes + j] = left[i] if fits[i][j] else 0
    for j in range(arrays):
        edges[1 + schemes + j, size - 1] = room[j]
    flow = maximum_flow(csr_array(edges), 0, size - 1)
    assert flow.flow_value == left.sum(), "so many tiles have room"
    moved = flow.flow.toarray()
    for i in range(schemes):
        for j in range(arrays):
            found[i, j] = found.get((i, j), 0) + int(max(moved[1 + i, 1 + schemes + j], 0))
    return found


def _deal(
    geometry: Geometry, scheme: NDArray[np.uint8], order: NDArray[np.int64], dealt: dict[tuple[int, int], int]
) -> list[list[int]]:
    """The rows of each array, in order; where a scheme goes to several arrays, its rows are spread evenly."""
    idents = np.unique(scheme)
    queues: list[list[int]] = [[] for _ in geometry.arrays]
    for i, ident in enumerate(idents):
        members = np.flatnonzero(scheme == ident)
        members = members[np.argsort(order[members], kind="stable")]
        shares = [(j, dealt.get((i, j), 0)) for j in range(len(queues))]
        # Row number m of n goes to the array that is furthest behind its share.
        given = [0] * len(queues)
        for number, row in enumerate(members):
            behind = [(n * (number + 1) / len(members) - given[j], j) for j, n in shares if given[j] < n]
            _, j = max(behind)
            given[j] += 1
            queues[j].append(int(row))
    for queue in queues:
        queue.sort(key=lambda row: int(order[row]))
    return queues


def _seat(
    rows: NDArray[np.int64],
    seats: range,
    own: list[int],
    keys: Sequence[tuple[int, int]],
    balance: dict[tuple[int, int], int],
) -> None:
    """Give an array's rows hardware rows, even and odd ones in turn for each pair of groups."""
    even, odd = [s for s in seats if s % 2 == 0], [s for s in seats if s % 2]
    for row in own:
        key = keys[row]
        wants_even = balance.get(key, 0) <= 0
        seat = (even if (wants_even and even) or not odd else odd).pop(0)
        balance[key] = balance.get(key, 0) + (1 if seat % 2 == 0 else -1)
        rows[seat] = row


def _slots(rows: NDArray[np.int64], keys: Sequence[tuple[int, int]]) -> tuple[Slot, ...]:
    """Pairs of an even and an odd row with the same groups, then what is left alone."""
    waiting: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for seat, row in enumerate(rows):
        if row >= 0:
            waiting.setdefault(keys[row], ([], []))[seat % 2].append(seat)
    slots = []
    for key in sorted(waiting):
        evens, odds = waiting[key]
        for number in range(max(len(evens), len(odds))):
            slots.append(Slot(evens[number] if number < len(evens) else -1, odds[number] if number < len(odds) else -1))
    return tuple(slots)
