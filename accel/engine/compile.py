"""From an integer program to the engine's descriptors, weight image and memory map.

    network   layers and tensors                      network.py
    layouts   where pixels lie, positions per tile    layout.py
    schedule  bands of rows where a tensor is large   schedule.py
    memory    where tensors lie while they are needed memory.py
    weights   row tiles, slots, lane codes            tiles.py, weights.py
    order     operations with their wait counts       order.py

Whatever the engine cannot run is refused here, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import gcd

import numpy as np

from ilmpq.errors import DoesNotFit, ModelError
from ilmpq.graph import Op
from ilmpq.program import Program
from ilmpq.storage import WIDE

from .config import EngineConfig
from .descriptor import Average, Conv, Image, Load, Max, Mode, Region, Store, header
from .image import EngineImage, Pixels, Stored, group_words
from .layout import Access, Layout, layouts, positions_per_tile
from .memory import Plan, in_place, place, spans
from .network import Layer, Network, Step, Tensor, Transfer, View, network_of
from .order import Order, Range
from .schedule import Band, Stuck, clusters, rows_read, schedule, views
from .weights import LayerWeights, image_steps, layer_weights, plain_steps

PAIR_BITS = 4
MOST_SHIFT = 46
MOST_AVERAGED = 1028  # pixels: their sum stays within 18 bits
MOST_OUTER_TILES = 32


def compile_program(program: Program, config: EngineConfig, keep_all: bool = False) -> EngineImage:
    """The image of a program for an engine; `keep_all` also stores every tensor in scratch, for comparisons."""
    return _Compiler(program, config.verify(), keep_all).run()


@dataclass(frozen=True)
class Held:
    """A tensor in the activation memory: at word `base`, groups `stride` words apart, in a ring of `rows` or whole (0)."""

    layout: Layout
    base: int
    stride: int
    rows: int = 0

    @property
    def ring(self) -> int:
        return self.rows * self.layout.pitch

    def row(self, y: int) -> int:
        """A row's start."""
        return (y % self.rows) * self.layout.pitch if self.rows else y * self.layout.pitch % (1 << 24)


