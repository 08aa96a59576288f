// sum = (enable_a ? a ^ negate_a : 0) + (enable_b ? b ^ negate_b : 0) in one carry chain, one LUT6_2 per bit.
//
// Gate, conditional complement and addition of two products in a single LUT level: its six inputs are exactly the six
// signals of a bit. O5 = the gated bit of b is the chain's generate; O6 adds the gated bit of a, which is 0 where
// enable_a (the sixth input, `select_i`) is 0, so that there O6 = O5 as the LUT6_2 demands.
module pair_adder #(
  // bits of each operand
  parameter int WIDTH = 4
) (
  input  logic             enable_a_i,
  input  logic             negate_a_i,
  input  logic [WIDTH-1:0] a_i,
  input  logic             enable_b_i,
  input  logic             negate_b_i,
  input  logic [WIDTH-1:0] b_i,
  output logic [WIDTH:0]   sum_o
);
`ifdef SYNTHESIS
  // inputs = {negate_a, a, enable_b, negate_b, b}
  localparam logic [31:0] GATED_B = {4{8'b0110_0000}};
  localparam logic [31:0] GATED_B_PLUS_A = {8'b0110_0000, 8'b1001_1111, 8'b1001_1111, 8'b0110_0000};
  logic [WIDTH-1:0] propagate, gated_b;
  for (genvar i = 0; i < WIDTH; i++) begin : g_bit
    lut_pair #(.TABLE5(GATED_B), .TABLE6(GATED_B_PLUS_A)) bit_sum (
      .inputs_i({negate_a_i, a_i[i], enable_b_i, negate_b_i, b_i[i]}), .select_i(enable_a_i),
      .o5_o(gated_b[i]), .o6_o(propagate[i])
    );
  end
  carry_chain #(.WIDTH(WIDTH)) chain (
    .carry_i(1'b0), .propagate_i(propagate), .generate_i(gated_b), .sum_o(sum_o[WIDTH-1:0]), .carry_o(sum_o[WIDTH])
  );
`else
  logic [WIDTH-1:0] gated_a, gated_b;
  assign gated_a = {WIDTH{enable_a_i}} & (a_i ^ {WIDTH{negate_a_i}});
  assign gated_b = {WIDTH{enable_b_i}} & (b_i ^ {WIDTH{negate_b_i}});
  assign sum_o = (WIDTH+1)'(gated_a) + (WIDTH+1)'(gated_b);
`endif
endmodule
