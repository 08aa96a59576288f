"""An engine for a chip: a geometry and the sizes of the memories around it (`docs/engine.md`)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import strict
from .errors import UsageError
from .geometry import Geometry
from .schemes import BY_NAME

PORT_BITS = 64
SLOT_WORDS = 3  # 64-bit words of a slot of the slot table
MOST_WEIGHT_PORTS = 4
SIZES = (
    "am_depth",
    "ring_depth",
    "table_depth",
    "weight_ports",
    "image_bytes",
    "patch_writers",
    "line_width",
    "image_pixels",
)


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
        return zlib.crc32(json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":")).encode())

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: the geometry's entries, and the sizes.

        >>> config = EngineConfig(Geometry.parse("fix4@dsp:8", tk=16, tp=4))
        >>> EngineConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        True
        """
        sizes = {name: getattr(self, name) for name in SIZES}
        return self.geometry.to_dict() | sizes | {"image_kernels": [list(pair) for pair in self.image_kernels]}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> EngineConfig:
        """The inverse of `to_dict`; what is no engine is a `UsageError`."""
        try:
            geometry = {key: value for key, value in data.items() if key not in (*SIZES, "image_kernels")}
            found = strict.record(
                {k: v for k, v in data.items() if k not in geometry}, "an engine", {*SIZES, "image_kernels"}
            )
            sizes = {name: strict.whole(found[name], name) for name in SIZES}
            kernels = [
                strict.items(pair, "an image kernel") for pair in strict.items(found["image_kernels"], "image kernels")
            ]
            pairs = tuple((strict.whole(h, "a height"), strict.whole(c, "channels")) for h, c in kernels)
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"an engine cannot be read: {error}") from None
        return EngineConfig(Geometry.from_dict(geometry), image_kernels=pairs, **sizes).verify()

    def verify(self) -> EngineConfig:
        """Check every rule; `UsageError` says which is broken."""
        g = self.geometry.verify()
        rules = (
            (self.image_pixels in (1, 2), f"image pixels must be 1 or 2, not {self.image_pixels}"),
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
                8 <= self.line_width <= 16_384 and self.line_width % max(self.image_pixels, 1) == 0,
                f"line width must be 8 to 16,384 and a multiple of the image pixels, not {self.line_width}",
            ),
            (1 <= self.image_bytes <= 255, f"image bytes must be 1 to 255, not {self.image_bytes}"),
            (1 <= self.patch_writers <= g.tp, f"patch writers must be 1 to tp, not {self.patch_writers}"),
        )
        for holds, message in rules:
            if not holds:
                raise UsageError(message)
        return self


def _is_power(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0
