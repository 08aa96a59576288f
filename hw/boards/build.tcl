# From the sources in this folder to ilmpq.bit, ilmpq.hwh and ilmpq.xsa: `vivado -mode batch -source build.tcl`.
#
# design.tcl says what to build; ps.tcl configures the processing system where the board's files are not installed.
# Written for Vivado 2020.1 to 2024.2. Any error ends Vivado with an exit code that is not 0.

set here [file dirname [file normalize [info script]]]
source [file join $here design.tcl]
source [file join $here ps.tcl]
if {[package vcompare [regexp -inline {^\d+\.\d+} [version -short]] 2020.1] < 0} {
  error "Vivado must be 2020.1 or newer, not [version -short]"
}
if {[llength [get_parts -quiet $part]] == 0} {
  error "$part must be installed: add Zynq-7000 with Vivado's installer"
}

foreach result {ilmpq.bit ilmpq.hwh ilmpq.xsa} {
  file delete [file join $here $result]
}

# Sources.
create_project -force ilmpq [file join $here project] -part $part
set board_part [lindex [get_board_parts -quiet -latest_file_version $board_files] 0]
set has_board_files [expr {$board_part ne ""}]
if {$has_board_files} {
  set_property board_part $board_part [current_project]
} else {
  puts "ILMPQ: no board files like $board_files, the processing system is configured by ps.tcl"
}
set files {}
foreach source $sources {
  lappend files [file join $here $source]
}
add_files -norecurse $files
add_files -fileset constrs_1 -norecurse [file join $here constraints.xdc]
update_compile_order -fileset sources_1

# Block design: the processing system with its clock and reset.
create_bd_design ilmpq
set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7:5.5 ps]
apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 -config [list \
  make_external "FIXED_IO, DDR" apply_board_preset $has_board_files Master Disable Slave Disable] $ps
if {!$has_board_files} {
  set_property -dict $ps_without_board_files $ps
}
set_property -dict [list \
  CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $clock_mhz \
  CONFIG.PCW_EN_CLK0_PORT 1 \
  CONFIG.PCW_EN_RST0_PORT 1 \
  CONFIG.PCW_USE_M_AXI_GP0 1 \
  CONFIG.PCW_USE_FABRIC_INTERRUPT 1 \
  CONFIG.PCW_IRQ_F2P_INTR 1] $ps
create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset:5.0 reset
connect_bd_net [get_bd_pins ps/FCLK_RESET0_N] [get_bd_pins reset/ext_reset_in]

proc clocked {args} {
  foreach pin $args {
    connect_bd_net [get_bd_pins ps/FCLK_CLK0] [get_bd_pins $pin]
  }
}
proc reset_by {source args} {
  foreach pin $args {
    connect_bd_net [get_bd_pins $source] [get_bd_pins $pin]
  }
}
proc linked {master slave} {
  connect_bd_intf_net [get_bd_intf_pins $master] [get_bd_intf_pins $slave]
}
# An AXI interconnect from some masters to one slave, all of one clock.
proc interconnect {name masters slave} {
  set cell [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_interconnect:2.1 $name]
  set_property -dict [list CONFIG.NUM_SI [llength $masters] CONFIG.NUM_MI 1] $cell
  clocked $name/ACLK $name/M00_ACLK
  reset_by reset/interconnect_aresetn $name/ARESETN
  reset_by reset/peripheral_aresetn $name/M00_ARESETN
  set number 0
  foreach master $masters {
    set port [format "S%02d" $number]
    clocked $name/${port}_ACLK
    reset_by reset/peripheral_aresetn $name/${port}_ARESETN
    linked $master $name/${port}_AXI
    incr number
  }
  linked $name/M00_AXI $slave
}
clocked reset/slowest_sync_clk ps/M_AXI_GP0_ACLK

