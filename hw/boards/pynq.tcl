# Processing system of PYNQ-Z1 and PYNQ-Z2 where the board's files are not installed: clock, voltages and memory, as in
# the project of PYNQ's own boot image. A running board keeps what it booted with; only a boot image made from ilmpq.xsa
# needs these, and it would lack the peripherals.
set ps_without_board_files {
  CONFIG.PCW_CRYSTAL_PERIPHERAL_FREQMHZ 50
  CONFIG.PCW_APU_PERIPHERAL_FREQMHZ 650
  CONFIG.PCW_PRESET_BANK0_VOLTAGE {LVCMOS 3.3V}
  CONFIG.PCW_PRESET_BANK1_VOLTAGE {LVCMOS 1.8V}
  CONFIG.PCW_UIPARAM_DDR_FREQ_MHZ 525
  CONFIG.PCW_UIPARAM_DDR_BUS_WIDTH {16 Bit}
  CONFIG.PCW_UIPARAM_DDR_PARTNO {MT41J256M16 RE-125}
  CONFIG.PCW_UIPARAM_DDR_DQS_TO_CLK_DELAY_0 0.040
  CONFIG.PCW_UIPARAM_DDR_DQS_TO_CLK_DELAY_1 0.058
  CONFIG.PCW_UIPARAM_DDR_BOARD_DELAY0 0.223
  CONFIG.PCW_UIPARAM_DDR_BOARD_DELAY1 0.212
}
