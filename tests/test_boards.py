"""The folders for Vivado: build.tcl runs to its end against a mock that knows cells and pins, and the top works.

The mock refuses what Vivado would: unknown commands, cells, pins and settings. It cannot tell whether Vivado accepts the
rest; hw/boards/README.md lists that.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from backends import primitives
from engine_programs import random_program
from engine_reference import Reference

from accel.engine.board import BOARDS, REGISTERS_AT, hp_ports, main, point_for, rtl_files, write_folder
from accel.engine.descriptor import Region
from accel.engine.result import DONE
from accel.engine.rtl_engine import CLEAR, START, Register, rtl_sources
from accel.engine.wrapper import masters, verilog
from accel.verilated import Module, Simulation
from ilmpq.design import EngineConfig
from ilmpq.device import PARTS, hardware_folder
from ilmpq.geometry import Geometry

SMALL = EngineConfig(
    Geometry.parse("pot4@lut:2, fix4@dsp:2", tk=4, tp=4, acc_bits=16),
    am_depth=256,
    ring_depth=64,
    table_depth=16,
    image_kernels=((3, 1),),
    image_bytes=9,
    line_width=16,
)
POINTS_TO_BUILD = [*((name, None) for name in BOARDS), *(("pynq-z2", ports) for ports in (1, 2, 4))]


@dataclass(frozen=True)
class Port:
    """A port of the generated module, read back from its text."""

    name: str
    driven: bool
    bits: int
    vlnv: str
    interface: str
    logical: str


def ports_of(text: str) -> list[Port]:
    pattern = re.compile(
        r'X_INTERFACE_INFO = "(\S+) (\S+) (\S+)" \*\)\n(?:\s*\(\* X_INTERFACE_PARAMETER = "[^"]*" \*\)\n)?'
        r"\s*(input|output)\s+wire(?: \[(\d+):0\])? (\w+)"
    )
    return [
        Port(name, direction == "output", int(high or 0) + 1, vlnv, interface, logical)
        for vlnv, interface, logical, direction, high, name in pattern.findall(text)
    ]


def parameters_of(text: str) -> dict[str, dict[str, str]]:
    """What is said of each interface."""
    found = {}
    for line in re.findall(r'X_INTERFACE_PARAMETER = "XIL_INTERFACENAME ([^"]*)"', text):
        name, *settings = line.split(", ")
        found[name] = dict(setting.split(" ", 1) for setting in settings)
    return found


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory, verilator: None) -> Simulation:
    """The generated module in a bench that only gives its clock the name that simulations use."""
    folder = tmp_path_factory.mktemp("top")
    text = verilog(SMALL)
    (folder / "ilmpq_engine.v").write_text(text)
    ports = [port for port in ports_of(text) if port.name != "aclk"]
    declared = ", ".join(f"{'output' if p.driven else 'input'} [{p.bits - 1}:0] {p.name}" for p in ports)
    tied = ", ".join(f".{p.name}({p.name})" for p in ports)
    bench = f"module bench (input clk_i, {declared});\nilmpq_engine dut (.aclk(clk_i), {tied});\nendmodule\n"
    (folder / "bench.v").write_text(bench)
    sources = (*rtl_sources(), folder / "ilmpq_engine.v", folder / "bench.v")
    inputs = {port.name: port.bits for port in ports if not port.driven}
    outputs = {port.name: port.bits for port in ports if port.driven}
    return Simulation(Module("bench", sources, inputs, outputs))


class Bus:
    """What is around the module: a processor at the slave, a memory at every master, each answering in the next cycle."""

    def __init__(self, top: Simulation) -> None:
        self.top = top
        self.memory: dict[int, int] = {}  # 64-bit words by address
        self.reads: dict[str, list[int]] = {name: [] for name in masters(SMALL)}
        self.bursts: dict[str, list[int]] = {name: [] for name in masters(SMALL)}  # addresses
        self.writes: list[int] = []  # addresses of the words to come
        self.responses = 0
        for _ in range(4):
            top.step(aresetn=0)

    def fill(self, address: int, content: bytes) -> None:
        words = np.frombuffer(content + bytes(-len(content) % 8), "<u8").tolist()
        self.memory |= {address + 8 * number: word for number, word in enumerate(words)}

    def read_back(self, address: int, size: int) -> bytes:
        return b"".join(self.memory[at].to_bytes(8, "little") for at in range(address, address + size, 8))

    def step(self, **slave: int) -> dict[str, int]:
        given = {"aresetn": 1, "s_axil_bready": 1, "s_axil_rready": 1, "m_axi_awready": 1, "m_axi_wready": 1, **slave}
        for name, words in self.reads.items():
            given |= {f"{name}_arready": 1, f"{name}_rvalid": int(bool(words))}
            given[f"{name}_rdata"] = self.memory.get(words[0], 0) if words else 0
        given["m_axi_bvalid"] = int(self.responses > 0)
        out = self.top.step(**given)
        for name, words in self.reads.items():
            if words and out[f"{name}_rready"]:
                words.pop(0)
            if out[f"{name}_arvalid"]:
                words += self.burst(out, name, "ar")
        if self.responses and out["m_axi_bready"]:
            self.responses -= 1
        if out["m_axi_wvalid"]:
            if out["m_axi_wstrb"] == 0xFF:
                self.memory[self.writes[0]] = out["m_axi_wdata"]
            last = len(self.writes) == 1 or self.writes[1] == -1
            assert out["m_axi_wlast"] == last
            del self.writes[: 2 if last else 1]
            self.responses += last
        if out["m_axi_awvalid"]:
            self.writes += [*self.burst(out, "m_axi", "aw"), -1]
        return out

    def burst(self, out: dict[str, int], name: str, channel: str) -> list[int]:
        said = {what: out[f"{name}_{channel}{what}"] for what in ("size", "burst", "cache", "prot")}
        assert said == {"size": 3, "burst": 1, "cache": 3, "prot": 0}
        start, beats = out[f"{name}_{channel}addr"], out[f"{name}_{channel}len"] + 1
        self.bursts[name].append(start)
        return [start + 8 * beat for beat in range(beats)]

    def write(self, register: int, value: int) -> None:
        wanted = {
            "s_axil_awaddr": register,
            "s_axil_awvalid": 1,
            "s_axil_wdata": value,
            "s_axil_wstrb": 15,
            "s_axil_wvalid": 1,
        }
        assert self.step(**wanted)["s_axil_awready"]
        assert self.step()["s_axil_bvalid"]

    def read(self, register: int) -> int:
        assert self.step(s_axil_araddr=register, s_axil_arvalid=1)["s_axil_arready"]
        out = self.step()
        assert out["s_axil_rvalid"]
        return out["s_axil_rdata"]


def test_registers_are_read_through_the_top(top: Simulation) -> None:
    bus = Bus(top)
    assert bus.read(Register.ID) == 0x494C4D50
    assert bus.read(Register.GEOMETRY) == SMALL.geometry_id
    assert bus.read(Register.ID + 0xF80) == 0x494C4D50  # the registers repeat


def test_a_program_through_the_top_leaves_what_the_numpy_engine_does(top: Simulation) -> None:
    """LOAD, convolutions with weights at every port, STORE, and the interrupt."""
    program = random_program(SMALL, np.random.default_rng(5), count=4, kinds="C")
    regions = {
        Region.SCRATCH: bytearray(),
        Region.INPUT: bytearray(program.input),
        Region.OUTPUT: bytearray(program.output_size),
    }
    Reference(SMALL, regions, program.weight_parts).run(program.words)

    bus = Bus(top)
    contents = [program.words.tobytes(), b"", program.input, bytes(program.output_size), *program.weight_parts]
    bases = [0x100_0000 * (number + 1) for number in range(len(contents))]
    for number, (base, content) in enumerate(zip(bases, contents, strict=True)):
        bus.fill(base, content)
        bus.write(Register.PROGRAM_BASE + 4 * number, base)
    bus.write(Register.INTERRUPT, 1)
    bus.write(Register.CONTROL, START)
    assert any(bus.step()["irq"] for _ in range(20_000))
    assert bus.read(Register.STATUS) == DONE
    assert bus.read_back(bases[3], program.output_size) == bytes(regions[Region.OUTPUT])
    for port, base in enumerate(bases[4:]):
        assert {at & 0xFF00_0000 for at in bus.bursts[f"m_axi_w{port}"]} == {base}
    bus.write(Register.CONTROL, CLEAR)
    bus.step()
    assert not bus.step()["irq"]


# Vivado's commands that build.tcl uses. Every effect becomes a line of the record: fields apart by a bar.
MOCK = r"""
set log [open $record w]
fconfigure $log -buffering line
proc note {args} { puts $::log [join $args |] }
proc known {kind name table} {
  if {![dict exists $table $name]} { error "no $kind $name: [dict keys $table]" }
  return $name
}
proc options {names flags arguments} {
  # -name value pairs and flags among the arguments; the rest stays in order
  set found {rest {}}
  while {[llength $arguments]} {
    set arguments [lassign $arguments word]
    if {$word in $flags} {
      dict set found $word 1
    } elseif {$word in $names} {
      set arguments [lassign $arguments value]
      dict set found $word $value
    } elseif {[string match -* $word] && ![string is double $word]} {
      error "unknown option $word"
    } else {
      dict lappend found rest $word
    }
  }
  return $found
}
set cells {}; set settings {}; set designs {}; set runs {synth_1 {} impl_1 {}}

