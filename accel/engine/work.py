"""What a compiled network asks of an engine, for the cycle model (`ilmpq/perf.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np

from ilmpq.layout import Tiling
from ilmpq.perf import Frame
from ilmpq.windows import Windows
from ilmpq.work import Counts, Unit, Work

from .descriptor import Compute, Conv, Copy, Image, Load, Mode
from .image import EngineImage
from .order import Scheduled


def works_of(image: EngineImage, macs: Mapping[str, int]) -> list[Work]:
    """The operations of a program; `macs`: of each layer and image. A second pass is no useful work."""
    operations = [s.operation for s in image.operations]
    positions = {s.layer: 0 for s in image.operations}
    for scheduled in image.operations:
        if isinstance(scheduled.operation, Compute):
            positions[scheduled.layer] += scheduled.operation.rows * scheduled.operation.columns
    unrolled = next((_windows(o) for o in operations if isinstance(o, Image)), None)
    return [_work(each, image, macs, positions, unrolled) for each in image.operations]


def _work(
    each: Scheduled, image: EngineImage, macs: Mapping[str, int], positions: Mapping[str, int], unrolled: Windows | None
) -> Work:
    o, w = each.operation, each.waits
    waits = (w.load, w.store, w.compute)
    if isinstance(o, Copy):
        unit = Unit.LOAD if isinstance(o, Load) else Unit.STORE
        return Work(each.layer, unit, waits, bytes=o.runs * o.words_per_run * image.config.word_bytes)
    if isinstance(o, Image):
        return Work(each.layer, Unit.IMAGE, waits)
    assert isinstance(o, Compute)
    count = o.rows * o.columns
    tiled = Tiling(o.positions_less_one + 1, bool(o.row_ends_tile))
    tiles_of_positions = tiled.tiles(o.rows, o.columns)
    whole = Work(each.layer, Unit.POOL, waits, tiles=tiles_of_positions, positions=tiled.positions)
    if not isinstance(o, Conv):
        taps, lanes = o.kernel_y * o.kernel_x, image.config.geometry.tk
        groups = np.ones(o.tiles, np.int64)
        return replace(whole, steps=taps * groups, slots=lanes // 2 * groups)
    tiles: Counts = np.array(image.row_tiles[each.layer], np.int64)
    passes = 2 if o.mode == Mode.TWO_PASS else 1
    return replace(
        whole,
        unit=Unit.CONV,
        steps=tiles[:, 1] * passes,
        slots=tiles[:, 0],
        slot_cycles=2 if o.residual else 1,
        passes=passes,
        together=bool(o.position_outer),
        windows=unrolled.pace(image.config, tiled.positions) if o.image and unrolled else None,
        bytes=unrolled.bytes * image.images * count // positions[each.layer] if o.image and unrolled else 0,
        macs=macs.get(each.layer, 0) * image.images * count // positions[each.layer],
    )


def _windows(o: Image) -> Windows:
    return Windows(**{f.name: getattr(o, f.name) for f in fields(Windows)})


def layer_cycles(image: EngineImage, completed: Counts, model: Frame) -> dict[str, tuple[int, float]]:
    """Cycles of every layer that computes, from the end of the operation before: an RTL's (`RtlResult.completed`), the model's."""
    ends: list[int] = []
    for cycle, _, _, count in completed:
        ends += [int(cycle)] * (int(count) - len(ends))
    found: dict[str, tuple[int, float]] = {}
    real_before, before = 0, 0.0
    for scheduled, end in zip(image.operations, model.ends, strict=True):
        if isinstance(scheduled.operation, Compute):
            real, modelled = found.get(scheduled.layer, (0, 0.0))
            real_end = ends.pop(0)
            found[scheduled.layer] = real + real_end - real_before, modelled + float(end) - before
            real_before, before = real_end, float(end)
    return found
