// One PoT4 weight times an unsigned activation of 5, 6 or 7 bits: 11, 15 or 17 LUTs for ACT_BITS + 6 bits.
//
// Code {tall, negate, exponent[2:0]} as in `pot4_product` (tall is not needed here); exponent 7 is the weight 0. First
// the activation is shifted by exponent[0] and complemented if negative (two bits per LUT6_2). A bit of the product then
// depends on the exponent and on at most four shifted bits of its own parity: on one or two near the ends, where two
// bits share a LUT6_2; on three in the middle (a LUT6); on four in the very middle (two LUTs).
// A negative product lacks -(2^ACT_BITS-1)·|weight|, a constant of the row.
module pot4_wide_product #(
  // bits of the unsigned activation, 5 to 7
  parameter int ACT_BITS = 5
) (
  input  logic [4:0]          code_i,
  input  logic [ACT_BITS-1:0] act_i,
  output logic [ACT_BITS+5:0] product_o
);
  logic unused_tall;
  assign unused_tall = code_i[4];
`ifdef SYNTHESIS
  localparam int TOP = ACT_BITS + 5;

  // The lowest shifted bit that can reach a product bit, and how many can (each second one from there).
  function automatic int lowest_source(input int position);
    lowest_source = (position < 8) ? position % 2 : position - 6;
  endfunction
  function automatic int sources(input int position);
    int highest;
    highest = (position < ACT_BITS) ? position : (ACT_BITS - (position - ACT_BITS) % 2);
    sources = (highest - lowest_source(position)) / 2 + 1;
  endfunction

  // Product bit `position` over {exponent, `count` shifted bits: first, first + 2, first + 4}.
  function automatic logic [63:0] shifting(input int position, input int first, input int count);
    int half;
    shifting = '0;
    for (int i = 0; i < 8 * 2 ** count; i++) begin
      half = (i >> count) / 2;
      for (int s = 0; s < count; s++) begin
        if ((i >> count) != 7 && first + 2 * s + 2 * half == position) shifting[i] = ((i >> s) & 1) != 0;
      end
    end
  endfunction

  // Shifted bit j + high over {negate, exponent[0], act[j+1], act[j], act[j-1]}, absent where the activation ends.
  function automatic logic [31:0] preparing(input int j, input int high);
    logic [4:0] index;
    int source;
    for (int i = 0; i < 32; i++) begin
      index = 5'(i);
      source = j + high - (index[3] ? 1 : 0);
      preparing[i] = (source >= 0 && source < ACT_BITS) ? index[4] ^ (index[3] ? index[high] : index[high+1]) : 1'b0;
    end
  endfunction

  logic [2:0] exponent;
  logic [ACT_BITS+2:0] padded;  // padded[j+1] = act[j]
  logic [ACT_BITS+2:0] shifted;
  assign exponent = code_i[2:0];
  assign padded = {2'b00, act_i, 1'b0};
  assign shifted[ACT_BITS+2:ACT_BITS+1] = '0;
  for (genvar j = 0; j <= ACT_BITS; j += 2) begin : g_prepare
    if (j < ACT_BITS) begin : g_two
      lut_pair #(.TABLE5(preparing(j, 0)), .TABLE6(preparing(j, 1))) prepare (
        .inputs_i({code_i[3], exponent[0], padded[j+:3]}), .select_i(1'b1), .o5_o(shifted[j]), .o6_o(shifted[j+1])
      );
    end else begin : g_one
      assign shifted[j] = exponent[0] & (code_i[3] ^ act_i[ACT_BITS-1]);
    end
  end
  for (genvar i = 0; i <= TOP; i++) begin : g_bit
    localparam int FIRST = lowest_source(i);
    if (i < 2 || i == TOP - 2) begin : g_pair
      localparam int SHARED = (i < 2) ? i : FIRST;
      lut_pair #(.TABLE5(32'(shifting(i, SHARED, 2))), .TABLE6(32'(shifting(i + 2, SHARED, 2)))) pair (
        .inputs_i({exponent, shifted[SHARED+2], shifted[SHARED]}), .select_i(1'b1), .o5_o(product_o[i]), .o6_o(product_o[i+2])
      );
    end else if (i > 3 && i != TOP) begin : g_single
      logic low;
      lut_single #(.TABLE(shifting(i, FIRST, 3))) single (
        .inputs_i({exponent, shifted[FIRST+4], shifted[FIRST+2], shifted[FIRST]}), .out_o(low)
      );
      if (sources(i) == 4) begin : g_fourth
        assign product_o[i] = low | (shifted[FIRST+6] & ~exponent[2] & ~exponent[1]);
      end else begin : g_three
        assign product_o[i] = low;
      end
    end
  end
`else
  logic [ACT_BITS-1:0] act;
  assign act = act_i ^ {ACT_BITS{code_i[3]}};
  assign product_o = (code_i[2:0] == 3'd7) ? '0 : {6'b0, act} << code_i[2:0];
`endif
endmodule