proc version {flag} { return $::vivado }
proc get_parts {args} { return [dict get [options {} -quiet $args] rest] }
proc get_board_parts {args} {
  set pattern [dict get [options {} {-quiet -latest_file_version} $args] rest]
  return [lsearch -all -inline -glob $::installed_boards $pattern]
}
proc create_project {args} {
  set o [options -part -force $args]
  lassign [dict get $o rest] name folder
  set ::project [file join $folder $name]
  note create_project $name $folder [dict get $o -part]
}
proc current_project {} { return project }
proc current_fileset {} { return sources_1 }
proc add_files {args} {
  set o [options -fileset -norecurse $args]
  foreach file [lindex [dict get $o rest] 0] {
    if {![file exists $file]} { error "no file $file" }
    note add_files $file
  }
}
proc reorder_files {args} { note reorder_files {*}[lindex [dict get [options -fileset -front $args] rest] 0] }
proc update_compile_order {args} { options -fileset {} $args; note update_compile_order }
proc create_bd_design {name} { dict set ::designs $name.bd {}; note create_bd_design $name }
proc get_files {name} { known file $name $::designs }
proc get_runs {name} { known run $name $::runs }
proc create_bd_cell {args} {
  set o [options {-type -vlnv -reference} {} $args]
  set name [dict get $o rest]
  if {[dict exists $::cells $name]} { error "cell $name exists" }
  set kind [dict get $o [expr {[dict get $o -type] eq "ip" ? "-vlnv" : "-reference"}]]
  if {![dict exists $::catalog $kind]} { error "not in the catalog: $kind" }
  dict set ::cells $name $kind
  note create_bd_cell $name $kind
  return $name
}
proc set_property {args} {
  if {[lindex $args 0] eq "-dict"} {
    lassign $args - pairs object
  } else {
    lassign $args name value object
    set pairs [list $name $value]
  }
  if {$object eq ""} { error "set_property of nothing" }
  if {[llength $pairs] == 0 || [llength $pairs] % 2} { error "pairs: $pairs" }
  foreach {name value} $pairs {
    if {[dict exists $::cells $object]} {
      set legal [dict get $::catalog [dict get $::cells $object] config]
      if {![regexp "^CONFIG\\.($legal)\$" $name]} { error "$object has no $name" }
    }
    dict set ::settings $object $name $value
    note set_property $object $name $value
  }
}
proc get_property {name object} {
  switch -glob $name {
    PROGRESS { return $::progress }
    STATUS { return "Place Design ERROR" }
    STATS.WNS { return $::slack }
    STATS.WHS { return 0.05 }
    CONFIG.PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ { return 100.0 }
  }
  error "no property $name of $object"
}
proc enabled {cell name} {
  expr {[dict exists $::settings $cell CONFIG.$name] && [dict get $::settings $cell CONFIG.$name]}
}
# A pin or interface that its cell's kind has, and has switched on.
proc pin {kind name} {
  lassign [split $name /] cell port
  known cell $cell $::cells
  foreach {pattern needs} [dict get $::catalog [dict get $::cells $cell] $kind] {
    if {[regexp "^$pattern\$" $port]} {
      foreach need [subst $needs] {
        if {![enabled $cell $need]} { error "$name needs $need" }
      }
      if {[regexp {^S(\d\d)_A} $port - number]} {
        scan $number %d number
        if {$number >= [dict get $::settings $cell CONFIG.NUM_SI]} { error "$name is beyond NUM_SI" }
      }
      return $name
    }
  }
  error "no $kind $name"
}
proc get_bd_pins {name} { pin pins $name }
proc get_bd_intf_pins {name} { pin interfaces $name }
proc connect_bd_net {from to} { note connect_bd_net $from $to }
proc connect_bd_intf_net {from to} { note connect_bd_intf_net $from $to }
proc apply_bd_automation {args} {
  set o [options {-rule -config} {} $args]
  note apply_bd_automation [dict get $o -rule] [dict get $o -config] [dict get $o rest]
}
proc get_bd_addr_spaces {name} {
  if {$name ne "ps/Data"} { pin interfaces $name }
  return $name
}
proc get_bd_addr_segs {name} {
  lassign [split $name /] cell interface
  pin interfaces $cell/$interface
  return $name
}
proc assign_bd_address {args} {
  set o [options {-offset -range -target_address_space} {} $args]
  note assign_bd_address [dict get $o -target_address_space] [dict get $o rest] [dict get $o -offset] [dict get $o -range]
}
proc validate_bd_design {} { note validate_bd_design }
proc save_bd_design {} { note save_bd_design }
proc generate_target {what file} {
  note generate_target $what $file
  set folder [file join [file dirname $::project] ilmpq.$::generated sources_1 bd ilmpq hw_handoff]
  file mkdir $folder
  close [open [file join $folder ilmpq.hwh] w]
}
proc make_wrapper {args} { note make_wrapper [options -files {-top -import} $args] }
proc launch_runs {args} {
  set o [options {-to_step -jobs} {} $args]
  set run [known run [dict get $o rest] $::runs]
  note launch_runs $run
  if {[dict exists $o -to_step]} {
    set folder [file join [file dirname $::project] ilmpq.runs $run]
    file mkdir $folder
    close [open [file join $folder ilmpq_wrapper.bit] w]
  }
}
proc wait_on_run {run} { known run $run $::runs }
proc open_run {run} { note open_run [known run $run $::runs] }
proc report_timing_summary {args} { close [open [dict get [options -file {} $args] -file] w] }
proc report_utilization {args} { close [open [dict get [options -file -hierarchical $args] -file] w] }
proc write_hw_platform {args} { close [open [dict get [options -file {-fixed -include_bit -force} $args] -file] w] }
source $script
close $log
"""
# Pins and interfaces of each kind of cell, as patterns with the settings that each needs.
CATALOG = r"""
set catalog {
  xilinx.com:ip:processing_system7:5.5 {
    config {PCW_\w+|preset}
    pins {
      FCLK_CLK0 PCW_EN_CLK0_PORT FCLK_RESET0_N PCW_EN_RST0_PORT M_AXI_GP0_ACLK PCW_USE_M_AXI_GP0
      IRQ_F2P {PCW_USE_FABRIC_INTERRUPT PCW_IRQ_F2P_INTR} S_AXI_HP[0-3]_ACLK {[regsub _ACLK PCW_USE_$port {}]}
    }
    interfaces {M_AXI_GP0 PCW_USE_M_AXI_GP0 S_AXI_HP[0-3] PCW_USE_$port DDR {} FIXED_IO {}}
  }
  xilinx.com:ip:proc_sys_reset:5.0 {
    config {}
    pins {slowest_sync_clk {} ext_reset_in {} peripheral_aresetn {} interconnect_aresetn {}}
    interfaces {}
  }
  xilinx.com:ip:axi_interconnect:2.1 {
    config {NUM_SI|NUM_MI}
    pins {ACLK {} ARESETN {} S\\d\\d_ACLK {} S\\d\\d_ARESETN {} M00_ACLK {} M00_ARESETN {}}
    interfaces {S\\d\\d_AXI {} M00_AXI {}}
  }
  ilmpq_engine {config {} pins {aclk {} aresetn {} irq {}} interfaces {INTERFACES}}
}
"""


@dataclass(frozen=True)
class Build:
    """What build.tcl did in a folder."""

    folder: Path
    returncode: int
    output: str
    record: list[list[str]]

    def of(self, command: str) -> list[list[str]]:
        return [fields for name, *fields in self.record if name == command]

    def settings(self, thing: str) -> dict[str, str]:
        return {name: value for owner, name, value in self.of("set_property") if owner == thing}


def build(
    folder: Path, *, boards: str = "", slack: str = "0.1", progress: str = "100%", vivado: str = "2022.1"
) -> Build:
    """Runs it in Yosys' Tcl, which needs nothing more than the other tests of hardware."""
    primitives()  # skips where yosys is missing
    top = ports_of((folder / "ilmpq_engine.v").read_text())
    interfaces = {port.interface for port in top if "aximm" in port.vlnv}
    generated = "srcs" if vivado == "2020.1" else "gen"
    values = {
        "record": folder / "record",
        "script": folder / "build.tcl",
        "vivado": vivado,
        "installed_boards": boards,
        "slack": slack,
        "progress": progress,
        "generated": generated,
    }
    mock = "".join(f"set {name} {{{value}}}\n" for name, value in values.items())
    mock += CATALOG.replace("INTERFACES", " ".join(f"{name} {{}}" for name in sorted(interfaces)))
    (folder / "mock.tcl").write_text(mock + MOCK)
    done = subprocess.run(["yosys", "-q", "-c", str(folder / "mock.tcl")], capture_output=True, text=True, check=False)
    record = [line.split("|") for line in (folder / "record").read_text().splitlines()]
    return Build(folder, done.returncode, done.stdout + done.stderr, record)


