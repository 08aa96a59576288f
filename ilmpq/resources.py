"""What an engine costs on a chip: its arrays by their measured lanes, all else by a model fitted to engines that Yosys has
synthesised (`hw/syn/engine.json`), and whether it fits.

    >>> from .design import EngineConfig
    >>> from .device import PARTS
    >>> cost = resources(EngineConfig(Geometry.parse("fix4@dsp:8, fix4@lut:16", tk=16, tp=4)))
    >>> cost.dsp, 8_000 < cost.lut < 40_000
    (148.0, True)

DSPs and block RAMs follow from the sources and are exact but for half a block RAM. LUTs and flip-flops around the arrays
are sums of terms that the sources suggest (a multiplexer of so many inputs, so many of them), with factors that are not
negative; `errors` tells how far a model that has not seen a point is from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from .design import PORT_BITS, SLOT_WORDS, EngineConfig
from .device import Part, hardware_folder, lane_cost
from .errors import InvariantError
from .geometry import Geometry

Numbers = NDArray[np.float64]
SLOT_BITS = PORT_BITS * SLOT_WORDS
BLOCK_BITS, BLOCK_DEPTH = 72, 512  # of a block RAM of 36 kbit, at its widest


@dataclass(frozen=True)
class Resources:
    """Cells of each kind."""

    lut: float
    ff: float
    dsp: float
    bram36: float

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def over(self, most: Resources) -> dict[str, float]:
        """By how much each kind exceeds what there is."""
        exceeding = {f.name: getattr(self, f.name) - getattr(most, f.name) for f in fields(self)}
        return {name: by for name, by in exceeding.items() if by > 0}


def usable(part: Part) -> Resources:
    """What a design may take of a chip: some of it must stay free for routing, and for what a board's design adds."""
    return Resources(0.85 * part.lut, 0.85 * part.ff, part.dsp, part.bram36 - 10)


def resources(config: EngineConfig) -> Resources:
    """An engine's cost by the model."""
    parts = _model()
    around = [float(_terms(config)[part] @ parts[part, cost]) for part in PARTS_AROUND for cost in FITTED]
    lut, ff = around[0] + around[2], around[1] + around[3]
    return arrays(config.geometry) + Resources(lut, ff, around_dsp(config), block_rams(config))


def arrays(geometry: Geometry) -> Resources:
    """The arrays: so many rows and positions, each at its measured cost."""
    found = Resources(0, 0, 0, 0)
    for array in geometry.arrays:
        cost = lane_cost(array, geometry)
        times = array.rows * geometry.tk * geometry.tp / cost.macs
        found += Resources(times * cost.lut, times * cost.ff, times * cost.dsp, 0)
    return found


def around_dsp(config: EngineConfig) -> int:
    """DSPs beside the arrays: two requantizers of two for each position, and four multipliers of addresses."""
    return 4 * config.geometry.tp + 4


def block_rams(config: EngineConfig) -> float:
    """Lines of an image, activation memory (of bytes, with two ports that write), weight ring and slot table."""
    bytes_wide = {4096: 1, 2048: 2, 1024: 4}
    found = 4.0 * config.image_pixels
    found += sum(config.word_bytes / bytes_wide[depth] for depth in _depths(config.am_depth, 1024))
    full, rest = divmod(config.step_bits, config.beat_bits)
    found += full * _two_ports(config.beat_bits, config.ring_depth) + _two_ports(rest, config.ring_depth)
    return found + _two_ports(SLOT_BITS, config.table_depth)


