// sum = a + b + c in ONE carry chain, one LUT6_2 per bit: half a LUT per operand bit that disappears.
//
// Column i's LUT gives the majority of a, b, c (O5, worth two: it goes to column i+1) and the parity of a, b, c and the
// majority of column i-1 (O6, the chain's propagate). That majority is also the chain's generate: where propagate is 0,
// the majority equals the parity of a, b, c, so either may be carried on. The top column holds the last majority alone.
module ternary_adder #(
  // bits of each operand
  parameter int WIDTH = 6
) (
  input  logic [WIDTH-1:0] a_i,
  input  logic [WIDTH-1:0] b_i,
  input  logic [WIDTH-1:0] c_i,
  output logic [WIDTH+1:0] sum_o
);
`ifdef SYNTHESIS
  localparam logic [31:0] MAJORITY = {4{8'b1110_1000}};
  localparam logic [31:0] PARITY = {2{16'h6996}};
  logic [WIDTH:0] majority;
  logic [WIDTH:0] propagate;
  assign majority[0] = 1'b0;
  for (genvar i = 0; i < WIDTH; i++) begin : g_column
    // inputs_i = {unused, majority, c, b, a}
    lut_pair #(.TABLE5(MAJORITY), .TABLE6(PARITY)) column (
      .inputs_i({1'b0, majority[i], c_i[i], b_i[i], a_i[i]}), .select_i(1'b1), .o5_o(majority[i+1]), .o6_o(propagate[i])
    );
  end
  // The top column's LUT computes the last majority itself: counted, as a propagate input needs a LUT in the chip.
  (* keep *) LUT3 #(.INIT(8'b1110_1000)) top (
    .O(propagate[WIDTH]), .I0(a_i[WIDTH-1]), .I1(b_i[WIDTH-1]), .I2(c_i[WIDTH-1])
  );
  carry_chain #(.WIDTH(WIDTH + 1)) chain (
    .carry_i(1'b0), .propagate_i(propagate), .generate_i({1'b0, majority[WIDTH-1:0]}), .sum_o(sum_o[WIDTH:0]), .carry_o(sum_o[WIDTH+1])
  );
`else
  assign sum_o = (WIDTH+2)'(a_i) + (WIDTH+2)'(b_i) + (WIDTH+2)'(c_i);
`endif
endmodule