def folder_for(path: Path, name: str, ports: int | None = None) -> EngineConfig:
    board = BOARDS[name]
    config = point_for(board).config if ports is None else replace(SMALL, weight_ports=ports)
    write_folder(path, board, config)
    return config


@pytest.mark.parametrize(("name", "ports"), POINTS_TO_BUILD)
def test_the_block_design_is_whole(name: str, ports: int | None, tmp_path: Path) -> None:
    config = folder_for(tmp_path, name, ports)
    built = build(tmp_path)
    assert built.returncode == 0, built.output
    cells = dict(built.of("create_bd_cell"))

    # Every interface of the module goes somewhere, once; nothing else is connected twice.
    links = built.of("connect_bd_intf_net")
    ends = [end for link in links for end in link]
    assert len(ends) == len(set(ends))
    declared = {port.interface for port in ports_of((tmp_path / "ilmpq_engine.v").read_text()) if "aximm" in port.vlnv}
    assert {f"engine/{interface}" for interface in declared} <= set(ends)
    assert declared == {"s_axil", *masters(config)}
    forward = dict(links)
    shared = {f"share_HP0/S{number:02d}_AXI": "share_HP0/M00_AXI" for number in range(2)}
    for port, names in hp_ports(config).items():
        for master in names:
            target = forward[f"engine/{master}"]
            assert forward.get(shared.get(target, ""), target) == f"ps/S_AXI_{port}"
    assert forward["ps/M_AXI_GP0"] == "control/S00_AXI"
    assert forward["control/M00_AXI"] == "engine/s_axil"

    # One clock and one reset, at every cell; the interrupt.
    nets = built.of("connect_bd_net")
    sources = {target: source for source, target in nets}
    assert len(sources) == len(nets)
    inputs = {
        "engine": ["aclk", "aresetn"],
        "reset": ["slowest_sync_clk", "ext_reset_in"],
        "ps": ["M_AXI_GP0_ACLK", "IRQ_F2P"],
    }
    inputs["ps"] += [f"S_AXI_{port}_ACLK" for port in hp_ports(config)]
    for cell, kind in cells.items():
        if "axi_interconnect" in kind:
            count = int(built.settings(cell)["CONFIG.NUM_SI"])
            sides = ["", "M00_", *(f"S{number:02d}_" for number in range(count))]
            inputs[cell] = [f"{side}{pin}" for side in sides for pin in ("ACLK", "ARESETN")]
    assert {f"{cell}/{pin}" for cell, pins in inputs.items() for pin in pins} == sources.keys()
    assert inputs.keys() == cells.keys()
    for pin, source in sources.items():
        if pin.upper().endswith("CLK"):
            assert source == "ps/FCLK_CLK0"
        elif pin.upper().endswith("ARESETN"):
            assert source.startswith("reset/")
    assert sources["reset/ext_reset_in"] == "ps/FCLK_RESET0_N"
    assert sources["ps/IRQ_F2P"] == "engine/irq"

    # Every master sees all of the memory, the processor the registers.
    spaces = {space: fields for space, *fields in built.of("assign_bd_address")}
    assert spaces.keys() == {"ps/Data", *(f"engine/{master}" for master in masters(config))}
    assert [spaces["ps/Data"][0], int(spaces["ps/Data"][1], 0)] == ["engine/s_axil/reg0", REGISTERS_AT]
    for port, names in hp_ports(config).items():
        for master in names:
            segment, offset, size = spaces[f"engine/{master}"]
            assert segment == f"ps/S_AXI_{port}/{port}_DDR_LOWOCM"
            assert (int(offset, 0), int(size, 0)) == (0, BOARDS[name].memory_bytes)
    order = [fields[0] for fields in built.record]
    assert order.index("validate_bd_design") > max(
        i for i, command in enumerate(order) if "connect" in command or "assign" in command
    )


