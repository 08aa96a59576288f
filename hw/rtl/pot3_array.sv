// PoT3 weights (0, ±1, ±2, ±4) times unsigned activations in LUTs: ROWS × TP sums of TK products per cycle.
//
// acc_o = Σ weight·act + correction, modulo 2^ACC_BITS, with the row's constant
//   correction = (2^ACT_BITS - 1) · Σ |negative weights|, times 2^ACT_BITS + 1 for two passes.
module pot3_array #(
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
  // bits of a lane code: {negate, shift[1:0]}, shift 3 is the weight 0
  localparam int LANE_BITS = 3,
  // enabled cycles from act_i to the acc_o that contains it, without WAIT
  localparam int LATENCY = lut_array_pkg::latency(1, 1, TK, 4 * (2 ** ACT_BITS - 1))
) (
  input  logic                         clk_i,
  input  logic                         en_i,
  input  logic                         clear_i,
  input  logic                         shift_i,
  input  logic [TP*TK*ACT_BITS-1:0]    act_i,
  input  logic [ROWS*TK*LANE_BITS-1:0] weight_i,
  output logic [ROWS*TP*ACC_BITS-1:0]  acc_o
);
  if (ACT_BITS < 4 || ACT_BITS > 8) begin : g_check
    $error("ACT_BITS must be 4 to 8");
  end

  localparam int PRODUCT_BITS = ACT_BITS + 2;
  localparam int PRODUCT_LIMIT = 4 * (2 ** ACT_BITS - 1);
  localparam int SUM_BITS = lut_array_pkg::sum_width(1, 1, TK, PRODUCT_LIMIT);

  logic clear, shift;
  delay_line #(.WIDTH(2), .CYCLES(LATENCY - 1 + WAIT)) control (.clk_i, .en_i, .data_i({clear_i, shift_i}), .data_o({clear, shift}));

  for (genvar r = 0; r < ROWS; r++) begin : g_row
    for (genvar p = 0; p < TP; p++) begin : g_position
      logic [TK*PRODUCT_BITS-1:0] products, products_q;
      logic [SUM_BITS-1:0] sum;
      for (genvar k = 0; k < TK; k++) begin : g_lane
        pot3_product #(.ACT_BITS(ACT_BITS)) product (
          .code_i(weight_i[(r*TK+k)*LANE_BITS+:LANE_BITS]), .act_i(act_i[(p*TK+k)*ACT_BITS+:ACT_BITS]),
          .product_o(products[k*PRODUCT_BITS+:PRODUCT_BITS])
        );
      end
      always_ff @(posedge clk_i) if (en_i) products_q <= products;
      heap_sum #(.WORDS(TK), .WORD_LIMIT(PRODUCT_LIMIT)) adder (.clk_i, .en_i, .words_i(products_q), .sum_o(sum));
      accumulator #(.ACC_BITS(ACC_BITS), .SUM_BITS(SUM_BITS), .SHIFT(ACT_BITS), .WAIT(WAIT)) acc (
        .clk_i, .en_i, .clear_i(clear), .shift_i(shift), .sum_i(sum), .acc_o(acc_o[(r*TP+p)*ACC_BITS+:ACC_BITS])
      );
    end
  end
endmodule
