"""Data sets: what each source gives, and that every damaged or unfit one is refused by name."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from ilmpq.data import Dataset, digits_split, open_data
from ilmpq.errors import UsageError
from ilmpq.preprocess import PRESETS, Preprocess

SMALL = Preprocess((3, 4, 5), None, (0.5,) * 3, (0.5,) * 3)
GREY = Preprocess((1, 4, 5), None, (0.5,), (0.5,))
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)


def save_npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def save_image(path: Path, value: int = 0, size: tuple[int, int] = (5, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value,) * 3).save(path)
    return path


def first_values(data: Dataset) -> list[int]:
    """The red value of each image's first pixel."""
    return [int(v) for v in np.rint((data.images()[:, 0, 0, 0] * 0.5 + 0.5) * 255)]


# --- .npz ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["N,C,H,W", "N,H,W,C", "int64", "fortran"])
def test_pixels_of_any_layout_are_the_same_images(tmp_path: Path, layout: str) -> None:
    x = {
        "N,C,H,W": PIXELS,
        "N,H,W,C": PIXELS.transpose(0, 2, 3, 1),
        "int64": PIXELS.astype(">i8"),
        "fortran": np.asfortranarray(PIXELS),
    }[layout]
    data = open_data(save_npz(tmp_path / "a.npz", x=x), SMALL, labels=False)
    batches = list(data.batches(4))
    assert [len(b) for b, _ in batches] == [4, 2]
    assert all(y is None for _, y in batches)
    np.testing.assert_array_equal(np.concatenate([b for b, _ in batches]), SMALL.normalise(PIXELS))


def test_images_without_a_channel_axis_have_one_channel(tmp_path: Path) -> None:
    data = open_data(save_npz(tmp_path / "a.npz", x=PIXELS[:, 0]), GREY, labels=False)
    np.testing.assert_array_equal(data.images(), GREY.normalise(PIXELS[:, :1]))


def test_floats_are_taken_as_preprocessed_and_a_note_says_so(tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((3, 3, 4, 5))
    data = open_data(save_npz(tmp_path / "a.npz", x=x), SMALL, labels=False)
    np.testing.assert_array_equal(data.images(), x.astype(np.float32))
    assert "taken as preprocessed already" in data.notes[0]


@pytest.mark.parametrize("y", [np.arange(6), np.arange(6, dtype=np.uint8), np.arange(6, dtype=np.int32)[:, None]])
def test_labels_come_with_their_images(tmp_path: Path, y: np.ndarray) -> None:
    data = open_data(save_npz(tmp_path / "a.npz", x=PIXELS, y=y), SMALL, labels=True, classes=6)
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    np.testing.assert_array_equal(data.labels, np.arange(6))


def test_a_drawn_subset_keeps_order_labels_and_seed(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", x=PIXELS, y=np.arange(6))
    drawn = [open_data(path, SMALL, labels=True, limit=4, rng=np.random.default_rng(s)) for s in (3, 3, 4)]
    assert drawn[0].labels is not None
    np.testing.assert_array_equal(drawn[0].labels, np.unique(drawn[0].labels))
    np.testing.assert_array_equal(drawn[0].images(), SMALL.normalise(PIXELS[drawn[0].labels]))
    np.testing.assert_array_equal(drawn[0].indices, drawn[1].indices)
    assert drawn[0].description == f"4 of 6 images in {path}"
    assert len(open_data(path, SMALL, labels=False, limit=99)) == 6


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.arange(6)}, "must hold the images as an array named x, but it holds y"),
        ({"x": PIXELS}, "must hold their labels as an array named y, but it holds x"),
        ({}, "must hold the images as an array named x, but it holds nothing"),
        ({"x": PIXELS[:0], "y": np.arange(0)}, "must hold at least one image"),
        ({"x": PIXELS, "y": np.arange(5)}, "not 6 images in x and 5 labels in y"),
        ({"x": PIXELS, "y": np.zeros(6)}, "y must be one whole number per image, not float64"),
        ({"x": PIXELS, "y": np.zeros((6, 3), int)}, "y must be one whole number per image, not int64 of shape 6×3"),
        ({"x": PIXELS, "y": np.array([0, 1, 2, 9, 10, 1])}, "label of image 4 must be from 0 to 9, not 10"),
        ({"x": PIXELS, "y": np.array([0, -1, 2, 3, 1, 1])}, "label of image 1 must be from 0 to 9, not -1"),
        ({"x": PIXELS[:, :, :3], "y": np.arange(6)}, "must have the shape N×3×4×5 .* not 6×3×3×5; give --input-shape"),
        ({"x": PIXELS[:, 0], "y": np.arange(6)}, "must have the shape N×3×4×5"),
        ({"x": np.array(7), "y": np.arange(6)}, "not a single number"),
        ({"x": np.full(PIXELS.shape, 256), "y": np.arange(6)}, "pixels from 0 to 255, not from 256 to 256"),
        ({"x": np.full(PIXELS.shape, -1), "y": np.arange(6)}, "pixels from 0 to 255, not from -1"),
        ({"x": PIXELS.astype("c8"), "y": np.arange(6)}, "whole numbers 0 … 255 or floats, not complex64"),
        ({"x": PIXELS.astype(object), "y": np.arange(6)}, "not pickled Python objects, which are never loaded"),
    ],
)
def test_unfit_arrays_are_refused_with_the_reason(tmp_path: Path, arrays: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_data(save_npz(tmp_path / "a.npz", **arrays), SMALL, labels=True, classes=10)


def test_not_a_number_is_refused_by_image(tmp_path: Path) -> None:
    x = np.zeros((6, 3, 4, 5), dtype=np.float32)
    x[4, 1, 2, 3] = np.nan
    data = open_data(save_npz(tmp_path / "a.npz", x=x), SMALL, labels=False)
    with pytest.raises(UsageError, match="image 4 must be finite"):
        list(data.batches(2))


def test_what_is_too_large_for_float32_is_refused_without_a_warning(tmp_path: Path) -> None:
    data = open_data(save_npz(tmp_path / "a.npz", x=np.full((2, 3, 4, 5), 1e300)), SMALL, labels=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(UsageError, match="image 0 must be finite"):
            data.images()
    assert said == []


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(pickle.dumps(PIXELS))
    with pytest.raises(UsageError, match=r"cannot be read as a \.npz file"):
        open_data(path, SMALL, labels=False)


def test_a_header_that_asks_for_more_than_there_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 3, 4, 5)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    with pytest.raises(UsageError, match="its header tells of 65970697666560 bytes"):
        open_data(path, SMALL, labels=False)


def compressed() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=PIXELS, y=np.arange(6))
    return buffer.getvalue()