def _two_ports(bits: int, depth: int) -> float:
    """One port writes, one reads: half a block RAM is 36 bits wide, or as many times less as it is deeper than 512."""
    return sum(-(-2 * bits * each // (BLOCK_BITS * BLOCK_DEPTH)) / 2 for each in _depths(depth, BLOCK_DEPTH))


def _depths(words: int, least: int) -> list[int]:
    """What block RAMs a memory is made of: the deepest, and one for the rest."""
    full, rest = divmod(words, 4096)
    return [4096] * full + ([max(least, 1 << (rest - 1).bit_length())] if rest else [])


# The model of LUTs and flip-flops around the arrays.

PARTS_AROUND = ("core", "memory")
FITTED = ("lut", "ff")


def _terms(config: EngineConfig) -> dict[str, Numbers]:
    """What the cost of each part is a sum of."""
    g, banks = config.geometry, config.banks
    core = (
        1,
        g.tp,  # requantizers, addresses of positions
        g.tp * g.tk,  # narrowing, patches
        g.tp * g.tk * banks,  # positions choose their bank
        banks * g.tk,  # words of the activation memory
        g.tp * g.rows * g.acc_bits,  # results wait and are chosen
        config.step_bits,  # weights on their way to the arrays
        config.patch_writers * config.image_bytes,  # windows that are being stored
    )
    memory = (
        1,
        banks * g.tk,  # words that are loaded and stored
        config.weight_ports,
        config.image_bytes * config.image_pixels,  # the window
        len(config.image_kernels) * config.image_bytes,
    )
    return {"core": np.array(core, float), "memory": np.array(memory, float)}


@dataclass(frozen=True)
class Synthesised:
    """An engine that Yosys has synthesised: what each part around the arrays cost."""

    name: str
    config: EngineConfig
    around: Mapping[str, Mapping[str, float]]


@cache
def synthesised() -> tuple[Synthesised, ...]:
    """The engines of `engine.json`."""
    path = hardware_folder() / "syn" / "engine.json"
    try:
        record = json.loads(path.read_text())
        return tuple(
            Synthesised(
                name,
                EngineConfig.from_dict(point["config"]),
                {part: record["results"][f"{name} {part}"] for part in PARTS_AROUND},
            )
            for name, point in record["points"].items()
        )
    except (OSError, ValueError, KeyError) as error:
        raise InvariantError(f"{path} must hold the engines' costs: `make hw` writes it ({error!r})") from None


@cache
def _model() -> dict[tuple[str, str], Numbers]:
    return _fitted(synthesised())


def _fitted(points: Sequence[Synthesised]) -> dict[tuple[str, str], Numbers]:
    """Factors of the terms, for the least sum of squared relative errors."""
    found = {}
    for part in PARTS_AROUND:
        terms = np.stack([_terms(point.config)[part] for point in points])
        for cost in FITTED:
            real = np.array([point.around[part][cost] for point in points], float)
            found[part, cost] = nnls(terms / real[:, None], np.ones(len(points)))[0]
    return found


@dataclass(frozen=True)
class ModelError:
    """A synthesised engine against a model that was fitted to all others."""

    name: str
    cost: str
    real: float
    model: float

    @property
    def relative(self) -> float:
        return self.model / self.real - 1


def errors() -> list[ModelError]:
    """Every engine's LUTs and flip-flops, arrays included, and both of what is around the arrays alone (`lut around`)."""
    found = []
    points = synthesised()
    for left_out in points:
        model = _fitted([p for p in points if p is not left_out])
        own = arrays(left_out.config.geometry)
        for cost in FITTED:
            real = sum(left_out.around[part][cost] for part in PARTS_AROUND)
            guess = sum(float(_terms(left_out.config)[part] @ model[part, cost]) for part in PARTS_AROUND)
            each: float = getattr(own, cost)
            found.append(ModelError(left_out.name, cost, real + each, guess + each))
            found.append(ModelError(left_out.name, f"{cost} around", real, guess))
    return found


def summary(found: Sequence[ModelError]) -> dict[str, dict[str, Any]]:
    """Mean and worst error of each cost."""
    return {
        cost: {
            "points": len(each),
            "mean": float(np.mean(each)),
            "worst": float(np.max(each)),
        }
        for cost in dict.fromkeys(e.cost for e in found)
        for each in [[abs(e.relative) for e in found if e.cost == cost]]
    }
