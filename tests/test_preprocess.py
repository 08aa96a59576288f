"""Pixels to normalised images: every picture mode, the size rule, and every way to give a wrong option."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ilmpq.errors import UsageError
from ilmpq.preprocess import PRESETS, Preprocess, parse_channels, parse_shape, resolve, usual_preset

GREY = Preprocess((1, 4, 4), None, (0.0,), (1.0,))
RGB = Preprocess((3, 4, 4), None, (0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_survives_its_dictionary(name: str) -> None:
    assert Preprocess.from_dict(PRESETS[name].to_dict()) == PRESETS[name]


def test_a_damaged_dictionary_is_refused() -> None:
    for broken in ({}, {"input_shape": [1, 2], "resize": None, "mean": [0], "std": [1], "white": 255}):
        with pytest.raises(UsageError, match="preprocessing cannot be read"):
            Preprocess.from_dict(broken)


@given(st.integers(0, 255), st.floats(0.01, 0.99), st.floats(0.01, 2.0))
def test_normalising_is_the_formula(pixel: int, mean: float, std: float) -> None:
    got = Preprocess((1, 1, 1), None, (mean,), (std,)).normalise(np.full((1, 1, 1, 1), pixel, dtype=np.uint8))
    assert got.dtype == np.float32
    assert got.item() == pytest.approx((pixel / 255 - mean) / std, rel=1e-5, abs=1e-4)  # float32


def test_pixel_range_is_black_and_white() -> None:
    low, high = PRESETS["cifar10"].pixel_range()
    pixels = np.array([0, 255], dtype=np.uint8).reshape(2, 1, 1, 1).repeat(3, axis=1)
    both = PRESETS["cifar10"].normalise(pixels)
    np.testing.assert_allclose(np.stack([low, high]), both, rtol=1e-5)  # float32


@pytest.mark.parametrize(
    ("shape", "preset"),
    [
        ((3, 224, 224), "imagenet"),
        ((3, 32, 32), "cifar10"),
        ((1, 28, 28), "mnist"),
        ((1, 8, 8), "digits"),
        ((2, 9, 9), "none"),
    ],
)
def test_the_usual_preset_fits_its_shape(shape: tuple[int, int, int], preset: str) -> None:
    assert usual_preset(shape) == preset
    assert resolve(input_shape=shape).input_shape == shape


@pytest.mark.parametrize(("side", "resize"), [(224, 256), (160, 183), (299, 342)])
def test_resize_follows_the_input_shape(side: int, resize: int) -> None:
    assert resolve("imagenet", input_shape=(3, side, side)).resize == resize


def test_flags_replace_a_presets_values() -> None:
    got = resolve("cifar10", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    assert (got.mean, got.std, got.input_shape) == ((0.5,) * 3, (0.25,) * 3, (3, 32, 32))
    assert resolve("mnist", input_shape=(2, 9, 9), mean=(0, 0), std=(1, 1)).mean == (0.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "cifar"}, "--preset must be one of imagenet, cifar10"),
        ({"preset": "imagenet", "mean": (0.5,)}, "--mean must have one value for each of the 3 input channels, not 1"),
        ({"preset": "imagenet", "std": (1.0, 0.0, 1.0)}, "--std must be greater than 0, not 0"),
        ({"preset": "imagenet", "std": (1.0, -1.0, 1.0)}, "--std must be greater than 0, not -1"),
        ({"preset": "imagenet", "mean": (math.nan, 0, 0)}, "--mean must be finite numbers, not nan"),
        ({"preset": "imagenet", "std": (math.inf, 1, 1)}, "--std must be finite numbers, not inf"),
        ({"preset": "imagenet", "input_shape": (1, 224, 224)}, "is for 3 channels, but the network's input has 1"),
        ({"input_shape": (3, 0, 5)}, "--input-shape must be three whole numbers"),
        ({"input_shape": (3, 224)}, "--input-shape must be three whole numbers"),
    ],
)
def test_wrong_options_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(**arguments)


@pytest.mark.parametrize("text", ["", "3", "3,4", "3,4,x", "3,4,5,6", "3,-4,5", "3,4.5,5"])
def test_a_wrong_shape_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--input-shape must be"):
        parse_shape(text)


def test_a_word_among_the_numbers_is_refused() -> None:
    with pytest.raises(UsageError, match="--std must be numbers separated by commas, not '1,two'"):
        parse_channels("--std", "1,two")


def solid(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (4, 4), colour)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (solid("RGB", (10, 20, 30)), (10, 20, 30)),
        (solid("L", 77), (77, 77, 77)),
        (solid("1", 1), (255, 255, 255)),
        (solid("RGBA", (10, 20, 30, 0)), (255, 255, 255)),
        (solid("RGBA", (10, 20, 30, 255)), (10, 20, 30)),
        (solid("LA", (77, 0)), (255, 255, 255)),
        (solid("CMYK", (0, 255, 255, 0)), (255, 0, 0)),
        (solid("I;16", 0x80FF), (0x80, 0x80, 0x80)),
        (solid("I", 0xFFFF), (255, 255, 255)),
        (solid("RGB", (200, 100, 0)).convert("P"), (204, 102, 0)),
    ],
    ids=["rgb", "grey", "bilevel", "transparent", "opaque", "grey-alpha", "cmyk", "16-bit", "32-bit", "palette"],
)
def test_every_picture_mode_becomes_rgb(image: Image.Image, expected: tuple[int, int, int]) -> None:
    pixels = np.rint(RGB.image(image) * 255)
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.reshape(expected, (3, 1, 1)), (3, 4, 4)))


def test_a_transparent_palette_lies_on_white() -> None:
    image = solid("P", 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.info["transparency"] = 0
    np.testing.assert_array_equal(GREY.image(image), 1.0)


@pytest.mark.parametrize(
    "image", [solid("F", 0.5), solid("I", 70000), solid("I", -1)], ids=["float", "32-bit", "negative"]
)
def test_pixels_of_unknown_white_are_refused(image: Image.Image) -> None:
    with pytest.raises(UsageError, match="save it with 8 bits"):
        RGB.image(image)


def test_image_files_need_one_or_three_channels() -> None:
    with pytest.raises(UsageError, match=r"1 or 3 channels, but the network's input has 4: give a \.npz"):
        Preprocess((4, 4, 4), None, (0.0,) * 4, (1.0,) * 4).image(solid("L", 0))


def test_a_rotated_picture_stands_upright() -> None:
    image = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise
    np.testing.assert_array_equal(np.rint(GREY.image(image) * 255)[0], np.rot90(np.arange(16).reshape(4, 4), -1))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 9))
def test_any_size_becomes_the_inputs(width: int, height: int, target_h: int, target_w: int, extra: int) -> None:
    image = Image.new("L", (width, height), 128)
    got = Preprocess((1, target_h, target_w), min(target_h, target_w) + extra, (0.0,), (1.0,)).image(image)
    np.testing.assert_array_equal(got, np.full((1, target_h, target_w), np.float32(128 / 255)))


def test_the_crop_is_the_centre() -> None:
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 12))
    np.testing.assert_array_equal(np.rint(GREY.image(image) * 255)[0], np.arange(48).reshape(4, 12)[:, 4:8])


def test_a_thread_of_a_picture_is_refused() -> None:
    with pytest.raises(UsageError, match="far too long and thin"):
        PRESETS["imagenet"].image(Image.new("L", (2_000_000, 1)))


def test_numbers_in_arrays_may_have_another_white() -> None:
    digits = PRESETS["digits"]
    assert digits.normalise(np.full((1, 8, 8), 16, dtype=np.uint8)).max() == 1.0
    assert digits.image(Image.new("L", (8, 8), 255)).max() == 1.0
