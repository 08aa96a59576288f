// The kinds of arrays that may stand side by side in a `split_mac_array`, and what it must know of each.
//
// | kind | module | weights | on |
// |---|---|---|---|
// | 0 | pot4_array | PoT4 | LUTs |
// | 1 | fixed4_dsp_array | Fixed4 | DSPs |
// | 2 | fixed8_dsp_array | Fixed8 | DSPs |
// | 3 | pot3_array | PoT3 | LUTs |
// | 4 | fixed4_lut_array | Fixed4 | LUTs |
// | 5 | fixed3_lut_array | Fixed3 | LUTs |
// | 6 | ternary_lut_array | ternary | LUTs |
// | 7 | fixed8_lut_array | Fixed8 | LUTs |
// | 8 | fixed4_dsp_array | Fixed4 | DSPs, at most 2 products each |
// | 9 | fixed4_dsp_array | Fixed4 | DSPs, 1 product each |
// | 10 | fixed8_dsp_array | Fixed8 | DSPs, 1 product each |
package mac_kinds;

  localparam int POT4_LUT = 0;
  localparam int FIXED4_DSP = 1;
  localparam int FIXED8_DSP = 2;
  localparam int POT3_LUT = 3;
  localparam int FIXED4_LUT = 4;
  localparam int FIXED3_LUT = 5;
  localparam int TERNARY_LUT = 6;
  localparam int FIXED8_LUT = 7;
  localparam int FIXED4_DSP_TWO = 8;
  localparam int FIXED4_DSP_ONE = 9;
  localparam int FIXED8_DSP_ONE = 10;

  // Bits of a lane code.
  function automatic int lane_bits(input int kind);
    case (kind)
      POT4_LUT: lane_bits = 5;
      FIXED4_DSP, FIXED4_DSP_TWO, FIXED4_DSP_ONE, FIXED4_LUT: lane_bits = 4;
      POT3_LUT, FIXED3_LUT: lane_bits = 3;
      TERNARY_LUT: lane_bits = 2;
      default: lane_bits = 8;
    endcase
  endfunction

  // Products per DSP of an array on DSPs: of Fixed4 four, where kind, rows, positions and activations allow it.
  function automatic int products(input int kind, input int rows, input int tp, input int act_bits);
    case (kind)
      FIXED4_DSP: products = (act_bits <= 6 && rows % 2 == 0 && tp % 2 == 0) ? 4 : 2;
      FIXED4_DSP_ONE, FIXED8_DSP_ONE: products = 1;
      default: products = 2;
    endcase
  endfunction

  // Enabled cycles from activations to accumulators.
  function automatic int latency(input int kind, input int rows, input int tk, input int tp, input int act_bits);
    int top, per_dsp, chain;
    top = 2 ** act_bits - 1;
    per_dsp = products(kind, rows, tp, act_bits);
    chain = dsp_packing::default_chain(tk);
    case (kind)
      POT4_LUT:
        latency = (act_bits == 8) ? lut_array_pkg::latency(2, 4, tk, 64 * 15) : lut_array_pkg::latency(1, 4, tk, 64 * top);
      FIXED4_DSP, FIXED4_DSP_TWO, FIXED4_DSP_ONE:
        latency = dsp_packing::fixed4_latency(
          rows, tk, act_bits, per_dsp, chain, 2, dsp_packing::fixed4_segment(act_bits, per_dsp, chain));
      FIXED8_DSP, FIXED8_DSP_ONE:
        latency = dsp_packing::fixed8_latency(
          tk, tp, act_bits, per_dsp, chain, 2, dsp_packing::fixed8_segment(tp, act_bits, per_dsp, chain));
      POT3_LUT: latency = lut_array_pkg::latency(1, 1, tk, 4 * top);
      default: latency = lut_array_pkg::latency(lane_bits(kind) - 1, 1, (tk + 1) / 2, 2 * top);
    endcase
  endfunction

  // Element `index` of a list packed in fields of 16 bits, the first in the lowest.
  function automatic int element(input logic [16*16-1:0] list, input int index);
    element = 32'(list[16*index+:16]);
  endfunction

  // Rows of the first `count` arrays.
  function automatic int rows_before(input logic [16*16-1:0] rows, input int count);
    int i;
    rows_before = 0;
    for (i = 0; i < count; i = i + 1) rows_before = rows_before + element(rows, i);
  endfunction

  // Bits of the lane codes of the first `count` arrays.
  function automatic int bits_before(input logic [16*16-1:0] kinds, input logic [16*16-1:0] rows, input int count, input int tk);
    int i;
    bits_before = 0;
    for (i = 0; i < count; i = i + 1) bits_before = bits_before + element(rows, i) * tk * lane_bits(element(kinds, i));
  endfunction

  // The longest latency of all arrays.
  function automatic int slowest(
      input logic [16*16-1:0] kinds, input logic [16*16-1:0] rows, input int count, input int tk, input int tp, input int act_bits);
    int i, one;
    slowest = 0;
    for (i = 0; i < count; i = i + 1) begin
      one = latency(element(kinds, i), element(rows, i), tk, tp, act_bits);
      if (one > slowest) slowest = one;
    end
  endfunction

endpackage
