"""Parts and what they hold, and what a MAC costs on them, as synthesis has measured it.

The costs are in `hw/syn/baseline.json`, which `make hw` writes; nothing here is an estimate.

    >>> PARTS["xc7z020"].dsp
    220
    >>> geometry = Geometry.parse("pot3@lut:1", tk=32, tp=1)
    >>> lane_cost(geometry.arrays[0], geometry).lut_per_mac < 15
    True
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import InvariantError, UsageError
from .geometry import MOST_BITS_OF_FOUR, Array, Geometry, Resource

MODULES = {
    ("pot4", Resource.LUT): "pot4_array",
    ("pot3", Resource.LUT): "pot3_array",
    ("fix2", Resource.LUT): "ternary_lut_array",
    ("fix3", Resource.LUT): "fixed3_lut_array",
    ("fix4", Resource.LUT): "fixed4_lut_array",
    ("fix8", Resource.LUT): "fixed8_lut_array",
    ("fix4", Resource.DSP): "fixed4_dsp_array",
    ("fix8", Resource.DSP): "fixed8_dsp_array",
}


@dataclass(frozen=True)
class Part:
    """What a chip holds. A clock without place and route is an assumption; so is the memory's rate: three quarters of the
    peak of a 32-bit DDR3-1066, all ports together."""

    name: str
    lut: int
    ff: int
    bram36: int
    dsp: int
    assumed_clock_mhz: float
    memory_bytes_per_s: float = 0.75 * 4 * 1_066e6

    @property
    def memory_bytes_per_cycle(self) -> float:
        return self.memory_bytes_per_s / (self.assumed_clock_mhz * 1e6)


PARTS = {
    part.name: part
    for part in (
        Part("xc7z020", lut=53_200, ff=106_400, bram36=140, dsp=220, assumed_clock_mhz=100.0),
        Part("xc7z045", lut=218_600, ff=437_200, bram36=545, dsp=900, assumed_clock_mhz=150.0),
    )
}


@dataclass(frozen=True)
class LaneCost:
    """What a MAC of an array costs, adders and accumulators included, in an array of `macs` of them."""

    macs: int
    lut: int
    ff: int
    dsp: int

    @property
    def lut_per_mac(self) -> float:
        return self.lut / self.macs

    @property
    def macs_per_dsp(self) -> float:
        """Infinite for an array without DSPs."""
        return self.macs / self.dsp if self.dsp else float("inf")


def part_named(name: str) -> Part:
    """The part of that name, or a `UsageError` that lists the names."""
    found = PARTS.get(name.strip().lower())
    if found is None:
        raise UsageError(f"device must be one of {', '.join(PARTS)}, not {name!r}")
    return found


def hardware_folder() -> Path:
    """Where the hardware's sources lie: beside the package in a checkout, inside it when installed."""
    beside = Path(__file__).parents[1] / "hw"
    return beside if (beside / "syn").is_dir() else Path(__file__).parent / "hw"


@cache
def measured() -> dict[str, dict[str, Any]]:
    """Every synthesised array by its parameters, from `baseline.json`."""
    path = hardware_folder() / "syn" / "baseline.json"
    try:
        results: dict[str, dict[str, Any]] = json.loads(path.read_text())["results"]
    except (OSError, ValueError, KeyError) as error:
        raise InvariantError(
            f"{path} must hold the measured costs of the arrays: `make hw` writes it ({error})"
        ) from None
    return results


def lane_cost(array: Array, geometry: Geometry) -> LaneCost:
    """The measured cost of an array of this kind, packed as it is in this geometry; `UsageError` if not measured.

    Accumulators of other widths than those measured cost at most what the next wider one does.
    """
    module = MODULES[array.scheme, array.resource]
    wanted = {"array": module, "lanes": geometry.tk, "act_bits": geometry.act_bits, **_measured_as(array, geometry)}
    found = [r for r in measured().values() if all(r.get(key) == value for key, value in wanted.items())]
    for result in sorted(found, key=lambda r: int(r["acc_bits"])):
        if result["acc_bits"] >= geometry.acc_bits:
            return LaneCost(result["macs"], result["lut"], result["ff"], result["dsp"])
    raise UsageError(
        f"{array} with {geometry.tk} lanes and {geometry.act_bits}-bit activations was not synthesised: "
        "choose lanes among 8, 16, 32, 64, or add it to scripts/synthesise.py and run `make hw`"
    )


def _measured_as(array: Array, geometry: Geometry) -> dict[str, int]:
    """Rows, positions and products per DSP with which an array that packs its DSPs in the same way was measured."""
    if array.resource is Resource.LUT:
        return {"rows": 1, "positions": 1}
    rows, positions = array.packing(geometry.tp, geometry.act_bits)
    products = rows * positions
    if products == 1:
        rows, positions = 2, 2
    elif array.scheme == "fix8":
        rows = 2
    elif rows == 2 and (geometry.tp % 2 == 0 or geometry.act_bits > MOST_BITS_OF_FOUR):
        positions = 2
    return {"rows": rows, "positions": positions, "products": products}
