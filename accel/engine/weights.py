"""The weight image: headers, slots and steps of every row tile, as 64-bit words dealt out to the ports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ilmpq.design import EngineConfig
from ilmpq.errors import DoesNotFit
from ilmpq.network import Layer
from ilmpq.program import Arithmetic, Matrix
from ilmpq.schemes import BY_NAME

from .descriptor import checksum
from .lanes import lanes_of
from .tiles import RowTile, row_tiles

Words = NDArray[np.uint64]
MOST_STEPS = 0xFFFF  # a row tile's header has 16 bits for them


@dataclass(frozen=True)
class Tap:
    """How steps are ordered: each step's kernel tap and group of channels, and the place of each of its lanes."""

    codes: NDArray[np.int8]  # rows × steps × lanes
    step_groups: NDArray[np.int64]  # the group of each step; -1 for the words of a patch


@dataclass(frozen=True)
class LayerWeights:
    """A CONV's share of the weight image, and what its descriptor must know of it."""

    words: Words
    tiles: tuple[RowTile, ...]
    groups: tuple[tuple[int, int], ...]  # first group and number of groups of each tile
    steps: tuple[int, ...]  # of one pass

    @property
    def checksum(self) -> int:
        return checksum(np.ascontiguousarray(self.words).reshape(-1).view("<u4").tolist())


def plain_steps(layer: Layer, codes: NDArray[np.int8], tk: int) -> Tap:
    """Steps over ky, kx and groups; lanes that hold none of the layer's channels have weight 0."""
    kh, kw = layer.window.kernel
    rows, groups = len(codes), layer.source.tensor.groups
    channels = codes.shape[1] // (kh * kw)
    dense = codes.reshape(rows, channels, kh, kw)
    found = np.zeros((rows, kh, kw, groups * tk), np.int8)
    per_group = rows // layer.node.groups
    for index in range(layer.node.groups):
        own = slice(index * per_group, (index + 1) * per_group)
        places = layer.source.places[index * channels : (index + 1) * channels]
        stored = places >= 0
        found[own, :, :, places[stored]] = dense[own][:, stored].transpose(0, 2, 3, 1)
    steps = found.reshape(rows, kh * kw * groups, tk)
    return Tap(steps, np.tile(np.arange(groups), kh * kw))


