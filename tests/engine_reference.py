"""The engine in plain numpy, sentence by sentence from `docs/engine.md`: slow, and meant to be read beside it.

    machine = Reference(config, {Region.INPUT: bytearray(image), Region.OUTPUT: bytearray(40)}, weight_parts)
    machine.run(program)  # `Refused` has the error code and the descriptor's index
    machine.memory        # depth × banks × lanes

Where the hardware would give anything, because tiles' positions share a bank, `misplaced` counts; because an operation reads what
it wrote itself, `overtaken`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from accel.engine.descriptor import (
    MAGIC,
    MARK,
    VERSION,
    WORDS,
    Average,
    Compute,
    Conv,
    Copy,
    Image,
    Load,
    Max,
    Mode,
    Operation,
    Region,
    Store,
    checksum,
)
from accel.engine.lanes import lanes_of
from accel.engine.lanes_dsp import DspLane
from ilmpq.design import EngineConfig
from ilmpq.schemes import BY_NAME

HEADER, GEOMETRY, CHECKSUM, ILLEGAL, WEIGHTS, READ, WRITE = range(1, 8)
KINDS = {kind.KIND: kind for kind in (Load, Store, Conv, Max, Average, Image)}
MOST_DESCRIPTORS, MOST_GROUPS, MOST_SLOTS, MOST_OUTER_TILES, MOST_IMAGES = 65_535, 1023, 255, 32, 9


class Refused(Exception):
    """What STATUS says: the code, and the descriptor's index from 1 on (0: the header)."""

    def __init__(self, code: int, index: int = 0) -> None:
        super().__init__(f"error {code} in descriptor {index}")
        self.code, self.index = code, index


def require(holds: bool, code: int = ILLEGAL) -> None:
    if not holds:
        raise Refused(code)


def decoded(words: Sequence[int]) -> Operation:
    """The operation of a descriptor's words."""
    require(words[0] >> 24 == MARK and (words[0] & 15) in KINDS)
    kind = KINDS[words[0] & 15]
    found = {}
    for each in fields(kind):
        word, low, bits, signed = each.metadata["at"]
        value = words[word] >> low & (1 << bits) - 1
        found[each.name] = value - (1 << bits) if signed and value >> bits - 1 else value
    return kind(**found)


