"""The HLS arrays of `hw/hls` as Python objects: g++ makes a shared library of an array, ctypes feeds it.

    array = HlsArray("ternary_lut", rows=2, tk=3, tp=1, act_bits=4)
    array.run(activations, lane_codes)  # steps × positions × lanes, steps × rows × lanes → steps × rows × positions

Libraries are kept by a checksum of all headers and of the parameters.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ilmpq.device import hardware_folder
from ilmpq.errors import ToolMissing
from ilmpq.geometry import KINDS, Array, Resource

from .library import CACHE, Words, cached, call, pack_fields, pointer, unpack_fields, words

Integers = NDArray[np.integer]
Sums = NDArray[np.int64]
SOURCES = hardware_folder() / "hls"
DRIVERS = SOURCES.parent / "sim"
COMPILE = ("g++", "-std=c++14", "-O1", "-fPIC", "-shared", "-w")


class Lane(StrEnum):
    """The lanes, named as the modules `<lane>_array` of hw/rtl, in the order of the first kinds in `mac_kinds.sv`."""

    POT4 = "pot4"
    FIXED4_DSP = "fixed4_dsp"
    FIXED8_DSP = "fixed8_dsp"
    POT3 = "pot3"
    FIXED4_LUT = "fixed4_lut"
    FIXED3_LUT = "fixed3_lut"
    TERNARY_LUT = "ternary_lut"
    FIXED8_LUT = "fixed8_lut"

    @property
    def bits(self) -> int:
        """Bits of a lane code."""
        return _TYPES[self][1]


_TYPES = {
    Lane.POT4: ("Pot4", 5),
    Lane.FIXED4_DSP: ("Fixed4Dsp", 4),
    Lane.FIXED8_DSP: ("Fixed8Dsp", 8),
    Lane.POT3: ("Pot3", 3),
    Lane.FIXED4_LUT: ("Fixed4Lut", 4),
    Lane.FIXED3_LUT: ("Fixed3Lut", 3),
    Lane.TERNARY_LUT: ("Ternary", 2),
    Lane.FIXED8_LUT: ("Fixed8Lut", 8),
}


# `Pairing` in lanes.hpp, by the rows and positions that share a DSP.
_PAIRINGS = {(2, 2): "FOUR", (2, 1): "ROW_PAIR", (1, 2): "POSITION_PAIR", (1, 1): "SINGLE"}


@dataclass(frozen=True)
class Part:
    """One of the arrays side by side: its lane and rows; most products per DSP, 0 as many as fit."""

    lane: Lane | str
    rows: int
    products: int = 0
    # only in tests that must fail: products too many in a packed sum, bits too few in a field
    unsafe_products: int = 0
    unsafe_bits: int = 0

    @classmethod
    def of(cls, array: Array) -> Part:
        """A geometry's array."""
        return cls(list(Lane)[KINDS.index((array.scheme, array.resource, 0))], array.rows, array.products)

    @property
    def array(self) -> Array:
        """As a geometry has it."""
        scheme, resource, _ = KINDS[list(Lane).index(Lane(self.lane))]
        return Array(scheme, resource, self.rows, self.products)

    def lane_type(self, tp: int, act_bits: int) -> str:
        """The lane in C++: what the DSPs pair is what the array of hw/rtl with these parameters pairs."""
        array = self.array
        name = f"ilmpq::{_TYPES[Lane(self.lane)][0]}<{act_bits}"
        if array.resource is Resource.LUT:
            return f"{name}>"
        pairing = _PAIRINGS[array.packing(tp, act_bits)]
        return f"{name}, ilmpq::{pairing}, {self.unsafe_products}, {self.unsafe_bits}>"


