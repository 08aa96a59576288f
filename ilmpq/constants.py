"""The integer constants of one node of a program: their rules, and their form in the program's file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import strict
from .errors import InvariantError
from .packing import pack, unpack
from .schemes import BY_IDENT
from .storage import WIDE

MULTIPLIER_BITS, SKIP_MULTIPLIER_BITS = 20, 25
MAX_SHIFT = 62
Int32 = NDArray[np.int32]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Arithmetic:
    """How sums become codes. `multiplier` has one value per row; a pool's has one, or one per position."""

    multiplier: Int32
    shift: int
    low: int
    high: int
    skip_multiplier: int = 0

    def verify(self, name: str, lengths: Collection[int], low: int, high: int, skip: bool) -> None:
        """Check every rule for a node with outputs from `low` to `high`, with or without a residual."""
        multiplier = self.multiplier
        if multiplier.dtype != np.int32 or multiplier.ndim != 1 or len(multiplier) not in lengths:
            raise InvariantError(f"{name} multiplier must be int32 of length {max(lengths)}")
        if multiplier.min() <= 0 or multiplier.max() >= 2**MULTIPLIER_BITS:
            raise InvariantError(f"{name} multiplier must be from 1 to 2^20 - 1")
        if not (0 <= self.skip_multiplier < 2**SKIP_MULTIPLIER_BITS and 0 <= self.shift <= MAX_SHIFT):
            raise InvariantError(f"{name} skip multiplier or shift is out of bounds")
        if self.skip_multiplier and not skip:
            raise InvariantError(f"{name} skip multiplier must be 0 without a residual, not {self.skip_multiplier}")
        if not low <= self.low <= self.high <= high:
            raise InvariantError(f"{name} range must lie within {low} … {high}, not {self.low} … {self.high}")

    def to_file(self, name: str) -> tuple[dict[str, int], dict[str, NDArray[Any]]]:
        """What the file's header and its tensors say."""
        return {k: getattr(self, k) for k in _NUMBERS}, {f"{name}/multiplier": self.multiplier}

    @staticmethod
    def from_file(name: str, data: object, arrays: Arrays) -> Arithmetic:
        """The inverse of `to_file`."""
        found = strict.record(data, f"{name} arithmetic", _NUMBERS)
        return Arithmetic(
            _array(arrays, f"{name}/multiplier", np.int32),
            **{k: strict.whole(v, f"{name} {k}") for k, v in found.items()},
        )


_NUMBERS = ("shift", "low", "high", "skip_multiplier")


@dataclass(frozen=True)
class Matrix:
    """The integer weights of a layer: codes (rows × K), the rows' schemes, int32 biases, and how the input is read."""

    codes: NDArray[np.int8]
    scheme: NDArray[np.uint8]
    bias: Int32
    input_bits: int
    input_shift: int

    def verify(self, name: str, rows: int, columns: int, stored_bits: int) -> None:
        """Check every rule for a layer of this shape that reads a tensor stored in so many bits."""
        for label, dtype, shape in (
            ("codes", np.int8, (rows, columns)),
            ("scheme", np.uint8, (rows,)),
            ("bias", np.int32, (rows,)),
        ):
            array: NDArray[Any] = getattr(self, label)
            if array.shape != shape or array.dtype != dtype:
                raise InvariantError(
                    f"{name} {label} must be {np.dtype(dtype)} {shape}, not {array.dtype} {array.shape}"
                )
        for ident in np.unique(self.scheme):
            members = self.scheme == ident
            if int(ident) not in BY_IDENT or not BY_IDENT[int(ident)].holds(self.codes[members]).all():
                raise InvariantError(f"{name} codes must be those of their rows' schemes")
        most = max(stored_bits - self.input_bits, 0)
        if not 1 <= self.input_bits <= WIDE or not 0 <= self.input_shift <= most:
            raise InvariantError(f"{name} input bits or shift is out of bounds")

    def to_file(self, name: str) -> tuple[dict[str, int], dict[str, NDArray[Any]]]:
        """What the file's header and its tensors say."""
        arrays: dict[str, NDArray[Any]] = {
            f"{name}/codes": pack(self.codes, self.scheme),
            f"{name}/scheme": self.scheme,
            f"{name}/bias": self.bias,
        }
        return {"input_bits": self.input_bits, "input_shift": self.input_shift}, arrays

    @staticmethod
    def from_file(name: str, data: object, arrays: Arrays, rows: int, columns: int) -> Matrix:
        """The inverse of `to_file`; nothing is held that the file does not hold."""
        found = strict.record(data, f"{name} matrix", {"input_bits", "input_shift"})
        packed, scheme = _array(arrays, f"{name}/codes", np.uint8), _array(arrays, f"{name}/scheme", np.uint8)
        least = min(s.bits for s in BY_IDENT.values())
        if len(scheme) != rows or rows * columns * least > 8 * len(packed):
            raise InvariantError(f"{name} must have {rows} schemes and {rows}×{columns} codes")
        return Matrix(
            unpack(packed, scheme, columns),
            scheme,
            _array(arrays, f"{name}/bias", np.int32),
            strict.whole(found["input_bits"], f"{name} input_bits"),
            strict.whole(found["input_shift"], f"{name} input_shift"),
        )


def _array(arrays: Arrays, name: str, dtype: type[np.generic]) -> NDArray[Any]:
    """A vector of a file."""
    array = arrays[name]
    if array.ndim != 1 or array.dtype != dtype:
        raise InvariantError(f"{name} must be a vector of {np.dtype(dtype)}, not {array.dtype} {array.shape}")
    return array