def open_bytes(folder: Path, content: bytes) -> None:
    """Either it opens and gives the right images, or it is refused."""
    path = folder / "fuzzed.npz"
    path.write_bytes(content)
    try:
        data = open_data(path, SMALL, labels=True, classes=10)
        images = data.images()
    except UsageError as error:
        assert str(path) in str(error)
    else:
        np.testing.assert_array_equal(images, SMALL.normalise(PIXELS))


FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(cut=st.integers(0, len(compressed()) - 1))
@example(cut=0)
def test_a_truncated_npz_is_refused(tmp_path: Path, cut: int) -> None:
    (tmp_path / "cut.npz").write_bytes(compressed()[:cut])
    with pytest.raises(UsageError, match="cut short"):
        open_data(tmp_path / "cut.npz", SMALL, labels=True)


@FUZZ
@given(place=st.integers(0, len(compressed()) - 1), flip=st.integers(1, 255))
def test_a_damaged_byte_is_refused_or_harmless(tmp_path: Path, place: int, flip: int) -> None:
    content = bytearray(compressed())
    content[place] ^= flip
    open_bytes(tmp_path, bytes(content))


@FUZZ
@given(header=st.binary(max_size=80) | st.text(max_size=80).map(str.encode), body=st.binary(max_size=40))
@example(header=b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 3, 4, 5), }", body=b"")
@example(header=b"{'descr': '|V0', 'fortran_order': False, 'shape': (6, 3, 4, 5), }", body=b"")
@example(header=b"{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1,), }", body=b"0")
def test_any_header_is_refused(tmp_path: Path, header: bytes, body: bytes) -> None:
    path = tmp_path / "fuzzed.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body)
    with pytest.raises(UsageError):
        open_data(path, SMALL, labels=False)


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_flat_folder_is_read_in_order_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for value, name in ((30, "c.bmp"), (10, "a.png"), (20, "B.PNG"), (99, ".hidden.png")):
        save_image(tmp_path / name, value)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "folder.png").mkdir()
    assert first_values(open_data(tmp_path, SMALL, labels=False)) == [20, 10, 30]


