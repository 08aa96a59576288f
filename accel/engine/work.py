"""What a compiled network asks of an engine, for the cycle model (`ilmpq/perf.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ilmpq.design import EngineConfig
from ilmpq.geometry import Resource
from ilmpq.perf import Counts, Frame, Machine, Unit, Work

from .descriptor import Compute, Conv, Copy, Image, Load, Mode
from .image import EngineImage
from .layout import Tiling
from .order import Scheduled

LINES = 8  # of an image that the image unit holds


def machine_of(config: EngineConfig) -> Machine:
    """What the model must know of an engine."""
    g = config.geometry
    cascade = max(n for n in range(1, min(g.tk, 32) + 1) if g.tk % n == 0)
    dsp = any(a.resource is Resource.DSP for a in g.arrays)
    return Machine(
        macs_per_cycle=g.macs_per_cycle,
        ports=config.weight_ports,
        step_beats=config.step_words / config.weight_ports,
        slot_beats=config.slot_beats,
        ring=config.ring_depth,
        table=config.table_depth,
        word_bytes=config.word_bytes,
        latency=6 + (cascade - 1) // 2 if dsp else 6,
    )


def works_of(image: EngineImage, macs: Mapping[str, int]) -> list[Work]:
    """The operations of a program; `macs`: of each layer. A second pass is no useful work."""
    operations = [s.operation for s in image.operations]
    positions = {s.layer: 0 for s in image.operations}
    for scheduled in image.operations:
        if isinstance(scheduled.operation, Compute):
            positions[scheduled.layer] += scheduled.operation.rows * scheduled.operation.columns
    unrolled = next((o for o in operations if isinstance(o, Image)), None)
    return [_work(each, image, macs, positions, unrolled) for each in image.operations]


def _work(
    each: Scheduled, image: EngineImage, macs: Mapping[str, int], positions: Mapping[str, int], unrolled: Image | None
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
        window_cycles=window_cycles(unrolled, image.config, tiled.positions) if o.image and unrolled else 0.0,
        windows_ahead=(LINES - unrolled.kernel_y) * unrolled.columns // unrolled.stride_y
        if o.image and unrolled
        else 0,
        bytes=_image_bytes(unrolled) * count // positions[each.layer] if o.image and unrolled else 0,
        macs=macs.get(each.layer, 0) * count // positions[each.layer],
    )


def window_cycles(image: Image, config: EngineConfig, positions_per_tile: int) -> float:
    """Cycles of the image unit for a window: the slowest of columns, writers and pixels; and until the first row begins."""
    writers, pairs = config.patch_writers, -(-image.patch_words // 2)
    line = image.width if config.image_pixels == 1 else -(-image.width // 2)
    lines = min(image.height, image.kernel_y + (image.rows - 1) * image.stride_y - image.pad_top)
    # Writers are bound to positions, so a tile begins with the first one. Where they bind, they win so many cycles a round.
    stored = -(-positions_per_tile // writers) * pairs / positions_per_tile
    since_first_writer = ((positions_per_tile - 1) % writers + 1) * image.stride_x
    shifted = image.stride_x + max(0, pairs - since_first_writer) / positions_per_tile
    slack = pairs - writers * image.stride_x
    delayed = max(0, image.kernel_x - image.stride_x - slack) if slack > 0 else 0
    row = max(image.columns * stored + delayed, image.columns * shifted + image.kernel_x - image.stride_x)
    first = max(0, image.kernel_y - image.pad_top - 1) * line
    return max(first + image.rows * row, lines * line) / (image.rows * image.columns)


def _image_bytes(image: Image) -> int:
    return image.height * -(-image.width // 2) * 8


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
