"""One safetensors file with one JSON header and one checksum: what every file of ours with arrays in it is.

The only metadata entry (safetensors writes several in no fixed order) is `CHECKSUM HEADER`: the header's text, and
before it the SHA-256 of that text and the arrays. So a cut or changed file is refused, in any language.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialize

from . import strict
from .errors import ModelError, UsageError
from .files import write_atomically

Arrays = Mapping[str, NDArray[Any]]
_KEY = "ilmpq"
MEND = "copy it again, or run again what wrote it"
_ENTRY = re.compile(r"([0-9a-f]{64}) (.*)", re.DOTALL)
_KINDS = {"i": "I", "u": "U", "f": "F"}  # numpy's letters, and those that safetensors puts before the bits
# What parsing something else, or something damaged, raises.
_DAMAGE = (SafetensorError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError)


def write_container(path: Path, kind: str, version: int, header: Mapping[str, Any], arrays: Arrays) -> None:
    """Write the file in one step."""
    write_atomically(path, container_bytes(kind, version, header, arrays))


def container_bytes(kind: str, version: int, header: Mapping[str, Any], arrays: Arrays) -> bytes:
    """The file as bytes; equal contents give equal bytes."""
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    text = json.dumps({"kind": kind, "version": version, **header}, allow_nan=False)
    return serialize(arrays, metadata={_KEY: f"{_checksum(text, arrays)} {text}"})


def read_container(path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays of a file of this kind; a damaged, foreign or newer file is a `ModelError`."""
    data = _read(path)
    try:
        checksum, text = _entry(data)
        arrays = dict(parse(data))
        whole = checksum == _checksum(text, arrays)
    except _DAMAGE:
        raise ModelError(
            f"{path} is not a whole ILMPQ file: it is damaged, cut off, or something else; {MEND}"
        ) from None
    if not whole:
        raise ModelError(f"{path} is damaged: its checksum does not match; {MEND}")
    try:
        header = strict.mapping(parse_json(text), "the header")
        found, newest = strict.text(header["kind"], "kind"), strict.whole(header["version"], "version")
    except _DAMAGE as error:
        raise ModelError(f"{path} does not hold a legal header: {error}") from None
    if found != kind:
        raise ModelError(f"{path} must hold {_with_article(kind)}, not {_with_article(found[:40])}")
    if newest > version:
        raise ModelError(f"{path} has version {newest} of its format, this program knows {version}: upgrade ilmpq")
    if newest < 1:
        raise ModelError(f"{path} version must be positive, not {newest}")
    return header, arrays


def parse_json(text: str) -> Any:
    """JSON as the standard has it: no NaN, and no field twice.

    >>> parse_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: a field must occur once in an object
    """
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field must occur once in an object")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"a number must be finite, not {name}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


def _entry(data: bytes) -> tuple[str, str]:
    """Checksum and header's text from the only metadata entry of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    metadata = strict.record(parse_json(data[8 : 8 + length].decode())["__metadata__"], "metadata", {_KEY})
    match = _ENTRY.fullmatch(metadata[_KEY])
    if match is None:
        raise ValueError("metadata must be a checksum and a header")
    return match[1], match[2]


def _checksum(text: str, arrays: Arrays) -> str:
    """SHA-256 of the text, then for each array a line `NAME DTYPE SHAPE` and its bytes, little-endian."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        dtype = f"{_KINDS[array.dtype.kind]}{8 * array.dtype.itemsize}"
        digest.update(f"\n{name} {dtype} {','.join(map(str, array.shape))}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def _with_article(kind: str) -> str:
    """Nouns as they stand in a sentence: `a float network`, `an integer program`, `images`."""
    if kind.endswith("s"):
        return kind
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"
