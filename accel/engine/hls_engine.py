"""The HLS engine as a Python object: g++ makes a shared library of `hw/hls/engine.hpp` for a configuration.

engine = HlsEngine(config)
result = engine.run(program, weight_parts, scratch_size, input_bytes, output_size)
result.require().output

run = engine.start(program, weight_parts, scratch_size, input_bytes, output_size)  # the same, to look inside
run.until(3)  # descriptors
run.memory  # the activation memory: depth × banks × lanes
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from accel.hls import Part, library
from accel.library import pointer
from ilmpq.design import EngineConfig
from ilmpq.errors import InvariantError

from .descriptor import Region
from .result import BUSY, EngineResult

COMPILE = ("-std=c++14", "-O3", "-fPIC", "-shared", "-w")
ALL = 2**32 - 1
PROGRAM, PARTS = 3, 4  # places of memory beside the regions

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class HlsResult(EngineResult):
    """And what a simulation can count."""

    steps: int
    misplaced: int  # tiles that hardware would get wrong: positions that share a bank

    def require(self) -> Self:
        super().require()
        if self.misplaced:
            raise InvariantError(
                f"engine positions of a tile must lie in different banks: {self.misplaced} tiles do not"
            )
        return self


class HlsEngine:
    """The machine of `docs/engine.md` for one configuration; `packed` has the arrays themselves, a thousand times slower."""

    def __init__(self, config: EngineConfig, packed: bool = False) -> None:
        self.config = config.verify()
        flags = (*COMPILE, "-DILMPQ_PACKED", "-DAP_INT_MAX_W=32768") if packed else COMPILE
        self._library = ctypes.CDLL(str(library(driver_source(config), flags)))
        self._library.engine_new.restype = ctypes.c_void_p
        self._library.engine_memory.restype = ctypes.POINTER(ctypes.c_uint8)
        for name in ("status", "done", "steps", "misplaced"):
            getattr(self._library, f"engine_{name}").restype = ctypes.c_uint32

    def start(
        self,
        program: NDArray[np.uint32] | Sequence[int],
        weight_parts: Sequence[bytes],
        scratch_size: int,
        input_bytes: bytes,
        output_size: int,
    ) -> HlsRun:
        """A run that has checked header and descriptors and stands before the first one."""
        if len(weight_parts) != self.config.weight_ports:
            raise ValueError(f"weight parts must be {self.config.weight_ports}, not {len(weight_parts)}")
        regions = {
            Region.SCRATCH: np.zeros(scratch_size, np.uint8),
            Region.INPUT: np.frombuffer(input_bytes, np.uint8).copy(),
            Region.OUTPUT: np.zeros(output_size, np.uint8),
        }
        words = np.array(program, "<u4").view(np.uint8)
        parts = [np.frombuffer(part, np.uint8).copy() for part in weight_parts]
        return HlsRun(self._library, self.config, regions, words, parts)

    def run(
        self,
        program: NDArray[np.uint32] | Sequence[int],
        weight_parts: Sequence[bytes],
        scratch_size: int,
        input_bytes: bytes,
        output_size: int,
    ) -> HlsResult:
        """A whole program; errors are in the result."""
        run = self.start(program, weight_parts, scratch_size, input_bytes, output_size)
        run.until(ALL)
        return run.result()

    def sums(self, words: NDArray[np.uint64], act: Bytes, second: int = -1) -> NDArray[np.uint32]:
        """A frame on the arrays alone: steps of the weight image and activations (steps, tp, tk) to sums (rows, tp).

        Sums are modulo 2^acc_bits, or more bits are given; at step `second` a second pass begins.
        """
        g = self.config.geometry
        words, act = np.ascontiguousarray(words, np.uint64), np.ascontiguousarray(act, np.uint8)
        assert words.shape == (len(act), self.config.step_words)
        assert act.shape == (len(act), g.tp, g.tk)
        found = np.zeros((g.rows, g.tp), np.uint32)
        self._library.engine_sums(
            ctypes.c_long(len(act)),
            ctypes.c_void_p(words.ctypes.data),
            ctypes.c_void_p(act.ctypes.data),
            ctypes.c_long(second),
            pointer(found),
        )
        return found


class HlsRun:
    """An engine at work; the descriptors run in order, so it can be halted between any two."""

    def __init__(
        self,
        engine: ctypes.CDLL,
        config: EngineConfig,
        regions: dict[Region, Bytes],
        program: Bytes,
        parts: list[Bytes],
    ) -> None:
        self._library, self._regions = engine, regions
        self._kept = [program, *parts]  # the engine reads them as it goes
        self._engine = ctypes.c_void_p(engine.engine_new())
        for place, data in (*regions.items(), (PROGRAM, program), *enumerate(parts, PARTS)):
            engine.engine_attach(
                self._engine, int(place), ctypes.c_void_p(data.ctypes.data), ctypes.c_uint64(data.nbytes)
            )
        shape = (config.am_depth, config.banks, config.geometry.tk)
        self._memory: Bytes = np.ctypeslib.as_array(engine.engine_memory(self._engine), shape)
        engine.engine_start(self._engine)

    def __del__(self) -> None:
        self._library.engine_delete(self._engine)

    def until(self, descriptors: int) -> bool:
        """Go on until so many descriptors are done, or all, or there is an error: is there more to do?"""
        self._library.engine_run(self._engine, ctypes.c_uint32(descriptors))
        return bool(self.status & BUSY)

    @property
    def memory(self) -> Bytes:
        """A copy of the activation memory: depth × banks × lanes."""
        return self._memory.copy()

    @property
    def status(self) -> int:
        return int(self._library.engine_status(self._engine))

    @property
    def descriptors_done(self) -> int:
        """The one with an error counts."""
        return int(self._library.engine_done(self._engine))

    def result(self) -> HlsResult:
        """As things stand."""
        return HlsResult(
            output=self._regions[Region.OUTPUT].tobytes(),
            scratch=self._regions[Region.SCRATCH].tobytes(),
            status=self.status,
            steps=int(self._library.engine_steps(self._engine)),
            misplaced=int(self._library.engine_misplaced(self._engine)),
        )


def driver_source(config: EngineConfig) -> str:
    """What g++ makes the engine's library of."""
    return f'{config_source(config)}#include "engine_driver.hpp"\n'


