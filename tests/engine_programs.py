"""Random legal programs for an engine, and the weight images of their convolutions.

Every descriptor waits for all before it, so that the order in which units finish changes nothing. The first LOAD fills the activation
memory with random bytes, the last STORE writes all of it to the output region.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from engine_reference import Reference, Result, Slot

from accel.engine.descriptor import (
    Average,
    Compute,
    Conv,
    Image,
    Load,
    Max,
    Mode,
    Operation,
    Region,
    Store,
    Waits,
    checksum,
    header,
)
from accel.engine.lanes import lanes_of
from ilmpq.design import EngineConfig
from ilmpq.schemes import BY_NAME

Rng = np.random.Generator


@dataclass
class Program:
    """What an engine is started with, and its operations for who wants to see them."""

    words: np.ndarray
    weight_parts: list[bytes]
    input: bytes
    output_size: int
    scratch_size: int
    operations: list[Operation] = field(default_factory=list)


def random_program(config: EngineConfig, rng: Rng, count: int = 6, kinds: str = "CMAIS") -> Program:
    """So many operations of CONV, MAX, AVERAGE, IMAGE with its CONV, and STORE with a LOAD of the same words."""
    return _Builder(config, rng).program(count, kinds)


def assembled(config: EngineConfig, operations: list[Operation]) -> np.ndarray:
    """Header and descriptors, each waiting for all before it."""
    counts, found = {Load: 0, Store: 0, Compute: 0}, []
    for op in operations:
        found.append(op.words(Waits(*counts.values())))
        for unit in counts:
            counts[unit] += isinstance(op, unit)
    return np.array(header(config.geometry_id, found) + [w for each in found for w in each], np.uint32)


def random_codes(config: EngineConfig, steps: int, rng: Rng) -> np.ndarray:
    """rows × steps·tk, of each row's scheme."""
    size, found = steps * config.geometry.tk, []
    for array in config.geometry.arrays:
        levels = np.array(BY_NAME[array.scheme].levels)
        found.append(rng.choice(levels, (array.rows, size)) * rng.choice([-1, 1], (array.rows, size)))
    return np.concatenate(found).astype(np.int8)


def tile_beats(config: EngineConfig, first_group: int, groups: int, slots: list[Slot], codes: np.ndarray) -> np.ndarray:
    """A row tile of the weight image: beats × ports."""
    steps = codes.shape[1] // config.geometry.tk
    words = [_beats(config, [len(slots) | first_group << 16 | groups << 32 | steps << 48])]
    for slot in slots:
        places = slot.group | slot.residual_group << 10 | slot.even_lane << 20 | slot.odd_lane << 25
        words.append(_beats(config, [_result_word(slot.even), _result_word(slot.odd), places]))
    bits, start = [], 0
    for array, lane in zip(config.geometry.arrays, lanes_of(config.geometry), strict=True):
        encoded = lane.encode(codes[start : start + array.rows]).reshape(array.rows, steps, -1).transpose(1, 0, 2)
        start += array.rows
        each = np.unpackbits(encoded.reshape(steps, -1, 1), axis=2, count=BY_NAME[array.scheme].bits, bitorder="little")
        bits.append(each.reshape(steps, -1))
    every = np.concatenate(bits, axis=1)
    padded = np.zeros((steps, 64 * config.step_words), np.uint8)
    padded[:, : every.shape[1]] = every
    words.append(_beats(config, np.packbits(padded, axis=1, bitorder="little").view("<u8").reshape(-1).tolist()))
    return np.concatenate(words)


