"""Images from a folder, a .npz file or scikit-learn's digits, preprocessed, in batches.

* A folder of image files; where labels are wanted, one sub-folder per class, in sorted order of their names.
  Files are decoded when their batch is asked for. Other files and hidden ones are passed over by their extension.
* A .npz with `x`: pixels (N×C×H×W, N×H×W×C, or N×H×W for one channel; whole numbers 0 … 255), or floats, which are
  taken as preprocessed already; and `y`, the labels.
* The word `digits`: the training part where no labels are asked for (calibration), the test part where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .files import PathKind, path_kind
from .folder import Labels, list_images, read_image
from .graph import FloatArray
from .npz import load_npz
from .preprocess import Preprocess


@dataclass(frozen=True)
class Dataset:
    """Images that are read when needed. `classes` counts the classes the source names, None without labels."""

    description: str
    read: Callable[[NDArray[np.int64]], FloatArray]
    indices: NDArray[np.int64]
    labels: Labels | None = None  # one for each of `indices`
    classes: int | None = None
    notes: tuple[str, ...] = ()  # what the user should know about how the source was understood

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, batch_size: int) -> Iterator[tuple[FloatArray, Labels | None]]:
        """The images in order, N×C×H×W, with their labels."""
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield self.read(self.indices[part]), None if self.labels is None else self.labels[part]

    def images(self) -> FloatArray:
        """All images in one array: for calibration, where there are few."""
        return self.read(self.indices)


def open_data(
    spec: str | Path,
    preprocess: Preprocess,
    *,
    labels: bool,
    limit: int | None = None,
    rng: np.random.Generator | None = None,
    classes: int | None = None,
) -> Dataset:
    """The data set that `spec` names; `limit` images of it are drawn by `rng` without replacement, kept in order.

    `classes` is the network's number of classes, which every label must lie below.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the number of images must be at least 1, not {limit}")
    path = _expanded(spec)
    if str(spec) == "digits":
        data = _open_digits(preprocess, labels)
    elif (there := path_kind(path)) is PathKind.FOLDER:
        data = _open_folder(path, preprocess, labels, classes)
    elif path.suffix.lower() == ".npz" and there is PathKind.FILE:
        data = _open_npz(path, preprocess, labels, classes)
    elif there is PathKind.ABSENT:
        raise UsageError(f"{spec} cannot be found: give a folder of images, a .npz file or the word digits")
    else:
        raise UsageError(f"{spec} must be a folder of images, a .npz file or the word digits")
    if limit is None or limit >= len(data):
        return data
    drawn = np.arange(limit) if rng is None else np.sort(rng.choice(len(data), limit, replace=False))
    return Dataset(
        f"{limit} of {data.description}",
        data.read,
        data.indices[drawn],
        None if data.labels is None else data.labels[drawn],
        data.classes,
        data.notes,
    )


def _expanded(spec: str | Path) -> Path:
    try:
        return Path(spec).expanduser()
    except RuntimeError:
        raise UsageError(f"{spec} cannot be found: there is no such user") from None


def _open_folder(root: Path, preprocess: Preprocess, labels: bool, classes: int | None) -> Dataset:
    files, values, folders = list_images(root, labels, classes)

    def read(indices: NDArray[np.int64]) -> FloatArray:
        out = np.empty((len(indices), *preprocess.input_shape), dtype=np.float32)
        for slot, index in enumerate(indices):
            out[slot] = read_image(files[index], preprocess)
        return out

    notes = []
    if values is not None and classes is not None and folders < classes:
        first = f"{root} has {folders} class folders for {classes} classes: "
        notes = [first + f"they are taken as classes 0 … {folders - 1} in sorted order"]
    description = f"{len(files)} image files in {root}"
    return Dataset(description, read, np.arange(len(files)), values, folders if labels else None, tuple(notes))


