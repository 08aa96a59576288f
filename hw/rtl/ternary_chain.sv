// sum = a + b + c + extra + 2^WIDTH · top in ONE carry chain, one LUT6_2 per bit: two bits disappear in a LUT.
//
// Column i's LUT gives the majority of a, b, c (O5, worth two: it goes to column i+1) and the parity of a, b, c and the
// majority of column i-1 (O6, the chain's propagate). That majority is also the chain's generate: where propagate is 0,
// the majority equals the parity of a, b, c, so either may be carried on. Column 0 has room for `extra` in the place of
// a majority, and the column above the operands, which adds the last majority, for `top`.
module ternary_chain #(
  // bits of each operand
  parameter int WIDTH = 6,
  // bits of the sum that are wanted: WIDTH + 2, or WIDTH where it cannot be larger or wraps around
  parameter int SUM_WIDTH = WIDTH + 2
) (
  input  logic [WIDTH-1:0]     a_i,
  input  logic [WIDTH-1:0]     b_i,
  input  logic [WIDTH-1:0]     c_i,
  input  logic                 extra_i,
  input  logic                 top_i,
  output logic [SUM_WIDTH-1:0] sum_o
);
  if (SUM_WIDTH != WIDTH + 2 && SUM_WIDTH != WIDTH) begin : g_check
    $error("SUM_WIDTH must be WIDTH or WIDTH + 2");
  end
`ifdef SYNTHESIS
  // over {unused, majority of the column below, c, b, a}
  localparam logic [31:0] MAJORITY = {4{8'b1110_1000}};
  localparam logic [31:0] PARITY = {2{16'h6996}};
  localparam int POSITIONS = (SUM_WIDTH > WIDTH) ? WIDTH + 1 : WIDTH;
  logic [WIDTH:0] majority;
  logic [POSITIONS-1:0] propagate, generated;
  logic carry;
  assign majority[0] = extra_i;
  for (genvar i = 0; i < WIDTH; i++) begin : g_column
    lut_pair #(.TABLE5(MAJORITY), .TABLE6(PARITY)) column (
      .inputs_i({1'b0, majority[i], c_i[i], b_i[i], a_i[i]}), .select_i(1'b1), .o5_o(majority[i+1]), .o6_o(propagate[i])
    );
    assign generated[i] = majority[i];
  end
  if (POSITIONS > WIDTH) begin : g_top
    // A LUT of its own for the last majority: no more than two signals leave each position of a slice's chain.
    LUT4 #(.INIT(16'h17E8)) top (
      .O(propagate[WIDTH]), .I0(a_i[WIDTH-1]), .I1(b_i[WIDTH-1]), .I2(c_i[WIDTH-1]), .I3(top_i)
    );
    assign generated[WIDTH] = top_i;
    assign sum_o[WIDTH+1] = carry;
  end
  carry_chain #(.WIDTH(POSITIONS)) chain (
    .carry_i(1'b0), .propagate_i(propagate), .generate_i(generated), .sum_o(sum_o[POSITIONS-1:0]), .carry_o(carry)
  );
`else
  localparam int FULL = WIDTH + 2;
  assign sum_o = SUM_WIDTH'(FULL'(a_i) + FULL'(b_i) + FULL'(c_i) + FULL'(extra_i) + (FULL'(top_i) << WIDTH));
`endif
endmodule
