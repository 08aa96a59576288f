"""The RTL engine as a Python object: Verilator makes a shared library of `hw/rtl/engine.sv` and a memory behind AXI4.

engine = RtlEngine(config)
result = engine.run(program, weight_parts, scratch_size, input_bytes, output_size, Timing(latency=40, stall=0.2))
result.output, result.counters["CYCLES"]
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from accel.library import CACHE, cached, call
from accel.verilated import FLAGS, WARNINGS, compile_verilated, read_file_list
from ilmpq.design import EngineConfig
from ilmpq.errors import DoesNotFit, InvariantError

from .result import BUSY, EngineResult

RTL = Path(__file__).parents[2] / "hw" / "rtl"
SIM = RTL.parent / "sim"
DRIVER = (SIM / "rtl_engine_driver.cpp", SIM / "axi_memory.hpp")
BASE_ALIGNMENT = 128
ADDRESSES = 1 << 32
START, ABORT, CLEAR = 1, 2, 4  # bits of CONTROL


class Register(IntEnum):
    """Offsets of the registers."""

    ID = 0x00
    VERSION = 0x04
    GEOMETRY = 0x08
    CONTROL = 0x0C
    STATUS = 0x10
    INTERRUPT = 0x14
    PROGRAM_BASE = 0x18
    SCRATCH_BASE = 0x1C
    INPUT_BASE = 0x20
    OUTPUT_BASE = 0x24
    WEIGHT_BASE0 = 0x28
    CYCLES = 0x38
    STEPS = 0x3C
    STALL_WEIGHTS = 0x40
    STALL_PATCHES = 0x44
    STALL_RESULTS = 0x48
    STALL_ORDER = 0x4C


COUNTERS = [register for register in Register if register >= Register.CYCLES]


class Port(IntEnum):
    """Where an error response can be asked for; weight port j is WEIGHTS + j."""

    READ = 0
    WRITE = 1
    WEIGHTS = 2


@dataclass(frozen=True)
class Timing:
    """Of the memory: cycles to a burst's first word, bytes a cycle for all ports (0: no limit), shares of cycles and addresses."""

    latency: int = 20
    bytes_per_cycle: float = 0.0
    stall: float = 0.0  # cycles in which a port that could go on does not
    words_first: float = 0.0  # write addresses that are not taken before their first word is offered
    seed: int = 1


@dataclass(frozen=True)
class RtlResult(EngineResult):
    """And the registers that count, and when operations were completed."""

    counters: dict[str, int]
    completed: NDArray[np.int64]  # (cycle, LOADs, STOREs, COMPUTEs) whenever one of the counts changed


