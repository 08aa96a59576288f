// One PoT3 weight times one unsigned activation: shift by 0, 1 or 2, gate and complement in a single LUT level.
//
// Code {negate, shift[1:0]}; shift 3 is the weight 0. A negative weight complements the activation's bits within their
// window: the product is ((2^A-1) - a) << shift, which lacks -(2^A-1)·|weight|, a constant of the row.
// A+2 bits in A LUTs: bits 0, 1 and bits A, A+1 see two activation bits and the code, so each two share a LUT6_2.
module pot3_product #(
  // bits of the unsigned activation, 4 or more
  parameter int ACT_BITS = 4
) (
  input  logic [2:0]          code_i,
  input  logic [ACT_BITS-1:0] act_i,
  output logic [ACT_BITS+1:0] product_o
);
  function automatic logic [ACT_BITS+1:0] multiply(input logic [2:0] code, input logic [ACT_BITS-1:0] act);
    multiply = (code[1:0] == 2'd3) ? '0 : {2'b00, act ^ {ACT_BITS{code[2]}}} << code[1:0];
  endfunction

`ifdef SYNTHESIS
  // The table of product bit `position` over {code, act[first+2], act[first+1], act[first]}; with bits = 2 without act[first+2].
  function automatic logic [63:0] table_of(input int position, input int first, input int bits);
    logic [5:0] index;
    logic [ACT_BITS-1:0] act;
    logic [ACT_BITS+1:0] product;
    table_of = '0;
    for (int i = 0; i < 8 * 2 ** bits; i++) begin
      index = 6'(i);
      act = '0;
      for (int j = 0; j < bits; j++) act[first+j] = index[j];
      product = multiply(3'(index >> bits), act);
      table_of[i] = product[position];
    end
  endfunction

  lut_pair #(.TABLE5(32'(table_of(0, 0, 2))), .TABLE6(32'(table_of(1, 0, 2)))) low (
    .inputs_i({code_i, act_i[1:0]}), .select_i(1'b1), .o5_o(product_o[0]), .o6_o(product_o[1])
  );
  for (genvar i = 2; i < ACT_BITS; i++) begin : g_middle
    lut_single #(.TABLE(table_of(i, i - 2, 3))) middle (.inputs_i({code_i, act_i[i-2+:3]}), .out_o(product_o[i]));
  end
  lut_pair #(.TABLE5(32'(table_of(ACT_BITS, ACT_BITS - 2, 2))), .TABLE6(32'(table_of(ACT_BITS + 1, ACT_BITS - 2, 2)))) high (
    .inputs_i({code_i, act_i[ACT_BITS-1:ACT_BITS-2]}), .select_i(1'b1), .o5_o(product_o[ACT_BITS]), .o6_o(product_o[ACT_BITS+1])
  );
`else
  assign product_o = multiply(code_i, act_i);
`endif
endmodule