def _open_npz(path: Path, preprocess: Preprocess, labels: bool, classes: int | None) -> Dataset:
    arrays = load_npz(path, {"x": "the images"} | ({"y": "their labels"} if labels else {}))
    x = _channels_first(path, arrays["x"], preprocess.input_shape)
    y = _checked_labels(path, arrays["y"], len(x), classes) if labels else None
    if x.dtype.kind == "f":
        pixels = x
        notes: tuple[str, ...] = (f"{path} holds floating-point images: they are taken as preprocessed already",)
    else:
        pixels, notes = _checked_pixels(path, x), ()

    def read(indices: NDArray[np.int64]) -> FloatArray:
        part = pixels[indices]
        if part.dtype == np.uint8:
            return preprocess.normalise(part)
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused by name
            images = part.astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
        if bad.size:
            raise UsageError(f"{path} image {indices[bad[0]]} must be finite, but it has NaN or infinite values")
        return images

    found = None if y is None else int(y.max()) + 1
    return Dataset(f"{len(x)} images in {path}", read, np.arange(len(x)), y, found, notes)


def _channels_first(path: Path, x: NDArray[Any], expected: tuple[int, int, int]) -> NDArray[Any]:
    channels, height, width = expected
    if x.dtype.kind not in "uif":
        raise UsageError(f"{path} x must hold whole numbers 0 … 255 or floats, not {x.dtype}")
    if x.shape[:1] == (0,):
        raise UsageError(f"{path} x must hold at least one image, not none")
    if x.ndim == 4 and x.shape[1:] == expected:
        return x
    if x.ndim == 4 and x.shape[1:] == (height, width, channels):
        return x.transpose(0, 3, 1, 2)
    if x.ndim == 3 and channels == 1 and x.shape[1:] == (height, width):
        return x[:, None]
    got = "×".join(str(v) for v in x.shape) or "a single number"
    raise UsageError(
        f"{path} x must have the shape N×{channels}×{height}×{width} of the network's input "
        f"(or N×{height}×{width}×{channels}), not {got}; give --input-shape if the network takes another size"
    )


def _checked_pixels(path: Path, x: NDArray[Any]) -> NDArray[np.uint8]:
    if x.dtype == np.uint8:
        return x
    if int(x.min()) < 0 or int(x.max()) > 255:
        raise UsageError(f"{path} x must hold pixels from 0 to 255, not from {x.min()} to {x.max()}")
    return x.astype(np.uint8)


def _checked_labels(path: Path, y: NDArray[Any], count: int, classes: int | None) -> Labels:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "ui":
        shape = "×".join(str(v) for v in y.shape)
        raise UsageError(f"{path} y must be one whole number per image, not {y.dtype} of shape {shape or 'none'}")
    if len(y) != count:
        raise UsageError(f"{path} must have one label per image, not {count} images in x and {len(y)} labels in y")
    if classes is None:
        classes = np.iinfo(np.int32).max
    bad = np.flatnonzero((y < 0) | (y >= classes))
    if bad.size:
        raise UsageError(f"{path} label of image {bad[0]} must be from 0 to {classes - 1}, not {y[bad[0]]}")
    return y.astype(np.int64)


def digits_split() -> tuple[NDArray[np.uint8], Labels, NDArray[np.uint8], Labels]:
    """Images (N×1×8×8, 0 … 16) and labels of the training part, then of the test part: always the same split."""
    from sklearn.datasets import load_digits

    source = load_digits()
    x = source.images.astype(np.uint8)[:, None]
    y = source.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    test, train = np.sort(order[:500]), np.sort(order[500:])
    return x[train], y[train], x[test], y[test]


def _open_digits(preprocess: Preprocess, labels: bool) -> Dataset:
    if preprocess.input_shape != (1, 8, 8):
        expected = "×".join(str(v) for v in preprocess.input_shape)
        raise UsageError(f"digits are images of 1×8×8, but the network's input is {expected}: give other data")
    x_train, _, x_test, y_test = digits_split()
    x, y, part = (x_test, y_test, "test") if labels else (x_train, None, "training")

    def read(indices: NDArray[np.int64]) -> FloatArray:
        return preprocess.normalise(x[indices])

    return Dataset(f"{len(x)} {part} images of digits", read, np.arange(len(x)), y, 10 if labels else None)
