"""Descriptors: what the engine is told, one operation each, in 32 words (`docs/engine.md` has the table).

>>> words = Load(region=Region.INPUT, am_base=3, words_per_run=7, runs=1).words(Waits(compute=2))
>>> hex(words[0]), words[2], words[5]
('0xa5000101', 2, 65543)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import ClassVar

from ilmpq.network import Region as Region

WORDS = 32
MARK = 0xA5
MAGIC, VERSION = 0x314D4C49, 1


class Mode(IntEnum):
    """How a source is read."""

    PAIR = 0
    BYTE = 1
    NARROWED = 2
    TWO_PASS = 3


@dataclass(frozen=True)
class Waits:
    """How many operations of each queue must have completed."""

    load: int = 0
    store: int = 0
    compute: int = 0


def _at(word: int, low: int, bits: int, signed: bool = False, default: int = 0) -> int:
    return field(default=default, metadata={"at": (word, low, bits, signed)})


@dataclass(frozen=True, kw_only=True)
class Operation:
    """Fields know their word and bits; `words` refuses what does not fit."""

    KIND: ClassVar[int]

    def words(self, waits: Waits) -> list[int]:
        """The descriptor."""
        found = [0] * WORDS
        found[0] = MARK << 24 | self.KIND
        found[1] = (waits.load & 0xFFFF) | (waits.store & 0xFFFF) << 16
        found[2] = waits.compute & 0xFFFF
        for each in fields(self):
            word, low, bits, signed = each.metadata["at"]
            value = int(getattr(self, each.name))
            least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
            if not least <= value <= most:
                raise ValueError(f"{type(self).__name__} {each.name} must be {least} to {most}, not {value}")
            found[word] |= (value & (1 << bits) - 1) << low
        return found


@dataclass(frozen=True, kw_only=True)
class Copy(Operation):
    """Words of the activation memory from or to a region."""

    region: int = _at(0, 8, 2)
    offset: int = _at(3, 0, 32)
    am_base: int = _at(4, 0, 16)
    am_stride: int = _at(4, 16, 16)
    words_per_run: int = _at(5, 0, 16)
    runs: int = _at(5, 16, 16)
    stride: int = _at(6, 0, 32)


@dataclass(frozen=True, kw_only=True)
class Load(Copy):
    KIND: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True)
class Store(Copy):
    KIND: ClassVar[int] = 2


@dataclass(frozen=True, kw_only=True)
class Image(Operation):
    """Unroll the windows of an image into the patch buffer."""

    KIND: ClassVar[int] = 6

    region: int = _at(0, 8, 2)
    offset: int = _at(3, 0, 32)
    height: int = _at(4, 0, 16)
    width: int = _at(4, 16, 16)
    rows: int = _at(5, 0, 16)
    columns: int = _at(5, 16, 16)
    kernel_y: int = _at(6, 0, 4)
    kernel_x: int = _at(6, 4, 4)
    stride_y: int = _at(6, 8, 4)
    stride_x: int = _at(6, 12, 4)
    pad_top: int = _at(6, 16, 4)
    pad_left: int = _at(6, 20, 4)
    channels: int = _at(6, 24, 3)
    patch_words: int = _at(6, 27, 5)
    pad_code: int = _at(7, 0, 8)


@dataclass(frozen=True, kw_only=True)
class Compute(Operation):
    """What CONV, MAX and AVERAGE share."""

    image_rows: int = _at(2, 16, 16)  # 0: there is one image
    mode: int = _at(3, 0, 3)
    source_split: int = _at(3, 3, 1)
    image: int = _at(3, 4, 1)
    position_outer: int = _at(3, 5, 1)
    target_pair: int = _at(3, 6, 1)
    target_split: int = _at(3, 7, 1)
    residual: int = _at(3, 8, 1)
    residual_split: int = _at(3, 9, 1)
    logits: int = _at(3, 10, 1)
    row_ends_tile: int = _at(3, 11, 1)
    positions_less_one: int = _at(3, 12, 4)
    source_base: int = _at(4, 0, 16)
    source_stride: int = _at(4, 16, 16)
    source_pitch: int = _at(5, 0, 16)
    source_half: int = _at(5, 16, 16)
    source_ring: int = _at(6, 0, 24)
    height: int = _at(7, 0, 16)
    width: int = _at(7, 16, 16)
    kernel_y: int = _at(8, 0, 8)
    kernel_x: int = _at(8, 8, 8)
    dilation_y: int = _at(8, 16, 4)
    dilation_x: int = _at(8, 20, 4)
    stride_y: int = _at(8, 24, 4)
    stride_x: int = _at(8, 28, 4)
    rows: int = _at(9, 0, 16)
    columns: int = _at(9, 16, 16)
    first_y: int = _at(10, 0, 16, signed=True)
    first_x: int = _at(10, 16, 16, signed=True)
    source_row: int = _at(11, 0, 24)
    target_base: int = _at(12, 0, 16)
    target_stride: int = _at(12, 16, 16)
    target_pitch: int = _at(13, 0, 16)
    target_half: int = _at(13, 16, 16)
    target_ring: int = _at(14, 0, 24)
    target_row: int = _at(15, 0, 24)
    target_x: int = _at(16, 0, 16)
    residual_x: int = _at(16, 16, 16)
    residual_base: int = _at(17, 0, 16)
    residual_stride: int = _at(17, 16, 16)
    residual_pitch: int = _at(18, 0, 16)
    residual_half: int = _at(18, 16, 16)
    residual_ring: int = _at(19, 0, 24)
    residual_stride_y: int = _at(19, 24, 4)
    residual_stride_x: int = _at(19, 28, 4)
    residual_row: int = _at(20, 0, 24)
    narrow_shift: int = _at(21, 0, 3)
    narrow_sub: int = _at(21, 3, 8)
    narrow_low: int = _at(21, 11, 8)
    narrow_high: int = _at(21, 19, 8)
    pad_code: int = _at(22, 0, 8)
    pad_code_second: int = _at(22, 8, 8)
    target_offset: int = _at(22, 16, 8)
    residual_offset: int = _at(22, 24, 8)
    residual_multiplier: int = _at(23, 0, 25)
    shift: int = _at(23, 25, 6)
    low: int = _at(24, 0, 32, signed=True)
    high: int = _at(25, 0, 32, signed=True)
    tiles: int = _at(26, 0, 16)  # CONV: row tiles; MAX, AVERAGE: groups
    patch_words: int = _at(26, 16, 5)


@dataclass(frozen=True, kw_only=True)
class Conv(Compute):
    KIND: ClassVar[int] = 3

    weight_beat: int = _at(29, 0, 32)
    weight_beats: int = _at(30, 0, 32)
    weight_checksum: int = _at(31, 0, 32)


@dataclass(frozen=True, kw_only=True)
class Max(Compute):
    KIND: ClassVar[int] = 4

    target_group: int = _at(27, 20, 10)


@dataclass(frozen=True, kw_only=True)
class Average(Compute):
    KIND: ClassVar[int] = 5

    multiplier: int = _at(27, 0, 20)
    target_group: int = _at(27, 20, 10)
    bias: int = _at(28, 0, 32, signed=True)


def checksum(words: Sequence[int]) -> int:
    """Of 32-bit words: rotate by one, exclusive or.

    >>> hex(checksum([1, 2, 0x80000000]))
    '0x80000000'
    """
    total = 0
    for word in words:
        total = ((total << 1 | total >> 31) & 0xFFFFFFFF) ^ word
    return total


def header(geometry_id: int, descriptors: Sequence[Sequence[int]]) -> list[int]:
    """The words before the descriptors."""
    every = [word for each in descriptors for word in each]
    return [MAGIC, VERSION, geometry_id, len(descriptors), checksum(every)] + [0] * (WORDS - 5)