def config_source(config: EngineConfig) -> str:
    """The configuration in C++."""
    g = config.geometry
    lanes = [f"ilmpq::LaneRows<{Part.of(a).lane_type(g.tp, g.act_bits)}, {a.rows}>" for a in g.arrays]
    sizes = {
        "ROWS": g.rows,
        "TK": g.tk,
        "TP": g.tp,
        "ACT_BITS": g.act_bits,
        "ACC_BITS": g.acc_bits,
        "BANKS": config.banks,
        "DEPTH": config.am_depth,
        "RING": config.ring_depth,
        "TABLE": config.table_depth,
        "PORTS": config.weight_ports,
        "STEP_WORDS": config.step_words,
    }
    limits = {"LINE": config.line_width, "IMAGE_BYTES": config.image_bytes, "GEOMETRY_ID": config.geometry_id}
    kernels = [f"(rows == {rows} && channels == {channels})" for rows, channels in config.image_kernels]
    separator = ",\n                          "
    lines = [
        '#include "step_unit.hpp"',
        "",
        "struct Config {",
        *(f"  static const int {name} = {value};" for name, value in sizes.items()),
        *(f"  static const uint32_t {name} = {value}u;" for name, value in limits.items()),
        f"  typedef ilmpq::LaneList<{separator.join(lanes)}>",
        "      Lanes;",
        "  static bool image_kernel(uint32_t rows, uint32_t channels) {",
        "    return " + " ||\n           ".join(kernels) + ";",
        "  }",
        "};",
        "",
    ]
    return "\n".join(lines)
