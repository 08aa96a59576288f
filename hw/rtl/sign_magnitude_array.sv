// Sign-magnitude weights of any width times unsigned activations in LUTs, one plane of ternary digits per magnitude bit.
//
// weight = Σ_j 2^j · (±magnitude[j]). In each plane two lanes are gated, complemented and added by one `pair_adder` (one
// LUT per bit for both); a `heap_sum` adds all pairs. A negative weight complements the
// activation, so that
//   acc_o = Σ weight·act + correction, modulo 2^ACC_BITS, with the row's constant
//   correction = (2^ACT_BITS - 1) · Σ |negative weights|, times 2^ACT_BITS + 1 for two passes.
module sign_magnitude_array #(
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
  // cycles by which sums wait for those of slower arrays
  parameter int WAIT = 0,
  // bits of a weight's magnitude: 1 ternary, 2 Fixed3, 3 Fixed4 … 7 Fixed8
  parameter int MAGNITUDE_BITS = 3,
  // bits of a lane code: {negate, magnitude}
  localparam int LANE_BITS = MAGNITUDE_BITS + 1,
  // enabled cycles from act_i to the acc_o that contains it, without WAIT
  localparam int LATENCY = lut_array_pkg::latency(MAGNITUDE_BITS, 1, (TK + 1) / 2, 2 * (2 ** ACT_BITS - 1))
) (
  input  logic                         clk_i,
  input  logic                         en_i,
  input  logic                         clear_i,
  input  logic                         shift_i,
  input  logic [TP*TK*ACT_BITS-1:0]    act_i,
  input  logic [ROWS*TK*LANE_BITS-1:0] weight_i,
  output logic [ROWS*TP*ACC_BITS-1:0]  acc_o
);
  if (ACT_BITS < 4 || ACT_BITS > 8) begin : g_check_act
    $error("ACT_BITS must be 4 to 8");
  end
  if (MAGNITUDE_BITS < 1 || MAGNITUDE_BITS > 7) begin : g_check_magnitude
    $error("MAGNITUDE_BITS must be 1 to 7");
  end

  localparam int PAIRS = (TK + 1) / 2;
  localparam int PAIR_LIMIT = 2 * (2 ** ACT_BITS - 1);
  localparam int PAIR_BITS = ACT_BITS + 1;
  localparam int SUM_BITS = lut_array_pkg::sum_width(MAGNITUDE_BITS, 1, PAIRS, PAIR_LIMIT);

  logic clear, shift;
  delay_line #(.WIDTH(2), .CYCLES(LATENCY - 1 + WAIT)) control (.clk_i, .en_i, .data_i({clear_i, shift_i}), .data_o({clear, shift}));

  for (genvar r = 0; r < ROWS; r++) begin : g_row
    for (genvar p = 0; p < TP; p++) begin : g_position
      logic [MAGNITUDE_BITS*PAIRS*PAIR_BITS-1:0] pairs, pairs_q;
      logic [SUM_BITS-1:0] sum;
      for (genvar j = 0; j < MAGNITUDE_BITS; j++) begin : g_plane
        for (genvar q = 0; q < PAIRS; q++) begin : g_pair
          // With an odd number of lanes the last has no partner.
          localparam int A = 2 * q;
          localparam int B = (2 * q + 1 < TK) ? 2 * q + 1 : 2 * q;
          pair_adder #(.WIDTH(ACT_BITS)) adder (
            .enable_a_i(weight_i[(r*TK+A)*LANE_BITS+j]), .negate_a_i(weight_i[(r*TK+A)*LANE_BITS+MAGNITUDE_BITS]),
            .a_i(act_i[(p*TK+A)*ACT_BITS+:ACT_BITS]),
            .enable_b_i((A == B) ? 1'b0 : weight_i[(r*TK+B)*LANE_BITS+j]), .negate_b_i(weight_i[(r*TK+B)*LANE_BITS+MAGNITUDE_BITS]),
            .b_i(act_i[(p*TK+B)*ACT_BITS+:ACT_BITS]),
            .sum_o(pairs[(j*PAIRS+q)*PAIR_BITS+:PAIR_BITS])
          );
        end
      end
      always_ff @(posedge clk_i) if (en_i) pairs_q <= pairs;
      heap_sum #(.GROUPS(MAGNITUDE_BITS), .STEP(1), .WORDS(PAIRS), .WORD_LIMIT(PAIR_LIMIT)) adder (
        .clk_i, .en_i, .words_i(pairs_q), .sum_o(sum)
      );
      accumulator #(.ACC_BITS(ACC_BITS), .SUM_BITS(SUM_BITS), .SHIFT(ACT_BITS), .WAIT(WAIT)) acc (
        .clk_i, .en_i, .clear_i(clear), .shift_i(shift), .sum_i(sum), .acc_o(acc_o[(r*TP+p)*ACC_BITS+:ACC_BITS])
      );
    end
  end
endmodule
