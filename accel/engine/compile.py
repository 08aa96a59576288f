"""From an integer program to the engine's descriptors, weight image and memory map.

    network   layers and tensors                      network.py
    layouts   where pixels lie, positions per tile    layout.py
    memory    what stays on the chip, what is spilled memory.py
    weights   row tiles, slots, lane codes            tiles.py, weights.py
    order     operations with their wait counts       order.py

Whatever the engine cannot run is refused here, by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from ilmpq.errors import DoesNotFit, ModelError
from ilmpq.graph import Op
from ilmpq.program import Program

from .config import EngineConfig
from .descriptor import Average, Conv, Image, Load, Max, Mode, Region, Store, header
from .image import EngineImage, Pixels, Stored, group_words
from .layout import Access, Layout, layouts, positions_per_tile
from .memory import Plan, in_place, place, spans
from .network import Layer, Network, Tensor, View, network_of
from .order import Order, Range
from .weights import LayerWeights, image_steps, layer_weights, plain_steps

PAIR_BITS = 4
MOST_SHIFT = 46
MOST_PIXELS = 1 << 23


def compile_program(program: Program, config: EngineConfig, keep_all: bool = False) -> EngineImage:
    """The image of a program for an engine; `keep_all` also stores every tensor in scratch, for comparisons."""
    return _Compiler(program, config.verify(), keep_all).run()


@dataclass(frozen=True)
class Held:
    """Pixels of a tensor in the activation memory: from number `first` on, at word `base`, groups `stride` words apart."""

    layout: Layout
    base: int
    stride: int
    first: int = 0

    def row(self, y: int) -> int:
        """A row's start, relative to what is held, modulo 2^24."""
        return (y * self.layout.pitch - self.first) % (1 << 24)