class HlsSplitArray:
    """`SplitMacArray` and the streaming `matrix_vector` on it. Lane codes are given per part: (steps, rows, tk)."""

    def __init__(
        self, parts: Sequence[Part | tuple[str, int]], tk: int, tp: int, act_bits: int = 4, acc_bits: int = 32
    ) -> None:
        self.parts = tuple(p if isinstance(p, Part) else Part(*p) for p in parts)
        self.tk, self.tp, self.act_bits, self.acc_bits = tk, tp, act_bits, acc_bits
        self.rows = sum(p.rows for p in self.parts)
        self._library = ctypes.CDLL(str(library(self._driver())))

    def run(
        self,
        act: Integers,
        weights: Sequence[Integers],
        clear: NDArray[np.bool_] | None = None,
        shift: NDArray[np.bool_] | None = None,
    ) -> Sums:
        """The accumulators (steps, rows, tp) after every step, from activations (steps, tp, tk).

        Accumulators start from 0 at the first step and where `clear` is set, from 2^act_bits times themselves where
        `shift` is.
        """
        return self.run_words(self.act_words(act), self.weight_words(weights), clear, shift)

    def stream(
        self,
        act: Integers,
        weights: Sequence[Integers],
        last: NDArray[np.bool_],
        shift: NDArray[np.bool_] | None = None,
    ) -> Sums:
        """The same steps through the streaming unit: the accumulators (frames, rows, tp) where `last` ends a frame."""
        return self.stream_words(self.act_words(act), self.weight_words(weights), last, shift)

    def run_words(
        self,
        act: Words,
        weight: Words,
        clear: NDArray[np.bool_] | None = None,
        shift: NDArray[np.bool_] | None = None,
    ) -> Sums:
        """`run` on packed words, those of hw/rtl's act_i and weight_i: (steps, words)."""
        return self._call("run_steps", act, weight, clear, shift, len(act))

    def stream_words(
        self, act: Words, weight: Words, last: NDArray[np.bool_], shift: NDArray[np.bool_] | None = None
    ) -> Sums:
        """`stream` on packed words, those of hw/rtl's act_i and weight_i: (steps, words)."""
        last = np.asarray(last, bool).reshape(-1)
        if not len(last) or not last[-1]:
            raise ValueError("HLS stream last must be set in the final step")
        return self._call("run_stream", act, weight, last, shift, int(last.sum()))

    def act_words(self, act: Integers) -> Words:
        """Activations (steps, tp, tk) as packed words."""
        expected = (len(act), self.tp, self.tk)
        if act.shape != expected:
            raise ValueError(f"HLS activations must be (steps, tp, tk) = {expected}, not {act.shape}")
        return pack_fields(act, self.act_bits)

    def weight_words(self, weights: Sequence[Integers]) -> Words:
        """Every part's lane codes (steps, rows, tk) as packed words, one part after the other."""
        if len(weights) != len(self.parts):
            raise ValueError(f"HLS weights must be of {len(self.parts)} parts, not {len(weights)}")
        bits = []
        for part, codes in zip(self.parts, weights, strict=True):
            expected = (len(codes), part.rows, self.tk)
            if codes.shape != expected:
                raise ValueError(f"{part.lane} lane codes must be (steps, rows, tk) = {expected}, not {codes.shape}")
            each = np.unpackbits(
                codes.astype(np.uint8).reshape(len(codes), -1, 1), axis=2, count=Lane(part.lane).bits, bitorder="little"
            )
            bits.append(each.reshape(len(codes), -1))
        return pack_fields(np.concatenate(bits, axis=1), 1)

    def _call(
        self,
        function: str,
        act: Words,
        weight: Words,
        first: NDArray[np.bool_] | None,
        shift: NDArray[np.bool_] | None,
        results: int,
    ) -> Sums:
        steps = len(act)
        flags = np.zeros(steps, np.uint32)
        for bit, given in enumerate((first, shift)):
            if given is not None:
                flags |= np.asarray(given, bool).reshape(steps).astype(np.uint32) << np.uint32(bit)
        size = words(self.rows * self.tp * self.acc_bits)
        found = np.zeros((results, size), np.uint32)
        given_act, given_weight = np.ascontiguousarray(act, np.uint32), np.ascontiguousarray(weight, np.uint32)
        self._check("activation", given_act, steps, self.tp * self.tk * self.act_bits)
        bits = sum(p.rows * self.tk * Lane(p.lane).bits for p in self.parts)
        self._check("weight", given_weight, steps, bits)
        status = getattr(self._library, function)(
            ctypes.c_long(steps), pointer(given_act), pointer(given_weight), pointer(flags), pointer(found)
        )
        assert status == results, f"{function}: {status} results for {results}"
        return unpack_fields(found, self.acc_bits, self.rows * self.tp).reshape(results, self.rows, self.tp)

    @staticmethod
    def _check(what: str, given: Words, steps: int, bits: int) -> None:
        if given.shape != (steps, words(bits)):
            raise ValueError(f"HLS {what} words must be (steps, words) = {(steps, words(bits))}, not {given.shape}")

    def _driver(self) -> str:
        """C++ between flat words and the unit."""
        arrays = [
            f"ilmpq::MacArray<{p.lane_type(self.tp, self.act_bits)}, {p.rows}, {self.tk}, {self.tp}, {self.acc_bits}>"
            for p in self.parts
        ]
        typedef = f"typedef ilmpq::SplitMacArray<{', '.join(arrays)}> Array;"
        widest = max(
            self.rows * self.tp * self.acc_bits,
            self.tp * self.tk * self.act_bits,
            sum(p.rows * self.tk * Lane(p.lane).bits for p in self.parts),
        )
        limit = f"#define AP_INT_MAX_W {1024 * max(4, -(-widest // 1024))}\n"  # the tools end at 4096, g++ does not
        return limit + f'#include "split_mac_array.hpp"\n{typedef}\n#include "hls_driver.hpp"\n'