class RtlEngine:
    """One verilated engine. With `stub` the compute core is the one that only tells what it is given."""

    def __init__(self, config: EngineConfig, stub: bool = False, memory_size: int = 1 << 24) -> None:
        self.config = config.verify()
        self._library = ctypes.CDLL(str(_library(config, stub)))
        self._library.make.restype = ctypes.c_void_p
        self._library.memory_of.restype = ctypes.POINTER(ctypes.c_uint8)
        self._library.read_register.restype = ctypes.c_uint32
        self._library.run.restype = ctypes.c_int64
        self._library.violation.restype = ctypes.c_char_p
        self._library.completed.restype = ctypes.POINTER(ctypes.c_uint64)
        self._engine = ctypes.c_void_p(self._library.make())
        self.memory: NDArray[np.uint8]
        self._resize(memory_size)

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._library.drop(self._engine)

    def _resize(self, size: int) -> None:
        if size > ADDRESSES:
            raise DoesNotFit(
                f"engine programs must take at most {ADDRESSES:,} bytes of memory, not {size:,}: use a smaller network"
            )
        self._library.resize(self._engine, ctypes.c_uint64(size))
        self.memory = np.ctypeslib.as_array(self._library.memory_of(self._engine), (size,))

    def read(self, register: int) -> int:
        return int(self._library.read_register(self._engine, ctypes.c_uint32(register)))

    def write(self, register: int, value: int) -> None:
        self._library.write_register(self._engine, ctypes.c_uint32(register), ctypes.c_uint32(value))

    def fail(self, port: int, burst: int) -> None:
        """An error response to a port's burst after so many more; −1: to none."""
        self._library.fail_burst(self._engine, ctypes.c_int(port), ctypes.c_int64(burst))

    def cycles(self, most: int) -> int:
        """Runs until the interrupt, or for so many cycles."""
        return int(self._library.run(self._engine, ctypes.c_int64(most)))

    @property
    def bus_idle(self) -> bool:
        """No transfer is under way at any port."""
        return bool(self._library.bus_idle(self._engine))

    @property
    def violation(self) -> str:
        """How the engine broke the bus' protocol, if it did."""
        return bytes(self._library.violation(self._engine)).decode()

    @property
    def words_moved(self) -> tuple[int, int]:
        """Words of 64 bits that memory gave and took, since it was made."""
        read, written = ctypes.c_uint64(), ctypes.c_uint64()
        self._library.words_moved(self._engine, ctypes.byref(read), ctypes.byref(written))
        return read.value, written.value

    def start(
        self,
        program: NDArray[np.uint32] | Sequence[int],
        weight_parts: Sequence[bytes],
        scratch_size: int,
        input_bytes: bytes,
        output_size: int,
        timing: Timing = Timing(),
    ) -> None:
        """Fills memory and registers and starts."""
        regions = [bytes(scratch_size), input_bytes, bytes(output_size)]
        contents = [np.array(program, "<u4").tobytes(), *regions, *weight_parts]
        bases = np.cumsum([0] + [-(-len(content) // BASE_ALIGNMENT) * BASE_ALIGNMENT for content in contents]).tolist()
        if bases[-1] > len(self.memory):
            self._resize(bases[-1])
        self._places = [slice(base, base + len(content)) for base, content in zip(bases, contents, strict=False)]
        for number, (place, content) in enumerate(zip(self._places, contents, strict=True)):
            self.memory[place] = np.frombuffer(content, np.uint8)
            self.write(Register.PROGRAM_BASE + 4 * number, bases[number])
        self._library.set_timing(
            self._engine,
            ctypes.c_int(timing.latency),
            ctypes.c_int(round(256 * timing.bytes_per_cycle)),
            ctypes.c_int(round(256 * timing.stall)),
            ctypes.c_int(round(256 * timing.words_first)),
            ctypes.c_uint32(timing.seed),
        )
        self.write(Register.INTERRUPT, 1)
        self.write(Register.CONTROL, CLEAR)
        self._library.forget_completed(self._engine)
        self.write(Register.CONTROL, START)

    def result(self) -> RtlResult:
        """As things stand."""
        return RtlResult(
            output=self.memory[self._places[3]].tobytes(),
            scratch=self.memory[self._places[1]].tobytes(),
            status=self.read(Register.STATUS),
            counters={register.name: self.read(register) for register in COUNTERS},
            completed=self._completed(),
        )

    def _completed(self) -> NDArray[np.int64]:
        count = ctypes.c_long()
        found = self._library.completed(self._engine, ctypes.byref(count))
        if not count.value:
            return np.zeros((0, 4), np.int64)
        cycle, counts = np.ctypeslib.as_array(found, (count.value, 2)).astype(np.int64).T
        return np.stack([cycle, counts & 0xFFFF, counts >> 16 & 0xFFFF, counts >> 32], axis=1)

    def run(
        self,
        program: NDArray[np.uint32] | Sequence[int],
        weight_parts: Sequence[bytes],
        scratch_size: int,
        input_bytes: bytes,
        output_size: int,
        timing: Timing = Timing(),
        most_cycles: int = 10_000_000,
    ) -> RtlResult:
        """A whole program; errors are in the result."""
        self.start(program, weight_parts, scratch_size, input_bytes, output_size, timing)
        self.cycles(most_cycles)
        result = self.result()
        if result.status & BUSY:
            raise InvariantError(f"engine must be done after {most_cycles} cycles: status {result.status:#x}")
        if self.violation:
            raise InvariantError(f"engine must follow AXI4: {self.violation}")
        if not self.bus_idle:
            raise InvariantError("engine must leave no transfer under way when it is done")
        return result


class StubbedEngine(RtlEngine):
    """The memory side alone: what a compute core would be given, word by word."""

    def __init__(self, config: EngineConfig, memory_size: int = 1 << 20) -> None:
        super().__init__(config, stub=True, memory_size=memory_size)
        self._library.stub_told.restype = ctypes.POINTER(ctypes.c_int32)

    def reset_told(self, readiness: float = 1.0) -> None:
        """Forget; from now on the core is ready in that share of cycles."""
        self._library.stub_reset(ctypes.c_int(round(256 * readiness)))

    def told(self) -> NDArray[np.int32]:
        """What the core was given: (kind, word) in order."""
        count = ctypes.c_long()
        words = self._library.stub_told(ctypes.byref(count))
        return np.ctypeslib.as_array(words, (count.value, 2)).copy() if count.value else np.zeros((0, 2), np.int32)


def rtl_parameters(config: EngineConfig) -> dict[str, int | str]:
    """The parameters of `engine.sv`."""
    g = config.geometry
    kernels = sum((height | channels << 4) << (8 * i) for i, (height, channels) in enumerate(config.image_kernels))
    return {
        "GEOMETRY_ID": f"32'h{config.geometry_id:x}",
        "ARRAYS": len(g.arrays),
        "KINDS": _packed([a.kind for a in g.arrays]),
        "ROWS": _packed([a.rows for a in g.arrays]),
        "TK": g.tk,
        "TP": g.tp,
        "ACT_BITS": g.act_bits,
        "ACC_BITS": g.acc_bits,
        "AM_DEPTH": config.am_depth,
        "RING_DEPTH": config.ring_depth,
        "TABLE_DEPTH": config.table_depth,
        "WEIGHT_PORTS": config.weight_ports,
        "IMAGE_KERNEL_COUNT": len(config.image_kernels),
        "IMAGE_KERNELS": f"32'h{kernels:x}",
        "IMAGE_BYTES": config.image_bytes,
        "PATCH_WRITERS": config.patch_writers,
        "LINE": config.line_width,
        "PIXELS": config.image_pixels,
    }


def rtl_sources(stub: bool = False) -> list[Path]:
    """Every file of the engine, with behavioural twins where there are any."""
    files = list(read_file_list(RTL / "arrays.f"))
    files += [RTL / "engine_pkg.sv", SIM / "compute_core_stub.sv"] if stub else read_file_list(RTL / "compute.f")
    files += read_file_list(RTL / "engine.f")
    return [twin if (twin := SIM / "twins" / file.name).exists() else file for file in files]


def _packed(values: list[int]) -> str:
    """A list as the hardware's parameter: 16 bits each, the first in the lowest."""
    return f"256'h{sum(v << (16 * i) for i, v in enumerate(values)):x}"


def _library(config: EngineConfig, stub: bool) -> Path:
    parameters = [f"-G{name}={value}" for name, value in rtl_parameters(config).items()]
    sources = rtl_sources(stub)
    macros = [f"-DWEIGHT_PORTS={config.weight_ports}", *(["-DSTUB"] if stub else [])]
    inputs = f"{FLAGS}{parameters}{macros}".encode() + b"".join(f.read_bytes() for f in (*sources, *DRIVER))

    def build(folder: Path) -> Path:
        call(
            [
                "verilator",
                *FLAGS,
                *WARNINGS,
                "--Mdir",
                str(folder),
                "--top-module",
                "engine",
                *parameters,
                *map(str, sources),
            ],
            "engine",
        )
        for file in DRIVER:
            shutil.copy(file, folder)
        return compile_verilated(folder, "engine", "-shared", *macros)

    return cached(CACHE / "verilated" / f"engine-{hashlib.sha256(inputs).hexdigest()[:24]}.so", build)
