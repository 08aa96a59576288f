"""The MAC arrays in numpy, RTL and HLS behind one call; the only place in the tests that builds simulators."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from accel import hls
from accel.engine.lanes import lane_of
from accel.engine.lanes_dsp import DspLane
from accel.library import CACHE, cached, call
from accel.verilated import (
    WARNINGS,
    Module,
    Simulation,
    compile_verilated,
    pack_fields,
    read_file_list,
    unpack_fields,
    version,
)
from ilmpq.geometry import Geometry
from ilmpq.schemes import BY_NAME

RTL = Path(__file__).parents[1] / "hw" / "rtl"
SIM = RTL.parent / "sim"
TWINS = SIM / "twins"


def sources(structural: bool) -> tuple[Path, ...]:
    """The arrays' files, as they are synthesised or with behavioural twins where there are any."""
    files = read_file_list(RTL / "arrays.f")
    return files if structural else tuple(t if (t := TWINS / f.name).exists() else f for f in files)


@dataclass(frozen=True)
class Frame:
    """One matrix-vector product: codes (rows × steps·tk), activations (positions × steps·tk), and where pass 2 begins."""

    codes: np.ndarray
    act: np.ndarray
    passes: int = 1


def random_frame(
    geometry: Geometry, steps: int, rng: np.random.Generator, passes: int = 1, extreme: bool = False
) -> Frame:
    """Codes that each row's scheme has and any activations; the extremes only, if asked for."""
    size = steps * geometry.tk
    rows = []
    for array in geometry.arrays:
        scheme = BY_NAME[array.scheme]
        levels = np.array([scheme.top] if extreme else scheme.levels)
        rows.append(rng.choice(levels, (array.rows, size)) * rng.choice([-1, 1], (array.rows, size)))
    top = 2**geometry.act_bits - 1
    act = (
        rng.choice([0, top], (passes, geometry.tp, size))
        if extreme
        else rng.integers(0, top + 1, (passes, geometry.tp, size))
    )
    return Frame(np.concatenate(rows).astype(np.int8), act, passes)


def numpy_sums(geometry: Geometry, frame: Frame) -> np.ndarray:
    """rows × positions: Σ code·act over all passes, the first ones shifted, plus each row's correction."""
    codes = frame.codes.astype(np.int64)
    sums = np.zeros((len(codes), geometry.tp), np.int64)
    for act in frame.act:
        sums = (sums << geometry.act_bits) + codes @ act.T
    start = 0
    for array in geometry.arrays:
        rows = slice(start, start + array.rows)
        lane = lane_of(array, geometry)
        sums[rows] += lane.correction(frame.codes[rows], geometry.act_bits, frame.passes)[:, None]
        start += array.rows
    half = 1 << (geometry.acc_bits - 1)
    return (sums + half) % (2 * half) - half  # accumulators wrap


def steps_of(geometry: Geometry, frames: list[Frame]) -> dict[str, np.ndarray]:
    """What enters the split array, step by step: activations and lane codes as words, flags."""
    act, weight, shift, last = [], [], [], []
    for frame in frames:
        count = frame.codes.shape[1] // geometry.tk
        lanes = _lane_words(geometry, frame, count)
        for number, given in enumerate(frame.act):
            act.append(given.reshape(geometry.tp, count, geometry.tk).transpose(1, 0, 2).reshape(count, -1))
            weight.append(lanes)
            shift.append(np.arange(count) == (0 if number else -1))
            last.append((np.arange(count) == count - 1) & (number == frame.passes - 1))
    flags = {"in_shift_i": np.concatenate(shift), "in_last_i": np.concatenate(last)}
    packed = {"act_i": pack_fields(np.concatenate(act), geometry.act_bits), "weight_i": np.concatenate(weight)}
    return {k: v.astype(np.uint32)[:, None] for k, v in flags.items()} | packed


def _lane_words(geometry: Geometry, frame: Frame, steps: int) -> np.ndarray:
    """The lane codes of every step as bits, arrays one after another, in 32-bit words."""
    bits, start = [], 0
    for array in geometry.arrays:
        lane = lane_of(array, geometry)
        codes = lane.encode(frame.codes[start : start + array.rows])
        start += array.rows
        ordered = codes.reshape(array.rows, steps, geometry.tk).transpose(1, 0, 2).reshape(steps, -1, 1)
        bits.append(np.unpackbits(ordered, axis=2, count=lane.lane_bits, bitorder="little").reshape(steps, -1))
    return pack_fields(np.concatenate(bits, axis=1), 1)


