"""Which first layers the image unit unrolls, and how fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .batches import MOST_STRIDE
from .design import EngineConfig
from .graph import Op
from .network import Layer, Network
from .work import Pace

LINES = 8  # of an image that the unit holds
PIXEL_BYTES = 8  # of two pixels
FILL = 0.6  # cycles from a tile's last word to its first step, less those until its place is taken again

MOST_WORDS = 31  # of a window
MOST_OUTER_TILES = 32


def unrollable(network: Network, config: EngineConfig) -> Layer | None:
    """The first layer, if the image unit has its windows: then the input never lies in the activation memory."""
    first, source = network.layers[0], network.inputs[0].tensor
    w, channels = first.window, len(first.source.places)
    readers = [v for x in network.layers for v in (x.source, x.residual) if v and v.tensor is source]
    size = w.kernel[0] * w.kernel[1] * channels
    possible = (
        len(readers) == 1
        and first.node.op is Op.CONV
        and first.node.groups == 1
        and first.source.tensor is source
        and first.source.stride == (1, 1)
        and first.residual is None
        and (w.kernel[0], channels) in config.image_kernels
        and size <= config.image_bytes
        and w.kernel[1] <= w.kernel[0]
        and -(-size // config.geometry.tk) <= MOST_WORDS
        and w.dilation == (1, 1)
        and max(*w.stride, *w.pad[:2]) <= MOST_STRIDE
        and source.width <= config.line_width
        and not first.target.tensor.logits
    )
    return first if possible else None


def windows_of(layer: Layer, tk: int) -> Windows:
    """The windows of an unrolled image."""
    w, source, target = layer.window, layer.source.tensor, layer.target.tensor
    words = -(-w.kernel[0] * w.kernel[1] * len(layer.source.places) // tk)
    return Windows(
        source.height, source.width, target.height, target.width, *w.kernel, *w.stride, w.pad[0], patch_words=words
    )


def most_outer(layer: Layer, tk: int, rows: Any, ring: Any, table: Any) -> Any:
    """Row tiles of an unrolled image's layer that ring and table hold at a time; rows and sizes may be those of many engines."""
    return np.minimum(np.minimum(MOST_OUTER_TILES, ring // windows_of(layer, tk).patch_words), table // rows)


@dataclass(frozen=True)
class Windows:
    """An image, the windows that a convolution takes of it, and the words of a window."""

    height: int
    width: int
    rows: int
    columns: int
    kernel_y: int
    kernel_x: int
    stride_y: int
    stride_x: int
    pad_top: int
    patch_words: int

    @property
    def ahead(self) -> int:
        """Windows whose lines the unit may have read before they are wanted."""
        return (LINES - self.kernel_y) * self.columns // self.stride_y

    @property
    def bytes(self) -> int:
        """Of the image."""
        return self.height * self._line_bytes

    @property
    def _line_bytes(self) -> int:
        return -(-self.width // 2) * PIXEL_BYTES

    def pace(self, config: EngineConfig, positions_per_tile: int) -> Pace:
        """How an engine's windows come."""
        line = self.width if config.image_pixels == 1 else -(-self.width // 2)
        before = max(0, self.kernel_y - self.pad_top - 1)  # lines
        fill = self.kernel_x + (positions_per_tile - 2) * self.stride_x + -(-self.patch_words // 2) + FILL
        return Pace(
            cycles=self._cycles(config.patch_writers, positions_per_tile, line, before),
            ahead=self.ahead,
            row_tiles=max(1.0, self.columns / positions_per_tile),
            fill=fill,
            first=(before * line, before * self._line_bytes),
            lead=min(self.height, LINES - self.pad_top) * self._line_bytes,
            bytes=self.bytes,
        )

    def _cycles(self, writers: int, positions_per_tile: int, line: int, before: int) -> float:
        """For a window: the slowest of columns, writers and pixels."""
        pairs = -(-self.patch_words // 2)
        lines = min(self.height, self.kernel_y + (self.rows - 1) * self.stride_y - self.pad_top)
        # Writers are bound to positions, so a tile begins with the first one. Where they bind, they win so many cycles a round.
        stored = -(-positions_per_tile // writers) * pairs / positions_per_tile
        since_first_writer = ((positions_per_tile - 1) % writers + 1) * self.stride_x
        shifted = self.stride_x + max(0, pairs - since_first_writer) / positions_per_tile
        slack = pairs - writers * self.stride_x
        delayed = max(0, self.kernel_x - self.stride_x - slack) if slack > 0 else 0
        row = max(self.columns * stored + delayed, self.columns * shifted + self.kernel_x - self.stride_x)
        return max(self.rows * row, (lines - before) * line) / (self.rows * self.columns)