@pytest.mark.parametrize("name", BOARDS)
def test_the_right_part_clock_and_settings(name: str, tmp_path: Path) -> None:
    folder_for(tmp_path, name)
    board = BOARDS[name]
    plain = build(tmp_path)
    assert [fields[2] for fields in plain.of("create_project")] == [board.part]
    assert board.part.startswith(board.device)
    settings = plain.settings("ps")
    assert float(settings["CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ"]) == PARTS[board.device].assumed_clock_mhz
    assert "apply_board_preset 0" in plain.of("apply_bd_automation")[0][1]
    assert {settings[f"CONFIG.PCW_S_AXI_{port}_DATA_WIDTH"] for port in hp_ports(point_for(board).config)} == {"64"}

    files = build(tmp_path, boards=f"somebody.com:{name}:part0:1.0 other.com:zybo:part0:1.0")
    assert files.returncode == 0, files.output
    assert files.settings("project")["board_part"] == f"somebody.com:{name}:part0:1.0"
    assert "apply_board_preset 1" in files.of("apply_bd_automation")[0][1]
    assert settings.keys() > files.settings("ps").keys()  # what the board's files know is not said again


def test_the_folder_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    folder_for(tmp_path, "pynq-z2")
    built = build(tmp_path)
    given = {Path(fields[0]) for fields in built.of("add_files")}
    assert all(file.is_relative_to(tmp_path) for file in given)
    sources = [file for file in given if file.suffix == ".sv"]
    assert {file.name: file.read_bytes() for file in sources} == {file.name: file.read_bytes() for file in rtl_files()}
    assert built.settings("project")["source_mgmt_mode"] == "DisplayOnly"  # all of them are compiled, in this order
    ordered = [Path(file).name for file in built.of("reorder_files")[0]]
    assert ordered == [*(file.name for file in rtl_files()), "ilmpq_engine.v"]
    assert given - set(sources) == {tmp_path / "ilmpq_engine.v", tmp_path / "constraints.xdc"}
    assert str(hardware_folder()) not in "".join(
        file.read_text() for file in tmp_path.glob("*.*") if file.name != "mock.tcl"
    )


