"""What the cycle model (`perf.py`) is told: operations, and the engine and the memory that they run on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from .design import EngineConfig
from .geometry import Resource

Counts = NDArray[np.int64]

PORT_BYTES = 8
READ_AHEAD = 64  # words of each weight port that may be asked for before they are used


class Unit(Enum):
    """Who works."""

    LOAD = "load"
    STORE = "store"
    IMAGE = "image"
    CONV = "conv"
    POOL = "pool"


@dataclass(frozen=True)
class Machine:
    """What the model must know of an engine."""

    macs_per_cycle: int
    ports: int  # that bring weights
    step_beats: float  # of all ports together, for a step's weights
    slot_beats: int
    ring: int  # steps
    table: int  # slots
    word_bytes: int  # of the activation memory
    latency: int  # of the arrays


def machine_of(config: EngineConfig) -> Machine:
    """What the model must know of an engine."""
    g = config.geometry
    cascade = max(n for n in range(1, min(g.tk, 32) + 1) if g.tk % n == 0)
    dsp = any(a.resource is Resource.DSP for a in g.arrays)
    return Machine(
        macs_per_cycle=g.macs_per_cycle,
        ports=config.weight_ports,
        step_beats=config.step_words / config.weight_ports,
        slot_beats=config.slot_beats,
        ring=config.ring_depth,
        table=config.table_depth,
        word_bytes=config.word_bytes,
        latency=6 + (cascade - 1) // 2 if dsp else 6,
    )


@dataclass(frozen=True)
class Memory:
    """What memory gives: bytes per cycle to all ports together, cycles to the first word of a burst."""

    bytes_per_cycle: float
    latency: int = 40

    @property
    def port_bytes_per_cycle(self) -> float:
        """Of the port that brings and takes feature maps, at best."""
        return min(PORT_BYTES, self.bytes_per_cycle, PORT_BYTES * READ_AHEAD / (self.latency + 19))


@dataclass(frozen=True)
class Pace:
    """How the windows of an image come."""

    cycles: float  # for a window
    ahead: int = 0  # windows whose lines may have been read before they are wanted
    row_tiles: float = 1.0  # tiles of positions in a row of windows
    fill: float = 0.0  # cycles in which the first tile of a row fills
    first: tuple[float, int] = 0.0, 0  # cycles and bytes of the lines that come before the first window
    lead: int = 0  # bytes that are read before the windows that need them, in the long run
    bytes: int = 0  # of the image


@dataclass(frozen=True)
class Work:
    """One operation. Row tiles: the steps of all passes, and the cycles of the requantizers, for a tile of positions."""

    layer: str
    unit: Unit
    waits: tuple[int, int, int] = (0, 0, 0)  # LOADs, STOREs, COMPUTEs that must be complete
    tiles: int = 0  # of positions
    positions: int = 0  # in a tile
    steps: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    slots: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    slot_cycles: int = 1  # 2 with a residual operand
    passes: int = 1
    together: bool = False  # all row tiles of a tile of positions, then the next
    windows: Pace | None = None  # of an image, which its positions take
    bytes: int = 0  # through the other port, those of the image with the CONVs that take its windows
    macs: int = 0  # useful ones

    @property
    def weight_steps(self) -> Counts:
        """Steps whose weights are fetched, of each row tile."""
        return self.steps // self.passes
