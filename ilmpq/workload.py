"""What a network asks of an engine, from shapes alone: no weights, no codes, nothing compiled.

    >>> from ilmpq.canonical import canonical
    >>> from ilmpq.design import EngineConfig
    >>> from ilmpq.geometry import Geometry
    >>> from ilmpq.ratio import Ratio
    >>> from ilmpq.zoo import build
    >>> shapes = shapes_of(canonical(build("cifar_resnet20")))
    >>> config = EngineConfig(Geometry.parse("pot4@lut:22, fix4@dsp:8, fix8@dsp:2", tk=16, tp=4), table_depth=512)
    >>> works = works_for(shapes, config, rows_in(shapes, Ratio.parse("pot4:68.75,fix4:25,fix8:6.25")))
    >>> works[1].layer, works[1].tiles, works[1].steps
    ('conv1', 256, array([4]))

Rows come as counts of each scheme. Which of them stand where is not known, so that the slots of a row tile, and for
grouped convolutions its steps, are those of rows that are dealt at random; all else is what the compiler does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .design import EngineConfig
from .errors import DoesNotFit
from .graph import Graph
from .lanes import Lanes, Operation
from .network import Layer
from .ratio import Ratio
from .rowtiles import NO_TILES, dealt, groups_read, holds, stretches, tiles_needed
from .storage import WIDE
from .windows import Windows, most_outer, unrollable, windows_of
from .work import Counts, Unit, Work

SchemeRows = Mapping[str, int]  # rows of each scheme, by its name


@dataclass(frozen=True, eq=False)
class Shapes:
    """A canonical network; how an engine sees it is found once for each number of lanes and width of activations."""

    graph: Graph
    macs: Mapping[str, int]
    rows: Mapping[str, int]  # of the weighted layers, in order
    columns: Mapping[str, int]  # weights of a row
    _lanes: dict[tuple[int, int], Lanes] = field(default_factory=dict)

    def on(self, tk: int, act_bits: int) -> Lanes:
        """The network on engines with these lanes."""
        if (tk, act_bits) not in self._lanes:
            self._lanes[tk, act_bits] = Lanes(self.graph, tk, act_bits)
        return self._lanes[tk, act_bits]


def shapes_of(graph: Graph) -> Shapes:
    """What is to be known of a canonical graph, with or without weights."""
    weighted = graph.weighted
    shape = {n.name: graph.weight_shape(n) for n in weighted}
    return Shapes(
        graph,
        {n.name: graph.macs(n) for n in weighted},
        {name: size[0] for name, size in shape.items()},
        {name: int(np.prod(size[1:])) for name, size in shape.items()},
    )


def rows_in(shapes: Shapes, ratio: Ratio, others: Mapping[str, Ratio] | None = None) -> dict[str, dict[str, int]]:
    """The rows of each scheme in every weighted layer, in a ratio, or for some layers in another."""
    ratios = {name: (others or {}).get(name, ratio) for name in shapes.rows}
    return {name: {s.name: n for s, n in ratios[name].counts(rows)} for name, rows in shapes.rows.items()}


def works_for(shapes: Shapes, config: EngineConfig, rows: Mapping[str, SchemeRows], images: int = 1) -> list[Work]:
    """The operations of one program, of one image or of several. `rows`: for each weighted layer how many it has of each scheme.

    `DoesNotFit` says what the engine cannot run, as the compiler does.
    """
    g = config.geometry
    lanes = shapes.on(g.tk, g.act_bits)
    room = {scheme.name: n for scheme, n in g.schemes().items()}
    tiles = {name: _tiles(name, room, rows[name]) for name in shapes.rows}
    unrolled = unrollable(lanes.network, config)
    if unrolled is not None and tiles[unrolled.name] > most_outer(
        unrolled, g.tk, g.rows, config.ring_depth, config.table_depth
    ):
        unrolled = None
    windows = None if unrolled is None else windows_of(unrolled, g.tk)
    made: dict[str, Work] = {}
    found = []
    for operation in operations_for(shapes, config, unrolled is not None, images):
        name = operation.layer
        work = Work(name, operation.unit, operation.waits, operation.tiles, operation.positions, bytes=operation.bytes)
        if operation.unit is Unit.POOL:
            groups = np.ones(operation.groups, np.int64)
            work = replace(work, steps=operation.taps * groups, slots=g.tk // 2 * groups)
        elif operation.unit is Unit.CONV:
            layer = lanes.layers[name]
            if name not in made:
                outer = windows if layer is unrolled else None
                made[name] = _conv(layer, lanes, config, rows[name], int(tiles[name]), outer)
            share = operation.outputs / lanes.outputs[name]
            work = replace(
                made[name],
                waits=operation.waits,
                tiles=operation.tiles,
                positions=operation.positions,
                macs=int(shapes.macs[name] * share),
            )
            _check_ring(work, config)
            if windows is not None and layer is unrolled:
                work = replace(
                    work,
                    windows=windows.pace(config, operation.positions),
                    bytes=int(windows.bytes * share),
                )
        found.append(work)
    return found


def operations_for(shapes: Shapes, config: EngineConfig, unrolled: bool, images: int = 1) -> tuple[Operation, ...]:
    """All operations of a program, but for the rows of weighted layers: they are found once for all engines that share them."""
    lanes = shapes.on(config.geometry.tk, config.geometry.act_bits)
    return lanes.operations(config, unrolled, images)


def unrolls(
    shapes: Shapes,
    config: EngineConfig,
    room: Mapping[str, Counts],
    rows: Mapping[str, Mapping[str, Counts]],
    ring: Counts,
    table: Counts,
) -> NDArray[np.bool_]:
    """Whether engines that differ from one in rows, ring and table unroll the image."""
    lanes = shapes.on(config.geometry.tk, config.geometry.act_bits)
    layer, all_rows = unrollable(lanes.network, config), sum(room.values(), np.int64(0))
    if layer is None:
        return np.zeros(all_rows.shape, bool)
    return np.asarray(tiles_needed(rows[layer.name], room) <= most_outer(layer, lanes.tk, all_rows, ring, table))


def _tiles(name: str, room: SchemeRows, rows: SchemeRows) -> int:
    """Row tiles of a layer."""
    tiles = _needed(tuple(rows.items()), tuple(room.items()))
    if tiles == NO_TILES:
        nowhere = next(s for s, n in rows.items() if n and not any(holds(a, s) for a in room))
        raise DoesNotFit(
            f"{name} has rows of {nowhere}, which no array of the geometry computes: choose another ratio, or use a "
            "geometry with such an array"
        )
    return tiles


@lru_cache(maxsize=4096)
def _needed(rows: tuple[tuple[str, int], ...], room: tuple[tuple[str, int], ...]) -> int:
    return int(tiles_needed(dict(rows), dict(room)))


def _conv(
    layer: Layer, lanes: Lanes, config: EngineConfig, rows: SchemeRows, tiles: int, windows: Windows | None
) -> Work:
    """A convolution's or linear layer's row tiles."""
    g = config.geometry
    arrays = [(a.scheme, a.rows) for a in g.arrays]
    queue, room = np.array(dealt(rows, arrays, tiles))[:, None], np.array([n for _, n in arrays])[:, None]
    count, low, high = stretches(queue, room, sum(rows.values()), np.arange(tiles))
    targets = layer.target.group_range(g.tk)[1]
    if windows is not None:
        steps = np.full(tiles, windows.patch_words)
        passes = 2 if g.act_bits < WIDE else 1
    else:
        taps = layer.window.kernel[0] * layer.window.kernel[1]
        dense = np.full(tiles, layer.source.group_range(g.tk)[1])
        channels, groups = len(layer.source.places), layer.node.groups
        steps = taps * (dense if groups == 1 else groups_read(low, high, channels, groups, g.tk))
        passes = lanes.passes(layer)
    return Work(
        layer.name,
        Unit.CONV,
        steps=steps * passes,
        slots=_slots(count, np.minimum((high - low) * targets + 1, targets)),
        slot_cycles=1 if layer.residual is None else 2,
        passes=passes,
        together=windows is not None,
    )


def _slots(rows: Counts, groups: Counts) -> Counts:
    """Slots of row tiles whose rows go to so many groups: two rows of one group share one, an odd row stands alone.

    How many do was measured; of a layer of one tile none does, because no group is divided.
    """
    alone = 3 / 8 * groups * (1 - 1 / len(rows))
    upto = np.ceil(np.cumsum(rows / 2 + alone) - 1e-9)
    return np.maximum(np.diff(upto, prepend=0), -(-rows // 2)).astype(np.int64)


def _check_ring(work: Work, config: EngineConfig) -> None:
    steps = int(work.weight_steps.sum() if work.together else work.weight_steps.max())
    if steps > config.ring_depth and (work.together or work.passes > 1 or work.tiles > 1):
        raise DoesNotFit(
            f"{work.layer} has {steps} steps, more than the weight ring's {config.ring_depth}: "
            "use an engine with a deeper weight ring"
        )