@pytest.mark.parametrize("vivado", ["2020.1", "2022.1.1", "2024.2"])
def test_results_lie_under_one_name(vivado: str, tmp_path: Path) -> None:
    folder_for(tmp_path, "pynq-z1", 1)
    assert build(tmp_path, vivado=vivado).returncode == 0
    for name in ("ilmpq.bit", "ilmpq.hwh", "ilmpq.xsa", "timing.rpt", "utilization.rpt"):
        assert (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"slack": "-0.2"}, "timing must be met"),
        ({"progress": "41%"}, "synth_1 must end well"),
        ({"vivado": "2019.2"}, "Vivado must be 2020.1 or newer"),
    ],
)
def test_a_failure_leaves_no_bitstream_and_says_why(broken: dict[str, str], message: str, tmp_path: Path) -> None:
    folder_for(tmp_path, "pynq-z2", 1)
    (tmp_path / "ilmpq.bit").write_text("of an earlier build")
    built = build(tmp_path, **broken)
    assert built.returncode != 0
    assert message in built.output
    if "vivado" not in broken:
        assert not (tmp_path / "ilmpq.bit").exists()


def test_the_mock_refuses_what_is_not_there(tmp_path: Path) -> None:
    """Otherwise the tests above could not fail."""
    folder_for(tmp_path, "pynq-z2", 1)
    script = (tmp_path / "build.tcl").read_text()
    for good, bad in [
        ("engine/irq", "engine/interrupt"),
        ("ps/M_AXI_GP0 engine/s_axil", "ps/M_AXI_GP0 engine/s_axi"),
        ("CONFIG.NUM_SI [llength $masters]", "CONFIG.NUM_SI 0"),
        ("CONFIG.PCW_USE_S_AXI_$port 1 ", ""),
        ("axi_interconnect:2.1", "axi_interconnect:9"),
        ("-reference ilmpq_engine", "-reference engine"),
        ("add_files -norecurse $files", "add_files -norecurse $files.v"),
        ("get_files ilmpq.bd", "get_files other.bd"),
    ]:
        assert good in script
        (tmp_path / "build.tcl").write_text(script.replace(good, bad))
        assert build(tmp_path).returncode != 0, good


