"""A folder from which Vivado builds an engine's bitstream for a board: `python -m accel.engine.board pynq-z2 --out build`.

The folder needs nothing else: sources, top, scripts and a README that says what to do. Vivado itself is not called.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accel.verilated import read_file_list
from ilmpq.design import EngineConfig
from ilmpq.designfile import check_fits, load_design
from ilmpq.device import PARTS, Part, hardware_folder
from ilmpq.errors import IlmpqError, UsageError
from ilmpq.files import require_own, write_atomically

from .points import POINTS, XC7Z020_POT4, XC7Z045_POT4, Point
from .wrapper import MODULE, masters, verilog

HP_PORTS = 4
REGISTERS_AT, REGISTERS_BYTES = 0x43C0_0000, 0x1000
BUILD, CONSTRAINTS = "build.tcl", "constraints.xdc"
MARKER = ".ilmpq-board"  # in every folder that `write_folder` began
MOST_MHZ = 250.0  # of a processing system's clock outputs


@dataclass(frozen=True)
class Board:
    """A board: its part as Vivado names it, and where Vivado and the processing system find what."""

    name: str
    part: str
    device: str
    # pattern of its board files' name, and our settings of the processing system for those who lack them
    files: str
    settings: str
    memory_bytes: int

    @property
    def holds(self) -> Part:
        return PARTS[self.device]


BOARDS = {
    board.name: board
    for board in (
        Board("pynq-z1", "xc7z020clg400-1", "xc7z020", "*:pynq-z1:part0:*", "pynq.tcl", 1 << 29),
        Board("pynq-z2", "xc7z020clg400-1", "xc7z020", "*:pynq-z2:part0:*", "pynq.tcl", 1 << 29),
        Board("zc706", "xc7z045ffg900-2", "xc7z045", "*:zc706:part0:*", "zc706.tcl", 1 << 30),
    )
}
DEFAULTS = {point.device: point for point in (XC7Z020_POT4, XC7Z045_POT4)}


def board_named(name: str) -> Board:
    """The board of that name, or a `UsageError` that lists the names."""
    found = BOARDS.get(name.strip().lower())
    if found is None:
        raise UsageError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return found


def design_for(board: Board, geometry: Path, point: str | None) -> EngineConfig:
    """The design of a file that `ilmpq search` wrote, which must fit the board's chip."""
    if point is not None:
        raise UsageError("--point and --geometry exclude each other: both name an engine")
    config = load_design(geometry)
    check_fits(config, PARTS[board.device])
    return config


def point_for(board: Board, name: str | None = None) -> Point:
    """The board's design point of that name, or its default one."""
    if name is None:
        return DEFAULTS[board.device]
    points = {point.name: point for point in POINTS if point.device == board.device}
    if name not in points:
        raise UsageError(f"point for {board.name} must be one of {', '.join(points)}, not {name!r}")
    return points[name]


def hp_ports(config: EngineConfig) -> dict[str, list[str]]:
    """Which of the engine's masters go to which HP port: one each, the fifth with the first."""
    ports: dict[str, list[str]] = {}
    for number, master in enumerate(masters(config)):
        ports.setdefault(f"HP{number % HP_PORTS}", []).append(master)
    return ports


def rtl_files() -> list[Path]:
    """The engine's sources, packages before what uses them."""
    rtl = hardware_folder() / "rtl"
    return [file for name in ("arrays.f", "compute.f", "engine.f") for file in read_file_list(rtl / name)]


