"""SystemVerilog modules as Python objects: Verilator makes a shared library of a module, ctypes steps its clock.

A module has one clock `clk_i`. Its other ports are named with their widths; values are Python integers or, for many
cycles at once, arrays of 32-bit words. Libraries are kept by a checksum of everything that went into them.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ilmpq.errors import ToolMissing

from .library import CACHE, Words, cached, call, pack_fields, pointer, unpack_fields, words

__all__ = ["Module", "Simulation", "pack_fields", "read_file_list", "unpack_fields", "words"]

FLAGS = ("--cc", "-sv", "-O3", "--x-assign", "fast", "--noassert", "--prefix", "Vtop")
WARNINGS = ("-Wno-fatal", "-Werror-USERERROR")  # a parameter that a module refuses with $error
COMPILE = ("g++", "-std=c++17", "-O1", "-fPIC", "-pthread")


@dataclass(frozen=True)
class Module:
    """A module to simulate: its name, source files in order, parameters, and the widths of its ports in bits."""

    name: str
    sources: tuple[Path, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    defines: tuple[str, ...] = ()


def read_file_list(path: Path) -> tuple[Path, ...]:
    """The sources that a `.f` file beside them names; lines of comment are skipped."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    return tuple(path.parent / line for line in lines if line and not line.startswith("//"))


class Simulation:
    """A running module. `run` drives many cycles from arrays; `step` one cycle from integers."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._library = ctypes.CDLL(str(_library(module)))
        self._library.make.restype = ctypes.c_void_p
        self._handle = ctypes.c_void_p(self._library.make())
        self._in = sum(words(b) for b in module.inputs.values())
        self._out = sum(words(b) for b in module.outputs.values())

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._library.drop(self._handle)

    def run(self, inputs: Mapping[str, Words]) -> dict[str, Words]:
        """One clock cycle per row: every input port's words (cycles × words); the outputs after each rising edge."""
        cycles = len(next(iter(inputs.values())))
        given = np.concatenate([inputs[name].reshape(cycles, -1) for name in self.module.inputs], axis=1)
        given = np.ascontiguousarray(given, np.uint32)
        assert given.shape[1] == self._in, f"{self.module.name}: {given.shape[1]} words for {self._in}"
        found = np.zeros((cycles, self._out), np.uint32)
        self._library.run(self._handle, ctypes.c_long(cycles), pointer(given), pointer(found))
        edges = np.cumsum([0] + [words(b) for b in self.module.outputs.values()])
        return {name: found[:, edges[i] : edges[i + 1]] for i, name in enumerate(self.module.outputs)}

    def step(self, **inputs: int) -> dict[str, int]:
        """One clock cycle; ports that are not named are 0. Outputs are as they stand before the rising edge.

        So an output that depends on an input in the same cycle (a `ready`) is seen with that input.
        """
        rows = {name: _as_words(inputs.get(name, 0), bits) for name, bits in self.module.inputs.items()}
        given = np.concatenate(list(rows.values()))
        found = np.zeros(self._out, np.uint32)
        self._library.step(self._handle, pointer(given), pointer(found))
        result, start = {}, 0
        for name, bits in self.module.outputs.items():
            result[name] = int.from_bytes(found[start : start + words(bits)].astype("<u4").tobytes(), "little")
            start += words(bits)
        return result


def _as_words(value: int, bits: int) -> Words:
    size = words(bits)
    return np.frombuffer((value & ((1 << 32 * size) - 1)).to_bytes(4 * size, "little"), "<u4").astype(np.uint32)


