// Row starts go round in a ring: sum = row + step, less `ring` if that is not negative.
module row_adder #(
  // bits of a pixel number
  parameter int BITS = 17
) (
  input  logic [BITS-1:0] row_i,
  input  logic [BITS-1:0] step_i,
  input  logic [BITS:0]   step_less_ring_i,  // signed; without a ring anything negative
  output logic [BITS-1:0] sum_o
);
  logic [BITS-1:0] plain;
  logic [BITS:0] less;  // two adders side by side instead of one after the other
  assign plain = row_i + step_i;
  assign less = {1'b0, row_i} + step_less_ring_i;
  assign sum_o = less[BITS] ? plain : less[BITS-1:0];
endmodule