@pytest.mark.parametrize("ports", [1, 2, 3, 4])
def test_the_top_is_axi3_of_64_bits_without_ids(ports: int) -> None:
    config = replace(SMALL, weight_ports=ports)
    text = verilog(config)
    found, said = ports_of(text), parameters_of(text)
    assert said["aclk"]["ASSOCIATED_BUSIF"].split(":") == ["s_axil", *masters(config)]
    assert said["aclk"]["ASSOCIATED_RESET"] == "aresetn"
    assert said["aresetn"]["POLARITY"] == "ACTIVE_LOW"
    for master in masters(config):
        widths = {port.logical: (port.bits, port.driven) for port in found if port.interface == master}
        assert all(port.name == f"{master}_{port.logical.lower()}" for port in found if port.interface == master)
        assert not {"ARID", "RID", "AWID", "WID", "BID"} & widths.keys()
        channels = ("AR", "AW") if master == "m_axi" else ("AR",)
        assert ("AWADDR" in widths) == (master == "m_axi")
        for channel in channels:
            assert widths[f"{channel}LEN"] == (4, True)
            assert widths[f"{channel}ADDR"] == (32, True)
        assert widths["RDATA"] == (64, False)
        assert said[master]["PROTOCOL"] == "AXI3"
        assert said[master]["ID_WIDTH"] == "0"
        assert said[master]["READ_WRITE_MODE"] == ("READ_WRITE" if master == "m_axi" else "READ_ONLY")
    assert all(line.isascii() for line in text.splitlines())