class HlsArray(HlsSplitArray):
    """A single `MacArray`: `run` takes lane codes (steps, rows, tk) themselves."""

    def __init__(
        self, lane: Lane | str, rows: int, tk: int, tp: int, act_bits: int = 4, acc_bits: int = 32, **options: int
    ) -> None:
        super().__init__([Part(lane, rows, **options)], tk, tp, act_bits, acc_bits)

    def weight_words(self, weights: Integers | Sequence[Integers]) -> Words:
        return super().weight_words([weights] if isinstance(weights, np.ndarray) else weights)


def headers() -> Path:
    """The folder of the open ap_int headers: they come with the Python package hls4ml."""
    package = importlib.util.find_spec("hls4ml")
    for place in package.submodule_search_locations or [] if package else []:
        folder = Path(place) / "templates" / "vivado" / "ap_types"
        if (folder / "ap_int.h").exists():
            return folder
    raise ToolMissing(
        "hls4ml's ap_int headers are missing: `make hw-tools` installs them (pip install --no-deps hls4ml)"
    )


def missing() -> bool:
    """Whether g++ or the headers are not there, so that nothing can be built."""
    try:
        headers()
    except ToolMissing:
        return True
    return shutil.which("g++") is None


def library(driver: str, compile_flags: Sequence[str] = COMPILE[1:]) -> Path:
    """The shared library of a driver, built unless it lies in the cache."""
    if shutil.which("g++") is None:
        raise ToolMissing("g++ is missing: `make hw-tools` installs it (Debian: apt-get install g++)")
    command = ("g++", *compile_flags)
    version = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256(f"{version}{command}{driver}".encode())
    for source in (*included(driver), headers() / "ap_int_base.h", headers() / "etc" / "ap_private.h"):
        digest.update(source.read_bytes())

    def build(folder: Path) -> Path:
        (folder / "unit.cpp").write_text(driver)
        include = ["-I", str(SOURCES), "-I", str(DRIVERS), "-isystem", str(headers())]
        call([*command, *include, str(folder / "unit.cpp"), "-o", str(folder / "unit.so")], "HLS unit")
        return folder / "unit.so"

    return cached(CACHE / "hls" / f"{digest.hexdigest()[:24]}.so", build)


def included(driver: str) -> list[Path]:
    """Our own files that a driver includes, and those that they include."""
    found: dict[str, Path] = {}
    texts = [driver]
    while texts:
        for name in re.findall(r'^#include "(.+)"', texts.pop(), re.MULTILINE):
            if name not in found:
                found[name] = next(p for folder in (SOURCES, DRIVERS) if (p := folder / name).exists())
                texts.append(found[name].read_text())
    return [found[name] for name in sorted(found)]