def write_folder(folder: Path, board: Board, config: EngineConfig, clock_mhz: float | None = None) -> None:
    """Everything that Vivado needs, and a README; a folder of an earlier call is written over, no other.

    `build.tcl` is written last: without it nothing can be built from a folder that is not whole.
    """
    config.verify()
    clock_mhz = clock_mhz if clock_mhz is not None else board.holds.assumed_clock_mhz
    if not 1.0 <= clock_mhz <= MOST_MHZ:
        raise UsageError(f"clock must be from 1 to {MOST_MHZ:g} MHz, not {clock_mhz:g}: change --clock-mhz")
    require_own(folder, lambda ours: (ours / MARKER).is_file())
    write_atomically(folder / MARKER, "Written by accel/engine/board.py, which may write this folder over.\n")
    (folder / BUILD).unlink(missing_ok=True)
    scripts = hardware_folder() / "boards"
    sources = rtl_files()
    for file in sources:
        write_atomically(folder / "rtl" / file.name, file.read_bytes())
    write_atomically(folder / CONSTRAINTS, (scripts / CONSTRAINTS).read_bytes())
    write_atomically(folder / "ps.tcl", (scripts / board.settings).read_bytes())
    write_atomically(folder / f"{MODULE}.v", verilog(config))
    names = [f"rtl/{file.name}" for file in sources] + [f"{MODULE}.v"]
    write_atomically(folder / "design.tcl", _design(board, config, clock_mhz, names))
    write_atomically(folder / "README.md", _readme(board, config, clock_mhz))
    write_atomically(folder / BUILD, (scripts / BUILD).read_bytes())


def _design(board: Board, config: EngineConfig, clock_mhz: float, sources: Sequence[str]) -> str:
    """What build.tcl builds."""
    ports = " ".join(f"{port} {{{' '.join(names)}}}" for port, names in hp_ports(config).items())
    return "\n".join(
        [
            f"# Engine {config.geometry_id:08x} for {board.name}; accel/engine/board.py wrote it.",
            f"set board {board.name}",
            f"set part {board.part}",
            f"set board_files {{{board.files}}}",
            f"set clock_mhz {clock_mhz:g}",
            f"set memory_bytes {board.memory_bytes:#010x}",
            f"set registers_at {REGISTERS_AT:#010x}",
            f"set registers_bytes {REGISTERS_BYTES:#010x}",
            f"set hp_ports {{{ports}}}",
            "set sources {",
            *(f"  {name}" for name in sources),
            "}",
            "",
        ]
    )


def _readme(board: Board, config: EngineConfig, clock_mhz: float) -> str:
    g = config.geometry
    ports = "; ".join(f"{port}: {', '.join(names)}" for port, names in hp_ports(config).items())
    return f"""# ILMPQ engine for {board.name}

    vivado -mode batch -source build.tcl

Needs Vivado 2020.1 or newer with Zynq-7000, nothing outside this folder, and leaves, in this folder:

| file | |
|---|---|
| `ilmpq.bit`, `ilmpq.hwh` | the overlay; keep the two names alike |
| `ilmpq.xsa` | the hardware platform, for those who make a boot image |
| `timing.rpt`, `utilization.rpt` | after place and route |
| `project/` | Vivado's project |

The last line begins with `ILMPQ: ilmpq.bit` and the exit code is 0. A design that misses its timing leaves the reports, no
`ilmpq.bit`, and an exit code that is not 0.

| | |
|---|---|
| part | {board.part} |
| arrays | {", ".join(map(str, g.arrays))} |
| lanes, positions, MAC per cycle | {g.tk}, {g.tp}, {g.macs_per_cycle:,} |
| activation and accumulator bits | {g.act_bits}, {g.acc_bits} |
| activation memory, weight ring, slot table | {config.am_depth:,}, {config.ring_depth:,}, {config.table_depth:,} |
| clock asked for | {clock_mhz:g} MHz, `FCLK_CLK0` |
| registers | {REGISTERS_AT:#010x}, {REGISTERS_BYTES // 1024} KiB, at `M_AXI_GP0` |
| interrupt | `IRQ_F2P[0]`, level, high |
| memory | {ports} |
| geometry id | {config.geometry_id:#010x}: register 0x08 reads this, and weight images must be compiled for it |
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m accel.engine.board", description="Write a folder for Vivado.")
    parser.add_argument("board", help=", ".join(BOARDS))
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--point", help="engine of accel/engine/points.py; default: the device's with PoT4")
    parser.add_argument("--geometry", type=Path, help="instead of a point: the geometry.json of `ilmpq search`")
    parser.add_argument("--clock-mhz", type=float, help="default: what the device is assumed to reach")
    given = parser.parse_args(arguments)
    try:
        board = board_named(given.board)
        config = (
            point_for(board, given.point).config
            if given.geometry is None
            else design_for(board, given.geometry, given.point)
        )
        write_folder(given.out, board, config, given.clock_mhz)
    except IlmpqError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"wrote {given.out}: go there and run `vivado -mode batch -source build.tcl`")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
