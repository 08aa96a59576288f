"""From an integer program to the engine's descriptors, weight image and memory map.

    network     layers and tensors                               ilmpq/network.py
    layouts     where pixels lie, positions per tile             ilmpq/layout.py, layout.py, layouts.py
    placement   bands of rows where a tensor is large, and       ilmpq/schedule.py, memory.py, planning.py
                where tensors lie while they are needed
    weights     row tiles, slots, lane codes                     tiles.py, weights.py
    operations  descriptors with their wait counts               operations.py, order.py

Whatever the engine cannot run is refused, by name.
"""

from __future__ import annotations

from ilmpq.design import EngineConfig
from ilmpq.errors import DoesNotFit
from ilmpq.network import Transfer, network_of
from ilmpq.planning import MEMORY_MEND
from ilmpq.program import Program

from .descriptor import header
from .image import EngineImage, Pixels, Stored
from .layouts import Layouts
from .operations import Operations
from .planning import Placement

MOST_DESCRIPTORS = 0xFFFF


def compile_program(program: Program, config: EngineConfig, keep_all: bool = False) -> EngineImage:
    """The image of a program for an engine; `keep_all` also stores every tensor in scratch, for comparisons."""
    network = network_of(program.graph, program.formats, config.verify().geometry.tk)
    layouts = Layouts(program, config, network)
    placement = Placement(network, layouts, config)
    operations = Operations(program, layouts, placement)
    for band in placement.bands:
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
    source, output = network.input, network.output
    return EngineImage(
        config,
        tuple(header(config.geometry_id, descriptors) + [w for d in descriptors for w in d]),
        operations.weight_parts(),
        max(operations.scratch, config.word_bytes),
        Pixels(source) if layouts.image_layer else Stored(source, layouts.of[source.name], 0),
        Stored(output.tensor, layouts.of[output.tensor.name], 0),
        network.views[program.graph.input.name],
        output,
        tuple(scheduled),
        operations.row_tiles(),
        dict(operations.kept),
    )
