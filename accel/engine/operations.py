"""The descriptors of every band of every layer, in order, and the weight image."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ilmpq.errors import DoesNotFit, ModelError
from ilmpq.graph import Op
from ilmpq.layout import Tiling
from ilmpq.memory import group_words
from ilmpq.network import Layer, Tensor, Transfer, View
from ilmpq.program import Program
from ilmpq.schedule import Band, rows_read, rows_written, views
from ilmpq.storage import WIDE
from ilmpq.windows import MOST_OUTER_TILES

from .descriptor import Average, Conv, Image, Load, Max, Mode, Region, Store
from .image import Pixels, Stored
from .layouts import Layouts
from .order import Order, Range
from .planning import Placement
from .weights import LayerWeights, image_steps, layer_weights, plain_steps

MOST_SHIFT = 46
MOST_AVERAGED = 1028  # pixels: their sum stays within 18 bits
MOST_PIXELS = 32_767
STRIDES = ("stride_y", "stride_x", "residual_stride_y", "residual_stride_x")
# Fields, the largest value that they hold, and what to do about a larger one.
FIELD_LIMITS = (
    (("kernel_y", "kernel_x"), 255, "replace the layer by several with smaller kernels, one after another"),
    (("dilation_y", "dilation_x"), 15, "use a smaller dilation"),
    (STRIDES, 15, "use smaller strides; those of subsampling that a layer reads through multiply its own"),
    (("rows", "columns", "height", "width"), MOST_PIXELS, "give a smaller --input-shape"),
)


class Operations:
    """A program under construction."""

    def __init__(self, program: Program, layouts: Layouts, placement: Placement) -> None:
        self.program, self.layouts, self.placement = program, layouts, placement
        self.config = layouts.config
        self.order = Order()
        self.scratch = placement.scratch_words * self.config.word_bytes
        self.kept: dict[str, tuple[Stored, View]] = {}
        self._homes: dict[str, Stored] = {}
        self._by_layer: dict[str, tuple[LayerWeights, int]] = {}
        self._images = 0  # that are unrolled so far

    def row_tiles(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """Slots, and steps of a pass, of every row tile of the layers."""
        return {
            name: tuple((len(t.slots), steps) for t, steps in zip(w.tiles, w.steps, strict=True))
            for name, (w, _) in self._by_layer.items()
        }

    def weight_parts(self) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint64]], ...]:
        """The weight image, dealt out to the ports."""
        ports = self.config.weight_ports
        words = np.concatenate([np.zeros((0, ports), np.uint64), *(w.words for w, _ in self._by_layer.values())])
        return tuple(np.ascontiguousarray(words[:, p]) for p in range(ports))

    def unroll(self, layer: Layer) -> None:
        """The image unit gives the windows of the next image to the network's first layer."""
        source, w, channels = self.layouts.network.inputs[0].tensor, layer.window, len(layer.source.places)
        offset = Pixels(source, self._images).offset
        self._images += 1
        self.order.add(
            layer.name,
            Image(
                region=Region.INPUT,
                offset=offset,
                height=source.height,
                width=source.width,
                rows=layer.target.height,
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
            ),
        )

    def transfer(self, step: Transfer, band: Band) -> None:
        """What copies a band of a tensor."""
        inner, outer = (step.target, step.source) if step.loads else (step.source, step.target)
        where = self.placement.outside[outer.tensor.name]
        offset = where.first_word * self.config.word_bytes
        self._copy(step.name, inner.tensor, where.region, offset, (band.first, band.last), step.loads)

    def _copy(self, name: str, tensor: Tensor, region: Region, offset: int, rows: tuple[int, int], loads: bool) -> None:
        """Copy the words that hold some rows: of every group, in one or two runs if they lie in a ring."""
        held, size = self.placement.held(tensor), self.config.word_bytes
        whole = group_words(tensor, held.layout, self.config.banks)
        per_word = held.layout.per_word(self.config.banks)
        at, end = rows[0] * held.layout.pitch // per_word, -(-rows[1] * held.layout.pitch // per_word)
        if tensor.logits or (rows == (0, tensor.height) and not held.rows):
            at, end = 0, whole
        inner = [self.placement.range(tensor, rows)]
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
                self.order.add(name, Load(**fields), reads=outer, writes=inner)
            else:
                self.order.add(name, Store(**fields), reads=inner, writes=outer)
            at += count

    def keep(self, layer: Layer, band: Band) -> None:
        """Store what a layer wrote; a concatenation again after each of its members."""
        tensor = layer.target.tensor
        if tensor.name not in self._homes:
            self._homes[tensor.name] = Stored(tensor, self.placement.numberings[tensor.name], self.scratch)
            self.scratch += self._homes[tensor.name].size(self.config)
        stored = self._homes[tensor.name]
        self._copy(f"keep {tensor.name}", tensor, Region.SCRATCH, stored.offset, (band.first, band.last), loads=False)
        self.kept[layer.name] = (stored, layer.target)

    def compute(self, layer: Layer, band: Band) -> None:
        """What computes a band of a layer."""
        reads = [
            self.placement.range(v.tensor, rows_read(layer, v, band.first, band.last))
            for v in views(layer)
            if v is not layer.target and self.placement.inside(v.tensor.name)
        ]
        writes = [self.placement.range(layer.target.tensor, rows_written(layer, band.first, band.last))]
        if layer.node.weighted:
            self._conv(layer, band, reads, writes)
        else:
            self._pool(layer, band, reads, writes)

    def _common(self, layer: Layer, band: Band, mode: Mode, tiled: Tiling) -> dict[str, int]:
        """The fields that every COMPUTE has."""
        w, source, target, first = layer.window, layer.source.tensor, layer.target.tensor, layer.target.first_row
        arithmetic = self.program.arithmetic.get(layer.name)
        to = self.placement.held(target)
        fields = {
            "image_rows": layer.image_rows,
            "mode": mode,
            "positions_less_one": tiled.positions - 1,
            "row_ends_tile": tiled.row_ends,
            "height": source.image_height,
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
            "target_row": to.row(first + band.first),
            "logits": target.logits,
            "target_offset": target.offset,
        }
        if not self.layouts.unrolled(layer):
            of = self.placement.held(source)
            fields |= {
                "source_split": of.layout.split,
                "source_base": of.base,
                "source_stride": of.stride,
                "source_pitch": of.layout.pitch,
                "source_half": of.layout.half,
                "source_ring": of.ring,
                "source_row": of.row(layer.source.first_row + band.first * w.stride[0] - w.pad[0]),
            }
        if arithmetic is not None:
            if arithmetic.shift > MOST_SHIFT:
                raise ModelError(
                    f"{layer.name} shift must be at most {MOST_SHIFT} on the engine, not {arithmetic.shift}: "
                    "lower the quantized model again"
                )
            fields |= {"shift": arithmetic.shift, "low": arithmetic.low, "high": arithmetic.high}
        return fields

    def _check(self, layer: Layer, fields: dict[str, int]) -> None:
        """Sizes that a descriptor's fields do not hold."""
        for keys, most, mend in FIELD_LIMITS:
            for key in keys:
                if fields.get(key, 0) > most:
                    raise ModelError(
                        f"{layer.name} {key.replace('_', ' ')} must be at most {most:,} on the engine, "
                        f"not {fields[key]:,}: {mend}"
                    )
        if max(layer.window.pad[:2]) > MOST_PIXELS:
            raise ModelError(
                f"{layer.name} padding must be at most {MOST_PIXELS:,} on the engine, not {max(layer.window.pad[:2]):,}: "
                "pad less"
            )

    def _conv(self, layer: Layer, band: Band, reads: list[Range], writes: list[Range]) -> None:
        outer = self.layouts.unrolled(layer)
        mode = Mode.TWO_PASS if outer and self.config.geometry.act_bits < WIDE else self.layouts.mode(layer)
        tiled = self.layouts.tiling(layer, band)
        fields = self._common(layer, band, mode, tiled) | self._reading(layer, mode)
        weights, first = self._weights_of(layer, mode, fields)
        if layer.residual is not None:
            fields |= self._residual(layer, layer.residual, band)
        tiles = tiled.tiles(fields["rows"], fields["columns"])
        self._check(layer, fields)
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
        self.order.add(layer.name, operation, reads, writes)

    def _check_ring(self, layer: Layer, weights: LayerWeights, tiles: int, twice: bool, outer: bool) -> None:
        steps = sum(weights.steps) if outer else max(weights.steps)
        if steps > self.config.ring_depth and (outer or twice or tiles > 1):
            raise DoesNotFit(
                f"{layer.name} has {steps} steps, more than the weight ring's {self.config.ring_depth}: "
                "use an engine with a deeper weight ring, or a geometry with a larger tk"
            )
        if outer and len(weights.tiles) > MOST_OUTER_TILES:
            raise DoesNotFit(
                f"{layer.name} has {len(weights.tiles)} row tiles, more than the {MOST_OUTER_TILES} of an image: "
                "use a geometry with more rows"
            )
        slots = [len(t.slots) for t in weights.tiles]
        if (sum(slots) if outer else max(slots)) > self.config.table_depth:
            most = sum(slots) if outer else max(slots)
            raise DoesNotFit(
                f"{layer.name} has {most} slots, more than the slot table's {self.config.table_depth}: "
                "use an engine with a deeper slot table"
            )

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

    def _weights_of(self, layer: Layer, mode: Mode, fields: dict[str, int]) -> tuple[LayerWeights, int]:
        """A layer's share of the weight image, made once for all its bands, and its first beat."""
        if layer.name not in self._by_layer:
            made = self._make_weights(layer, mode, fields)
            self._by_layer[layer.name] = made, sum(len(w.words) for w, _ in self._by_layer.values())
        return self._by_layer[layer.name]

    def _make_weights(self, layer: Layer, mode: Mode, fields: dict[str, int]) -> LayerWeights:
        matrix, arithmetic = self.program.matrices[layer.name], self.program.arithmetic[layer.name]
        tk, source = self.config.geometry.tk, layer.source.tensor
        steps = image_steps if self.layouts.unrolled(layer) else plain_steps
        offset = fields["pad_code"] if mode is not Mode.TWO_PASS else source.offset
        acc_bits = self.config.geometry.acc_bits
        low, high = self.program.sum_range(layer.name)
        reach = max(int(high.max(initial=0)), -1 - int(low.min(initial=0)))
        if reach >= 1 << (acc_bits - 1):
            raise DoesNotFit(
                f"{layer.name} sums can reach {reach:,}, beyond the engine's {acc_bits}-bit accumulators: "
                f"use a geometry with acc_bits {reach.bit_length() + 1} or more"
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
        held = self.placement.held(operand.tensor)
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
            "residual_row": held.row(operand.first_row + band.first * operand.stride[0]),
            "residual_offset": operand.tensor.offset,
            "residual_multiplier": self.program.arithmetic[layer.name].skip_multiplier,
        }

    def _pool(self, layer: Layer, band: Band, reads: list[Range], writes: list[Range]) -> None:
        mode = self.layouts.mode(layer)
        fields = self._common(layer, band, mode, self.layouts.tiling(layer, band))
        self._check(layer, fields)
        tk, offset = self.config.geometry.tk, layer.source.tensor.offset
        (first, groups), (target_group, _) = layer.source.group_range(tk), layer.target.group_range(tk)
        fields["source_base"] += first * fields["source_stride"]
        shared = {"tiles": groups, "target_group": target_group, "pad_code": offset}
        if layer.node.op is Op.MAX_POOL:
            self.order.add(layer.name, Max(**fields, **shared), reads, writes)
            return
        area = layer.window.kernel[0] * layer.window.kernel[1]
        most = min(MOST_AVERAGED, (1 << self.config.geometry.acc_bits) // 255)
        if area > most:
            raise ModelError(
                f"{layer.name} must average at most {most:,} pixels on the engine, not {area:,}: "
                "average in two pools, one after the other, or give a smaller --input-shape"
            )
        multiplier = self.program.arithmetic[layer.name].multiplier
        every = multiplier if len(multiplier) == 1 else multiplier.reshape(-1, fields["columns"])
        height = layer.target.tensor.image_height
        of_image = np.broadcast_to(every, (height, fields["columns"]))
        by_position = np.tile(of_image, (layer.target.height // height, 1))[band.first : band.last]
        for top, bottom in _runs(by_position):
            for left, right in _runs(by_position.T):
                part = fields | self._rectangle(layer, band.first + top, band.first + bottom, left, right)
                each = int(by_position[top, left])
                self.order.add(
                    layer.name, Average(**part, **shared, multiplier=each, bias=-area * offset), reads, writes
                )

    def _rectangle(self, layer: Layer, top: int, bottom: int, left: int, right: int) -> dict[str, int]:
        """The fields of a part of a pool's outputs."""
        w, of, to = layer.window, self.placement.held(layer.source.tensor), self.placement.held(layer.target.tensor)
        first_y = top * w.stride[0] - w.pad[0]
        return {
            "rows": bottom - top,
            "columns": right - left,
            "first_y": first_y,
            "first_x": left * w.stride[1] - w.pad[1],
            "source_row": of.row(layer.source.first_row + first_y),
            "target_row": to.row(layer.target.first_row + top),
            "target_x": left,
        }


def _runs(matrix: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> list[tuple[int, int]]:
    """Ranges of equal rows."""
    edges = [0, *(i for i in range(1, len(matrix)) if (matrix[i] != matrix[i - 1]).any()), len(matrix)]
    return list(pairwise(edges))