def test_the_top_connects_every_port_of_the_engine_and_no_other() -> None:
    engine = (hardware_folder() / "rtl" / "engine.sv").read_text().split(") (")[1].split(");")[0]
    wanted = set(re.findall(r"^\s*(?:input|output)\s+logic\s+(?:\[.*?\]\s+)?(\w+),?$", engine, re.MULTILINE))
    given = re.findall(r"\.(\w+_[io])\(", verilog(SMALL))
    assert len(wanted) == 56
    assert len(given) == len(set(given))
    assert set(given) == wanted


def test_verilator_finds_nothing_wrong_with_the_top(tmp_path: Path, verilator: None) -> None:
    (tmp_path / "ilmpq_engine.v").write_text(verilog(SMALL))
    command = ["verilator", "--lint-only", "-Wall", "-Wno-fatal", "--top-module", "ilmpq_engine"]
    command += [*map(str, rtl_files()), str(tmp_path / "ilmpq_engine.v")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line for line in done.stderr.splitlines() if "ilmpq_engine.v" in line] == []


def test_yosys_reads_the_top_as_verilog_and_finds_every_module(tmp_path: Path) -> None:
    primitives()  # skips where yosys is missing
    (tmp_path / "ilmpq_engine.v").write_text(verilog(SMALL))
    sources = " ".join(map(str, rtl_files()))
    script = f"read_verilog -lib +/xilinx/cells_sim.v; read_verilog -sv -DSYNTHESIS {sources}; "
    script += f"read_verilog {tmp_path / 'ilmpq_engine.v'}; hierarchy -check -top ilmpq_engine"
    subprocess.run(["yosys", "-q", "-p", script], check=True)


