"""An engine for a chip: a geometry and the sizes of the memories around it (`docs/engine.md`)."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

from .errors import UsageError
from .geometry import Geometry
from .schemes import BY_NAME

PORT_BITS = 64
SLOT_WORDS = 3  # 64-bit words of a slot of the slot table
MOST_WEIGHT_PORTS = 4


@dataclass(frozen=True)
class EngineConfig:
    """One engine: what its RTL and HLS are generated with, and what its compiler counts on."""

    geometry: Geometry
    am_depth: int = 5120
    ring_depth: int = 512
    table_depth: int = 128
    weight_ports: int = 3
    image_kernels: tuple[tuple[int, int], ...] = ((7, 3), (3, 3), (5, 3), (3, 1))
    image_bytes: int = 147
    patch_writers: int = 1  # windows of an image that are stored at a time
    line_width: int = 512
    image_pixels: int = 1  # of an image that are taken in a cycle

    @property
    def banks(self) -> int:
        """The smallest power of two that is at least the number of positions.

        >>> EngineConfig(Geometry.parse("pot3@lut:4, fix4@dsp:4", tk=16, tp=6)).banks
        8
        """
        return 1 << (self.geometry.tp - 1).bit_length()

    @property
    def step_bits(self) -> int:
        """Bits of one step of the weight image, in which a code takes its scheme's bits."""
        return self.geometry.tk * sum(array.rows * BY_NAME[array.scheme].bits for array in self.geometry.arrays)

    @property
    def beat_bits(self) -> int:
        return PORT_BITS * self.weight_ports

    @property
    def step_words(self) -> int:
        """64-bit words of one step of the weight image."""
        return -(-self.step_bits // PORT_BITS)

    @property
    def slot_beats(self) -> int:
        return -(-SLOT_WORDS // self.weight_ports)

    @property
    def word_bytes(self) -> int:
        """Bytes of a word of the activation memory."""
        return self.banks * self.geometry.tk

    @property
    def geometry_id(self) -> int:
        """What an image and its engine must have in common."""
        parameters = self.geometry.to_dict() | {
            "am_depth": self.am_depth,
            "ring_depth": self.ring_depth,
            "table_depth": self.table_depth,
            "weight_ports": self.weight_ports,
            "image_kernels": self.image_kernels,
            "image_bytes": self.image_bytes,
            "patch_writers": self.patch_writers,
            "line_width": self.line_width,
            "image_pixels": self.image_pixels,
        }
        return zlib.crc32(json.dumps(parameters, sort_keys=True, separators=(",", ":")).encode())

    def verify(self) -> EngineConfig:
        """Check every rule; `UsageError` says which is broken."""
        g = self.geometry.verify()
        rules = (
            (g.tp >= 4 and g.tp % 2 == 0, f"tp must be even and at least 4, not {g.tp}"),
            (g.tk % 4 == 0 and g.tk <= 32, f"tk must be a multiple of 4 and at most 32, not {g.tk}"),
            (g.rows % 2 == 0 and g.rows <= 64, f"rows must be even and at most 64, not {g.rows}"),
            (1 <= self.weight_ports <= MOST_WEIGHT_PORTS, f"weight ports must be 1 to 4, not {self.weight_ports}"),
            (
                self.ring_depth % 4 == 0 and 4 <= self.ring_depth <= 32_768,
                f"ring depth must be a multiple of 4 from 4 to 32,768, not {self.ring_depth}",
            ),
            (_is_power(self.table_depth), f"table depth must be a power of two, not {self.table_depth}"),
            (self.table_depth >= 2 * g.rows, f"table depth must be at least twice the rows, not {self.table_depth}"),
            (1 <= self.am_depth <= 65_535, f"activation memory depth must be 1 to 65,535, not {self.am_depth}"),
            (1 <= len(self.image_kernels) <= 4, "image kernels must be 1 to 4 pairs"),
            (
                all(0 < height <= 8 and 0 < channels <= 4 for height, channels in self.image_kernels),
                f"image kernels must be 1 to 8 high and have 1 to 4 channels, not {self.image_kernels}",
            ),
            (
                8 <= self.line_width <= 16_384 and self.line_width % self.image_pixels == 0,
                f"line width must be 8 to 16,384 and a multiple of the image pixels, not {self.line_width}",
            ),
            (1 <= self.image_bytes <= 255, f"image bytes must be 1 to 255, not {self.image_bytes}"),
            (1 <= self.patch_writers <= g.tp, f"patch writers must be 1 to tp, not {self.patch_writers}"),
            (self.image_pixels in (1, 2), f"image pixels must be 1 or 2, not {self.image_pixels}"),
        )
        for holds, message in rules:
            if not holds:
                raise UsageError(message)
        return self


def _is_power(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0
