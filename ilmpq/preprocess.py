"""Preprocessing, said once: how pixels become the normalised float32 images a network was trained on.

    value = (pixel / white − mean[channel]) / std[channel]

An image file is scaled so that it covers the input enlarged by `resize / short side` (bilinear, antialiased, as
torchvision does), then cropped at its centre. Transparent images are laid on white; 16-bit ones keep their high byte.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .errors import UsageError
from .graph import FloatArray


def _checked_shape(values: Sequence[int]) -> tuple[int, int, int]:
    if len(values) != 3 or any(not 1 <= v <= 16384 for v in values):
        text = ",".join(str(v) for v in values)
        raise UsageError(
            f"--input-shape must be three whole numbers, channels,height,width, each from 1 to 16384, not {text}"
        )
    return (int(values[0]), int(values[1]), int(values[2]))


def _checked_channels(flag: str, values: Sequence[float] | None, channels: int) -> tuple[float, ...] | None:
    if values is None:
        return None
    if len(values) != channels:
        raise UsageError(
            f"{flag} must have one value for each of the {channels} input channels, not {len(values)} values"
        )
    return tuple(float(v) for v in values)


@dataclass(frozen=True)
class Preprocess:
    """Size and normalisation of a network's input.

    `resize` is the short side before the crop (None: the input's own); `white` is the value that becomes 1 in arrays of
    pixels; in image files it is 255.

    >>> Preprocess((1, 1, 2), None, (0.5,), (0.5,)).normalise(np.array([[[[0, 255]]]], dtype=np.uint8)).ravel()
    array([-1.,  1.], dtype=float32)
    """

    input_shape: tuple[int, int, int]
    resize: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    white: float = 255.0

    def __post_init__(self) -> None:
        _checked_shape(self.input_shape)
        for flag, values in (("--mean", self.mean), ("--std", self.std)):
            _checked_channels(flag, values, self.input_shape[0])
            for value in values:
                if not math.isfinite(value):
                    raise UsageError(f"{flag} must be finite numbers, not {value}")
        for value in self.std:
            if value <= 0.0:
                raise UsageError(f"--std must be greater than 0, not {value:g}: pixels are divided by it")
        if not (math.isfinite(self.white) and self.white > 0.0):
            raise UsageError(f"white must be a pixel value greater than 0, not {self.white}")
        if self.resize is not None and self.resize < min(self.input_shape[1:]):
            raise UsageError(
                f"resize must be at least the input's short side of {min(self.input_shape[1:])} pixels, not {self.resize}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` is the inverse."""
        return {
            "input_shape": list(self.input_shape),
            "resize": self.resize,
            "mean": list(self.mean),
            "std": list(self.std),
            "white": self.white,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Preprocess:
        """The inverse of `to_dict`."""
        try:
            channels, height, width = (int(v) for v in data["input_shape"])
            return Preprocess(
                (channels, height, width),
                None if data["resize"] is None else int(data["resize"]),
                tuple(float(v) for v in data["mean"]),
                tuple(float(v) for v in data["std"]),
                float(data["white"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"preprocessing cannot be read ({error}); give --preset, --mean and --std again") from None

    def normalise(self, pixels: NDArray[np.uint8]) -> FloatArray:
        """Pixels, N×C×H×W or C×H×W, as float32 of the same shape."""
        factor, shift = self._affine(self.white)
        return pixels.astype(np.float32) * factor + shift

    def pixel_range(self) -> tuple[FloatArray, FloatArray]:
        """The normalised values of black and of white, each C×1×1."""
        factor, shift = self._affine(1.0)
        return shift, factor + shift

    def _affine(self, white: float) -> tuple[FloatArray, FloatArray]:
        std = np.array(self.std, dtype=np.float64).reshape(-1, 1, 1)
        mean = np.array(self.mean, dtype=np.float64).reshape(-1, 1, 1)
        return (1.0 / (white * std)).astype(np.float32), (-mean / std).astype(np.float32)

    def image(self, image: Image.Image) -> FloatArray:
        """A picture of any size and mode as one normalised C×H×W image."""
        channels, height, width = self.input_shape
        if channels not in (1, 3):
            raise UsageError(
                f"image files have 1 or 3 channels, but the network's input has {channels}: give a .npz with x instead"
            )
        pixels = np.asarray(self._crop(_flatten_mode(image, channels)), dtype=np.uint8)
        factor, shift = self._affine(255.0)
        return pixels.reshape(height, width, channels).transpose(2, 0, 1).astype(np.float32) * factor + shift

    def _crop(self, image: Image.Image) -> Image.Image:
        _, height, width = self.input_shape
        short = min(height, width)
        cover_h, cover_w = (side * (self.resize or short) // short for side in (height, width))
        if image.height * cover_w <= image.width * cover_h:
            size = (cover_h * image.width // image.height, cover_h)
        else:
            size = (cover_w, cover_w * image.height // image.width)
        if size[0] * size[1] > (Image.MAX_IMAGE_PIXELS or 0):
            raise UsageError(f"the picture is far too long and thin ({image.width}×{image.height} pixels): crop it")
        if size != image.size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = round((image.width - width) / 2.0), round((image.height - height) / 2.0)
        return image.crop((left, top, left + width, top + height))


def _flatten_mode(image: Image.Image, channels: int) -> Image.Image:
    """8-bit grey or RGB, upright, laid on white where it is transparent."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise UsageError("the picture has floating-point pixels, whose white is unknown: save it with 8 bits")
    if image.mode == "I" or image.mode.startswith("I;"):
        wide = np.asarray(image, dtype=np.int64)
        if wide.size and (wide.min() < 0 or wide.max() > 0xFFFF):
            raise UsageError("the picture has more than 16 bits per pixel: save it with 8 bits")
        image = Image.fromarray((wide >> 8).astype(np.uint8))
    if image.has_transparency_data:
        above = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", above.size, (255, 255, 255, 255)), above)
    return image.convert("L" if channels == 1 else "RGB")


IMAGENET = Preprocess((3, 224, 224), 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: `none` is pixel / 255 and nothing else. MNIST's and Fashion-MNIST's mean and std are those of their training sets.
PRESETS: dict[str, Preprocess] = {
    "imagenet": IMAGENET,
    "cifar10": replace(IMAGENET, input_shape=(3, 32, 32), resize=None),
    "mnist": Preprocess((1, 28, 28), None, (0.1307,), (0.3081,)),
    "fashion_mnist": Preprocess((1, 28, 28), None, (0.2860,), (0.3530,)),
    "digits": Preprocess((1, 8, 8), None, (0.0,), (1.0,), white=16.0),
    "none": Preprocess((3, 224, 224), None, (0.0,) * 3, (1.0,) * 3),
}


def usual_preset(input_shape: tuple[int, int, int]) -> str:
    """The preset that networks of this input shape are most often trained with.

    >>> usual_preset((3, 160, 160)), usual_preset((3, 32, 32)), usual_preset((4, 32, 32))
    ('imagenet', 'cifar10', 'none')
    """
    channels, height, width = input_shape
    if channels == 3:
        return "imagenet" if min(height, width) > 64 else "cifar10"
    return {(1, 28, 28): "mnist", (1, 8, 8): "digits"}.get((channels, height, width), "none")


def resolve(
    preset: str | None = None,
    *,
    input_shape: Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Preprocess:
    """A preset (None: the usual one for the shape) with the values given on the command line in place of its own.

    >>> resolve("imagenet", input_shape=(3, 160, 160)).resize
    183
    """
    shape = None if input_shape is None else _checked_shape(input_shape)
    name = preset or (usual_preset(shape) if shape else "imagenet")
    if name not in PRESETS:
        raise UsageError(f"--preset must be one of {', '.join(PRESETS)}, not {name!r}")
    base = PRESETS[name]
    shape = shape or base.input_shape
    resize = base.resize
    if resize is not None and shape != base.input_shape:
        resize = max(min(shape[1:]), round(resize * min(shape[1:]) / min(base.input_shape[1:])))
    if name == "none":
        base = replace(base, input_shape=shape, mean=(0.0,) * shape[0], std=(1.0,) * shape[0])
    if len(base.mean) != shape[0] and (mean is None or std is None):
        raise UsageError(
            f"--preset {name} is for {len(base.mean)} channels, but the network's input has {shape[0]}: "
            f"give --mean and --std with {shape[0]} values each, or --preset none"
        )
    return Preprocess(
        shape,
        resize,
        _checked_channels("--mean", mean, shape[0]) or base.mean,
        _checked_channels("--std", std, shape[0]) or base.std,
        base.white,
    )


def parse_shape(text: str) -> tuple[int, int, int]:
    """`C,H,W` (or C×H×W with an x) as written on the command line.

    >>> parse_shape("3,160,160"), parse_shape("1x28x28")
    ((3, 160, 160), (1, 28, 28))
    """
    try:
        values = [int(v) for v in text.lower().replace("×", ",").replace("x", ",").split(",")]
    except ValueError:
        values = []
    if len(values) != 3:
        raise UsageError(f"--input-shape must be channels,height,width such as 3,224,224, not {text!r}")
    return _checked_shape(values)


def parse_channels(flag: str, text: str) -> tuple[float, ...]:
    """Numbers separated by commas, one per channel.

    >>> parse_channels("--mean", "0.5, 0.25")
    (0.5, 0.25)
    """
    try:
        return tuple(float(v) for v in text.split(","))
    except ValueError:
        raise UsageError(f"{flag} must be numbers separated by commas, not {text!r}") from None
