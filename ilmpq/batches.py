"""Several images in one program: early layers image by image, late ones on all images at once, their weights fetched once.

From the layer of the split on, tensors have all images one below the other; the layers before write each image's share.
Taps of an image's first and last rows are padding and rows go on where those of the image before end, so every layer
after the split must have as many rows of input an image as rows of output times its stride.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from .design import EngineConfig
from .errors import DoesNotFit
from .graph import Graph, Op
from .lower import pool_counts
from .network import Layer, Network, Step, Tensor, Transfer, View
from .numbered import numbered
from .perf import OVERHEAD
from .planning import Planner
from .schedule import Band, views
from .work import PORT_BYTES

MOST_STRIDE, MOST_ROWS = 15, 32_767  # that a descriptor holds
WEIGHT_BYTES, MEMORY_SHARE = 0.5, 2 / 3  # of a weight; of what the weight ports take, what memory gives: for a choice


def shared(network: Network, graph: Graph, config: EngineConfig, images: int, unrolled: bool) -> Network:
    """The network of several images with the fewest cycles, by a rough estimate; of equals, the one that shares most.

    `unrolled`: the first layer takes windows of one image.
    """
    if images < 1:
        raise ValueError(f"images must be 1 or more, not {images}")
    if images == 1:
        return network
    count = len(network.layers)
    best: tuple[float, int, int] | None = None
    for together in (n for n in range(images, 0, -1) if images % n == 0):
        alone = [i for i, layer in enumerate(network.layers) if not _shareable(layer, graph, config, together)]
        first = max([int(unrolled), *(i + 1 for i in alone)])
        for split in range(first, count) if together > 1 else [count]:
            try:
                cycles = _cycles(batched(network, together, split, together), graph, config, unrolled) / together
            except DoesNotFit:
                if best is None and together == 1:
                    raise
                continue
            if best is None or cycles < best[0]:
                best = cycles, split, together
    assert best is not None
    return batched(network, images, *best[1:])


def batched(network: Network, images: int, split: int, together: int) -> Network:
    """A network of one image for several: layers from number `split` on compute so many together."""
    late = {view.tensor.name for layer in network.layers[split:] for view in views(layer)}
    own: dict[tuple[str, int], Tensor] = {}

    def seen(view: View, group: int, image: int | None) -> View:
        """The share of one image of a group in a view, or that of all."""
        tensor, stacked = view.tensor, view.tensor.name in late and together > 1
        first = group + (0 if stacked or image is None else image)
        key = tensor.name, first
        if key not in own:
            count = together if stacked else 1
            own[key] = replace(tensor, height=count * tensor.height, image=first, images=count)
        return replace(view, tensor=own[key], image=image if stacked else None)

    def copy(layer: Layer, group: int, image: int | None) -> Layer:
        source, target = seen(layer.source, group, image), seen(layer.target, group, image)
        residual = layer.residual and seen(layer.residual, group, image)
        found = replace(layer, source=source, target=target, residual=residual)
        return _in_step(found) if found.image_rows == 1 else found

    groups, each = range(0, images, together), range(together)
    layers: list[Layer] = []
    for group in groups:
        layers += [copy(layer, group, image) for image in each for layer in network.layers[:split]]
        layers += [copy(layer, group, None) for layer in network.layers[split:]]
    (source,), (output,) = network.inputs, network.outputs
    return Network(
        tuple(layers),
        tuple(seen(source, group, image) for group in groups for image in each),
        tuple(seen(output, group, image) for group in groups for image in each),
    )


def windows_before(steps: Sequence[Step], bands: Sequence[Band], first: str | None) -> Iterator[tuple[bool, Band]]:
    """The bands in order, and whether an image's windows begin before each: as soon as those of the last are taken.

    `first`: the layer that takes them, if one does.
    """
    left = sum(step.name == first for step in steps)
    begin = left > 0
    for band in bands:
        yield begin, band
        step = steps[band.layer]
        taken = step.name == first and band.last == step.target.height
        left -= taken
        begin = taken and left > 0


def _shareable(layer: Layer, graph: Graph, config: EngineConfig, images: int) -> bool:
    """Whether one operation can compute a layer of several images."""
    rows, source = layer.target.height, layer.source
    strides = [(source.height, layer.window.stride[0])]
    if layer.residual is not None:
        strides.append((layer.residual.height, layer.residual.stride[0]))
    aligned = all(height == rows * stride or (rows == 1 and height <= MOST_STRIDE) for height, stride in strides)
    equal = layer.node.op is not Op.AVG_POOL or len(set(pool_counts(graph, layer.node).tolist())) == 1
    return aligned and equal and images * max(rows, source.height) <= MOST_ROWS


def _in_step(layer: Layer) -> Layer:
    """A layer of several images with one row of outputs each: its stride is that to the next image."""
    window = replace(layer.window, stride=(layer.source.tensor.image_height, layer.window.stride[1]))
    residual = layer.residual
    if residual is not None:
        residual = replace(residual, stride=(residual.tensor.image_height, residual.stride[1]))
    return replace(layer, window=window, residual=residual)


def _cycles(network: Network, graph: Graph, config: EngineConfig, unrolled: bool) -> float:
    """Roughly the cycles of a network, for a choice: products, weights no further ahead than the ring holds, transfers."""
    g = config.geometry
    numbers = numbered(network, g.act_bits, config.banks, g.tp, unrolled)
    planner = Planner(network, dict(numbers.tensors), config.banks, config.am_depth, unrolled)
    ahead = config.ring_depth * config.step_words / config.weight_ports
    rate = MEMORY_SHARE * PORT_BYTES * config.weight_ports
    end = loaded = 0.0
    for band in planner.bands:
        step, rows = planner.steps[band.layer], band.last - band.first
        tensor = step.target.tensor
        if isinstance(step, Transfer):
            end += planner.all_words(tensor) * config.word_bytes * rows / tensor.height / PORT_BYTES
        elif step.node.weighted:
            tiles = numbers.tilings[step.copy].tiles(rows, tensor.width)
            if step.image_rows and tiles * _passes(step, g.act_bits) > 1 and _steps(step, g.tk) > config.ring_depth:
                raise DoesNotFit(f"{step.name} has more steps than the weight ring holds for several images at once")
            products = graph.macs(step.node) * rows / tensor.image_height
            weights = prod(graph.weight_shape(step.node)) * WEIGHT_BYTES
            loaded = max(loaded, end - ahead) + weights / rate
            end = max(end + products / g.macs_per_cycle, loaded)
        end += OVERHEAD
    return end


def _steps(layer: Layer, tk: int) -> int:
    """Of a row tile and pass, at most."""
    return prod(layer.window.kernel) * layer.source.group_range(tk)[1]


def _passes(layer: Layer, act_bits: int) -> int:
    """At most."""
    return 2 if layer.source.tensor.bits > act_bits else 1
