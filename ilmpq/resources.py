"""What an engine costs on a chip: its arrays by their measured lanes, all else by a model fitted to engines that Yosys has
synthesised (`hw/syn/engine.json`), and whether it fits.

    >>> from .design import EngineConfig
    >>> from .device import PARTS
    >>> cost = resources(EngineConfig(Geometry.parse("fix4@dsp:8, fix4@lut:16", tk=16, tp=4)))
    >>> float(cost.dsp), bool(8_000 < cost.lut < 40_000)
    (148.0, True)

DSPs follow from the sources and are exact, and block RAMs but for half a one in each memory, of which the weight ring has
one for each beat of a step: that is the tool's affair. LUTs and flip-flops around the arrays are sums of terms that the
sources suggest (a multiplexer of so many inputs, so many of them), with factors that are not negative; `errors` tells how
far a model that has not seen a point is from it.
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
    """Cells of each kind; numbers may be arrays, for many engines."""

    lut: Any
    ff: Any
    dsp: Any
    bram36: Any

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def over(self, most: Resources) -> dict[str, float]:
        """By how much each kind exceeds what there is."""
        exceeding = {f.name: getattr(self, f.name) - getattr(most, f.name) for f in fields(self)}
        return {name: by for name, by in exceeding.items() if by > 0}


def usable(part: Part) -> Resources:
    """What a design may take of a chip: some of it must stay free for routing, and for what a board's design adds."""
    return Resources(0.85 * part.lut, 0.85 * part.ff, part.dsp, part.bram36 * 130 / 140)


def resources(config: EngineConfig) -> Resources:
    """An engine's cost by the model."""
    return arrays(config.geometry) + around(Sizes.of(config))


def arrays(geometry: Geometry) -> Resources:
    """The arrays: so many rows and positions, each at its measured cost."""
    found = Resources(0, 0, 0, 0)
    for array in geometry.arrays:
        cost = lane_cost(array, geometry)
        times = array.rows * geometry.tk * geometry.tp / cost.macs
        found += Resources(times * cost.lut, times * cost.ff, times * cost.dsp, 0)
    return found


@dataclass(frozen=True)
class Sizes:
    """What all but the arrays depends on. Numbers may be arrays that broadcast, for many engines at a time."""

    tp: Any
    tk: Any
    rows: Any
    acc_bits: Any
    step_bits: Any
    am_depth: Any
    ring_depth: Any
    table_depth: Any
    weight_ports: Any
    image_pixels: Any

    @staticmethod
    def of(config: EngineConfig) -> Sizes:
        g = config.geometry
        own = {f.name: getattr(config, f.name) for f in fields(Sizes) if hasattr(config, f.name)}
        return Sizes(**own, tp=g.tp, tk=g.tk, rows=g.rows, acc_bits=g.acc_bits)

    @property
    def word_bytes(self) -> Any:
        """Of the activation memory, whose banks are the least power of two that is not below `tp`."""
        return (1 << np.ceil(np.log2(self.tp)).astype(np.int64)) * self.tk


def around(sizes: Sizes) -> Resources:
    """All but the arrays."""
    model = _model()
    lut, ff = (sum(_terms(sizes, part) @ model[part, cost] for part in PARTS_AROUND) for cost in FITTED)
    return Resources(lut, ff, around_dsp(sizes.tp), block_rams(sizes))


def around_dsp(tp: Any) -> Any:
    """DSPs beside the arrays: two requantizers of two for each position, and four multipliers of addresses."""
    return 4 * tp + 4


def block_rams(sizes: Sizes) -> Any:
    """Lines of an image, activation memory (of bytes, with two ports that write), weight ring and slot table."""
    beat = PORT_BITS * sizes.weight_ports
    full, rest = np.divmod(sizes.step_bits, beat)
    ring = full * _two_ports(beat, sizes.ring_depth) + _two_ports(rest, sizes.ring_depth)
    memory = sizes.word_bytes * _blocks(sizes.am_depth, 1024) / 4096
    return 4.0 * sizes.image_pixels + memory + ring + _two_ports(SLOT_BITS, sizes.table_depth)


def _two_ports(bits: Any, depth: Any) -> Any:
    """One port writes, one reads: half a block RAM is 36 bits wide, or as many times less as it is deeper than 512."""
    full, rest = np.divmod(depth, 4096)
    rest = _blocks(rest, BLOCK_DEPTH)
    return (
        full * -(-2 * bits * 4096 // (BLOCK_BITS * BLOCK_DEPTH)) + -(-2 * bits * rest // (BLOCK_BITS * BLOCK_DEPTH))
    ) / 2


def _blocks(words: Any, least: int) -> Any:
    """Words that block RAMs have: as many of the deepest as fit, and one for the rest."""
    full, rest = np.divmod(words, 4096)
    above = np.maximum(least, 1 << np.ceil(np.log2(np.maximum(rest, 1))).astype(np.int64))
    return 4096 * full + np.where(rest > 0, above, 0)


# The model of LUTs and flip-flops around the arrays.

PARTS_AROUND = ("core", "memory")
FITTED = ("lut", "ff")


def _terms(sizes: Sizes, part: str) -> Numbers:
    """What the cost of a part is a sum of, in the last axis."""
    s, words = sizes, sizes.word_bytes
    terms: tuple[Any, ...]
    if part == "core":
        terms = (
            1,
            s.tp,  # requantizers, addresses of positions
            s.tp * words / s.tk,  # which bank is which position's
            s.tp * s.tk,  # bytes of positions, narrowing, patches
            s.tp * s.rows * s.acc_bits,  # results wait and are chosen
            s.step_bits,  # weights on their way to the arrays
        )
    else:
        terms = (
            1,
            words,  # words that are loaded and stored
        )
    return np.stack(np.broadcast_arrays(*terms), axis=-1).astype(np.float64)


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
        terms = np.stack([_terms(Sizes.of(point.config), part) for point in points])
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
            guess = sum(float(_terms(Sizes.of(left_out.config), part) @ model[part, cost]) for part in PARTS_AROUND)
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
