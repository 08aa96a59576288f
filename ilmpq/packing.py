"""The packed form of a layer's codes: each code in its scheme's bits, the rows of one scheme after another.

>>> import numpy as np
>>> codes = np.array([[1, -64, 0], [7, -7, 1]], np.int8)
>>> pack(codes, np.array([0, 1], np.uint8)).tobytes().hex()
'f1009701'
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .errors import InvariantError
from .schemes import BY_IDENT, Scheme, codes_of, fields

CHUNK = 1 << 20  # codes at once, a multiple of 8: chunks end at whole bytes


def pack(codes: NDArray[np.int8], scheme: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack a matrix of codes (rows × K) whose rows have the schemes named by their identifiers."""
    return np.concatenate([_pack(codes[rows].ravel(), kind) for kind, rows in _blocks(scheme)] or [_none()])


def unpack(packed: NDArray[np.uint8], scheme: NDArray[np.uint8], columns: int) -> NDArray[np.int8]:
    """The inverse of `pack`; `InvariantError` if the length is wrong or a field is no code."""
    codes = np.zeros((len(scheme), columns), np.int8)
    start = 0
    for kind, rows in _blocks(scheme):
        count = len(rows) * columns
        block = packed[start : start + -(-count * kind.bits // 8)]
        codes[rows] = _unpack(block, kind, count).reshape(len(rows), columns)
        start += len(block)
    if start != len(packed):
        raise InvariantError(f"packed codes must be {start} bytes, not {len(packed)}")
    return codes


def _blocks(scheme: NDArray[np.uint8]) -> Iterator[tuple[Scheme, NDArray[np.intp]]]:
    """The schemes that occur, by rising identifier, each with its rows in order."""
    for ident in np.unique(scheme):
        if int(ident) not in BY_IDENT:
            raise InvariantError(f"scheme must be one of {sorted(BY_IDENT)}, not {ident}")
        yield BY_IDENT[int(ident)], np.flatnonzero(scheme == ident)


def _none() -> NDArray[np.uint8]:
    return np.zeros(0, np.uint8)


def _pack(codes: NDArray[np.int8], scheme: Scheme) -> NDArray[np.uint8]:
    """Fields one after another, each from its lowest bit, into bytes from their lowest bit; the last byte is filled with 0."""
    parts = []
    for start in range(0, len(codes), CHUNK):
        part = fields(codes[start : start + CHUNK], scheme)
        bits = np.unpackbits(part[:, None], axis=1, count=scheme.bits, bitorder="little")
        parts.append(np.packbits(bits, bitorder="little"))
    return np.concatenate(parts or [_none()])


def _unpack(packed: NDArray[np.uint8], scheme: Scheme, count: int) -> NDArray[np.int8]:
    if len(packed) != -(-count * scheme.bits // 8):
        raise InvariantError(f"{scheme.name} codes must be {-(-count * scheme.bits // 8)} bytes, not {len(packed)}")
    codes = np.empty(count, np.int8)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        part = packed[start * scheme.bits // 8 : -(-stop * scheme.bits // 8)]
        bits = np.unpackbits(part, count=(stop - start) * scheme.bits, bitorder="little").reshape(-1, scheme.bits)
        found = np.packbits(bits, axis=1, bitorder="little")[:, 0]
        codes[start:stop] = codes_of(found, scheme)
        if (fields(codes[start:stop], scheme) != found).any():
            raise InvariantError(f"{scheme.name} codes must not have the negative of zero")
    if not scheme.holds(codes).all():
        raise InvariantError(f"{scheme.name} code must be {scheme.rule}")
    return codes
