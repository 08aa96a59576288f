"""How the tensors of a network are numbered in the activation memory, and how many positions its layers compute at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from .graph import Op
from .layout import Access, Layout, Tiling
from .network import Layer, Network, Tensor
from .positions import layout as layout_of
from .positions import tiling
from .schedule import views

PAIR_BITS = 4


@dataclass(eq=False)
class Numbered:
    """Where pixels lie, and the tiles of positions of every layer."""

    tensors: dict[str, Layout] = field(default_factory=dict)
    tilings: dict[tuple[str, str, int | None], Tiling] = field(default_factory=dict)  # by `Layer.copy`


@lru_cache(maxsize=64)
def numbered(network: Network, act_bits: int, banks: int, tp: int, unrolled: bool) -> Numbered:
    """Numbers and tiles on certain banks. `unrolled`: the first layer takes windows of the image."""
    found, first = Numbered(), network.layers[0].name
    averages = [x for x in network.layers if x.node.op is Op.AVG_POOL]
    apart = {x.target.tensor.name for x in averages}  # whose positions are written one by one, in whole bytes
    touching: dict[str, list[Layer]] = {}
    for layer in network.layers:
        for name in dict.fromkeys(view.tensor.name for view in views(layer)):
            touching.setdefault(name, []).append(layer)

    def number(tensor: Tensor) -> Layout:
        height, width = tensor.height, tensor.width
        if tensor.logits:
            return Layout(height, width, width)
        every = tuple(a for x in touching[tensor.name] for a in _accesses(x, tensor, unrolled and x.name == first))
        pair = tensor.bits <= PAIR_BITS == act_bits and tensor.name not in apart
        best = layout_of(height, width, pair, every, banks, tp)
        if best is None:
            apart.add(tensor.name)
            best = layout_of(height, width, False, every, banks, tp)
        assert best is not None
        return best

    def tiled(layer: Layer) -> Tiling:
        if layer.target.tensor.logits or layer.node.op is Op.AVG_POOL:
            return Tiling(1)
        touched = {v.tensor.name: v.tensor for v in views(layer)}
        image = unrolled and layer.name == first
        return tiling(
            [(found.tensors[n], a) for n, t in touched.items() for a in _accesses(layer, t, image)], banks, tp
        )

    for tensor in network.tensors.values():
        found.tensors[tensor.name] = number(tensor)
    for layer in network.layers:
        target = layer.target.tensor
        if found.tensors[target.name].pair and tiled(layer).positions < 2:
            apart.add(target.name)
            found.tensors[target.name] = number(target)
    found.tilings = {layer.copy: tiled(layer) for layer in network.layers}
    return found


def _accesses(layer: Layer, tensor: Tensor, image: bool) -> list[Access]:
    """How a layer touches a tensor; `image`: its source are windows."""
    w, target, residual = layer.window, layer.target, layer.residual
    size, found = (target.height, target.tensor.width), []
    one_by_one = layer.node.op is Op.AVG_POOL
    if layer.source.tensor is tensor and not image and not one_by_one:
        first = layer.source.first_row - w.pad[0]
        taps = tuple(
            (first + ky * w.dilation[0], kx * w.dilation[1] - w.pad[1])
            for ky in range(w.kernel[0])
            for kx in range(w.kernel[1])
        )
        found.append(Access(*size, w.stride, taps))
    if residual is not None and residual.tensor is tensor:
        found.append(Access(*size, residual.stride, ((residual.first_row, 0),)))
    if target.tensor is tensor and not tensor.logits and not one_by_one:
        power = layer.node.op is Op.MAX_POOL
        found.append(Access(*size, first_row=target.first_row, writes=True, power=power))
    return found
