"""Programs for the engine SMALL that are refused, and what STATUS then says, for every reader of `docs/engine.md`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from engine_configs import CONFIGURATIONS, SMALL
from engine_programs import Program, assembled, random_codes, random_program, tile_beats
from engine_reference import CHECKSUM, GEOMETRY, HEADER, ILLEGAL, WEIGHTS, Reference, Result, Slot

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
from ilmpq.design import EngineConfig

REGION = 256  # bytes of each

# A convolution that runs, and what each other operation needs to run after it.
RESULT = Result(bias=3, multiplier=5, row=0, valid=1, residual=0, lane=0)
SLOT = Slot(RESULT, replace(RESULT, row=1, lane=1), group=1, residual_group=0, even_lane=0, odd_lane=1)
SHAPE: dict[str, Any] = {
    "mode": Mode.BYTE,
    "source_pitch": 4,
    "source_stride": 4,
    "height": 4,
    "width": 4,
    "kernel_y": 2,
    "kernel_x": 2,
    "dilation_y": 1,
    "dilation_x": 1,
    "stride_y": 1,
    "stride_x": 1,
    "rows": 3,
    "columns": 3,
    "target_base": 50,
    "target_stride": 4,
    "target_pitch": 4,
    "high": 255,
    "tiles": 1,
    "pad_code": 3,
}
RESIDUAL = {"residual": 1, "residual_stride_y": 1, "residual_stride_x": 1, "residual_pitch": 4}
NARROWED = {"mode": Mode.NARROWED, "narrow_high": 15}


def weights(
    settings: EngineConfig = SMALL, tiles: int = 1, slots: tuple[Slot, ...] = (SLOT,), groups: int = 1, steps: int = 4
) -> np.ndarray:
    """Row tiles of random weights: beats × ports."""
    rng = np.random.default_rng(1)
    each = [tile_beats(settings, 0, groups, list(slots), random_codes(settings, steps, rng)) for _ in range(tiles)]
    return np.concatenate(each)


def conv(beats: np.ndarray | None = None, **changes: Any) -> Conv:
    beats = weights() if beats is None else beats
    total = checksum([int(w) for w in beats.reshape(-1).view("<u4")])
    return Conv(**(SHAPE | {"weight_beats": len(beats), "weight_checksum": total} | changes))


PATCH_WORDS = -(-27 // 8)
WINDOWS = weights(steps=PATCH_WORDS)
PATCHES: dict[str, Any] = {
    "image": 1,
    "patch_words": PATCH_WORDS,
    "rows": 4,
    "columns": 4,
    "position_outer": 1,
}
FIRST_LAYER = conv(WINDOWS, **PATCHES)
IMAGE = Image(
    region=Region.INPUT,
    height=4,
    width=4,
    rows=4,
    columns=4,
    kernel_y=3,
    kernel_x=3,
    stride_y=1,
    stride_x=1,
    channels=3,
    patch_words=PATCH_WORDS,
)
MAX = Max(**SHAPE)
AVERAGE = Average(**SHAPE, multiplier=1)
LOAD = Load(region=Region.INPUT, words_per_run=2, runs=2, am_stride=2, stride=64)
STORE = Store(region=Region.OUTPUT, words_per_run=2, runs=2, am_stride=2, stride=64)


@dataclass(frozen=True)
class Case:
    """A program, and code and descriptor of its end: (0, 0) if it runs."""

    status: tuple[int, int]
    operations: tuple[Operation, ...] = ()
    beats: np.ndarray = field(default_factory=weights)
    words: np.ndarray | None = None
    config: EngineConfig = SMALL
    also: tuple[int, ...] = ()  # codes that an engine may give that begins to work before it has read all

    def given(self) -> tuple[np.ndarray, list[bytes], int, bytes, int]:
        """What an engine is started with."""
        words = assembled(self.config, list(self.operations)) if self.words is None else self.words
        parts = [self.beats[:, i].tobytes() for i in range(self.config.weight_ports)]
        return words, parts, REGION, bytes(REGION), REGION


def _alone(operation: Operation, beats: np.ndarray | None = None) -> Case:
    """Illegal, after a LOAD."""
    return Case((ILLEGAL, 2), (LOAD, operation), weights() if beats is None else beats)


def _legal(*operations: Operation, beats: np.ndarray | None = None, settings: EngineConfig = SMALL) -> Case:
    return Case((0, 0), operations, weights(settings) if beats is None else beats, config=settings)


def legal() -> Iterator[Case]:
    """What the refused ones are made of runs, up to the last value that is legal."""
    yield _legal(LOAD, STORE, conv(), MAX, AVERAGE)
    yield _legal(conv(**NARROWED, narrow_shift=4, narrow_sub=15, narrow_low=1))
    yield _legal(conv(low=-256), conv(low=-256, high=-256), conv(logits=1, low=-(2**31), high=2**31 - 1))
    yield _legal(replace(MAX, low=-(2**31), high=2**31 - 1, shift=63))
    yield _legal(conv(target_ring=4), conv(**RESIDUAL))
    yield _legal(IMAGE, FIRST_LAYER, beats=WINDOWS)
    yield _legal(IMAGE, replace(FIRST_LAYER, rows=1), replace(FIRST_LAYER, rows=3), beats=WINDOWS)
    yield _legal(*[IMAGE] * 9, *[FIRST_LAYER] * 9, beats=WINDOWS)
    yield _legal(*[IMAGE] * 9, FIRST_LAYER, IMAGE, *[FIRST_LAYER] * 9, beats=WINDOWS)
    for count in (1, 16):
        beats = weights(slots=(SLOT,) * count)
        yield _legal(conv(beats), beats=beats)
    for tiles, outer in ((2, 0), (4, 1), (5, 0)):
        beats = weights(tiles=tiles, slots=(SLOT,) * 4)
        yield _legal(conv(beats, tiles=tiles, position_outer=outer), beats=beats)
    long = weights(groups=17, steps=68)
    yield _legal(conv(long, source_stride=0, rows=1, columns=1), beats=long)  # one position: steps pass through
    yield _legal(conv(long, source_stride=0, rows=1, columns=2, positions_less_one=1), beats=long)
    other = CONFIGURATIONS["few lanes, 6 positions"]  # 64 slots
    for tiles in (1, 32):
        beats = weights(other, tiles, groups=1, steps=1)
        one = conv(beats, kernel_y=1, kernel_x=1, tiles=tiles, position_outer=1)
        yield _legal(one, beats=beats, settings=other)


def illegal() -> Iterator[Case]:
    """Illegal fields and addresses of one operation."""
    for changes in (
        {"mode": 4},
        {"positions_less_one": 4},
        {"rows": 0},
        {"columns": 0},
        {"tiles": 0},
        {"height": 0},
        {"width": 0},
        {"kernel_y": 0},
        {"kernel_x": 0},
        {"kernel_y": 3},
        {"dilation_y": 0},
        {"dilation_x": 0},
        {"stride_y": 0},
        {"stride_x": 0},
        {"shift": 63},
        {"low": -257},
        {"high": 256},
        {"low": 9, "high": 8},
        {"logits": 1, "low": 9, "high": 8},
        {"logits": 1, "positions_less_one": 1},
        {"logits": 1, "target_pair": 1},
        {"source_ring": 8, "source_row": 8},
        {"source_ring": 2**22},
        {"target_ring": 8, "target_row": 8},
        {"target_ring": 2**22},
        {"target_ring": 3},
        RESIDUAL | {"residual_stride_y": 0},
        RESIDUAL | {"residual_stride_x": 0},
        RESIDUAL | {"residual_ring": 4, "residual_row": 4},
        RESIDUAL | {"residual_ring": 2**22},
        RESIDUAL | {"residual_base": SMALL.am_depth - 2},
        {"source_base": SMALL.am_depth - 3},
        {"target_base": SMALL.am_depth - 6},
        NARROWED | {"narrow_shift": 5},
        NARROWED | {"narrow_shift": 4, "narrow_sub": 16},
        NARROWED | {"narrow_low": 2},
        NARROWED | {"narrow_high": 0},
        NARROWED | {"narrow_high": 14},
        NARROWED | {"narrow_high": 31},
    ):
        yield _alone(conv(**changes))
    for changes in ({"mode": Mode.PAIR}, NARROWED, {"patch_words": 0}):
        yield _alone(conv(WINDOWS, **PATCHES | changes), WINDOWS)
    twice = weights(tiles=2, steps=PATCH_WORDS)
    yield _alone(conv(twice, **PATCHES | {"position_outer": 0, "tiles": 2}), twice)
    for pool in (
        replace(MAX, mode=Mode.NARROWED),
        replace(MAX, logits=1),
        replace(MAX, image=1),
        replace(MAX, residual=1),
        replace(MAX, position_outer=1),
        replace(MAX, positions_less_one=2),
        replace(MAX, tiles=0),
        replace(MAX, tiles=200),
        replace(AVERAGE, positions_less_one=1),
        replace(AVERAGE, position_outer=1),
        replace(AVERAGE, mode=Mode.TWO_PASS),
        replace(AVERAGE, target_pair=1),
        replace(AVERAGE, target_group=100),
        replace(AVERAGE, shift=63),
        replace(AVERAGE, high=256),
    ):
        yield _alone(pool)
    for copy in (
        replace(LOAD, region=3),
        replace(LOAD, offset=4),
        replace(LOAD, stride=12),
        replace(LOAD, runs=0),
        replace(LOAD, words_per_run=0),
        replace(LOAD, am_base=SMALL.am_depth - 3),
        replace(STORE, region=3),
        replace(STORE, am_base=SMALL.am_depth),
    ):
        yield _alone(copy)
    for changes in (
        {"region": 3},
        {"offset": 4},
        {"height": 0},
        {"width": 0},
        {"rows": 0},
        {"columns": 0},
        {"kernel_x": 0},
        {"kernel_x": 4, "patch_words": 5},
        {"kernel_x": 15},
        {"kernel_y": 2},
        {"channels": 2},
        {"stride_y": 0},
        {"stride_x": 0},
        {"patch_words": PATCH_WORDS - 1},
    ):
        yield _alone(replace(IMAGE, **changes))
    eight = CONFIGURATIONS["8 bits, pairs of positions"]
    for changes in ({"mode": Mode.PAIR}, {"target_pair": 1, "positions_less_one": 1}, NARROWED | {"narrow_shift": 1}):
        beats = weights(eight)
        yield Case((ILLEGAL, 1), (conv(beats, **changes),), beats, config=eight)


def images() -> Iterator[Case]:
    """Windows that no IMAGE before gives, or that no CONV takes."""

    def case(index: int, *operations: Operation, beats: np.ndarray = WINDOWS) -> Case:
        return Case((ILLEGAL, index), operations, beats)

    more = replace(FIRST_LAYER, rows=5)
    yield case(1, FIRST_LAYER)
    yield case(2, IMAGE, more)
    yield case(1, FIRST_LAYER, IMAGE)
    yield case(2, IMAGE, more, IMAGE, FIRST_LAYER)
    yield case(3, IMAGE, FIRST_LAYER, FIRST_LAYER)
    yield case(2, LOAD, IMAGE, STORE)
    yield case(1, IMAGE, replace(FIRST_LAYER, rows=3))
    yield case(3, IMAGE, FIRST_LAYER, IMAGE, LOAD)
    yield case(1, *[IMAGE] * 10, *[FIRST_LAYER] * 10)
    yield case(3, IMAGE, FIRST_LAYER, *[IMAGE] * 10, *[FIRST_LAYER] * 10)
    fewer = weights(steps=PATCH_WORDS - 1)
    yield case(2, IMAGE, conv(fewer, **PATCHES | {"patch_words": PATCH_WORDS - 1}), beats=fewer)
    small = replace(IMAGE, channels=1, patch_words=2)
    other = weights(steps=2)
    both = np.concatenate([WINDOWS, other])
    second = conv(other, **PATCHES | {"patch_words": 2}, weight_beat=len(WINDOWS))
    yield Case((0, 0), (IMAGE, FIRST_LAYER, small, second), both)
    yield case(2, IMAGE, second, small, FIRST_LAYER, beats=both)
    yield case(3, IMAGE, replace(FIRST_LAYER, rows=3), replace(second, rows=1), beats=both)


def row_tiles() -> Iterator[Case]:
    """Headers and slots, and the weights of a CONV."""

    def case(code: int, beats: np.ndarray, also: tuple[int, ...] = (), **changes: Any) -> Case:
        return Case((code, 2), (LOAD, conv(beats, **changes)), beats, also=also)

    for slot in (
        replace(SLOT, even=replace(RESULT, row=8)),
        replace(SLOT, odd=replace(RESULT, lane=8)),
        replace(SLOT, group=100),
    ):
        yield case(ILLEGAL, weights(slots=(slot,)))
    for slot in (
        replace(SLOT, even=replace(RESULT, residual=1), even_lane=8),
        replace(SLOT, residual_group=100),
    ):
        yield case(ILLEGAL, weights(slots=(slot,)), **RESIDUAL, residual_stride=4)
    for slots in (0, 17):
        yield case(ILLEGAL, weights(slots=(SLOT,) * slots))
    yield case(ILLEGAL, weights(groups=0))
    yield case(ILLEGAL, weights(steps=3))
    yield case(ILLEGAL, weights(groups=2))
    for groups in (0, 1024):
        beats = weights(groups=groups, steps=PATCH_WORDS)
        yield Case((ILLEGAL, 2), (IMAGE, conv(beats, **PATCHES)), beats)
    # Beyond ring and table.
    long = {"beats": weights(groups=17, steps=68), "source_stride": 0, "rows": 1}
    yield case(ILLEGAL, **long, columns=2)
    yield case(ILLEGAL, **long, columns=1, mode=Mode.TWO_PASS)
    yield case(ILLEGAL, **long, columns=1, position_outer=1)
    yield case(ILLEGAL, weights(tiles=5, slots=(SLOT,) * 4), tiles=5, position_outer=1)
    yield case(ILLEGAL, weights(tiles=2, groups=9, steps=36), tiles=2, position_outer=1, source_stride=0)
    yield case(ILLEGAL, weights(tiles=33), tiles=33, position_outer=1)
    other = CONFIGURATIONS["few lanes, 6 positions"]
    beats = weights(other, 33, groups=1, steps=1)
    many = conv(beats, kernel_y=1, kernel_x=1, tiles=33, position_outer=1)
    yield Case((ILLEGAL, 1), (many,), beats, config=other)
    # Checksum and end.
    two = weights(tiles=2)
    yield case(WEIGHTS, two, tiles=1)
    yield case(WEIGHTS, two, tiles=3)
    yield case(WEIGHTS, two[:-1], tiles=2)
    yield case(WEIGHTS, two, tiles=2, weight_checksum=1)
    for at in range(len(two)):
        changed = two.copy()
        changed[at, at % 2] ^= np.uint64(1 << (11 * at % 64))
        yield Case((WEIGHTS, 2), (LOAD, conv(two, tiles=2)), changed, also=(ILLEGAL,))


def programs() -> Iterator[Case]:
    """Headers, checksums, words that are no descriptors, waits for what comes later."""

    def words(*descriptors: list[int]) -> np.ndarray:
        every = [w for each in descriptors for w in each]
        return np.array(header(SMALL.geometry_id, descriptors) + every, np.uint32)

    good = assembled(SMALL, [LOAD])
    for place, code in ((0, HEADER), (1, HEADER), (2, GEOMETRY), (4, CHECKSUM), (32, CHECKSUM), (63, CHECKSUM)):
        changed = good.copy()
        changed[place] ^= 1 << 7
        yield Case((code, 0), words=changed)
    many = good.copy()
    many[3] = 1 << 16
    yield Case((HEADER, 0), words=many)
    for word in (0x5A000001, 0xA5000000, 0xA5000007):
        yield Case((ILLEGAL, 2), words=words(STORE.words(Waits()), [word] + [0] * 31))
    for waits in (Waits(load=2), Waits(store=1), Waits(compute=1), Waits(compute=0x7FFF)):
        yield Case((ILLEGAL, 2), words=words(LOAD.words(Waits()), MAX.words(waits)))


CASES = [case for each in (legal, illegal, images, row_tiles, programs) for case in each()]


def reference(program: Program, settings: EngineConfig) -> Reference:
    """A numpy engine with the program's memories."""
    regions = {
        Region.SCRATCH: bytearray(program.scratch_size),
        Region.INPUT: bytearray(program.input),
        Region.OUTPUT: bytearray(program.output_size),
    }
    return Reference(settings, regions, program.weight_parts)


