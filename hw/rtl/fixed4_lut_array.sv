// Fixed4 weights (−7 … 7) times unsigned activations in LUTs: a `sign_magnitude_array` of 3 magnitude bits.
//
// acc_o = Σ weight·act + correction, modulo 2^ACC_BITS, with the row's constant
//   correction = (2^ACT_BITS - 1) · Σ |negative weights|, times 2^ACT_BITS + 1 for two passes.
module fixed4_lut_array #(
  // output channels computed side by side
  parameter int ROWS = 2,
  // products added per cycle and output
  parameter int TK = 16,
  // output positions that share a row's weights
  parameter int TP = 1,
  // bits of the unsigned activations, 4 to 8
  parameter int ACT_BITS = 4,
  // bits of an accumulator
  parameter int ACC_BITS = 32,
  // bits of a weight's magnitude
  localparam int MAGNITUDE_BITS = 3,
  // bits of a lane code: {negate, magnitude}
  localparam int LANE_BITS = MAGNITUDE_BITS + 1,
  // enabled cycles from act_i to the acc_o that contains it, for whoever balances arrays
  // verilator lint_off UNUSEDPARAM
  localparam int LATENCY = lut_array_pkg::latency(MAGNITUDE_BITS, 1, (TK + 1) / 2, 2 * (2 ** ACT_BITS - 1))
  // verilator lint_on UNUSEDPARAM
) (
  input  logic                         clk_i,
  input  logic                         en_i,
  input  logic                         clear_i,
  input  logic                         shift_i,
  input  logic [TP*TK*ACT_BITS-1:0]    act_i,
  input  logic [ROWS*TK*LANE_BITS-1:0] weight_i,
  output logic [ROWS*TP*ACC_BITS-1:0]  acc_o
);
  sign_magnitude_array #(
    .ROWS(ROWS), .TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .ACC_BITS(ACC_BITS), .MAGNITUDE_BITS(MAGNITUDE_BITS)
  ) array (.clk_i, .en_i, .clear_i, .shift_i, .act_i, .weight_i, .acc_o);
endmodule