@dataclass
class _Compiler:
    program: Program
    config: EngineConfig
    keep_all: bool
    order: Order = field(default_factory=Order)
    weights: list[np.ndarray[tuple[int, int], np.dtype[np.uint64]]] = field(default_factory=list)
    beats: int = 0
    scratch: int = 0
    rings: dict[str, int] = field(default_factory=dict)  # rows of the tensors that do not stay whole
    unpaired: set[str] = field(default_factory=set)  # tensors of narrow codes whose positions are written one by one
    kept: dict[str, tuple[Stored, View]] = field(default_factory=dict)

    def run(self) -> EngineImage:
        g = self.config.geometry
        self.network: Network = network_of(self.program, g.tk)
        self.layers = self.network.layers
        self.tensors = self._tensors()
        self.image_layer = self._image_layer()
        self.layouts = {name: self._layout(tensor) for name, tensor in self.tensors.items()}
        for layer in self.network.layers:
            tensor = layer.target.tensor
            if self.layouts[tensor.name].pair and self._positions(layer) < 2:
                self.unpaired.add(tensor.name)
                self.layouts[tensor.name] = self._layout(tensor)
        self.plan, self.bands = self._plan()
        self.homes = {n: self._home(n) for n in self.plan.bases if "@" not in n} if self.keep_all else {}
        if self.image_layer is not None:
            self._unroll(self.image_layer)
        self.layer_weights: dict[str, tuple[LayerWeights, int]] = {}
        for band in self.bands:
            step = self.steps[band.layer]
            if isinstance(step, Transfer):
                self._transfer(step, band)
                continue
            self._band(step, band)
            if self.keep_all:
                self._keep(step, band)
        output = self.network.output
        stored = Stored(output.tensor, self.layouts[output.tensor.name], 0)
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
            and window.kernel[1] <= window.kernel[0]
            and -(-window.kernel[0] * window.kernel[1] * channels // self.config.geometry.tk) <= 31
            and window.dilation == (1, 1)
            and max(window.stride) <= 15
            and max(window.pad[:2]) <= 15
            and source.width <= self.config.line_width
            and not first.target.tensor.logits
        )
        return first if possible else None

    def _unrolled(self, layer: Layer) -> bool:
        return self.image_layer is not None and layer.name == self.image_layer.name

    def _mode(self, layer: Layer) -> Mode:
        """How a layer reads its source."""
        a, source = self.config.geometry.act_bits, layer.source.tensor
        if not layer.node.weighted:
            return Mode.PAIR if self.layouts[source.name].pair else Mode.BYTE
        matrix = self.program.matrices[layer.name]
        if matrix.input_bits < source.bits:
            if matrix.input_bits > a or matrix.input_shift > WIDE - a:
                raise ModelError(
                    f"{layer.name} reads {source.bits}-bit codes as {matrix.input_bits} bits, the engine as {a}"
                )
            return Mode.NARROWED
        if source.bits > 2 * a:
            raise ModelError(f"{layer.name} reads {source.bits}-bit codes, which take more than two passes of {a} bits")
        if source.bits > a:
            return Mode.TWO_PASS
        return Mode.PAIR if self.layouts[source.name].pair else Mode.BYTE

    def _pairs(self, tensor: Tensor) -> bool:
        """Whether two codes share a byte; an average writes single ones."""
        averages = any(x.target.tensor is tensor and x.node.op is Op.AVG_POOL for x in self.network.layers)
        narrow = tensor.bits <= PAIR_BITS == self.config.geometry.act_bits
        return narrow and not averages and tensor.name not in self.unpaired

    def _layout(self, tensor: Tensor) -> Layout:
        """The most compact layout that costs the layers around the tensor the fewest cycles."""
        height, width = tensor.height, tensor.width
        accesses = [access for layer in self.network.layers for access in self._accesses(layer, tensor)]
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

    def _accesses(self, layer: Layer, tensor: Tensor, band: Band | None = None) -> list[Access]:
        """How a layer touches a tensor."""
        w = layer.window
        first, last = (0, layer.target.tensor.height) if band is None else (band.first, band.last)
        size = (last - first, layer.target.tensor.width)
        found = []
        one_by_one = layer.node.op is Op.AVG_POOL
        if layer.source.tensor is tensor and not self._unrolled(layer) and not one_by_one:
            taps = tuple(
                (ky * w.dilation[0] - w.pad[0], kx * w.dilation[1] - w.pad[1])
                for ky in range(w.kernel[0])
                for kx in range(w.kernel[1])
            )
            found.append(Access(*size, w.stride, taps, first))
        if layer.residual is not None and layer.residual.tensor is tensor:
            found.append(Access(*size, layer.residual.stride, first_row=first))
        if layer.target.tensor is tensor and not tensor.logits and not one_by_one:
            found.append(Access(*size, first_row=first, writes=True, aligned=layer.node.op is Op.MAX_POOL))
        return found

    def _positions(self, layer: Layer, band: Band | None = None) -> int:
        """Positions in a tile of a layer, or of a band of it."""
        if layer.target.tensor.logits or layer.node.op is Op.AVG_POOL:
            return 1
        touched = {v.tensor.name: v.tensor for v in views(layer)}
        pairs = [(self.layouts[t.name], a) for t in touched.values() for a in self._accesses(layer, t, band)]
        most = min((self._most(a) for _, a in pairs), default=self.config.geometry.tp)
        for count in range(most, 1, -1):
            if all(positions_per_tile(layout, [a], self.config.banks, count) == count for layout, a in pairs):
                return count
        if layer.target.tensor.name in self.layouts and self.layouts[layer.target.tensor.name].pair and band:
            raise DoesNotFit(f"{layer.name} must write its rows {band.first} to {band.last} in pairs of pixels")
        return 1

    # Where it lies, and when

    def _plan(self) -> tuple[Plan, list[Band]]:
        """Everything whole if that fits; else the largest tensors in rings, in bands as high as fit; else some outside."""
        rings: set[str] = set()
        spilled: set[str] = set()
        while True:
            self._place_outside(spilled)
            plan, bands = self._try(rings, 1)
            if isinstance(plan, Plan):
                return self._widened(rings) if rings else (plan, bands)
            candidates = [n for n in plan if n not in rings and not self.tensors[n].logits]
            if candidates:
                rings.add(candidates[0])
                continue
            worst = max((n for n in rings if n in self.spillable - spilled), key=self._whole_words, default=None)
            if worst is None:
                sizes = self._sizes(self.rings)
                raise DoesNotFit(
                    f"{plan[0]} takes {sizes[plan[0]]:,} words of the activation memory, which has "
                    f"{self.config.am_depth:,}, beside what must be there at the same time"
                )
            spilled.add(worst)
            rings = set()

    def _widened(self, rings: set[str]) -> tuple[Plan, list[Band]]:
        """The highest bands that fit, where low ones do: fewer operations, and weights are fetched less often."""
        for spread in (32, 16, 8, 4, 2, 1):
            plan, bands = self._try(rings, spread)
            if isinstance(plan, Plan):
                return plan, bands
        raise AssertionError("bands of one row must fit again")

    def _whole_words(self, name: str) -> int:
        tensor = self.tensors[name]
        return tensor.groups * group_words(tensor, self.layouts[name], self.config.banks)

    def _place_outside(self, spilled: set[str]) -> None:
        """The steps: layers, and transfers of input, output and of what is spilled between its writers and its readers."""
        self.outside: dict[str, tuple[Region, Stored]] = {}
        self.tensors = {n: t for n, t in self.tensors.items() if "@" not in n}
        layers = self.network.layers
        steps: list[Step] = []
        inside: dict[str, Tensor] = {}  # what readers of a tensor read from now on
        if self.image_layer is None:
            source = self.network.input
            inside[source.name] = self._transfer_of(steps, source, Region.INPUT, 0, loads=True)
        last_writer = {layer.target.tensor.name: i for i, layer in enumerate(layers)}
        for i, layer in enumerate(layers):
            name = layer.target.tensor.name
            steps.append(_reading(layer, inside))
            if name in spilled and last_writer[name] == i:
                offset = self._scratch_used(spilled, name)
                self._transfer_of(steps, layer.target.tensor, Region.SCRATCH, offset, loads=False)
                inside[name] = self._transfer_of(steps, layer.target.tensor, Region.SCRATCH, offset, loads=True)
        output = self.network.output.tensor
        self._transfer_of(steps, inside.get(output.name, output), Region.OUTPUT, 0, loads=False)
        self.steps = steps
        self.spillable = set(last_writer) - {output.name}
        self.scratch = self._scratch_used(spilled, None)

    def _scratch_used(self, spilled: set[str], name: str | None) -> int:
        """Bytes of scratch before a spilled tensor, or of all."""
        total = 0
        for each in sorted(spilled):
            if each == name:
                break
            total += self._whole_words(each) * self.config.word_bytes
        return total

    def _transfer_of(self, steps: list[Step], tensor: Tensor, region: Region, offset: int, loads: bool) -> Tensor:
        """Append a transfer; the tensor that comes out of it."""
        twin = replace(tensor, name=f"{tensor.name}@{'loaded' if loads else region.name.lower()}")
        self.layouts[twin.name] = self.layouts[tensor.name]
        stored = Stored(tensor, self.layouts[tensor.name], offset)
        places = np.zeros(0, np.int64)
        if loads:
            outer = replace(tensor, name=f"{tensor.name}@{region.name.lower()}")
            self.outside[outer.name] = (region, stored)
            self.layouts[outer.name] = self.layouts[tensor.name]
            self.tensors[twin.name] = twin
            steps.append(Transfer(f"load {tensor.name}", View(outer, places), View(twin, places), loads=True))
        else:
            self.outside[twin.name] = (region, stored)
            steps.append(Transfer(f"store {tensor.name}", View(tensor, places), View(twin, places), loads=False))
        return twin

    def _try(self, rings: set[str], spread: int) -> tuple[Plan | list[str], list[Band]]:
        """A plan with these rings, or what does not fit, and the bands."""
        rows: dict[str, int] = {}
        for members in clusters(self.steps, rings):
            smallest = min(self.steps[i].target.tensor.height for i in members)
            written = {self.steps[i].target.tensor.name for i in members} & rings
            rows |= {n: self._ring_rows(n, spread, smallest) for n in written}
        while True:
            try:
                bands = schedule(self.steps, rows, self._starts(), spread)
                break
            except Stuck as stuck:
                for name in stuck.full:
                    rows[name] += self._ring_unit(name)
                if any(rows[n] > 4 * self.tensors[n].height + 64 for n in rows):
                    raise DoesNotFit(f"{stuck.full[0]} cannot be computed in bands of rows") from None
        groups = clusters(self.steps, rows)
        alive = spans(self.steps, groups)
        sizes = self._sizes(rows)
        shared = {a: b for a, b in in_place(self.steps, groups, alive, self.layouts).items() if {a, b} <= sizes.keys()}
        self.rings = rows
        return place(sizes, alive, shared, self.config.am_depth), bands

    def _sizes(self, rings: dict[str, int]) -> dict[str, int]:
        """Memory words of every tensor; an unrolled image takes none."""
        return {
            n: t.groups * self._group_words(t, rings.get(n, 0))
            for n, t in self.tensors.items()
            if t is not self.network.input
        }

    def _group_words(self, tensor: Tensor, rows: int) -> int:
        layout = self.layouts[tensor.name]
        if rows:
            return rows * layout.pitch // layout.per_word(self.config.banks)
        return group_words(tensor, layout, self.config.banks)

    def _ring_unit(self, name: str) -> int:
        """Rings begin again at a whole word."""
        layout = self.layouts[name]
        per_word = layout.per_word(self.config.banks)
        return per_word // gcd(layout.pitch, per_word)

    def _ring_rows(self, name: str, spread: int, smallest: int) -> int:
        """Rows for what a reader sees at once and for the bands of writer and reader."""
        tensor, unit = self.tensors[name], self._ring_unit(name)
        spans_ = [x.window.dilation[0] * (x.window.kernel[0] - 1) + 1 for x in self.steps if x.source.tensor is tensor]
        rows = max(spans_, default=1) + spread * tensor.height // smallest
        return -(-min(rows, tensor.height) // unit) * unit

    def _starts(self) -> dict[int, int]:
        """Bands start where a tile of whole bytes, or a transfer of whole words, starts."""
        return {i: self._ring_unit(x.target.tensor.name) for i, x in enumerate(self.steps)}

    def _home(self, name: str) -> Stored:
        """A place in scratch."""
        stored = Stored(self.tensors[name], self.layouts[name], self.scratch)
        self.scratch += stored.size(self.config)
        return stored

    def _held(self, tensor: Tensor) -> Held:
        rows = self.rings.get(tensor.name, 0)
        return Held(self.layouts[tensor.name], self.plan.bases[tensor.name], self._group_words(tensor, rows), rows)

    def _range(self, tensor: Tensor, rows: tuple[int, int]) -> Range:
        base = self.plan.bases[tensor.name]
        end = base + self.plan.sizes[tensor.name]
        return Range("memory", base, end, tensor.name, rows, self.rings.get(tensor.name, 0))

    # Operations

    def _unroll(self, layer: Layer) -> None:
        """The image unit gives the windows of the whole network's first layer."""
        source, w, channels = self.network.input, layer.window, len(layer.source.places)
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

    def _transfer(self, step: Transfer, band: Band) -> None:
        inner, outer = (step.target, step.source) if step.loads else (step.source, step.target)
        region, stored = self.outside[outer.tensor.name]
        self._copy(inner.tensor, region, stored.offset, (band.first, band.last), step.loads)

    def _copy(self, tensor: Tensor, region: Region, offset: int, rows: tuple[int, int], loads: bool) -> None:
        """Copy the words that hold some rows: of every group, in one or two runs if they lie in a ring."""
        held, size = self._held(tensor), self.config.word_bytes
        whole = group_words(tensor, held.layout, self.config.banks)
        per_word = held.layout.per_word(self.config.banks)
        at, end = rows[0] * held.layout.pitch // per_word, -(-rows[1] * held.layout.pitch // per_word)
        if tensor.logits or (rows == (0, tensor.height) and not held.rows):
            at, end = 0, whole
        inner = [self._range(tensor, rows)]
        while at < end:
            place = at % held.stride if held.rows else at
            count = min(end - at, held.stride - place)
            start = offset + at * size
            outer = [Range(region.name, start, start + ((tensor.groups - 1) * whole + count) * size)]
            fields = {
                "region": region,
                "offset": start,
                "am_base": held.base + place,
                "am_stride": held.stride,
                "words_per_run": count,
                "runs": tensor.groups,
                "stride": whole * size,
            }
            if loads:
                self.order.add(Load(**fields), reads=outer, writes=inner)
            else:
                self.order.add(Store(**fields), reads=inner, writes=outer)
            at += count

    def _keep(self, layer: Layer, band: Band) -> None:
        """Store what a layer wrote; a concatenation again after each of its members."""
        tensor = layer.target.tensor
        stored = self.homes[tensor.name]
        self._copy(tensor, Region.SCRATCH, stored.offset, (band.first, band.last), loads=False)
        self.kept[layer.name] = (stored, layer.target)

    def _band(self, layer: Layer, band: Band) -> None:
        reads = [
            self._range(v.tensor, rows_read(layer, v, band.first, band.last))
            for v in views(layer)
            if v is not layer.target and v.tensor.name in self.plan.bases
        ]
        writes = [self._range(layer.target.tensor, (band.first, band.last))]
        if layer.node.weighted:
            self._conv(layer, band, reads, writes)
        else:
            self._pool(layer, band, reads, writes)

    def _common(self, layer: Layer, band: Band, mode: Mode, positions: int) -> dict[str, int]:
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
            "rows": band.last - band.first,
            "columns": target.width,
            "first_y": band.first * w.stride[0] - w.pad[0],
            "first_x": -w.pad[1],
            "target_pair": to.layout.pair,
            "target_split": to.layout.split,
            "target_base": to.base,
            "target_stride": to.stride,
            "target_pitch": to.layout.pitch,
            "target_half": to.layout.half,
            "target_ring": to.ring,
            "target_row": to.row(band.first),
            "logits": target.logits,
            "target_offset": target.offset,
        }
        if not self._unrolled(layer):
            of = self._held(source)
            fields |= {
                "source_split": of.layout.split,
                "source_base": of.base,
                "source_stride": of.stride,
                "source_pitch": of.layout.pitch,
                "source_half": of.layout.half,
                "source_ring": of.ring,
                "source_row": of.row(band.first * w.stride[0] - w.pad[0]),
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

    def _conv(self, layer: Layer, band: Band, reads: list[Range], writes: list[Range]) -> None:
        outer = self._unrolled(layer)
        mode = Mode.TWO_PASS if outer and self.config.geometry.act_bits < WIDE else self._mode(layer)
        positions = self._positions(layer, band)
        fields = self._common(layer, band, mode, positions) | self._reading(layer, mode)
        if layer.name not in self.layer_weights:
            made = self._weights(layer, mode, fields)
            self.layer_weights[layer.name] = made, self.beats
            self.weights.append(made.words)
            self.beats += len(made.words)
        weights, first = self.layer_weights[layer.name]
        if layer.residual is not None:
            fields |= self._residual(layer, layer.residual, band)
        tiles = -(-fields["rows"] * fields["columns"] // positions)
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
        self.order.add(operation, reads, writes)

    def _check_ring(self, layer: Layer, weights: LayerWeights, tiles: int, twice: bool, outer: bool) -> None:
        steps = sum(weights.steps) if outer else max(weights.steps)
        if steps > self.config.ring_depth and (outer or twice or tiles > 1):
            raise DoesNotFit(f"{layer.name} has {steps} steps, more than the weight ring's {self.config.ring_depth}")
        if outer and len(weights.tiles) > MOST_OUTER_TILES:
            raise DoesNotFit(
                f"{layer.name} has {len(weights.tiles)} row tiles, more than the {MOST_OUTER_TILES} of an image"
            )
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
        steps = image_steps if self._unrolled(layer) else plain_steps
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

    def _residual(self, layer: Layer, operand: View, band: Band) -> dict[str, int]:
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
            "residual_ring": held.ring,
            "residual_row": held.row(band.first * operand.stride[0]),
            "residual_offset": operand.tensor.offset,
            "residual_multiplier": self.program.arithmetic[layer.name].skip_multiplier,
        }

    def _pool(self, layer: Layer, band: Band, reads: list[Range], writes: list[Range]) -> None:
        mode, positions = self._mode(layer), self._positions(layer, band)
        fields = self._common(layer, band, mode, positions)
        tk, offset = self.config.geometry.tk, layer.source.tensor.offset
        (first, groups), (target_group, _) = layer.source.group_range(tk), layer.target.group_range(tk)
        fields["source_base"] += first * fields["source_stride"]
        shared = {"tiles": groups, "target_group": target_group, "pad_code": offset}
        if layer.node.op is Op.MAX_POOL:
            self.order.add(Max(**fields, **shared), reads, writes)
            return
        area = layer.window.kernel[0] * layer.window.kernel[1]
        if area > MOST_AVERAGED or area * 255 >> self.config.geometry.acc_bits:
            raise ModelError(f"{layer.name} must average at most {MOST_AVERAGED} pixels on the engine, not {area}")
        multiplier = self.program.arithmetic[layer.name].multiplier
        every = multiplier if len(multiplier) == 1 else multiplier.reshape(-1, fields["columns"])
        by_position = np.broadcast_to(
            every,
            (layer.target.tensor.height, fields["columns"]),
        )[band.first : band.last]
        for top, bottom in _runs(by_position):
            for left, right in _runs(by_position.T):
                part = fields | self._rectangle(layer, band.first + top, band.first + bottom, left, right)
                each = int(by_position[top, left])
                self.order.add(Average(**part, **shared, multiplier=each, bias=-area * offset), reads, writes)

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


def _reading(layer: Layer, inside: Mapping[str, Tensor]) -> Layer:
    """A layer that reads tensors where they are now."""

    def moved(view: View) -> View:
        return replace(view, tensor=inside[view.tensor.name]) if view.tensor.name in inside else view

    residual = layer.residual and moved(layer.residual)
    return replace(layer, source=moved(layer.source), residual=residual)


def _runs(matrix: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> list[tuple[int, int]]:
    """Ranges of equal rows."""
    edges = [0, *(i for i in range(1, len(matrix)) if (matrix[i] != matrix[i - 1]).any()), len(matrix)]
    return list(pairwise(edges))