def given(program: Program) -> tuple[np.ndarray, list[bytes], int, bytes, int]:
    return program.words, program.weight_parts, program.scratch_size, program.input, program.output_size


BITS = (0, 1, 4, 15, 16, 17, 20, 24, 30, 31)
SIZES, SIZE_BITS = (
    {Image: (5,), Compute: (9, 26)},
    (0, 1, 16, 17),
)  # words with numbers that must not become large: slow
LARGEST_KERNEL = 20
TYPE_WORD, WAIT_WORDS, WINDOW_WORD, TILES_WORD, CHECKSUM_WORD = 0, (1, 2), 6, 26, 31


@dataclass(frozen=True)
class Change:
    """A random program with one bit changed: of a word of a descriptor, or (word 31) of the headers and slots of its weights."""

    program: Program
    index: int
    word: int

    @property
    def leaves_the_same(self) -> bool:
        """But where an operation overtakes another, or a smaller window has bytes beyond it whose weights are not 0."""
        window = isinstance(self.program.operations[self.index - 1], Image) and self.word == WINDOW_WORD
        return self.word not in WAIT_WORDS and not window

    def allows(self, expected: tuple[int, int], found: tuple[int, int]) -> bool:
        """More than one fault may be seen in any order: of a row tile, and of waits behind a descriptor of another type."""
        codes = {expected[0], found[0]}
        weights = self.word in (TILES_WORD, CHECKSUM_WORD) and codes == {ILLEGAL, WEIGHTS} and expected[1] == found[1]
        waits = self.word == TYPE_WORD and codes == {ILLEGAL}
        return expected == found or weights or waits


