"""One safetensors file with one JSON header and one checksum: what every file of ours with arrays in it is.

The header is the only metadata entry, because safetensors writes several in no fixed order. The checksum covers the
header and the arrays, so that a cut or changed file is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialize

from .errors import ModelError, UsageError
from .files import write_atomically

Arrays = Mapping[str, NDArray[Any]]
_KEY = "ilmpq"


def write_container(path: Path, kind: str, version: int, header: Mapping[str, Any], arrays: Arrays) -> None:
    """Write the file in one step."""
    write_atomically(path, container_bytes(kind, version, header, arrays))


def container_bytes(kind: str, version: int, header: Mapping[str, Any], arrays: Arrays) -> bytes:
    """The file as bytes; equal contents give equal bytes."""
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    full = {"kind": kind, "version": version, **header}
    full["checksum"] = _checksum(full, arrays)
    return serialize(arrays, metadata={_KEY: json.dumps(full)})


def read_container(path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays of a file of this kind; a damaged, foreign or newer file is a `ModelError`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    try:
        length = int.from_bytes(data[:8], "little")
        text = json.loads(data[8 : 8 + length])["__metadata__"][_KEY]
        header = json.loads(text)
        arrays = dict(parse(data))
        found, newest = header["kind"], int(header["version"])
        checksum = header.pop("checksum")
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise ModelError(f"{path} is not a whole ILMPQ file: it is damaged, cut off, or something else") from None
    if found != kind:
        raise ModelError(f"{path} must hold a {kind}, not a {found}")
    if newest > version:
        raise ModelError(f"{path} has version {newest} of its format, this program knows {version}: upgrade ilmpq")
    if checksum != _checksum(header, arrays):
        raise ModelError(f"{path} is damaged: its checksum does not match")
    return header, arrays


def _checksum(header: Mapping[str, Any], arrays: Arrays) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
