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
        number = _numbers(self.layout, view)
        by_channel = raw[view.places // tk, :, view.places % tk].astype(np.int64)  # channels × bytes
        if self.tensor.logits:
            four = by_channel[:, 4 * number.reshape(-1)[:, None] + np.arange(4)]
            value = (four << (8 * np.arange(4))).sum(axis=2).reshape(-1, *number.shape)
            return np.asarray(value - ((value >> 31) << 32))
        byte = by_channel[:, number >> int(self.layout.pair)]
        stored = (byte >> (4 * (number & 1))) & 15 if self.layout.pair else byte
        return np.where(view.places[:, None, None] < 0, 0, stored - self.tensor.offset)

    def encode(self, config: EngineConfig, region: NDArray[np.uint8], view: View, codes: Codes) -> None:
        """Write the codes of a view, of a tensor that is not packed in pairs, into the region."""
        tk, banks = config.geometry.tk, config.banks
        words = group_words(self.tensor, self.layout, banks)
        raw = region[self.offset : self.offset + self.size(config)].reshape(self.tensor.groups, words * banks, tk)
        number = _numbers(self.layout, view)
        unsigned = (codes + self.tensor.offset).astype(np.uint8)
        for channel, place in enumerate(view.places):
            raw[place // tk, number, place % tk] = unsigned[channel]


@dataclass(frozen=True, eq=False)
class Pixels:
    """A network input that the image unit unrolls, one of several: four bytes a pixel, rows padded to eight bytes."""

    tensor: Tensor
    number: int

    @property
    def offset(self) -> int:
        return self.number * self.size()

    def encode(self, region: NDArray[np.uint8], codes: Codes) -> None:
        """Write the codes into the region."""
        channels, height, width = codes.shape
        raw = region[self.offset : self.offset + self.size()].reshape(height, -(-width // 2) * 2, 4)
        raw[:, :width, :channels] = (codes + self.tensor.offset).transpose(1, 2, 0)

    def size(self) -> int:
        return self.tensor.height * -(-self.tensor.width // 2) * 8


@dataclass(frozen=True, eq=False)
class EngineImage:
    """Descriptors, weights, sizes of the regions, and where the host finds what."""

    config: EngineConfig
    words: tuple[int, ...]
    weights: tuple[NDArray[np.uint64], ...]  # one per port
    scratch_bytes: int
    inputs: tuple[tuple[Stored | Pixels, View], ...]  # of every image
    outputs: tuple[tuple[Stored, View], ...]
    operations: tuple[Scheduled, ...]  # what the words say
    row_tiles: Mapping[str, tuple[tuple[int, int], ...]]  # slots, and steps of a pass, of each row tile of a layer
    kept: Mapping[str, tuple[Stored, View]] = field(default_factory=dict)  # in scratch, by node, where asked for

    @property
    def images(self) -> int:
        return len(self.inputs)

    @property
    def input_bytes(self) -> int:
        last = self.inputs[-1][0]
        return last.offset + (last.size() if isinstance(last, Pixels) else last.size(self.config))

    @property
    def output_bytes(self) -> int:
        last = self.outputs[-1][0]
        return last.offset + last.size(self.config)

    def encode_input(self, *images: Codes) -> NDArray[np.uint8]:
        """The input region for every image's integer codes (channels × height × width)."""
        if len(images) != self.images:
            raise ValueError(f"images must be {self.images}, not {len(images)}: compile the program for so many")
        region = np.zeros(self.input_bytes, np.uint8)
        for (place, view), codes in zip(self.inputs, images, strict=True):
            if isinstance(place, Pixels):
                place.encode(region, codes)
            else:
                place.encode(self.config, region, view, codes)
        return region

    def decode_output(self, region: NDArray[np.uint8], image: int = 0) -> Codes:
        """An image's integer outputs, flat as the program gives them."""
        stored, view = self.outputs[image]
        return stored.decode(self.config, region, view)


def _numbers(layout: Layout, view: View) -> Codes:
    """Pixel numbers of a view (height × width)."""
    y, x = np.mgrid[view.first_row : view.first_row + view.height, 0 : layout.width]
    return layout.number(y, x)