def random_changes(
    config: EngineConfig, rng: np.random.Generator, count: int, kinds: str = "CMAIS"
) -> Iterator[Change]:
    """Every checksum is right again."""
    for _ in range(count):
        program = random_program(config, rng, count=3, kinds=kinds)
        index = int(rng.integers(1, len(program.operations))) + 1
        words = [program.words[32 * i : 32 * i + 32].tolist() for i in range(1, len(program.operations) + 1)]
        own, op = words[index - 1], program.operations[index - 1]
        if isinstance(op, Conv) and rng.random() < 0.5:
            word = CHECKSUM_WORD
            own[word] = _change_weights(config, program, op, rng)
        else:
            word = int(rng.integers(TILES_WORD + 3 if isinstance(op, Compute) else 8))
            size = any(isinstance(op, kind) and word in words for kind, words in SIZES.items())
            own[word] ^= 1 << int(rng.choice(SIZE_BITS if size else BITS))
        program.words = np.array(header(config.geometry_id, words) + [w for each in words for w in each], np.uint32)
        if max(own[8] & 0xFF, own[8] >> 8 & 0xFF) <= LARGEST_KERNEL:
            yield Change(program, index, word)


def _change_weights(config: EngineConfig, program: Program, op: Conv, rng: np.random.Generator) -> int:
    """A bit of the first row tile's header or slots; the new checksum."""
    parts = np.stack([np.frombuffer(part, "<u8") for part in program.weight_parts], axis=1).copy()
    own = parts[op.weight_beat : op.weight_beat + op.weight_beats].reshape(-1)
    slots = int(own[0]) & 0xFFFF
    at = int(rng.integers(config.weight_ports, (1 + config.slot_beats * slots) * config.weight_ports))
    own[at if rng.random() < 0.7 else 0] ^= np.uint64(1 << int(rng.integers(64)))
    program.weight_parts = [parts[:, i].tobytes() for i in range(config.weight_ports)]
    return checksum([int(w) for w in own.view("<u4")])