def split_parameters(geometry: Geometry) -> dict[str, int | str]:
    """A geometry as the parameters of `split_mac_array`."""
    return {
        "ARRAYS": len(geometry.arrays),
        "KINDS": _packed([a.kind for a in geometry.arrays]),
        "ROWS": _packed([a.rows for a in geometry.arrays]),
        "TK": geometry.tk,
        "TP": geometry.tp,
        "ACT_BITS": geometry.act_bits,
        "ACC_BITS": geometry.acc_bits,
    }


class RtlSplitArray:
    """`split_mac_array` in Verilator; `structural` with every LUT of the adders, else with their twins."""

    def __init__(self, geometry: Geometry, structural: bool = False, netlist: Path | None = None) -> None:
        self.geometry = geometry
        widths = sum(a.rows * geometry.tk * lane_of(a, geometry).lane_bits for a in geometry.arrays)
        flags = {"rst_i": 1, "in_valid_i": 1, "in_shift_i": 1, "in_last_i": 1, "out_ready_i": 1}
        ports = {"act_i": geometry.tp * geometry.tk * geometry.act_bits, "weight_i": widths}
        self._module = Module(
            "split_mac_array",
            (primitives(), netlist) if netlist else sources(structural),
            flags | ports,
            {"in_ready_o": 1, "out_valid_o": 1, "acc_o": geometry.rows * geometry.tp * geometry.acc_bits},
            {} if netlist else split_parameters(geometry),
        )
        self._simulation = Simulation(self._module)

    def run(self, frames: list[Frame], rng: np.random.Generator, stalls: float = 0.0) -> list[np.ndarray]:
        """The sums of every frame; with stalls, steps come and results are taken only now and then.

        Before the first frame the array is reset in the middle of another one. Whatever is not valid is garbage. A
        result must stay until it is taken, and there must be no other results.
        """
        steps = steps_of(self.geometry, frames)
        at, results, waiting, idle = 0, [], None, 0
        for number in range(7):
            self._simulation.step(in_valid_i=1, **self._garbage(rng), rst_i=int(number == 6))
        total = len(steps["act_i"])
        while idle < 300:
            valid = at < total and rng.random() >= stalls
            given = _integers(steps, at) if valid else self._garbage(rng)
            ready = int(rng.random() >= stalls)
            out = self._simulation.step(in_valid_i=int(valid), out_ready_i=ready, **given)
            at += int(valid and out["in_ready_o"])
            assert waiting is None or (out["out_valid_o"], out["acc_o"]) == (1, waiting), "a result must stay"
            waiting = out["acc_o"] if out["out_valid_o"] and not ready else None
            idle = 0 if out["out_valid_o"] or (valid and out["in_ready_o"]) else idle + 1
            if ready and out["out_valid_o"]:
                results.append(self._sums(out["acc_o"]))
            assert len(results) <= len(frames), "there must be no results without frames"
        assert len(results) == len(frames), "there must be as many results as frames"
        return results

    def _garbage(self, rng: np.random.Generator) -> dict[str, int]:
        """Any step, not to be looked at."""
        bits = {k: self._module.inputs[k] for k in ("act_i", "weight_i", "in_shift_i", "in_last_i")}
        return {k: int.from_bytes(rng.bytes(-(-n // 8)), "little") & ((1 << n) - 1) for k, n in bits.items()}

    def _sums(self, word: int) -> np.ndarray:
        g = self.geometry
        size = -(-g.rows * g.tp * g.acc_bits // 32)
        words = np.frombuffer(word.to_bytes(4 * size, "little"), "<u4")[None]
        return unpack_fields(words, g.acc_bits, g.rows * g.tp).reshape(g.rows, g.tp)


class HlsSplitArray:
    """The same list of arrays in HLS C++, compiled with g++: the streaming unit."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        parts = [hls.Part.of(a) for a in geometry.arrays]
        self._unit = hls.HlsSplitArray(parts, geometry.tk, geometry.tp, geometry.act_bits, geometry.acc_bits)

    def run(self, frames: list[Frame]) -> np.ndarray:
        """The sums of every frame."""
        s = steps_of(self.geometry, frames)
        return self._unit.stream_words(s["act_i"], s["weight_i"], s["in_last_i"], s["in_shift_i"])


def _integers(steps: dict[str, np.ndarray], at: int) -> dict[str, int]:
    """One step's words as integers."""
    return {k: int.from_bytes(v[at].astype("<u4").tobytes(), "little") for k, v in steps.items()}


def _packed(values: list[int]) -> str:
    """A list as the hardware's parameter: 16 bits each, the first in the lowest."""
    return f"256'h{sum(v << (16 * i) for i, v in enumerate(values)):x}"


def primitives() -> Path:
    """Yosys' simulation models of the 7-series primitives."""
    yosys = shutil.which("yosys")
    models = Path(yosys).parents[1] / "share" / "yosys" / "xilinx" / "cells_sim.v" if yosys else Path("none")
    if not models.exists():
        pytest.skip("tools: yosys is missing, `make hw-tools` installs it")
    return models


def split_netlist(folder: Path, geometry: Geometry) -> Path:
    """`split_mac_array` synthesised, as Verilog."""
    primitives()  # skips where yosys is missing
    found = folder / "split_mac_array.v"
    filled = {
        "FILES": " ".join(map(str, sources(structural=True))),
        "PARAMETERS": " ".join(f"-set {name} {value}" for name, value in split_parameters(geometry).items()),
        "TOP": "split_mac_array",
        "JSON": str(folder / "split_mac_array.json"),
        "VERILOG": str(found),
    }
    text = (RTL.parent / "syn" / "synth_array.ys").read_text()
    for name, value in filled.items():
        text = text.replace(f"@{name}@", value)
    (folder / "split.ys").write_text(text)
    call(["yosys", "-q", str(folder / "split.ys")], "split_mac_array")
    return found


def netlists(folder: Path, lanes: int, act_bits: tuple[int, ...]) -> subprocess.CompletedProcess[str]:
    """Synthesise every array, compare its costs with the baseline, and leave the netlists in the folder."""
    script = RTL.parents[1] / "scripts" / "synthesise.py"
    bits = ",".join(map(str, act_bits))
    command = [sys.executable, str(script), "--check", "--tk", str(lanes), "--act-bits", bits]
    command += ["--jobs", str(os.cpu_count()), "--netlists", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class ArrayBench:
    """One array with a bench in C++ (`hw/sim`) that compares it with integers: its source, its primitives or a netlist."""

    def __init__(
        self,
        array: str,
        tk: int,
        act_bits: int,
        tp: int = 2,
        *,
        defines: tuple[str, ...] = (),
        netlist: Path | None = None,
        **more: int,
    ) -> None:
        geometry = Geometry.parse(array, tk, tp, act_bits, 32)
        lane = lane_of(geometry.arrays[0], geometry)
        sizes = {"ROWS": geometry.rows, "TK": tk, "TP": geometry.tp, "ACT_BITS": act_bits, "ACC_BITS": 32}
        parameters = dict(sizes)
        if isinstance(lane, DspLane):
            bench = SIM / "dsp_array_bench.cpp"
            rows, positions = geometry.arrays[0].packing(geometry.tp, act_bits)
            parameters |= {"PRODUCTS": rows * positions}
            macros = {"LANE_BITS": lane.lane_bits, "PAIR_ROWS": rows - 1, "PAIR_POSITIONS": positions - 1}
            macros["OFFSET"] = 2 ** (act_bits - 1) if lane.offsets_activations else 0
        else:
            bench = SIM / "lut_array_bench.cpp"
            macros = {"LANE": {"pot3_array": 103, "pot4_array": 104}.get(lane.module, lane.lane_bits - 1)}
        if netlist:
            files, flags = (primitives(), netlist), []
        else:
            files = (*((primitives(),) if defines else ()), *sources(structural=True))
            flags = [f"-G{name}={value}" for name, value in (parameters | more).items()] + [
                f"+define+{d}" for d in defines
            ]
        values = tuple(f"-D{name}={value}" for name, value in (sizes | macros).items())
        self._program = self._build(lane.module, bench, files, flags, values)

    @staticmethod
    def _build(top: str, bench: Path, files: tuple[Path, ...], flags: list[str], macros: tuple[str, ...]) -> Path:
        command = ["verilator", "--cc", "-O3", "--prefix", "Vdut", "-sv", *WARNINGS, "-Wno-lint", "--top-module", top]
        command += flags
        inputs = f"{version()}{command}{macros}".encode() + b"".join(f.read_bytes() for f in (bench, *files))

        def build(folder: Path) -> Path:
            call([*command, "--Mdir", str(folder), *map(str, files)], top)
            shutil.copy(bench, folder)
            return compile_verilated(folder, top, *macros)

        return cached(CACHE / "benches" / f"{top}-{hashlib.sha256(inputs).hexdigest()[:24]}", build)

    def run(self, *arguments: str | int) -> subprocess.CompletedProcess[str]:
        """Runs the bench; its exit status is 0 if every accumulator was right, 1 with the first wrong one printed."""
        self._program.chmod(0o755)
        command = [str(self._program), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)