def _driver(module: Module) -> str:
    """C++ between the flat words and the module's ports."""
    given, found, at = [], [], 0
    for name, bits in module.inputs.items():
        given.append(f"    put(top->{name}, in + {at}, {words(bits)});")
        at += words(bits)
    at = 0
    for name, bits in module.outputs.items():
        found.append(f"    get(top->{name}, out + {at}, {words(bits)});")
        at += words(bits)
    return "\n".join(
        [
            '#include "Vtop.h"',
            "#include <cstring>",
            "template <typename P> void put(P& port, const uint32_t* w, int n) {",
            "    port = P(n > 1 ? uint64_t(w[1]) << 32 | w[0] : w[0]);",
            "}",
            "template <std::size_t N> void put(VlWide<N>& port, const uint32_t* w, int) {",
            "    for (std::size_t i = 0; i < N; i++) port[i] = w[i];",
            "}",
            "template <typename P> void get(const P& port, uint32_t* w, int n) {",
            "    w[0] = uint32_t(port);",
            "    if (n > 1) w[1] = uint32_t(uint64_t(port) >> 32);",
            "}",
            "template <std::size_t N> void get(const VlWide<N>& port, uint32_t* w, int) {",
            "    for (std::size_t i = 0; i < N; i++) w[i] = port[i];",
            "}",
            "static void set(Vtop* top, const uint32_t* in) {",
            *given,
            "}",
            "static void read(Vtop* top, uint32_t* out) {",
            *found,
            "}",
            'extern "C" void* make() { return new Vtop; }',
            'extern "C" void drop(Vtop* top) { top->final(); delete top; }',
            "static void edge(Vtop* top) { top->clk_i = 1; top->eval(); }",
            "static void low(Vtop* top) { top->clk_i = 0; top->eval(); }",
            'extern "C" void step(Vtop* top, const uint32_t* in, uint32_t* out) {',
            "    set(top, in); low(top); read(top, out); edge(top);",
            "}",
            'extern "C" void run(Vtop* top, long cycles, const uint32_t* in, uint32_t* out) {',
            f"    for (long i = 0; i < cycles; i++, in += {sum(words(b) for b in module.inputs.values())}, "
            f"out += {sum(words(b) for b in module.outputs.values())}) {{",
            "        set(top, in); low(top); edge(top); read(top, out);",
            "    }",
            "}",
            "",
        ]
    )


def _checksum(module: Module) -> str:
    digest = hashlib.sha256(f"{version()}{FLAGS}{COMPILE}{module}{_driver(module)}".encode())
    for source in module.sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:24]


def available() -> bool:
    """Whether modules can be simulated here."""
    return shutil.which("verilator") is not None and shutil.which("g++") is not None


def version() -> str:
    """Verilator's own words."""
    program = shutil.which("verilator")
    if program is None:
        raise ToolMissing("verilator is missing: `make hw-tools` installs it (Debian: apt-get install verilator)")
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout


def _library(module: Module) -> Path:
    """The shared library of a module, built unless it lies in the cache."""
    path = CACHE / "verilated" / f"{module.name}-{_checksum(module)}.so"
    return cached(path, lambda folder: _build(module, folder))


def _build(module: Module, folder: Path) -> Path:
    parameters = [f"-G{name}={value}" for name, value in module.parameters.items()]
    defines = [f"+define+{name}" for name in module.defines]
    includes = [f"-I{directory}" for directory in sorted({str(s.parent) for s in module.sources})]
    call(
        [
            "verilator",
            *FLAGS,
            *WARNINGS,
            "--Mdir",
            str(folder),
            "--top-module",
            module.name,
            *parameters,
            *defines,
            *includes,
        ]
        + [str(s) for s in module.sources],
        module.name,
    )
    (folder / "driver.cpp").write_text(_driver(module))
    return compile_verilated(folder, module.name, "-shared")


def compile_verilated(folder: Path, name: str, *flags: str) -> Path:
    """What Verilator wrote into a folder, and any C++ beside it, as a program or a library: compiled and linked."""
    root = _verilator_root()
    include = ["-I", str(folder), "-I", f"{root}/include", "-I", f"{root}/include/vltstd"]
    everything = "".join(f'#include "{p.name}"\n' for p in sorted(folder.glob("*.cpp")))  # headers are parsed once
    (folder / "everything.cc").write_text(everything)
    sources = [str(folder / "everything.cc"), str(_runtime(root))]
    call([*COMPILE, *flags, *include, *sources, "-o", str(folder / "linked")], name)
    return folder / "linked"


def _runtime(root: str) -> Path:
    """Verilator's own runtime, compiled once."""
    include = ["-I", f"{root}/include", "-I", f"{root}/include/vltstd"]
    parts = ("-include", f"{root}/include/verilated.cpp", "-x", "c++", f"{root}/include/verilated_threads.cpp")

    def build(folder: Path) -> Path:
        call([*COMPILE, *include, *parts, "-c", "-o", str(folder / "runtime.o")], "verilator's runtime")
        return folder / "runtime.o"

    checksum = hashlib.sha256((version() + str(COMPILE)).encode()).hexdigest()[:16]
    return cached(CACHE / "verilated" / f"runtime-{checksum}.o", build)


def _verilator_root() -> str:
    done = subprocess.run(["verilator", "--getenv", "VERILATOR_ROOT"], capture_output=True, text=True, check=True)
    return done.stdout.strip()