def image_steps(layer: Layer, codes: NDArray[np.int8], tk: int) -> Tap:
    """Steps over the words of a patch: newest column first, in it rows, in them channels."""
    kh, kw = layer.window.kernel
    rows = len(codes)
    dense = codes.reshape(rows, -1, kh, kw)
    flat = dense[:, :, :, ::-1].transpose(0, 3, 2, 1).reshape(rows, -1)
    words = -(-flat.shape[1] // tk)
    padded = np.zeros((rows, words * tk), np.int8)
    padded[:, : flat.shape[1]] = flat
    return Tap(padded.reshape(rows, words, tk), np.full(words, -1))


def layer_weights(
    config: EngineConfig, layer: Layer, matrix: Matrix, arithmetic: Arithmetic, tap: Tap, passes: int, offset: int
) -> LayerWeights:
    """Row tiles, slots with biases that take back all offsets, and lane codes."""
    tk = config.geometry.tk
    target = layer.target.places
    skip = skip_places(layer)
    keys = [(int(t) // tk, int(s) // tk if s >= 0 else -1) for t, s in zip(target, skip, strict=True)]
    if any(s < 0 for s in skip) and any(s >= 0 for s in skip):  # a row without a residual fits any residual group
        keys = [(t, s if s >= 0 else _group_of(keys, t)) for t, s in keys]
    tiles = tuple(row_tiles(layer.name, config.geometry, matrix.scheme, target, keys))
    corrected = matrix.bias.astype(np.int64) - offset * tap.codes.astype(np.int64).sum(axis=(1, 2))
    parts, groups, counts = [], [], []
    for tile in tiles:
        kept = _groups(tap, tile)
        inside = (tap.step_groups < 0) | ((tap.step_groups >= kept[0]) & (tap.step_groups < sum(kept)))
        codes = _hardware_rows(tile, tap.codes[:, inside])
        bias = corrected[np.maximum(tile.rows, 0)] - _corrections(config, codes, passes)
        steps = codes.shape[1]
        if steps > MOST_STEPS:
            raise DoesNotFit(
                f"{layer.name} must have at most {MOST_STEPS:,} steps of weights in a row tile, not {steps:,}: "
                "use a geometry with a larger tk"
            )
        groups.append(kept)
        counts.append(steps)
        parts.append(
            _beats(config, np.array([[len(tile.slots) | kept[0] << 16 | kept[1] << 32 | steps << 48]], np.uint64))
        )
        parts.append(_beats(config, _slot_words(tile, bias, arithmetic, target, skip, tk)))
        parts.append(_beats(config, _step_words(config, codes).reshape(1, -1)))
    return LayerWeights(np.concatenate(parts), tiles, tuple(groups), tuple(counts))


def skip_places(layer: Layer) -> NDArray[np.int64]:
    """The place of each row's residual, -1 where there is none."""
    return np.full(len(layer.target.places), -1) if layer.residual is None else layer.residual.places


def _group_of(keys: list[tuple[int, int]], group: int) -> int:
    """A residual group that other rows of a target group use."""
    return max((s for t, s in keys if t == group), default=-1)


def _groups(tap: Tap, tile: RowTile) -> tuple[int, int]:
    """The range of source groups in which a tile has weights; the words of a patch are all taken."""
    if tap.step_groups[0] < 0:
        return 0, 1
    used = tap.step_groups[np.any(tap.codes[tile.rows[tile.rows >= 0]] != 0, axis=(0, 2))]
    if not len(used):
        return 0, 1
    return int(used.min()), int(used.max() - used.min() + 1)


def _hardware_rows(tile: RowTile, codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """Codes by hardware row; rows that compute nothing have weight 0."""
    found = codes[np.maximum(tile.rows, 0)]
    found[tile.rows < 0] = 0
    return found


def _corrections(config: EngineConfig, codes: NDArray[np.int8], passes: int) -> NDArray[np.int64]:
    """What each hardware row's sum has beyond Σ code·activation."""
    found, start = [], 0
    for array, lane in zip(config.geometry.arrays, lanes_of(config.geometry), strict=True):
        own = codes[start : start + array.rows].reshape(array.rows, -1)
        found.append(lane.correction(own, config.geometry.act_bits, passes))
        start += array.rows
    return np.concatenate(found)


def _slot_words(
    tile: RowTile,
    bias: NDArray[np.int64],
    arithmetic: Arithmetic,
    target: NDArray[np.int64],
    skip: NDArray[np.int64],
    tk: int,
) -> Words:
    """Three words a slot: even, odd, places."""
    words = np.zeros((len(tile.slots), 3), np.uint64)
    for number, slot in enumerate(tile.slots):
        places = 0
        for side, seat in enumerate((slot.even, slot.odd)):
            if seat < 0:
                continue
            row = int(tile.rows[seat])
            word = int(bias[seat]) & 0xFFFFFFFF | int(arithmetic.multiplier[row]) << 32 | (seat // 2) << 52 | 1 << 57
            word |= int(target[row]) % tk << 59
            places |= int(target[row]) // tk
            if skip[row] >= 0:
                word |= 1 << 58
                places |= int(skip[row]) // tk << 10 | int(skip[row]) % tk << (20 + 5 * side)
            words[number, side] = word
        words[number, 2] = places
    return words


def _step_words(config: EngineConfig, codes: NDArray[np.int8]) -> Words:
    """Lane codes of every step, arrays one after another, [row][lane], the first lowest."""
    _, steps, tk = codes.shape
    bits, start = [], 0
    for array, lane in zip(config.geometry.arrays, lanes_of(config.geometry), strict=True):
        own = codes[start : start + array.rows]
        start += array.rows
        encoded = lane.encode(own.reshape(array.rows, -1)).reshape(array.rows, steps, tk).transpose(1, 0, 2)
        each = np.unpackbits(encoded[..., None], axis=3, count=BY_NAME[array.scheme].bits, bitorder="little")
        bits.append(each.reshape(steps, -1))
    packed = np.packbits(np.concatenate(bits, axis=1), axis=1, bitorder="little")
    padded = np.zeros((steps, -(-packed.shape[1] // 8) * 8), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view("<u8")


def _beats(config: EngineConfig, items: Words) -> Words:
    """Items (count × words), each padded to whole beats, as beats × ports."""
    count, words = items.shape
    ports = config.weight_ports
    padded = np.zeros((count, -(-words // ports) * ports), np.uint64)
    padded[:, :words] = items
    return padded.reshape(-1, ports)
