"""Arrays of a .npz file from an untrusted source: loaded whole, or refused with the reason; never unpickled."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError


def load_npz(path: Path, wanted: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """The arrays named in `wanted`, which says of each what it is (`{"x": "the images"}`)."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
            for name, meaning in wanted.items():
                if name not in members:
                    held = ", ".join(sorted(members)) or "nothing"
                    raise UsageError(f"{path} must hold {meaning} as an array named {name}, but it holds {held}")
            return {name: _read_array(path, archive, members[name]) for name in wanted}
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{path} cannot be read as a .npz file ({str(error) or type(error).__name__}): "
            "it is damaged or cut short; make or copy it again"
        ) from None


def _read_array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """One array, whose header is believed only where the bytes that follow can be as many as it says."""
    name = f"{path} {member.filename.removesuffix('.npy')}"
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise UsageError(
                f"{name} has .npy version {version[0]}.{version[1]}, which numpy writes only for field names"
            )
        shape, fortran, dtype = readers[version](file)
        if dtype.hasobject:
            raise UsageError(f"{name} must be an array of numbers, not pickled Python objects, which are never loaded")
        size = dtype.itemsize * int(np.prod(shape, dtype=object))
        if size > member.file_size:
            raise UsageError(f"{name} is damaged: its header tells of {size} bytes, but there are {member.file_size}")
        if size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
            raise UsageError(f"{name} has {size / 2**30:.0f} GiB, more than this machine's memory: give fewer images")
        data = bytearray(size)
        filled = 0
        while filled < size:
            chunk = file.read(min(size - filled, 1 << 24))
            if not chunk:
                raise UsageError(f"{name} is cut short: {filled} of {size} bytes")
            data[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        file.read(1)  # reaching the end checks the checksum
    return np.ndarray(shape, dtype, data, order="F" if fortran else "C")