def test_class_folders_give_labels_in_sorted_order(tmp_path: Path) -> None:
    for value, name in ((30, "dog/1.png"), (10, "cat/1.png"), (11, "cat/deep/er/2.png"), (40, "eel/x.png")):
        save_image(tmp_path / name, value)
    data = open_data(tmp_path, SMALL, labels=True, classes=3)
    assert data.labels is not None
    assert (first_values(data), data.labels.tolist(), data.classes, data.notes) == (
        [10, 11, 30, 40],
        [0, 0, 1, 2],
        3,
        (),
    )
    assert "as classes 0 … 2 in sorted order" in open_data(tmp_path, SMALL, labels=True, classes=5).notes[0]
    assert open_data(tmp_path, SMALL, labels=False).labels is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a/1.png", "b/1.png", "c/1.png"], "c would have label 2, which must be from 0 to 1"),
        (["n01440764/1.png"], "so they would be wrong: add the missing folders"),
        (["1.png", "2.png"], "1.png has no label: put the images of each class in a folder of their own"),
        (["1.png", "a/2.png"], "1.png has no label"),
        (["train/a/1.png", "val/b/1.png"], "holds the folders train and val: give one of them"),
        (["a/notes.txt"], "holds no image files"),
        (["notes.txt"], "has no class folders"),
    ],
)
def test_folders_without_right_labels_are_refused(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        if name.endswith(".png"):
            save_image(tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("no image")
    with pytest.raises(UsageError, match=message):
        open_data(tmp_path, SMALL, labels=True, classes=2)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no image files"):
        open_data(tmp_path, SMALL, labels=False)


def test_loops_of_links_end(tmp_path: Path) -> None:
    save_image(tmp_path / "a" / "1.png", 5)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert first_values(open_data(tmp_path, SMALL, labels=False)) == [5]
    assert open_data(tmp_path, SMALL, labels=True).classes == 2


@pytest.mark.parametrize("content", ["empty", "text", "truncated", "postscript"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_unreadable_image_is_refused_by_name(tmp_path: Path, content: str, suffix: str) -> None:
    path = tmp_path / f"good.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    bad = {
        "empty": b"",
        "text": b"hello",
        "truncated": whole[: len(whole) // 2],
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    }
    (tmp_path / f"wrong.{suffix}").write_bytes(bad[content])
    data = open_data(tmp_path, SMALL, labels=False)
    with pytest.raises(UsageError, match=rf"wrong\.{suffix} cannot be read as an image"):
        data.images()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP"]), place=st.floats(0, 0.999), flip=st.integers(1, 255))
def test_a_damaged_image_is_read_or_refused(tmp_path: Path, kind: str, place: float, flip: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[0].transpose(1, 2, 0)).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    content[int(place * len(content))] ^= flip
    (tmp_path / "a.png").write_bytes(content)
    data = open_data(tmp_path, SMALL, labels=False)
    try:
        assert data.images().shape == (1, 3, 4, 5)
    except UsageError as error:
        assert "a.png" in str(error)


def test_a_decompression_bomb_is_refused_by_name(tmp_path: Path) -> None:
    content = bytearray(save_image(tmp_path / "bomb.bmp").read_bytes())
    content[18:26] = (12_000).to_bytes(4, "little") + (8_000).to_bytes(4, "little")
    (tmp_path / "bomb.bmp").write_bytes(content)
    with pytest.raises(UsageError, match="bomb.bmp has too many pixels"):
        open_data(tmp_path, SMALL, labels=False).images()


def test_a_pictures_own_trouble_names_the_file(tmp_path: Path) -> None:
    Image.new("F", (5, 4)).save(tmp_path / "a.tif")
    with pytest.raises(UsageError, match=r"a\.tif: the picture has floating-point pixels"):
        open_data(tmp_path, SMALL, labels=False).images()


# --- digits and words ------------------------------------------------------------------------------------------------


def test_digits_calibrate_on_one_part_and_validate_on_the_other() -> None:
    train = open_data("digits", PRESETS["digits"], labels=False)
    test = open_data("digits", PRESETS["digits"], labels=True, classes=10)
    assert (len(train), len(test), test.classes) == (1297, 500, 10)
    assert np.bincount(test.labels if test.labels is not None else []).min() > 30
    assert train.images().max() == 1.0
    x_train, _, x_test, y_test = digits_split()
    np.testing.assert_array_equal(test.images(), PRESETS["digits"].normalise(x_test))
    np.testing.assert_array_equal(test.labels, y_test)
    assert len(x_train) == len(train)


def test_digits_do_not_fit_another_network() -> None:
    with pytest.raises(UsageError, match="digits are images of 1×8×8, but the network's input is 3×32×32"):
        open_data("digits", PRESETS["cifar10"], labels=False)


@pytest.mark.parametrize(("name", "message"), [("nowhere", "cannot be found"), ("a.txt", "must be a folder of images")])
def test_what_is_no_data_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match=message):
        open_data(tmp_path / name, SMALL, labels=False)


def test_at_least_one_image_is_drawn() -> None:
    with pytest.raises(UsageError, match="at least 1, not 0"):
        open_data("digits", PRESETS["digits"], labels=False, limit=0)


def test_evaluation_data_opens_as_documented(data_dir: Path) -> None:
    data = open_data(data_dir / "cifar10_test.npz", PRESETS["cifar10"], labels=True, limit=100, classes=10)
    images, labels = next(data.batches(100))
    assert (images.shape, data.classes) == ((100, 3, 32, 32), 10)
    assert data.description.startswith("100 of 9977 images in ")
    assert labels is not None
    assert -2.2 < images.min() < -1.5 < 1.5 < images.max() < 2.7
