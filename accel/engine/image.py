"""What goes to an engine for one network, and how the host's tensors look in its memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ilmpq.design import EngineConfig
from ilmpq.layout import Layout
from ilmpq.memory import group_words
from ilmpq.network import Tensor, View

from .order import Scheduled

Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor as activation memory words, group after group, at an offset of a region."""

    tensor: Tensor
    layout: Layout
    offset: int

    def size(self, config: EngineConfig) -> int:
        """Bytes."""
        return self.tensor.groups * group_words(self.tensor, self.layout, config.banks) * config.word_bytes

    def decode(self, config: EngineConfig, region: NDArray[np.uint8], view: View) -> Codes:
        """The codes (channels × height × width) of a node's output in the tensor."""
        tk, banks = config.geometry.tk, config.banks
        words = group_words(self.tensor, self.layout, banks)
        raw = region[self.offset : self.offset + self.size(config)].reshape(self.tensor.groups, words * banks, tk)
        number = _numbers(self.layout)
        by_channel = raw[view.places // tk, :, view.places % tk].astype(np.int64)  # channels × bytes
        if self.tensor.logits:
            four = by_channel[:, 4 * number.reshape(-1)[:, None] + np.arange(4)]
            value = (four << (8 * np.arange(4))).sum(axis=2).reshape(-1, *number.shape)
            return np.asarray(value - ((value >> 31) << 32))
        byte = by_channel[:, number >> int(self.layout.pair)]
        stored = (byte >> (4 * (number & 1))) & 15 if self.layout.pair else byte
        return np.where(view.places[:, None, None] < 0, 0, stored - self.tensor.offset)

    def encode(self, config: EngineConfig, codes: Codes, places: Codes) -> NDArray[np.uint8]:
        """The region's bytes of a tensor that is not packed in pairs."""
        tk, banks = config.geometry.tk, config.banks
        words = group_words(self.tensor, self.layout, banks)
        raw = np.zeros((self.tensor.groups, words * banks, tk), np.uint8)
        number = _numbers(self.layout)
        unsigned = (codes + self.tensor.offset).astype(np.uint8)
        for channel, place in enumerate(places):
            raw[place // tk, number, place % tk] = unsigned[channel]
        return raw.reshape(-1)


@dataclass(frozen=True, eq=False)
class Pixels:
    """A network input that the image unit unrolls: four bytes a pixel, rows padded to eight bytes."""

    tensor: Tensor

    def encode(self, codes: Codes) -> NDArray[np.uint8]:
        channels, height, width = codes.shape
        raw = np.full((height, -(-width // 2) * 2, 4), 0, np.uint8)
        raw[:, :width, :channels] = (codes + self.tensor.offset).transpose(1, 2, 0)
        return raw.reshape(-1)

    def size(self) -> int:
        return self.tensor.height * -(-self.tensor.width // 2) * 8


@dataclass(frozen=True, eq=False)
class EngineImage:
    """Descriptors, weights, sizes of the regions, and where the host finds what."""

    config: EngineConfig
    words: tuple[int, ...]
    weights: tuple[NDArray[np.uint64], ...]  # one per port
    scratch_bytes: int
    input: Stored | Pixels
    output: Stored
    input_view: View
    output_view: View
    operations: tuple[Scheduled, ...]  # what the words say
    row_tiles: Mapping[str, tuple[tuple[int, int], ...]]  # slots, and steps of a pass, of each row tile of a layer
    kept: Mapping[str, tuple[Stored, View]] = field(default_factory=dict)  # in scratch, by node, where asked for

    @property
    def input_bytes(self) -> int:
        return self.input.size() if isinstance(self.input, Pixels) else self.input.size(self.config)

    @property
    def output_bytes(self) -> int:
        return self.output.size(self.config)

    def encode_input(self, codes: Codes) -> NDArray[np.uint8]:
        """The input region for one image's integer codes (channels × height × width)."""
        if isinstance(self.input, Pixels):
            return self.input.encode(codes)
        return self.input.encode(self.config, codes, self.input_view.places)

    def decode_output(self, region: NDArray[np.uint8]) -> Codes:
        """The network's integer outputs, flat as the program gives them."""
        return self.output.decode(self.config, region, self.output_view)


def _numbers(layout: Layout) -> Codes:
    """Pixel numbers (height × width)."""
    y, x = np.mgrid[0 : layout.height, 0 : layout.width]
    return layout.number(y, x)
