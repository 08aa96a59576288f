"""How fast the image unit unrolls the windows of a network's first layer."""

from __future__ import annotations

from dataclasses import dataclass

from .design import EngineConfig

LINES = 8  # of an image that the unit holds
PIXEL_BYTES = 8  # of two pixels


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
        return self.height * -(-self.width // 2) * PIXEL_BYTES

    def cycles(self, config: EngineConfig, positions_per_tile: int) -> float:
        """For a window: the slowest of columns, writers and pixels; and until the first row begins."""
        writers, pairs = config.patch_writers, -(-self.patch_words // 2)
        line = self.width if config.image_pixels == 1 else -(-self.width // 2)
        lines = min(self.height, self.kernel_y + (self.rows - 1) * self.stride_y - self.pad_top)
        # Writers are bound to positions, so a tile begins with the first one. Where they bind, they win so many cycles a round.
        stored = -(-positions_per_tile // writers) * pairs / positions_per_tile
        since_first_writer = ((positions_per_tile - 1) % writers + 1) * self.stride_x
        shifted = self.stride_x + max(0, pairs - since_first_writer) / positions_per_tile
        slack = pairs - writers * self.stride_x
        delayed = max(0, self.kernel_x - self.stride_x - slack) if slack > 0 else 0
        row = max(self.columns * stored + delayed, self.columns * shifted + self.kernel_x - self.stride_x)
        first = max(0, self.kernel_y - self.pad_top - 1) * line
        return max(first + self.rows * row, lines * line) / (self.rows * self.columns)
