"""From an integer program to the engine's descriptors, weight image and memory map.

    network     layers and tensors, of one image or several      ilmpq/network.py, batches.py
    layouts     where pixels lie, positions per tile             ilmpq/layout.py, layout.py, layouts.py
    placement   bands of rows where a tensor is large, and       ilmpq/schedule.py, memory.py, planning.py
                where tensors lie while they are needed
    weights     row tiles, slots, lane codes                     tiles.py, weights.py
    operations  descriptors with their wait counts               operations.py, order.py

Whatever the engine cannot run is refused, by name.
"""

from __future__ import annotations

from ilmpq.batches import shared, windows_before
from ilmpq.design import EngineConfig
from ilmpq.errors import DoesNotFit
from ilmpq.network import Transfer, View, network_of
from ilmpq.planning import MEMORY_MEND
from ilmpq.program import Program

from .descriptor import header
from .image import EngineImage, Pixels, Stored
from .layouts import Layouts
from .operations import Operations
from .planning import Placement

MOST_DESCRIPTORS = 0xFFFF


def compile_program(program: Program, config: EngineConfig, keep_all: bool = False, images: int = 1) -> EngineImage:
    """The image of a program for an engine; `keep_all` also stores every tensor in scratch, for comparisons.

    With several `images`, inputs and outputs lie one after another, and late layers may fetch their weights once.
    """
    if keep_all and images > 1:
        raise ValueError(f"images must be 1 where every tensor is kept, not {images}")
    network = network_of(program.graph, program.formats, config.verify().geometry.tk)
    layouts = Layouts(program, config, network)
    if images != 1:
        network = shared(network, program.graph, config, images, layouts.image_layer is not None)
        layouts = Layouts(program, config, network)
    placement = Placement(network, layouts, config)
    operations = Operations(program, layouts, placement)
    unrolled = layouts.image_layer
    for begin, band in windows_before(placement.steps, placement.bands, unrolled.name if unrolled else None):
        if begin and unrolled:
            operations.unroll(unrolled)
        step = placement.steps[band.layer]
        if isinstance(step, Transfer):
            operations.transfer(step, band)
            continue
        operations.compute(step, band)
        if keep_all:
            operations.keep(step, band)
    scheduled = operations.order.scheduled()
    if len(scheduled) > MOST_DESCRIPTORS:
        raise DoesNotFit(
            f"{program.graph.name} must take at most {MOST_DESCRIPTORS:,} operations on the engine, not "
            f"{len(scheduled):,}, most of them bands of rows: {MEMORY_MEND}"
        )
    descriptors = [each.words() for each in scheduled]

    def stored(view: View) -> Stored:
        name = view.tensor.name
        return Stored(view.tensor, layouts.of[name], placement.regions[name].first_word * config.word_bytes)

    return EngineImage(
        config,
        tuple(header(config.geometry_id, descriptors) + [w for d in descriptors for w in d]),
        operations.weight_parts(),
        max(operations.scratch, config.word_bytes),
        tuple((Pixels(v.tensor, image) if unrolled else stored(v), v) for image, v in enumerate(network.inputs)),
        tuple((stored(view), view) for view in network.outputs),
        tuple(scheduled),
        operations.row_tiles(),
        dict(operations.kept),
    )