def _beats(config: EngineConfig, words: list[int]) -> np.ndarray:
    size = -(-len(words) // config.weight_ports) * config.weight_ports
    return np.array(words + [0] * (size - len(words)), "<u8").reshape(-1, config.weight_ports)


def _result_word(half: Result) -> int:
    low = (half.bias & 0xFFFFFFFF) | half.multiplier << 32 | half.row // 2 << 52
    return low | half.valid << 57 | half.residual << 58 | half.lane << 59


class _Builder:
    def __init__(self, config: EngineConfig, rng: Rng) -> None:
        self.config, self.geometry, self.rng = config, config.geometry, rng
        self.reference = Reference(config, {})
        self.beats = [np.zeros((0, config.weight_ports), "<u8")]
        self.input = bytearray(rng.bytes(config.am_depth * config.word_bytes))
        self.operations: list[Operation] = []

    def program(self, count: int, kinds: str) -> Program:
        depth = self.config.am_depth
        half = depth // 2  # in two runs
        size = depth * self.config.word_bytes
        everything = {"am_stride": half, "words_per_run": half, "runs": 2, "stride": half * self.config.word_bytes}
        self.operations.append(Load(region=Region.INPUT, **everything))
        while len(self.operations) <= count:
            kind = self.rng.choice(list(kinds))
            {"C": self.conv, "M": self.max, "A": self.average, "I": self.image, "S": self.copy}[kind]()
        self.operations.append(Store(region=Region.OUTPUT, **everything))
        every = np.concatenate(self.beats)
        parts = [every[:, i].tobytes() for i in range(self.config.weight_ports)]
        words = assembled(self.config, self.operations)
        return Program(words, parts, bytes(self.input), size, size, self.operations)

    def integer(self, low: int, high: int) -> int:
        """Both ends included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float = 0.5) -> int:
        return int(self.rng.random() < probability)

    def copy(self) -> None:
        """Words out to scratch memory and back to another place."""
        config = self.config
        words, runs = self.integer(1, config.am_depth // 8), self.integer(1, 3)
        stride = self.integer(words, config.am_depth // 4)
        places = {
            "offset": 8 * self.integer(0, 5),
            "words_per_run": words,
            "runs": runs,
            "stride": words * config.word_bytes + 8 * self.integer(0, 3),
        }
        for kind in (Store, Load):
            base = self.integer(0, config.am_depth - words - (runs - 1) * stride)
            self.operations.append(kind(region=Region.SCRATCH, am_base=base, am_stride=stride, **places))

    def conv(self) -> None:
        bits = self.geometry.act_bits
        mode = Mode(self.rng.choice([m for m in Mode if m != Mode.PAIR or bits == 4]))
        op = self._until_placed(lambda: self._conv_shape(mode))
        groups = self.integer(1, 3)
        self._finish_conv(op, groups, op.kernel_y * op.kernel_x * groups)

    def image(self) -> None:
        """IMAGE, and a CONV or two that take its windows."""
        config, lanes = self.config, self.geometry.tk
        kernel_y, channels = config.image_kernels[self.integer(0, len(config.image_kernels) - 1)]
        most = min(config.image_bytes, 31 * lanes, config.ring_depth * lanes)
        kernel_x = self.integer(1, min(kernel_y, most // (kernel_y * channels)))
        height, width = self.integer(1, 9), self.integer(1, min(9, config.line_width))
        window = kernel_y * kernel_x * channels
        words = -(-window // lanes)
        region = Region.INPUT
        offset = len(self.input)
        self.input += self.rng.bytes(height * -(-width // 2) * 8)
        rows, columns = self.integer(1, 4), self.integer(1, 6)
        self.operations.append(
            Image(
                region=region,
                offset=offset,
                height=height,
                width=width,
                rows=rows,
                columns=columns,
                kernel_y=kernel_y,
                kernel_x=kernel_x,
                stride_y=self.integer(1, 3),
                stride_x=self.integer(1, 3),
                pad_top=self.integer(0, 3),
                pad_left=self.integer(0, 3),
                channels=channels,
                patch_words=words,
                pad_code=self.integer(0, 255),
            )
        )
        for share in (rows,) if rows == 1 or self.chance() else (1, rows - 1):
            mode = Mode(self.rng.choice([Mode.BYTE, Mode.TWO_PASS]))
            image = {"image": 1, "patch_words": words}
            op = self._until_placed(lambda m=mode, r=share, i=image: self._conv_shape(m, r, columns, **i))
            self._finish_conv(op, 1, words, window)

    def max(self) -> None:
        pair = self.geometry.act_bits == 4 and self.chance()
        op = self._until_placed(lambda: self._pool_shape(Max, pair))
        self.operations.append(replace(op, tiles=self.integer(1, 3), target_group=self.integer(0, 1)))

    def average(self) -> None:
        op = self._until_placed(lambda: self._pool_shape(Average, False))
        multiplier = self.integer(1, 2 ** self.integer(1, 20) - 1)
        most = self.integer(1, 2**11)
        self.operations.append(
            replace(
                op,
                tiles=self.integer(1, 3),
                target_group=self.integer(0, 1),
                multiplier=multiplier,
                bias=self.integer(-most, most),
                pad_code=self.integer(0, 255),
                **self._rounding(bool(op.logits), multiplier.bit_length()),
            )
        )

    def _until_placed(self, shape: Any) -> Any:
        """A shape, and the most positions of a tile that its placement allows."""
        while True:
            op = shape()
            images = self.integer(1, op.rows) if self.chance(0.3) else 0
            op = replace(op, row_ends_tile=int(self.chance(0.3)), image_rows=images)
            sizes = [1] if isinstance(op, Average) or op.logits else range(self.geometry.tp, 0, -1)
            for size in sizes:
                op = replace(op, positions_less_one=size - 1)
                if isinstance(op, Max) and size & (size - 1):
                    continue
                if self._fits(op):
                    return op

    def _fits(self, op: Compute) -> bool:
        reference = self.reference
        reference.misplaced = 0
        target, residual = reference._target(op), reference._residual(op)
        for tile in reference._tiles(op):
            numbers = [p.target for p in tile]
            if target.pair and {n ^ 1 for n in numbers} != set(numbers):
                return False
            reference._check_target(target, tile)
            if op.residual:
                reference._check_banks(residual, [p.residual for p in tile])
            if not op.image:
                reference._taps(op, tile)
            if reference.misplaced:
                return False
        return True

    def _conv_shape(self, mode: Mode, rows: int = 0, columns: int = 0, **image: int) -> Conv:
        """Without windows of an image, of any size."""
        logits = self.chance(0.15)
        pair = not logits and self.geometry.act_bits == 4 and self.chance(0.4)
        if not image:
            rows, columns = self.integer(1, 5), self.integer(1, 8)
            columns += -columns % (4 if self.chance() else 2) if pair else 0  # whole bytes
        shape = {"mode": mode, "rows": rows, "columns": columns, "logits": logits, **image}
        shape |= self._target_view(rows, columns, 4 if logits else 1, bool(pair))
        shape |= {} if image else self._source_view(mode == Mode.PAIR, 1 + 2 * self.chance(0.7))
        if self.chance():
            strides = self.integer(1, 2), self.integer(1, 2)
            view = self._view((rows - 1) * strides[0] + 1, (columns - 1) * strides[1] + 1, False, "residual", 2)
            x = self.integer(0, 2)
            shape |= {"residual": 1, "residual_stride_y": strides[0], "residual_stride_x": strides[1], **view}
            shape |= {"residual_x": x, "residual_row": self._row(view, "residual", 2)}
        return Conv(**shape)

    def _pool_shape(self, kind: type[Compute], pair: bool) -> Any:
        rows, columns = self.integer(1, 5), self.integer(1, 8)
        logits = kind is Average and self.chance(0.3)
        mode = Mode.PAIR if self.geometry.act_bits == 4 and self.chance() else Mode.BYTE
        shape = {"mode": mode, "rows": rows, "columns": columns, "logits": logits}
        shape |= self._source_view(mode == Mode.PAIR, 2) | self._target_view(rows, columns, 4 if logits else 1, pair)
        return kind(**shape)

    def _source_view(self, pair: bool, kernel: int) -> dict[str, int]:
        height, width = self.integer(1, 9), self.integer(1, 9)
        view = self._view(height, width, pair, "source", 0)
        first_y = self.integer(-2, height)
        if self.chance(0.3):
            first_y = 0
        row = first_y * view["source_pitch"] % (view["source_ring"] or 2**24)
        return view | {
            "height": height,
            "width": width,
            "kernel_y": self.integer(1, kernel),
            "kernel_x": self.integer(1, kernel),
            "dilation_y": 1 + self.chance(0.2),
            "dilation_x": 1 + self.chance(0.2),
            "stride_y": self.integer(1, 3),
            "stride_x": self.integer(1, 3),
            "first_y": first_y,
            "first_x": self.integer(-2, 1),
            "source_row": row,
            "pad_code": self.integer(0, 2**self.geometry.act_bits - 1),
            "pad_code_second": self.integer(0, 2**self.geometry.act_bits - 1),
        }

    def _target_view(self, rows: int, columns: int, times: int, pair: bool) -> dict[str, int]:
        margin = 0 if self.chance(0.7) else 2
        view = self._view(rows, columns + margin, pair, "target", margin, times)
        return view | {
            "target_pair": int(pair),
            "target_x": self.integer(0, margin),
            "target_row": self._row(view, "target", margin),
        }

    def _row(self, view: dict[str, int], name: str, margin: int) -> int:
        row = self.integer(0, margin) * view[f"{name}_pitch"]
        return row % view[f"{name}_ring"] if view[f"{name}_ring"] else row

    def _view(self, height: int, width: int, pair: bool, name: str, margin: int, times: int = 1) -> dict[str, int]:
        """Somewhere in this tensor's third of the memory, room for four groups; a pixel of logits takes four numbers."""
        third = self.config.am_depth // 3
        unit = self.config.banks * (2 if pair else 1)
        while True:
            split = self.chance(0.3)
            half = -(-(width + margin) // 2)
            half += self.integer(0, 3) if self.chance() else -half % unit + self.chance() * (2 if pair else 1)
            pitch = 2 * half if split else width + margin + self.integer(0, 3)
            pitch += -pitch % unit if self.chance(0.7) else 0
            ring = pitch * self.integer(1, height + 1) if self.chance(0.3) else 0
            numbers = (ring + pitch if ring else pitch * (height + margin + 1)) * times
            words = -(-numbers // unit)
            stride = words + self.integer(0, 2)
            if 4 * stride <= third:
                break
        base = self.integer(0, third - 4 * stride) + third * ["source", "target", "residual"].index(name)
        return {
            f"{name}_base": base,
            f"{name}_stride": stride,
            f"{name}_pitch": pitch,
            f"{name}_half": half,
            f"{name}_ring": ring,
            f"{name}_split": split,
        }

    def _finish_conv(self, op: Conv, groups: int, steps: int, used: int | None = None) -> None:
        """Row tiles, requantization, weights: 0 beyond the `used` first ones, where a window has no bytes."""
        config, rng = self.config, self.rng
        once = len(self.reference._tiles(op)) == 1 and op.mode != Mode.TWO_PASS
        outer = self.chance(0.3) or (op.image and self.chance())
        most = config.ring_depth // steps if outer else 3
        tiles = self.integer(1, min(3, most)) if most and (outer or not op.image) else 1
        outer = outer if most else 0
        assert op.image or outer or steps <= config.ring_depth or once
        left = config.table_depth
        beats = []
        for number in range(tiles):
            slots = self._slots(min(left - (tiles - number - 1), self.geometry.rows) if outer else self.geometry.rows)
            left -= len(slots) if outer else 0
            first = self.integer(0, 4 - groups)
            codes = random_codes(config, steps, rng)
            if used is not None:
                codes[:, used:] = 0
            beats.append(tile_beats(config, first, groups, slots, codes))
        self.beats.append(rng.integers(0, 2**63, (self.integer(0, 3), config.weight_ports)).astype("<u8"))
        start = sum(map(len, self.beats))
        self.beats += beats
        every = np.concatenate(beats)
        k = self.integer(0, 8 - self.geometry.act_bits)
        self.operations.append(
            replace(
                op,
                position_outer=outer,
                tiles=tiles,
                narrow_shift=k,
                narrow_sub=self.integer(0, (128 if self.chance(0.8) else 255) >> k),
                narrow_low=self.chance(0.3),
                narrow_high=2 ** (self.geometry.act_bits - (self.integer(0, 3) if self.chance(0.2) else 0)) - 1,
                residual_offset=self.chance() * 128,
                residual_multiplier=self.integer(0, 2 ** self.integer(1, 25) - 1),
                weight_beat=start,
                weight_beats=len(every),
                weight_checksum=checksum([int(w) for w in every.reshape(-1).view("<u4")]),
                **self._rounding(bool(op.logits), self.multiplier_bits),
            )
        )

    def _rounding(self, logits: bool, multiplier_bits: int) -> dict[str, int]:
        """Shift and clamp: often such that results are neither all 0 nor all at the clamp."""
        low, high = ((-(2**31), 2**31 - 1), (0, 15), (0, 255), (-128, 127), (-127, 100))[
            0 if logits else self.integer(1, 4)
        ]
        shift = self.integer(0, 46) if self.chance(0.2) else max(0, multiplier_bits + self.integer(-4, 8))
        shift = max(0, multiplier_bits - 8) if logits else shift
        return {"shift": shift, "low": low, "high": high, "target_offset": 0 if logits else self.chance() * 128}

    def _slots(self, most: int) -> list[Slot]:
        """Results of random rows into random lanes."""
        self.multiplier_bits = self.integer(1, 20)
        rows, lanes = self.geometry.rows // 2, self.geometry.tk
        bits = self.geometry.acc_bits if self.chance(0.1) else 10
        found = []
        for _ in range(self.integer(1, most)):
            valid = (1, 1) if self.chance(0.8) else ((1, 0), (0, 1))[self.chance()]
            places = self.rng.permutation(lanes)[:2]
            halves = [
                Result(
                    bias=self.integer(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1),
                    multiplier=self.integer(1, 2**self.multiplier_bits - 1),
                    row=2 * self.integer(0, rows - 1) + odd,
                    valid=valid[odd],
                    residual=self.chance(0.8),
                    lane=int(places[odd]),
                )
                for odd in range(2)
            ]
            groups = self.integer(0, 3), self.integer(0, 3)
            found.append(Slot(*halves, *groups, self.integer(0, lanes - 1), self.integer(0, lanes - 1)))
        return found