@dataclass
class _Compiler:
    program: Program
    config: EngineConfig
    keep_all: bool
    order: Order = field(default_factory=Order)
    weights: list[np.ndarray[tuple[int, int], np.dtype[np.uint64]]] = field(default_factory=list)
    beats: int = 0
    scratch: int = 0
    unpaired: set[str] = field(default_factory=set)  # tensors of narrow codes whose positions are written one by one
    kept: dict[str, tuple[Stored, View]] = field(default_factory=dict)

    def run(self) -> EngineImage:
        g = self.config.geometry
        self.network: Network = network_of(self.program, g.tk)
        self.layers = self.network.layers
        self.tensors = self._tensors()
        self.image_layer = self._image_layer()
        self.layouts = {name: self._layout(tensor) for name, tensor in self.tensors.items()}
        for layer in self.layers:
            tensor = layer.target.tensor
            if self.layouts[tensor.name].pair and self._positions(layer) < 2:
                self.unpaired.add(tensor.name)
                self.layouts[tensor.name] = self._layout(tensor)
        self.plan = self._plan()
        self.homes = {name: self._home(name) for name in self.tensors if name not in self.plan.bases}
        self._load_input()
        finished = {}
        for index, layer in enumerate(self.layers):
            self._layer(index, layer)
            finished[layer.name] = len(self.order)
            if self.keep_all:
                self._keep(layer)
        output = self.network.output
        stored = Stored(output.tensor, self.layouts[output.tensor.name], 0)
        self._copy_out(output.tensor, Region.OUTPUT, 0)
        descriptors = self.order.descriptors()
        words = header(self.config.geometry_id, descriptors) + [w for d in descriptors for w in d]
        ports = np.concatenate(self.weights) if self.weights else np.zeros((0, self.config.weight_ports), np.uint64)
        source = self.network.input
        given = Pixels(source) if self.image_layer else Stored(source, self.layouts[source.name], 0)
        return EngineImage(
            self.config,
            tuple(words),
            tuple(np.ascontiguousarray(ports[:, p]) for p in range(self.config.weight_ports)),
            max(self.scratch, self.config.word_bytes),
            given,
            stored,
            self.network.views[self.program.graph.input.name],
            output,
            dict(self.kept),
            finished,
        )

    # What is stored, and how

    def _tensors(self) -> dict[str, Tensor]:
        found = {self.network.input.name: self.network.input}
        for layer in self.layers:
            found[layer.target.tensor.name] = layer.target.tensor
        for tensor in found.values():
            if tensor.groups > 1023:
                raise ModelError(f"{tensor.name} has more channels than the engine addresses")
        return found

    def _image_layer(self) -> Layer | None:
        """The first layer, if its windows can be unrolled: then the input never lies in the activation memory."""
        source = self.network.input
        readers = [v for x in self.layers for v in (x.source, x.residual) if v and v.tensor is source]
        first = self.layers[0]
        window, channels = first.window, len(first.source.places)
        possible = (
            len(readers) == 1
            and first.node.op is Op.CONV
            and first.node.groups == 1
            and first.source.tensor is source
            and first.source.stride == (1, 1)
            and first.residual is None
            and (window.kernel[0], channels) in self.config.image_kernels
            and window.kernel[0] * window.kernel[1] * channels <= self.config.image_bytes
            and window.kernel[1] <= 15
            and -(-window.kernel[0] * window.kernel[1] * channels // self.config.geometry.tk) <= 31
            and window.dilation == (1, 1)
            and max(window.stride) <= 15
            and max(window.pad[:2]) <= 15
            and source.width <= self.config.line_width
            and not first.target.tensor.logits
        )
        return first if possible else None

    def _mode(self, layer: Layer) -> Mode:
        """How a layer reads its source."""
        a, source = self.config.geometry.act_bits, layer.source.tensor
        if not layer.node.weighted:
            return Mode.PAIR if self._pairs(source) else Mode.BYTE
        matrix = self.program.matrices[layer.name]
        if matrix.input_bits < source.bits:
            if matrix.input_bits > a:
                raise ModelError(
                    f"{layer.name} reads {source.bits}-bit codes as {matrix.input_bits} bits, the engine as {a}"
                )
            return Mode.NARROWED
        if source.bits > 2 * a:
            raise ModelError(f"{layer.name} reads {source.bits}-bit codes, which take more than two passes of {a} bits")
        if source.bits > a:
            return Mode.TWO_PASS
        return Mode.PAIR if self._pairs(source) else Mode.BYTE

    def _pairs(self, tensor: Tensor) -> bool:
        """Whether two codes share a byte; an average writes single ones."""
        averages = any(x.target.tensor is tensor and x.node.op is Op.AVG_POOL for x in self.layers)
        narrow = tensor.bits <= PAIR_BITS == self.config.geometry.act_bits
        return narrow and not averages and tensor.name not in self.unpaired

    def _layout(self, tensor: Tensor) -> Layout:
        """The most compact layout that costs the layers around the tensor the fewest cycles."""
        height, width = tensor.height, tensor.width
        accesses = [access for layer in self.layers for access in self._accesses(layer, tensor)]
        if tensor.logits:
            return Layout(height, width, width)
        strides = [a.stride[1] for a in accesses if not a.writes]
        best: tuple[float, Layout] | None = None
        for layout in layouts(height, width, self._pairs(tensor), self.config.banks, strides):
            counts = [self._count(layout, [access]) for access in accesses]
            if layout.pair and min(counts) < 2:
                continue
            cost = sum(a.rows * a.columns * len(a.taps) / n for a, n in zip(accesses, counts, strict=True))
            cost *= 1 + layout.words(self.config.banks) / 1e6
            if best is None or cost < best[0]:
                best = cost, layout
            if all(n == self._most(a) for a, n in zip(accesses, counts, strict=True)):
                break
        if best is None:
            raise ModelError(f"{tensor.name} must have positions that can be written in pairs")
        return best[1]

    def _most(self, access: Access) -> int:
        tp = self.config.geometry.tp
        return 1 << (tp.bit_length() - 1) if access.aligned else tp

    def _count(self, layout: Layout, accesses: list[Access]) -> int:
        return min(
            (positions_per_tile(layout, [a], self.config.banks, self._most(a)) for a in accesses),
            default=self.config.geometry.tp,
        )

    def _accesses(self, layer: Layer, tensor: Tensor) -> list[Access]:
        """How a layer touches a tensor."""
        w = layer.window
        rows, columns = layer.target.tensor.height, layer.target.tensor.width
        found = []
        one_by_one = layer.node.op is Op.AVG_POOL
        if layer.source.tensor is tensor and layer is not self.image_layer and not one_by_one:
            taps = tuple(
                (ky * w.dilation[0] - w.pad[0], kx * w.dilation[1] - w.pad[1])
                for ky in range(w.kernel[0])
                for kx in range(w.kernel[1])
            )
            found.append(Access(rows, columns, w.stride, taps))
        if layer.residual is not None and layer.residual.tensor is tensor:
            found.append(Access(rows, columns, layer.residual.stride))
        if layer.target.tensor is tensor and not tensor.logits and not one_by_one:
            found.append(Access(rows, columns, writes=True, aligned=layer.node.op is Op.MAX_POOL))
        return found

    def _positions(self, layer: Layer) -> int:
        """Positions in a tile of a layer."""
        if layer.target.tensor.logits or layer.node.op is Op.AVG_POOL:
            return 1
        touched = {v.tensor.name: v.tensor for v in (layer.source, layer.target, layer.residual) if v}
        pairs = [(self.layouts[t.name], a) for t in touched.values() for a in self._accesses(layer, t)]
        most = min((self._most(a) for _, a in pairs), default=self.config.geometry.tp)
        for count in range(most, 1, -1):
            if all(positions_per_tile(layout, [a], self.config.banks, count) == count for layout, a in pairs):
                return count
        return 1

    # Where it lies

    def _plan(self) -> Plan:
        alive = spans(self.layers)
        sizes = {n: t.groups * group_words(t, self.layouts[n], self.config.banks) for n, t in self.tensors.items()}
        tensors = {n: t for n, t in self.tensors.items() if not (self.image_layer and t is self.network.input)}
        shared = in_place(self.layers, alive, self.layouts)
        spilled: set[str] = set()
        while True:
            plan = place(tensors, sizes, alive, shared, spilled, self.config.am_depth)
            if isinstance(plan, Plan):
                return plan
            spilled.add(plan)
            raise DoesNotFit(
                f"{plan} does not fit the activation memory: {sizes[plan]} of {self.config.am_depth} words"
            )

    def _home(self, name: str) -> Stored:
        """A place in scratch."""
        stored = Stored(self.tensors[name], self.layouts[name], self.scratch)
        self.scratch += stored.size(self.config)
        return stored

    def _held(self, tensor: Tensor) -> Held:
        layout = self.layouts[tensor.name]
        return Held(layout, self.plan.bases[tensor.name], group_words(tensor, layout, self.config.banks))

    def _range(self, tensor: Tensor) -> Range:
        return Range(
            "memory", self.plan.bases[tensor.name], self.plan.bases[tensor.name] + self.plan.sizes[tensor.name]
        )

    # Operations

    def _load_input(self) -> None:
        source = self.network.input
        if self.image_layer is None:
            words = source.groups * self._held(source).stride
            self.order.add(
                Load(region=Region.INPUT, am_base=self._held(source).base, words_per_run=words, runs=1),
                writes=[self._range(source)],
            )
            return
        layer = self.image_layer
        w, channels = layer.window, len(layer.source.places)
        self.order.add(
            Image(
                region=Region.INPUT,
                height=source.height,
                width=source.width,
                rows=layer.target.tensor.height,
                columns=layer.target.tensor.width,
                kernel_y=w.kernel[0],
                kernel_x=w.kernel[1],
                stride_y=w.stride[0],
                stride_x=w.stride[1],
                pad_top=w.pad[0],
                pad_left=w.pad[1],
                channels=channels,
                patch_words=-(-w.kernel[0] * w.kernel[1] * channels // self.config.geometry.tk),
                pad_code=source.offset,
            )
        )

    def _copy_out(self, tensor: Tensor, region: Region, offset: int) -> None:
        held = self._held(tensor)
        self.order.add(
            Store(region=region, offset=offset, am_base=held.base, words_per_run=tensor.groups * held.stride, runs=1),
            reads=[self._range(tensor)],
            writes=[Range(region.name, offset, offset + tensor.groups * held.stride * self.config.word_bytes)],
        )

    def _keep(self, layer: Layer) -> None:
        """Store what a layer wrote; a concatenation once its last member is there."""
        tensor = layer.target.tensor
        stored = self._home(tensor.name)
        self._copy_out(tensor, Region.SCRATCH, stored.offset)
        self.kept[layer.name] = (stored, layer.target)

    def _layer(self, index: int, layer: Layer) -> None:
        if layer.node.weighted:
            self._conv(layer)
        else:
            self._pool(layer)

    def _common(self, layer: Layer, mode: Mode, positions: int) -> dict[str, int]:
        """The fields that every COMPUTE has."""
        w, source, target = layer.window, layer.source.tensor, layer.target.tensor
        arithmetic = self.program.arithmetic.get(layer.name)
        to = self._held(target)
        fields = {
            "mode": mode,
            "positions_less_one": positions - 1,
            "height": source.height,
            "width": source.width,
            "kernel_y": w.kernel[0],
            "kernel_x": w.kernel[1],
            "dilation_y": w.dilation[0],
            "dilation_x": w.dilation[1],
            "stride_y": w.stride[0],
            "stride_x": w.stride[1],
            "rows": target.height,
            "columns": target.width,
            "first_y": -w.pad[0],
            "first_x": -w.pad[1],
            "target_pair": to.layout.pair,
            "target_split": to.layout.split,
            "target_base": to.base,
            "target_stride": to.stride,
            "target_pitch": to.layout.pitch,
            "target_half": to.layout.half,
            "target_row": to.row(0),
            "logits": target.logits,
            "target_offset": target.offset,
        }
        if layer is not self.image_layer:
            of = self._held(source)
            fields |= {
                "source_split": of.layout.split,
                "source_base": of.base,
                "source_stride": of.stride,
                "source_pitch": of.layout.pitch,
                "source_half": of.layout.half,
                "source_row": of.row(-w.pad[0]),
            }
        if arithmetic is not None:
            if arithmetic.shift > MOST_SHIFT:
                raise ModelError(
                    f"{layer.name} shift must be at most {MOST_SHIFT} on the engine, not {arithmetic.shift}"
                )
            fields |= {"shift": arithmetic.shift, "low": arithmetic.low, "high": arithmetic.high}
        self._check(layer, fields)
        return fields

    def _check(self, layer: Layer, fields: dict[str, int]) -> None:
        """Sizes that a descriptor's fields do not hold."""
        limits = {"kernel_y": 255, "kernel_x": 255, "dilation_y": 15, "dilation_x": 15, "stride_y": 15, "stride_x": 15}
        for key, most in limits.items():
            if fields[key] > most:
                raise ModelError(
                    f"{layer.name} {key.replace('_', ' ')} must be at most {most} on the engine, not {fields[key]}"
                )
        if (
            max(layer.window.pad[:2]) > 32_767
            or max(fields["rows"], fields["columns"], fields["height"], fields["width"]) > 32_767
        ):
            raise ModelError(f"{layer.name} is larger than the engine's counters")

    def _conv(self, layer: Layer) -> None:
        mode = Mode.TWO_PASS if layer is self.image_layer and self.config.geometry.act_bits < 8 else self._mode(layer)
        positions = self.config.geometry.tp if layer is self.image_layer else self._positions(layer)
        if layer is self.image_layer:
            positions = min(positions, self._positions(layer))
        fields = self._common(layer, mode, positions) | self._reading(layer, mode)
        weights = self._weights(layer, mode, fields)
        first = self.beats
        self.weights.append(weights.words)
        self.beats += len(weights.words)
        reads = [] if layer is self.image_layer else [self._range(layer.source.tensor)]
        if layer.residual is not None:
            fields |= self._residual(layer, layer.residual)
            reads.append(self._range(layer.residual.tensor))
        tiles = -(-fields["rows"] * fields["columns"] // positions)
        outer = layer is self.image_layer
        self._check_ring(layer, weights, tiles, mode is Mode.TWO_PASS, outer)
        operation = Conv(
            **fields,
            image=outer,
            position_outer=outer,
            tiles=len(weights.tiles),
            patch_words=weights.steps[0] if outer else 0,
            weight_beat=first,
            weight_beats=len(weights.words),
            weight_checksum=weights.checksum,
        )
        self.order.add(operation, reads=reads, writes=[self._range(layer.target.tensor)])

    def _check_ring(self, layer: Layer, weights: LayerWeights, tiles: int, twice: bool, outer: bool) -> None:
        steps = sum(weights.steps) if outer else max(weights.steps)
        if steps > self.config.ring_depth and (outer or twice or tiles > 1):
            raise DoesNotFit(f"{layer.name} has {steps} steps, more than the weight ring's {self.config.ring_depth}")
        slots = [len(t.slots) for t in weights.tiles]
        if (sum(slots) if outer else max(slots)) > self.config.table_depth:
            raise DoesNotFit(f"{layer.name} has more slots than the slot table's {self.config.table_depth}")

    def _reading(self, layer: Layer, mode: Mode) -> dict[str, int]:
        """How bytes become activations."""
        source, a = layer.source.tensor, self.config.geometry.act_bits
        if mode is Mode.TWO_PASS:
            return {"pad_code": source.offset >> a, "pad_code_second": source.offset & ((1 << a) - 1)}
        if mode is not Mode.NARROWED:
            return {"pad_code": source.offset}
        matrix = self.program.matrices[layer.name]
        half = 1 << (matrix.input_bits - 1) if source.signed else 0
        return {
            "narrow_shift": matrix.input_shift,
            "narrow_sub": (source.offset >> matrix.input_shift) - half,
            "narrow_low": 1 if source.signed else 0,
            "narrow_high": (1 << matrix.input_bits) - 1,
            "pad_code": half,
        }

    def _weights(self, layer: Layer, mode: Mode, fields: dict[str, int]) -> LayerWeights:
        matrix, arithmetic = self.program.matrices[layer.name], self.program.arithmetic[layer.name]
        tk, source = self.config.geometry.tk, layer.source.tensor
        steps = image_steps if layer is self.image_layer else plain_steps
        offset = fields["pad_code"] if mode is not Mode.TWO_PASS else source.offset
        bound = self.program.sum_bound(layer.name) + np.abs(matrix.bias.astype(np.int64))
        if bound.max(initial=0) >= 1 << (self.config.geometry.acc_bits - 1):
            raise DoesNotFit(
                f"{layer.name} sums can reach {bound.max():,}, beyond the engine's {self.config.geometry.acc_bits}-bit accumulators"
            )
        return layer_weights(
            self.config,
            layer,
            matrix,
            arithmetic,
            steps(layer, matrix.codes, tk),
            2 if mode is Mode.TWO_PASS else 1,
            offset,
        )

    def _residual(self, layer: Layer, operand: View) -> dict[str, int]:
        held = self._held(operand.tensor)
        return {
            "residual": 1,
            "residual_split": held.layout.split,
            "residual_base": held.base,
            "residual_stride": held.stride,
            "residual_pitch": held.layout.pitch,
            "residual_half": held.layout.half,
            "residual_stride_y": operand.stride[0],
            "residual_stride_x": operand.stride[1],
            "residual_row": held.row(0),
            "residual_offset": operand.tensor.offset,
            "residual_multiplier": self.program.arithmetic[layer.name].skip_multiplier,
        }

    def _pool(self, layer: Layer) -> None:
        mode, positions = self._mode(layer), self._positions(layer)
        fields = self._common(layer, mode, positions)
        tk, offset = self.config.geometry.tk, layer.source.tensor.offset
        (first, groups), (target_group, _) = layer.source.group_range(tk), layer.target.group_range(tk)
        fields["source_base"] += first * fields["source_stride"]
        shared = {"tiles": groups, "target_group": target_group, "pad_code": offset}
        io = {"reads": [self._range(layer.source.tensor)], "writes": [self._range(layer.target.tensor)]}
        if layer.node.op is Op.MAX_POOL:
            self.order.add(Max(**fields, **shared), **io)
            return
        area = layer.window.kernel[0] * layer.window.kernel[1]
        multiplier = self.program.arithmetic[layer.name].multiplier
        by_position = np.broadcast_to(
            multiplier if len(multiplier) == 1 else multiplier.reshape(fields["rows"], fields["columns"]),
            (fields["rows"], fields["columns"]),
        )
        for top, bottom in _runs(by_position):
            for left, right in _runs(by_position.T):
                part = fields | self._rectangle(layer, top, bottom, left, right)
                each = int(by_position[top, left])
                self.order.add(Average(**part, **shared, multiplier=each, bias=-area * offset), **io)

    def _rectangle(self, layer: Layer, top: int, bottom: int, left: int, right: int) -> dict[str, int]:
        """The fields of a part of a pool's outputs."""
        w, of, to = layer.window, self._held(layer.source.tensor), self._held(layer.target.tensor)
        first_y = top * w.stride[0] - w.pad[0]
        return {
            "rows": bottom - top,
            "columns": right - left,
            "first_y": first_y,
            "first_x": left * w.stride[1] - w.pad[1],
            "source_row": of.row(first_y),
            "target_row": to.row(top),
            "target_x": left,
        }


def _runs(matrix: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> list[tuple[int, int]]:
    """Ranges of equal rows."""
    edges = [0, *(i for i in range(1, len(matrix)) if (matrix[i] != matrix[i - 1]).any()), len(matrix)]
    return list(pairwise(edges))
