"""Shared libraries kept by a checksum of what they are made of, and the 32-bit words that enter and leave them."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ilmpq.errors import ToolMissing

Words = NDArray[np.uint32]
CACHE = Path.home() / ".cache" / "ilmpq"


def words(bits: int) -> int:
    """32-bit words that hold so many bits."""
    return -(-bits // 32)


def pack_fields(values: NDArray[np.integer], bits: int) -> Words:
    """Rows of fields of `bits` bits, the first in the lowest bits, as rows of 32-bit words.

    >>> pack_fields(np.array([[1, -1, 2]]), 4)
    array([[753]], dtype=uint32)
    """
    flat = values.reshape(len(values), -1)
    mask = (1 << bits) - 1
    unsigned = (flat.astype(np.int64) & mask).astype("<u8").view(np.uint8).reshape(*flat.shape, 8)
    each = np.unpackbits(unsigned, axis=2, count=bits, bitorder="little").reshape(len(flat), -1)
    packed = np.packbits(each, axis=1, bitorder="little")
    padded = np.zeros((len(flat), 4 * words(bits * flat.shape[1])), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view("<u4").astype(np.uint32)


def unpack_fields(packed: Words, bits: int, count: int) -> NDArray[np.int64]:
    """The inverse of `pack_fields`, for `count` signed fields a row."""
    raw = np.ascontiguousarray(packed.astype("<u4")).view(np.uint8)
    each = np.unpackbits(raw, axis=1, count=bits * count, bitorder="little").reshape(len(packed), count, bits)
    wide = np.zeros((len(packed), count, 64), np.uint8)
    wide[:, :, :bits] = each
    wide[:, :, bits:] = each[:, :, -1:]
    return np.packbits(wide, axis=2, bitorder="little").view("<i8")[:, :, 0].astype(np.int64)


def pointer(array: Words) -> ctypes._Pointer[ctypes.c_uint32]:
    """The words of a contiguous array as C sees them."""
    assert array.flags["C_CONTIGUOUS"]
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32))


def call(command: Sequence[str], what: str) -> None:
    """Run a tool; what it printed is in the error if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolMissing(f"{what}: {command[0]} failed:\n{(done.stderr or done.stdout)[-3000:]}")


def cached(path: Path, build: Callable[[Path], Path]) -> Path:
    """A file of the cache; if it is not there, `build` makes it somewhere in the folder it is given."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            built = build(Path(folder))
            staged = path.with_suffix(f".{os.getpid()}")
            shutil.copyfile(built, staged)
            os.replace(staged, path)
    return path
