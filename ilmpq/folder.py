"""Image files in a folder: which there are, which class each belongs to, and how one is read safely."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .errors import UsageError
from .graph import FloatArray
from .preprocess import Preprocess

Labels = NDArray[np.int64]

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
# No format whose decoder starts another program (EPS would).
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_SPLITS = frozenset({"train", "val", "test"})


def list_images(root: Path, labels: bool, classes: int | None) -> tuple[list[Path], Labels | None, int]:
    """The image files below `root`, their labels if wanted, and the number of class folders."""
    try:
        folders, top = _list(root)
        if folders and not top and {f.name.lower() for f in folders} <= _SPLITS:
            names = " and ".join(f.name for f in folders)
            raise UsageError(f"{root} holds the folders {names}: give one of them, such as {folders[0]}")
        files, values = _labelled(root, folders, top, classes) if labels else (_images_below(root), None)
    except OSError as error:
        raise UsageError(f"{error.filename or root} cannot be read: {error.strerror or error}") from None
    if not files:
        raise UsageError(f"{root} holds no image files ({', '.join(sorted(EXTENSIONS))})")
    return files, values, len(folders)


def _labelled(root: Path, folders: list[Path], top: list[Path], classes: int | None) -> tuple[list[Path], Labels]:
    """Every file of every class folder with the folder's position as its label."""
    if top or not folders:
        what = f"{top[0]} has no label" if top else f"{root} has no class folders"
        raise UsageError(f"{what}: put the images of each class in a folder of their own, or give a .npz with x and y")
    if classes is not None and len(folders) > classes:
        first = folders[classes]
        raise UsageError(
            f"{first} would have label {classes}, which must be from 0 to {classes - 1}: "
            f"{root} has {len(folders)} class folders, but the network {classes} classes"
        )
    if classes is not None and len(folders) < classes and all(_is_wordnet(f.name) for f in folders):
        raise UsageError(
            f"{root} has {len(folders)} of the network's {classes} classes, and labels follow the sorted order of the "
            f"class folders, so they would be wrong: add the missing folders (they may be empty), or give a .npz"
        )
    files: list[Path] = []
    values: list[int] = []
    for label, folder in enumerate(folders):
        found = _images_below(folder)
        files += found
        values += [label] * len(found)
    return files, np.array(values, dtype=np.int64)


def _is_wordnet(name: str) -> bool:
    """Whether a folder bears an ImageNet class's identifier, such as n01440764."""
    return len(name) == 9 and name[0] == "n" and name[1:].isdigit()


def _list(folder: Path) -> tuple[list[Path], list[Path]]:
    """Sub-folders and image files directly in `folder`, each sorted by name."""
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name != "__MACOSX")
    return [p for p in entries if p.is_dir()], [p for p in entries if p.suffix.lower() in EXTENSIONS and p.is_file()]


def _images_below(root: Path) -> list[Path]:
    """All image files at any depth; a folder that is reached twice through links is read once."""
    seen: set[tuple[int, int]] = set()
    found: list[Path] = []
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        folders, files = _list(folder)
        found += files
        waiting += reversed(folders)
    return found


def read_image(path: Path, preprocess: Preprocess) -> FloatArray:
    """One image file as C×H×W."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                image.load()
                return preprocess.image(image)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UsageError(f"{path} has too many pixels for a photograph; remove it or make it smaller") from None
    except Exception as error:
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else str(error)
        raise UsageError(f"{path} cannot be read as an image ({reason}); repair or remove it") from None
