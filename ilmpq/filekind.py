"""What a model file is, told by its content: the kinds that can be loaded, and a plain word for those that cannot."""

from __future__ import annotations

import zipfile
from enum import Enum
from pathlib import Path

from .errors import ModelError, UsageError


class FileKind(Enum):
    """A kind of file that can be loaded; the value is its name in messages."""

    CHECKPOINT = "a PyTorch checkpoint"
    SAFETENSORS = "a safetensors file"
    EXPORTED = "a program of torch.export"
    ONNX = "an ONNX file"


SUFFIXES = {
    ".pt": FileKind.CHECKPOINT,
    ".pth": FileKind.CHECKPOINT,
    ".th": FileKind.CHECKPOINT,
    ".safetensors": FileKind.SAFETENSORS,
    ".pt2": FileKind.EXPORTED,
    ".onnx": FileKind.ONNX,
}
USUAL_SUFFIX = {kind: suffix for suffix, kind in reversed(SUFFIXES.items())}

_HEAD = 512
_TORCH_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the number that files of torch before 1.6 begin with, pickled
_SAVE_AGAIN = "save the weights with torch.save(model.state_dict(), PATH) and give that file"
_STRANGERS = (  # first bytes, what it is, the mend
    (b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    (b"\x89HDF", "an HDF5 file (Keras)", "convert it to ONNX with tf2onnx"),
    (b"\x93NUMPY", "a NumPy array", _SAVE_AGAIN),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it with `git lfs pull`"),
    (b"<?xml", "an XML file", "check where it was downloaded from"),
    (b"\x80", "a pickle that torch.save did not write, and opening it could run any program", _SAVE_AGAIN),
)


def kind_of(path: Path) -> FileKind:
    """The kind of a file that can be loaded; a `ModelError` says what any other file is."""
    head, size = _read_head(path)
    if size == 0:
        raise ModelError(f"{path} is empty: copy or download it again")
    kind = _recognise(path, head)
    expected = SUFFIXES.get(path.suffix.lower())
    if kind is None and expected in (FileKind.ONNX, FileKind.SAFETENSORS):
        return expected  # neither has a sure mark at its beginning; their readers check the whole file
    if kind is None:
        raise ModelError(
            f"{path} must be {', '.join(k.value for k in FileKind)}, but its content is none of them: "
            "it is damaged or not a model; copy or download it again"
        )
    if expected is not None and kind is not expected:
        right = path.with_suffix(USUAL_SUFFIX[kind]).name
        raise ModelError(f"{path} is {kind.value}, not {expected.value}: rename it to {right}")
    return kind


def _read_head(path: Path) -> tuple[bytes, int]:
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: give the model file in it")
        with path.open("rb") as file:
            return file.read(_HEAD), path.stat().st_size
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: check the path") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}): check the path and its permissions") from None


def _recognise(path: Path, head: bytes) -> FileKind | None:
    if head.startswith(b"PK"):
        return _recognise_zip(path)
    if _TORCH_MAGIC in head[:32]:
        return FileKind.CHECKPOINT
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        raise ModelError(f"{path} is an HTML page, not a model: the download gave a web page; download the file itself")
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40:
        return FileKind.SAFETENSORS
    for mark, what, mend in _STRANGERS:
        if head.startswith(mark):
            raise ModelError(f"{path} is {what}: {mend}")
    # Protocol buffers have no magic: an ONNX file starts with its version (field 1) and then has another field.
    if len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 64 and head[2] in (0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x42):
        return FileKind.ONNX
    return None


def _recognise_zip(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        raise ModelError(f"{path} is cut off or damaged: copy or download it again") from None
    names = [e.filename.rpartition("/")[2] for e in entries]
    if any(n in ("archive_format", "serialized_exported_program.json") for n in names):
        return FileKind.EXPORTED
    if "constants.pkl" in names:
        raise ModelError(f"{path} is a TorchScript program, which holds code: {_SAVE_AGAIN}")
    if "data.pkl" not in names:
        what = "NumPy arrays (.npz)" if any(n.endswith(".npy") for n in names) else "a ZIP archive without a model"
        raise ModelError(f"{path} is {what}: {_SAVE_AGAIN}")
    if any(e.compress_type != zipfile.ZIP_STORED for e in entries):
        raise ModelError(f"{path} is compressed, which torch.save never does: {_SAVE_AGAIN}")
    return FileKind.CHECKPOINT
