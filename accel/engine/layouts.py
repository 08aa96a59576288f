"""The layout of every tensor, and how every layer reads and writes it: how many positions at a time."""

from __future__ import annotations

from ilmpq.design import EngineConfig
from ilmpq.errors import DoesNotFit
from ilmpq.graph import Op
from ilmpq.layout import Access, Layout, Tiling, layouts
from ilmpq.network import Layer, Network, Tensor
from ilmpq.planning import MEMORY_MEND
from ilmpq.program import Program
from ilmpq.schedule import Band, views
from ilmpq.storage import WIDE
from ilmpq.windows import most_outer, unrollable

from .descriptor import Mode
from .layout import tiling
from .tiles import tile_count

PAIR_BITS = 4
MOST_GROUPS = 1023


class Layouts:
    """The layouts of a network's tensors by name; twins of tensors in memory regions may be added."""

    def __init__(self, program: Program, config: EngineConfig, network: Network) -> None:
        self.program, self.config, self.network = program, config, network
        self.image_layer = self._image_layer()
        self._unpaired: set[str] = set()  # tensors of narrow codes whose positions are written one by one
        for tensor in network.tensors.values():
            if tensor.groups > MOST_GROUPS:
                raise DoesNotFit(
                    f"{tensor.name} must have at most {MOST_GROUPS:,} groups of {config.geometry.tk} channels on the "
                    f"engine, not {tensor.groups:,}: use a geometry with a larger tk"
                )
        self.of = {name: self._layout(tensor) for name, tensor in network.tensors.items()}
        for layer in network.layers:
            tensor = layer.target.tensor
            if self.of[tensor.name].pair and self.tiling(layer).positions < 2:
                self._unpaired.add(tensor.name)
                self.of[tensor.name] = self._layout(tensor)

    def _image_layer(self) -> Layer | None:
        """The layer whose windows are unrolled, if ring and table hold all its row tiles."""
        layer, config, geometry = unrollable(self.network, self.config), self.config, self.config.geometry
        if layer is None:
            return None
        tiles = tile_count(layer.name, geometry, self.program.matrices[layer.name].scheme)
        most = most_outer(layer, geometry.tk, geometry.rows, config.ring_depth, config.table_depth)
        return layer if tiles <= most else None

    def unrolled(self, layer: Layer) -> bool:
        return self.image_layer is not None and layer.name == self.image_layer.name

    def mode(self, layer: Layer) -> Mode:
        """How a layer reads its source."""
        a, source = self.config.geometry.act_bits, layer.source.tensor
        if not layer.node.weighted:
            return Mode.PAIR if self.of[source.name].pair else Mode.BYTE
        matrix = self.program.matrices[layer.name]
        if matrix.input_bits < source.bits:
            if matrix.input_bits > a or matrix.input_shift > WIDE - a:
                raise DoesNotFit(
                    f"{layer.name} reads {source.bits}-bit codes as {matrix.input_bits} bits, the engine as {a}: "
                    f"quantize with --act-bits {a}, or use a geometry with act_bits {matrix.input_bits}"
                )
            return Mode.NARROWED
        if source.bits > 2 * a:
            raise DoesNotFit(
                f"{layer.name} reads {source.bits}-bit codes, which take more than two passes of {a} bits: "
                f"use a geometry with act_bits {-(-source.bits // 2)} or more"
            )
        if source.bits > a:
            return Mode.TWO_PASS
        return Mode.PAIR if self.of[source.name].pair else Mode.BYTE

    def tiling(self, layer: Layer, band: Band | None = None) -> Tiling:
        """The tiles of positions of a layer, or of a band of it."""
        if layer.target.tensor.logits or layer.node.op is Op.AVG_POOL:
            return Tiling(1)
        touched = {v.tensor.name: v.tensor for v in views(layer)}
        accesses = [(self.of[t.name], a) for t in touched.values() for a in self._accesses(layer, t, band)]
        found = tiling(accesses, self.config.banks, min(self._most(a) for _, a in accesses))
        if found.positions == 1 and self.of[layer.target.tensor.name].pair and band:
            raise DoesNotFit(
                f"{layer.name} must write its rows {band.first} to {band.last - 1} in pairs of pixels, which its reader "
                f"does not allow: {MEMORY_MEND}"
            )
        return found

    def _most(self, access: Access) -> int:
        tp = self.config.geometry.tp
        return 1 << (tp.bit_length() - 1) if access.power else tp

    def _pairs(self, tensor: Tensor) -> bool:
        """Whether two codes share a byte; an average writes single ones."""
        averages = any(x.target.tensor is tensor and x.node.op is Op.AVG_POOL for x in self.network.layers)
        narrow = tensor.bits <= PAIR_BITS == self.config.geometry.act_bits
        return narrow and not averages and tensor.name not in self._unpaired

    def _layout(self, tensor: Tensor) -> Layout:
        """The most compact layout that costs the layers around the tensor the fewest cycles."""
        height, width = tensor.height, tensor.width
        accesses = [access for layer in self.network.layers for access in self._accesses(layer, tensor)]
        if tensor.logits:
            return Layout(height, width, width)
        strides = [a.stride[1] for a in accesses if not a.writes]
        best: tuple[float, Layout] | None = None
        for layout in layouts(height, width, self._pairs(tensor), self.config.banks, strides):
            found = [tiling([(layout, a)], self.config.banks, self._most(a)) for a in accesses]
            if layout.pair and min(t.positions for t in found) < 2:
                continue
            each = [t.tiles(a.rows, a.columns) for t, a in zip(found, accesses, strict=True)]
            cost = float(sum(n * len(a.taps) for n, a in zip(each, accesses, strict=True)))
            cost *= 1 + layout.words(self.config.banks) / 1e6
            if best is None or cost < best[0]:
                best = cost, layout
            if each == [Tiling(self._most(a)).tiles(a.rows, a.columns) for a in accesses]:
                break
        if best is None:  # no two positions can be written at a time: codes get whole bytes
            self._unpaired.add(tensor.name)
            return self._layout(tensor)
        return best[1]

    def _accesses(self, layer: Layer, tensor: Tensor, band: Band | None = None) -> list[Access]:
        """How a layer touches a tensor."""
        w = layer.window
        target, residual = layer.target, layer.residual
        first, last = (0, target.height) if band is None else (band.first, band.last)
        size = (last - first, target.tensor.width)
        found = []
        one_by_one = layer.node.op is Op.AVG_POOL
        if layer.source.tensor is tensor and not self.unrolled(layer) and not one_by_one:
            taps = tuple(
                (layer.source.first_row + ky * w.dilation[0] - w.pad[0], kx * w.dilation[1] - w.pad[1])
                for ky in range(w.kernel[0])
                for kx in range(w.kernel[1])
            )
            found.append(Access(*size, w.stride, taps, first))
        if residual is not None and residual.tensor is tensor:
            found.append(Access(*size, residual.stride, ((residual.first_row, 0),), first))
        if target.tensor is tensor and not tensor.logits and not one_by_one:
            written, power = target.first_row + first, layer.node.op is Op.MAX_POOL
            found.append(Access(*size, first_row=written, writes=True, power=power))
        return found