def test_the_command_writes_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pynq-z2", "--out", str(tmp_path / "new" / "folder"), "--clock-mhz", "80"]) == 0
    assert "set clock_mhz 80\n" in (tmp_path / "new" / "folder" / "design.tcl").read_text()
    second = tmp_path / "second"
    assert main(["zybo", "--out", str(second)]) == 2
    assert main(["pynq-z2", "--out", str(second), "--clock-mhz", "0.5"]) == 2
    assert main(["pynq-z2", "--out", str(second), "--clock-mhz", "nan"]) == 2
    assert not second.exists()
    assert main(["pynq-z2", "--out", str(second), "--point", "xc7z020-pot3"]) == 0
    assert "pot3@lut" in (second / "README.md").read_text()
    assert main(["pynq-z2", "--out", str(second), "--point", "xc7z045-pot4"]) == 2
    refusals = capsys.readouterr().err.splitlines()
    assert refusals.pop().startswith("point for pynq-z2 must be one of xc7z020-pot4, ")
    assert refusals == [
        "board must be one of pynq-z1, pynq-z2, zc706, not 'zybo'",
        "clock must be from 1 to 250 MHz, not 0.5: change --clock-mhz",
        "clock must be from 1 to 250 MHz, not nan: change --clock-mhz",
    ]


def test_a_design_that_a_search_wrote_is_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    geometry, out = tmp_path / "geometry.json", tmp_path / "out"
    point = point_for(BOARDS["zc706"])
    geometry.write_text(json.dumps({"config": point.config.to_dict()}))
    assert main(["zc706", "--out", str(out), "--geometry", str(geometry)]) == 0
    assert (out / "ilmpq_engine.v").read_text() == verilog(point.config)
    other = tmp_path / "other"
    assert main(["pynq-z2", "--out", str(other), "--geometry", str(geometry)]) == 5
    assert main(["zc706", "--out", str(other), "--geometry", str(geometry), "--point", "xc7z045-pot4"]) == 2
    geometry.write_text("{}")
    assert main(["zc706", "--out", str(other), "--geometry", str(geometry)]) == 2
    assert not other.exists()
    larger, both, broken = capsys.readouterr().err.splitlines()
    assert "does not fit xc7z020: it takes" in larger
    assert both.startswith("--point and --geometry exclude each other")
    assert "must be a geometry.json as `ilmpq search` writes it" in broken


def test_somebody_elses_folder_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text("precious")
    assert main(["pynq-z2", "--out", str(tmp_path)]) == 2
    assert main(["pynq-z2", "--out", str(tmp_path / "README.md")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "precious"
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path} holds other files: choose a new folder with --out",
        f"{tmp_path / 'README.md'} is a file: choose a folder with --out",
    ]


def test_a_folder_that_was_begun_is_written_whole_and_cannot_be_built_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, config = BOARDS["pynq-z2"], point_for(BOARDS["pynq-z2"]).config
    write_folder(tmp_path, board, config)
    (tmp_path / "ilmpq.bit").write_text("what Vivado left")
    with monkeypatch.context() as patched:
        patched.setattr("accel.engine.board.verilog", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_folder(tmp_path, board, config)
    assert not (tmp_path / "build.tcl").exists()
    write_folder(tmp_path, board, config, 50)
    assert (tmp_path / "build.tcl").exists()
    assert "set clock_mhz 50\n" in (tmp_path / "design.tcl").read_text()
