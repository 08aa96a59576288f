// Fixed4 and Fixed8 arrays on DSPs; relative to hw/rtl
bit_heap_pkg.sv
dsp_packing.sv
lut_pair.sv
carry_chain.sv
ternary_chain.sv
bit_heap.sv
delay_line.sv
dsp48e1_mac.sv
accumulator.sv
dsp_column.sv
dsp_array.sv
fixed4_dsp_array.sv
fixed8_dsp_array.sv