@dataclass(frozen=True)
class View:
    """Where a tensor's pixels lie."""

    base: int
    stride: int
    pitch: int
    half: int
    ring: int
    split: int
    pair: int

    def number(self, row_start: int, rows: int, x: int) -> int:
        """Pixel x of the row `rows` below the one that starts at `row_start`."""
        row = (row_start + rows * self.pitch) % (self.ring or 1 << 24)
        x %= 1 << 16
        return row + (((x % 2) * self.half + x // 2) % (1 << 16) if self.split else x)


@dataclass(frozen=True)
class Position:
    """One output: its first tap, its pixel numbers in destination and residual."""

    y: int
    x: int
    row: int
    target: int
    residual: int


@dataclass(frozen=True)
class Result:
    """Half a slot."""

    bias: int
    multiplier: int
    row: int
    valid: int
    residual: int
    lane: int


@dataclass(frozen=True)
class Slot:
    even: Result
    odd: Result
    group: int
    residual_group: int
    even_lane: int
    odd_lane: int


@dataclass(frozen=True)
class RowTile:
    """Weights (rows × steps·tk) and what to do with the sums."""

    first_group: int
    groups: int
    steps: int
    slots: tuple[Slot, ...]
    weights: np.ndarray


class Reference:
    """An engine with the regions' bytes and the parts of the weight image."""

    def __init__(
        self, config: EngineConfig, regions: dict[Region, bytearray], weight_parts: Sequence[bytes] = ()
    ) -> None:
        g = config.geometry
        self.config, self.geometry, self.regions = config, g, regions
        self.parts = [np.frombuffer(bytes(p), "<u8") for p in weight_parts]
        self.memory = np.zeros((config.am_depth, config.banks, g.tk), np.uint8)
        self.words = 2 << (config.am_depth - 1).bit_length()  # addresses are modulo this
        self.patches: deque[tuple[int, np.ndarray]] = deque()  # windows: index of the IMAGE, words × tk bytes
        self.index = 0  # of the descriptor at work
        self.completed = {Load: 0, Store: 0, Compute: 0}
        self.steps = self.misplaced = self.overtaken = 0
        self.written = np.zeros(self.memory.shape[:2], bool)  # by the operation at work

    def run(self, program: Sequence[int]) -> None:
        """Header, then every descriptor in order."""
        words = [int(w) for w in program]
        require(words[:2] == [MAGIC, VERSION], HEADER)
        require(words[2] == self.config.geometry_id, GEOMETRY)
        require(words[3] <= MOST_DESCRIPTORS, HEADER)
        body = words[WORDS : WORDS * (1 + words[3])]
        require(len(body) == WORDS * words[3], READ)
        require(checksum(body) == words[4], CHECKSUM)
        for index in range(1, words[3] + 1):
            try:
                self.execute(body[WORDS * (index - 1) : WORDS * index])
            except Refused as refused:
                raise Refused(refused.code, refused.index or index) from None
        if self.patches:
            raise Refused(ILLEGAL, self.patches[0][0])  # the image unit would wait for ever

    def execute(self, words: Sequence[int]) -> None:
        """One descriptor."""
        self.index += 1
        op = decoded(words)
        waits = {Load: words[1] & 0xFFFF, Store: words[1] >> 16, Compute: words[2] & 0xFFFF}
        for unit, count in waits.items():
            require((self.completed[unit] - count) % 2**16 < 2**15)
        if isinstance(op, Copy):
            self._copy(op)
        elif isinstance(op, Image):
            self._image(op)
        elif isinstance(op, Compute):
            self.written[:] = False
            self._legal(op)
            if isinstance(op, Conv):
                self._conv(op)
            elif isinstance(op, Max):
                self._max(op)
            elif isinstance(op, Average):
                self._average(op)
        for unit in self.completed:
            self.completed[unit] += isinstance(op, unit)

    # LOAD, STORE, IMAGE

    def _region(self, number: int) -> bytearray:
        require(number in list(Region))
        return self.regions.get(Region(number), bytearray())

    def _copy(self, op: Copy) -> None:
        region = self._region(op.region)
        require(op.offset % 8 == 0 and op.stride % 8 == 0 and op.words_per_run > 0 and op.runs > 0)
        size = self.config.word_bytes
        for run in range(op.runs):
            for word in range(op.words_per_run):
                d = op.am_base + run * op.am_stride + word
                at = op.offset + run * op.stride + word * size
                require(d < self.config.am_depth)
                require(at + size <= len(region), READ if isinstance(op, Load) else WRITE)
                if isinstance(op, Load):
                    self.memory[d] = np.frombuffer(region[at : at + size], np.uint8).reshape(self.memory[d].shape)
                else:
                    region[at : at + size] = self.memory[d].tobytes()

    def _image(self, op: Image) -> None:
        if len({index for index, _ in self.patches}) == MOST_IMAGES:
            raise Refused(ILLEGAL, self.patches[0][0])
        region, config = self._region(op.region), self.config
        window = op.kernel_y * op.kernel_x * op.channels
        sizes = (op.height, op.width, op.rows, op.columns, op.kernel_x, op.stride_y, op.stride_x)
        require(op.offset % 8 == 0 and all(sizes) and op.width <= config.line_width)
        require((op.kernel_y, op.channels) in config.image_kernels and window <= config.image_bytes)
        require(op.kernel_x <= op.kernel_y)
        require(op.patch_words == -(-window // self.geometry.tk))
        row_bytes = -(-op.width // 2) * 8
        for oy in range(op.rows):
            for ox in range(op.columns):
                found = np.zeros(op.patch_words * self.geometry.tk, np.uint8)
                for ky in range(op.kernel_y):
                    for kx in range(op.kernel_x):
                        y, x = oy * op.stride_y - op.pad_top + ky, ox * op.stride_x - op.pad_left + kx
                        for c in range(op.channels):
                            code = op.pad_code
                            if 0 <= y < op.height and 0 <= x < op.width:
                                at = op.offset + y * row_bytes + 4 * x + c
                                require(at < len(region), READ)
                                code = region[at]
                            found[(op.kernel_x - 1 - kx) * op.kernel_y * op.channels + ky * op.channels + c] = code
                self.patches.append((self.index, found.reshape(op.patch_words, -1)))

    # CONV, MAX, AVERAGE

    def _legal(self, op: Compute) -> None:
        g = self.geometry
        conv = isinstance(op, Conv)
        positions = op.positions_less_one + 1
        require(op.mode <= (Mode.TWO_PASS if conv else Mode.BYTE) and positions <= g.tp)
        require(op.rows > 0 and op.columns > 0 and op.tiles > 0 and (conv or not op.position_outer))
        require(not op.position_outer or op.tiles <= MOST_OUTER_TILES)
        require(g.act_bits == 4 or not (op.target_pair or (op.mode == Mode.PAIR and not op.image)))
        require(not (op.logits and (op.target_pair or positions > 1 or isinstance(op, Max))))
        rings = [(op.source_ring, op.source_row), (op.target_ring, op.target_row)]
        if op.image:
            require(conv and op.mode in (Mode.BYTE, Mode.TWO_PASS) and op.patch_words > 0)
            require(bool(op.position_outer) or op.tiles == 1)  # windows come once
        else:
            require(all((op.height, op.width, op.kernel_y, op.kernel_x)))
            require(all((op.dilation_y, op.dilation_x, op.stride_y, op.stride_x)))
        if op.residual:
            require(conv and op.residual_stride_y > 0 and op.residual_stride_x > 0)
            rings.append((op.residual_ring, op.residual_row))
        require(all(row < ring < self.words * self.config.banks for ring, row in rings if ring))
        require(op.target_ring == 0 or op.target_pitch <= op.target_ring)
        if op.mode == Mode.NARROWED:
            require(op.narrow_shift <= 8 - g.act_bits and op.narrow_sub << op.narrow_shift <= 255)
            require(op.narrow_low <= 1 and op.narrow_high in [2**b - 1 for b in range(1, g.act_bits + 1)])
        if isinstance(op, Max):
            require(positions & (positions - 1) == 0)
        else:
            require(op.shift < 63 and op.low <= op.high)
            require(bool(op.logits) or (op.low >= -256 and op.high <= 255))
        if isinstance(op, Average):
            require(positions == 1 and not op.target_pair)

    @staticmethod
    def _source(op: Compute) -> View:
        pair = op.mode == Mode.PAIR
        return View(
            op.source_base, op.source_stride, op.source_pitch, op.source_half, op.source_ring, op.source_split, pair
        )

    @staticmethod
    def _target(op: Compute) -> View:
        pair = op.target_pair
        return View(
            op.target_base, op.target_stride, op.target_pitch, op.target_half, op.target_ring, op.target_split, pair
        )

    @staticmethod
    def _residual(op: Compute) -> View:
        base, stride, pitch = op.residual_base, op.residual_stride, op.residual_pitch
        return View(base, stride, pitch, op.residual_half, op.residual_ring, op.residual_split, False)

    def _tiles(self, op: Compute) -> list[list[Position]]:
        """The rectangle's outputs in raster order, some to a tile."""
        target, residual, found = self._target(op), self._residual(op), []
        for oy in range(op.rows):
            for ox in range(op.columns):
                y = op.first_y + (oy % op.image_rows if op.image_rows else oy) * op.stride_y
                x = op.first_x + ox * op.stride_x
                row = op.source_row + oy * op.stride_y * op.source_pitch
                n = target.number(op.target_row, oy, op.target_x + ox)
                r = residual.number(
                    op.residual_row, oy * op.residual_stride_y, op.residual_x + ox * op.residual_stride_x
                )
                found.append(Position(y, x, row, n, r))
        size, run = op.positions_less_one + 1, op.columns if op.row_ends_tile else len(found)
        runs = [found[i : i + run] for i in range(0, len(found), run)]
        return [each[i : i + size] for each in runs for i in range(0, len(each), size)]

    def _place(self, view: View, group: int, n: int) -> tuple[int, int]:
        n %= 2 * self.words * self.config.banks
        at = n // 2 if view.pair else n
        d = (view.base + group * view.stride + at // self.config.banks) % self.words
        require(d < self.config.am_depth)
        return d, at % self.config.banks

    def _read(self, view: View, group: int, n: int) -> np.ndarray:
        place = self._place(view, group, n)
        self.overtaken += bool(self.written[place])
        byte = self.memory[place].astype(np.int64)
        return byte >> 4 * (n % 2) & 15 if view.pair else byte

    def _write(self, view: View, group: int, n: int, lanes: slice | int, codes: np.ndarray | int) -> None:
        place = self._place(view, group, n)
        value = np.asarray(codes).astype(np.int64) & (15 if view.pair else 255)
        if view.pair:
            value = self.memory[place][lanes] & (15 if n % 2 else 240) | value << 4 * (n % 2)
        self.memory[place][lanes] = value
        self.written[place] = True

    def _check_banks(self, view: View, numbers: list[int]) -> None:
        """Positions of a tile must lie in different banks, or in one byte."""
        bytes_ = {n // 2 if view.pair else n for n in numbers}
        self.misplaced += len({b % self.config.banks for b in bytes_}) < len(bytes_)

    def _check_target(self, view: View, tile: list[Position]) -> None:
        """Also, tiles hold whole bytes: what becomes of the high bits beside a lone even pixel is nobody's business."""
        numbers = [p.target for p in tile]
        self._check_banks(view, numbers)
        self.misplaced += view.pair and any(n % 2 and n - 1 not in numbers for n in numbers)

    def _taps(self, op: Compute, tile: list[Position]) -> list[list[int | None]]:
        """Per (ky, kx), every position's pixel number, or None where there is padding."""
        view, found = self._source(op), []
        for ky in range(op.kernel_y):
            for kx in range(op.kernel_x):
                numbers: list[int | None] = []
                for p in tile:
                    y, x = (p.y + ky * op.dilation_y) % (1 << 16), (p.x + kx * op.dilation_x) % (1 << 16)
                    inside = y < op.height and x < op.width
                    numbers.append(view.number(p.row, ky * op.dilation_y, x) if inside else None)
                self._check_banks(view, [n for n in numbers if n is not None])
                found.append(numbers)
        return found

    def _seen(self, op: Compute, byte: np.ndarray, number: int) -> np.ndarray:
        """What the arrays see of stored bytes in pass `number`."""
        bits = self.geometry.act_bits
        if op.mode == Mode.NARROWED:
            k = op.narrow_shift
            t = (byte + 2 ** (k - 1) - 1 + (byte >> k & 1)) >> k if k else byte
            byte = np.minimum(np.maximum(t - op.narrow_sub, op.narrow_low), op.narrow_high)
        elif op.mode == Mode.TWO_PASS and number == 0:
            byte = byte >> bits
        return byte & 2**bits - 1

    def _conv(self, op: Conv) -> None:
        tiles, passes = self._tiles(op), 2 if op.mode == Mode.TWO_PASS else 1
        row_tiles = self._row_tiles(op, len(tiles) == passes == 1)
        if op.image:
            require(len(self.patches) >= op.rows * op.columns)
            windows = [[self.patches.popleft()[1] for _ in tile] for tile in tiles]
            require(all(w.shape[0] == op.patch_words for each in windows for w in each))
        order = [(r, p) for r in range(len(row_tiles)) for p in range(len(tiles))]
        if op.position_outer:
            order = [(r, p) for p in range(len(tiles)) for r in range(len(row_tiles))]
        for r, p in order:
            tile, row_tile = tiles[p], row_tiles[r]
            patches = np.stack(windows[p], axis=1).astype(np.int64) if op.image else None
            acc = self._sums(op, row_tile, tile, patches, passes)
            for slot in row_tile.slots:
                self._slot(op, slot, tile, acc)

    def _sums(
        self, op: Conv, row_tile: RowTile, tile: list[Position], patches: np.ndarray | None, passes: int
    ) -> np.ndarray:
        """rows × positions, with each array's correction."""
        bits, tk = self.geometry.act_bits, self.geometry.tk
        taps = [] if op.image else self._taps(op, tile)
        acc = np.zeros((self.geometry.rows, len(tile)), np.int64)
        for number in range(passes):
            pad = np.full(tk, (op.pad_code_second if number else op.pad_code) & 2**bits - 1)
            seen = list(self._seen(op, patches, number)) if patches is not None else []
            for numbers in taps:
                for group in range(row_tile.first_group, row_tile.first_group + row_tile.groups):
                    lanes = [
                        pad if n is None else self._seen(op, self._read(self._source(op), group, n), number)
                        for n in numbers
                    ]
                    seen.append(np.stack(lanes))
            act = np.stack(seen).transpose(1, 0, 2).reshape(len(tile), -1)
            acc = (acc << bits) + row_tile.weights @ act.T
            self.steps += len(seen)
        start = 0
        for array, lane in zip(self.geometry.arrays, lanes_of(self.geometry), strict=True):
            rows = slice(start, start + array.rows)
            acc[rows] += lane.correction(row_tile.weights[rows], bits, passes)[:, None]
            start += array.rows
        return acc

    def _slot(self, op: Conv, slot: Slot, tile: list[Position], acc: np.ndarray) -> None:
        target, residual = self._target(op), self._residual(op)
        self._check_target(target, tile)
        halves = ((slot.even, slot.even_lane), (slot.odd, slot.odd_lane))
        for p in tile:  # whether anything goes there or not
            self._place(target, slot.group, 4 * p.target if op.logits else p.target)
            if op.residual:
                self._place(residual, slot.residual_group, p.residual)
        found = []
        for half, residual_lane in halves:
            if half.valid:
                require(half.row < len(acc) and half.lane < self.geometry.tk)
                require(not (op.residual and half.residual) or residual_lane < self.geometry.tk)
            for i, p in enumerate(tile):
                skip = 0
                if half.valid and op.residual and half.residual:
                    skip = (
                        int(self._read(residual, slot.residual_group, p.residual)[residual_lane]) - op.residual_offset
                    )
                if half.valid:
                    found.append((half, p, self._value(acc[half.row, i] + half.bias) * half.multiplier, skip))
        if op.residual and any(half.valid and half.residual for half, _ in halves):
            self._check_banks(residual, [p.residual for p in tile])
        for half, p, v, skip in found:
            self._store(op, slot.group, p, half.lane, v + skip * op.residual_multiplier)

    def _value(self, acc: int) -> int:
        """Wrapped to the accumulators' bits."""
        half = 1 << self.geometry.acc_bits - 1
        return (int(acc) + half) % (2 * half) - half

    def _store(self, op: Compute, group: int, position: Position, lane: int, v: int) -> None:
        """Requantize one value and write it."""
        s, view = op.shift, self._target(op)
        code = (v + (1 << s - 1) - 1 + (v >> s & 1)) >> s if s else v
        code = min(max(code, op.low), op.high) + (0 if op.logits else op.target_offset)
        if op.logits:
            for i in range(4):
                self._write(view, group, 4 * position.target + i, lane, code >> 8 * i)
        else:
            self._write(view, group, position.target, lane, code)

    def _max(self, op: Max) -> None:
        for tile in self._tiles(op):
            taps, target = self._taps(op, tile), self._target(op)
            self._check_target(target, tile)
            for group in range(op.tiles):
                for i, p in enumerate(tile):
                    numbers = [numbers[i] for numbers in taps if numbers[i] is not None]
                    codes = [self._read(self._source(op), group, n) for n in numbers]
                    largest = np.max(codes, axis=0) if codes else np.zeros(self.geometry.tk)
                    self._write(target, (op.target_group + group) % 1024, p.target, slice(None), largest)

    def _average(self, op: Average) -> None:
        for tile in self._tiles(op):
            taps = [numbers[0] for numbers in self._taps(op, tile)]
            for group in range(op.tiles):
                pad = np.full(self.geometry.tk, op.pad_code)
                total = sum(pad if n is None else self._read(self._source(op), group, n) for n in taps)
                for lane, each in enumerate(np.asarray(total) % 2 ** min(self.geometry.acc_bits, 18)):
                    v = self._value(each + op.bias) * op.multiplier
                    self._store(op, (op.target_group + group) % 1024, tile[0], lane, v)

    # The weight image

    def _row_tiles(self, op: Conv, streams: bool) -> list[RowTile]:
        config = self.config
        end = op.weight_beat + op.weight_beats
        require(all(end <= len(part) for part in self.parts), READ)
        beats = np.stack([part[op.weight_beat : end] for part in self.parts], axis=1)
        require(checksum([int(w) for w in beats.reshape(-1).view("<u4")]) == op.weight_checksum, WEIGHTS)
        at = 0

        def take(count: int) -> list[int]:
            nonlocal at
            require(at + count <= len(beats), WEIGHTS)
            at += count
            return [int(w) for w in beats[at - count : at].reshape(-1)]

        found = []
        for _ in range(op.tiles):
            header = take(1)[0]
            slots, first, groups, steps = (header >> 16 * i & 0xFFFF for i in range(4))
            require(0 < slots <= min(MOST_SLOTS, config.table_depth) and 0 < groups <= MOST_GROUPS)
            require(steps > 0 and steps == (op.patch_words if op.image else op.kernel_y * op.kernel_x * groups))
            require(streams or steps <= config.ring_depth)
            if op.position_outer:
                require(slots + sum(len(tile.slots) for tile in found) <= config.table_depth)
                require(steps + sum(tile.steps for tile in found) <= config.ring_depth)
            table = tuple(_slot(take(config.slot_beats)) for _ in range(slots))
            words = np.array(take(-(-steps * config.step_words // config.weight_ports)), "<u8")
            each = words[: steps * config.step_words].reshape(steps, config.step_words)
            lanes = np.stack([_bits(step, config.step_bits) for step in each])
            found.append(RowTile(first, groups, steps, table, self._weights(lanes)))
        require(at == len(beats), WEIGHTS)
        return found

    def _weights(self, bits: np.ndarray) -> np.ndarray:
        """Integer codes (rows × steps·tk) of the steps' lane codes (steps × bits)."""
        found, start, tk = [], 0, self.geometry.tk
        for array, lane in zip(self.geometry.arrays, lanes_of(self.geometry), strict=True):
            width = BY_NAME[array.scheme].bits
            own = bits[:, start : start + width * array.rows * tk].reshape(len(bits), array.rows, tk, width)
            start += width * array.rows * tk
            codes = (own.astype(np.int64) << np.arange(width)).sum(axis=-1).transpose(1, 0, 2).reshape(array.rows, -1)
            if isinstance(lane, DspLane):
                codes = np.where(codes >> width - 1 & 1, codes - 2**width, codes)
                if lane.pairs_rows:
                    codes[1::2] += codes[0::2] < 0
            else:
                levels = np.array(sorted({s * v for v in BY_NAME[array.scheme].levels for s in (-1, 1)}), np.int8)
                table = np.zeros(2**width, np.int64)
                table[lane.encode(levels[:, None]).reshape(-1) & 2**width - 1] = levels
                codes = table[codes]
            found.append(codes)
        return np.concatenate(found)


def _slot(words: list[int]) -> Slot:
    def result(word: int, odd: int) -> Result:
        bias = word & 0xFFFFFFFF
        return Result(
            bias=bias - 2**32 if bias >> 31 else bias,
            multiplier=word >> 32 & 0xFFFFF,
            row=2 * (word >> 52 & 31) + odd,
            valid=word >> 57 & 1,
            residual=word >> 58 & 1,
            lane=word >> 59,
        )

    places = words[2]
    return Slot(
        result(words[0], 0),
        result(words[1], 1),
        group=places & 0x3FF,
        residual_group=places >> 10 & 0x3FF,
        even_lane=places >> 20 & 31,
        odd_lane=places >> 25 & 31,
    )


def _bits(words: np.ndarray, count: int) -> np.ndarray:
    return np.unpackbits(words.view(np.uint8), count=count, bitorder="little")
