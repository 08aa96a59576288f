"""A design point: which MAC arrays stand side by side, and what they share.

>>> g = Geometry.parse("pot4@lut:4, fix4@dsp:4, fix8@dsp:2", tk=16, tp=2)
>>> g.rows, g.macs_per_cycle
(10, 320)
>>> Geometry.from_dict(g.to_dict()) == g
True

DSPs take as many products as fit, or at most so many as stand behind `dsp`:

>>> few = Geometry.parse("fix4@dsp:4, fix4@dsp2:4, fix4@dsp1:4, fix8@dsp1:2", tk=16, tp=2)
>>> [array.packing(few.tp, few.act_bits) for array in few.arrays]
[(2, 2), (2, 1), (1, 1), (1, 1)]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from . import strict
from .errors import UsageError
from .schemes import BY_NAME, Scheme, scheme_named

MOST_ARRAYS, MOST_ROWS, MOST_LANES, MOST_POSITIONS = 16, 1024, 64, 32
ACC_BITS = (16, 32)
ACT_BITS = (4, 8)
MOST_BITS_OF_FOUR = 6  # activation bits up to which a DSP takes four Fixed4 products


class Resource(StrEnum):
    """What multiplies."""

    LUT = "lut"
    DSP = "dsp"


KINDS: tuple[tuple[str, Resource, int], ...] = (
    ("pot4", Resource.LUT, 0),
    ("fix4", Resource.DSP, 0),
    ("fix8", Resource.DSP, 0),
    ("pot3", Resource.LUT, 0),
    ("fix4", Resource.LUT, 0),
    ("fix3", Resource.LUT, 0),
    ("fix2", Resource.LUT, 0),
    ("fix8", Resource.LUT, 0),
    ("fix4", Resource.DSP, 2),
    ("fix4", Resource.DSP, 1),
    ("fix8", Resource.DSP, 1),
)  # the arrays that exist: scheme, resource, most products per DSP; the index is the kind's number in the hardware


@dataclass(frozen=True)
class Array:
    """Rows of one scheme on one resource."""

    scheme: str
    resource: Resource
    rows: int
    products: int = 0  # most products per DSP; 0: as many as fit

    @property
    def kind(self) -> int:
        """The number by which the hardware knows this kind of array."""
        return KINDS.index((self.scheme, self.resource, self.products))

    def packing(self, tp: int, act_bits: int) -> tuple[int, int]:
        """Rows and positions whose products share a DSP; one of each in LUTs."""
        even_rows, even_positions = self.rows % 2 == 0, tp % 2 == 0
        if self.resource is Resource.LUT or self.products == 1:
            return 1, 1
        if self.scheme == "fix8":
            return (1, 2) if even_positions else (2, 1)
        if self.products == 0 and even_rows and even_positions and act_bits <= MOST_BITS_OF_FOUR:
            return 2, 2
        return (2, 1) if even_rows else (1, 2)

    def __str__(self) -> str:
        return f"{kind_name(self.scheme, self.resource, self.products)}:{self.rows}"


def kind_name(scheme: str, resource: Resource, products: int) -> str:
    """A kind of array as text.

    >>> kind_name("fix4", Resource.DSP, 2)
    'fix4@dsp2'
    """
    return f"{scheme}@{resource.value}{products or ''}"


@dataclass(frozen=True)
class Geometry:
    """Arrays whose rows are computed together, over `tk` products per step and `tp` output positions."""

    arrays: tuple[Array, ...]
    tk: int
    tp: int
    act_bits: int = 4
    acc_bits: int = 32

    @staticmethod
    def parse(text: str, tk: int, tp: int, act_bits: int = 4, acc_bits: int = 32) -> Geometry:
        """Arrays out of `pot4@lut:22, fix4@dsp:8, fix8@dsp1:2`."""
        arrays = []
        for part in str(text).split(","):
            found = re.fullmatch(r"(\w+)@(lut|dsp)([1-9]?):(\d{1,5})", part.strip(), re.ASCII)
            if found is None:
                raise UsageError(f"geometry must be like pot4@lut:22,fix4@dsp:8, not {text!r}")
            scheme, resource = scheme_named(found[1]).name, Resource(found[2])
            arrays.append(Array(scheme, resource, int(found[4]), int(found[3] or 0)))
        return Geometry(tuple(arrays), tk, tp, act_bits, acc_bits).verify()

    @property
    def rows(self) -> int:
        return sum(a.rows for a in self.arrays)

    @property
    def macs_per_cycle(self) -> int:
        return self.rows * self.tk * self.tp

    def schemes(self) -> dict[Scheme, int]:
        """Rows of each scheme, whatever multiplies them."""
        rows: dict[Scheme, int] = {}
        for array in self.arrays:
            scheme = BY_NAME[array.scheme]
            rows[scheme] = rows.get(scheme, 0) + array.rows
        return rows

    def verify(self) -> Geometry:
        """Check every rule; `UsageError` says which is broken."""
        if not 1 <= len(self.arrays) <= MOST_ARRAYS:
            raise UsageError(
                f"a geometry must have 1 to {MOST_ARRAYS} arrays, not {len(self.arrays)}: join rows of one scheme and resource"
            )
        for label, value, low, high in (
            ("tk", self.tk, 1, MOST_LANES),
            ("tp", self.tp, 1, MOST_POSITIONS),
            ("act_bits", self.act_bits, *ACT_BITS),
            ("acc_bits", self.acc_bits, *ACC_BITS),
        ):
            if type(value) is not int or not low <= value <= high:
                raise UsageError(f"{label} must be a whole number from {low} to {high}, not {value}")
        for array in self.arrays:
            self._verify_array(array)
        return self

    def _verify_array(self, array: Array) -> None:
        if (array.scheme, array.resource, array.products) not in KINDS:
            name, known = kind_name(array.scheme, array.resource, array.products), [kind_name(*kind) for kind in KINDS]
            raise UsageError(f"an array must be one of {', '.join(known)}, not {name}")
        if type(array.rows) is not int or not 1 <= array.rows <= MOST_ROWS:
            raise UsageError(f"{array} must have 1 to {MOST_ROWS:,} rows: leave out an array that has none")
        if array.resource is Resource.DSP and array.products != 1 and array.rows % 2 and self.tp % 2:
            raise UsageError(
                f"{array} shares a DSP between two rows or two positions: make its rows or tp even, or take "
                f"{kind_name(array.scheme, array.resource, 1)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "arrays": [_array_to_dict(array) for array in self.arrays],
            "tk": self.tk,
            "tp": self.tp,
            "act_bits": self.act_bits,
            "acc_bits": self.acc_bits,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Geometry:
        """The inverse of `to_dict`; what is no geometry is a `UsageError`."""
        try:
            found = strict.record(data, "a geometry", {"arrays", "tk", "tp", "act_bits", "acc_bits"})
            arrays = []
            for each in strict.items(found["arrays"], "arrays"):
                array = strict.record(each, "an array", {"scheme", "resource", "rows"}, {"products"})
                scheme = scheme_named(strict.text(array["scheme"], "scheme")).name
                resource = Resource(strict.text(array["resource"], "resource"))
                products = strict.whole(array.get("products", 0), "products")
                arrays.append(Array(scheme, resource, strict.whole(array["rows"], "rows"), products))
            sizes = [strict.whole(found[k], k) for k in ("tk", "tp", "act_bits", "acc_bits")]
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"geometry cannot be read: {error}; it must hold arrays (scheme, resource, rows), tk, tp, act_bits and acc_bits"
            ) from None
        return Geometry(tuple(arrays), *sizes).verify()


def _array_to_dict(array: Array) -> dict[str, Any]:
    """As JSON holds it: a limit to the products per DSP only where there is one."""
    limit = {"products": array.products} if array.products else {}
    return {"scheme": array.scheme, "resource": array.resource.value, "rows": array.rows} | limit