# The engine: registers at GP0, interrupt at the first line, which is the one that PYNQ can wait for.
create_bd_cell -type module -reference ilmpq_engine engine
clocked engine/aclk
reset_by reset/peripheral_aresetn engine/aresetn
connect_bd_net [get_bd_pins engine/irq] [get_bd_pins ps/IRQ_F2P]
interconnect control ps/M_AXI_GP0 engine/s_axil
assign_bd_address -offset $registers_at -range $registers_bytes \
  -target_address_space [get_bd_addr_spaces ps/Data] [get_bd_addr_segs engine/s_axil/reg0]

# Its ways to memory are AXI3 of 64 bits, as the HP ports are: wires alone, unless two share a port.
dict for {port masters} $hp_ports {
  set_property -dict [list CONFIG.PCW_USE_S_AXI_$port 1 CONFIG.PCW_S_AXI_${port}_DATA_WIDTH 64] $ps
  clocked ps/S_AXI_${port}_ACLK
  if {[llength $masters] == 1} {
    linked engine/[lindex $masters 0] ps/S_AXI_$port
  } else {
    set pins {}
    foreach master $masters {
      lappend pins engine/$master
    }
    interconnect share_$port $pins ps/S_AXI_$port
  }
  foreach master $masters {
    assign_bd_address -offset 0x00000000 -range $memory_bytes \
      -target_address_space [get_bd_addr_spaces engine/$master] [get_bd_addr_segs ps/S_AXI_$port/${port}_DDR_LOWOCM]
  }
}
validate_bd_design
save_bd_design
set actual_mhz [get_property CONFIG.PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ $ps]

# One synthesis of the whole: the design is small, and logic may move across the block design's borders.
set design [get_files ilmpq.bd]
set_property synth_checkpoint_mode None $design
generate_target all $design
make_wrapper -files $design -top -import
set_property top ilmpq_wrapper [current_fileset]
# Left to itself Vivado drops files whose modules stand under conditions that the parameters' defaults do not meet, such
# as the kinds of arrays: from here on all files count, in the order of design.tcl.
set_property source_mgmt_mode DisplayOnly [current_project]
reorder_files -fileset sources_1 -front $files
proc finish {run} {
  wait_on_run $run
  if {[get_property PROGRESS [get_runs $run]] ne "100%"} {
    error "$run must end well, not with \"[get_property STATUS [get_runs $run]]\": see runme.log in project/ilmpq.runs/$run"
  }
}
launch_runs synth_1 -jobs 4
finish synth_1
set_property strategy Performance_ExplorePostRoutePhysOpt [get_runs impl_1]
launch_runs impl_1 -to_step write_bitstream -jobs 4
finish impl_1

# Results. A design that is too slow leaves its reports, and no bitstream that looks finished.
open_run impl_1
report_timing_summary -file [file join $here timing.rpt]
report_utilization -hierarchical -file [file join $here utilization.rpt]
set slacks [list [get_property STATS.WNS [get_runs impl_1]] [get_property STATS.WHS [get_runs impl_1]]]
if {[tcl::mathfunc::min {*}$slacks] < 0} {
  error "timing must be met at $actual_mhz MHz, slacks (setup, hold) are $slacks ns: see timing.rpt, or write the folder again with a lower --clock-mhz"
}
# Vivado 2020.1 keeps the .hwh under .srcs, later ones under .gen.
set handoffs [glob [file join $here project ilmpq.{gen,srcs} sources_1 bd ilmpq hw_handoff ilmpq.hwh]]
file copy -force [lindex $handoffs 0] [file join $here ilmpq.hwh]
write_hw_platform -fixed -include_bit -force -file [file join $here ilmpq.xsa]
file copy -force [file join $here project ilmpq.runs impl_1 ilmpq_wrapper.bit] [file join $here ilmpq.bit]
puts "ILMPQ: ilmpq.bit, ilmpq.hwh and ilmpq.xsa for $board at $actual_mhz MHz, slacks (setup, hold) $slacks ns"
