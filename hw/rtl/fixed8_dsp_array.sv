// Fixed8 weights (-127 ... 127) on DSP48E1s: 2 products per DSP, of two positions (TP even) or else of two rows; or
// 1, for comparison.
//
// | pair | bit positions of the fields | products summed before the lower field is split, 4 ... 8-bit activations |
// |---|---|---|
// | positions | 0, 24 - ACT_BITS; activations on A, offset | 32, 32, 32, 4, 1 |
// | rows | 0, 17 | 32, 8, 4, 2, 1 |
// | none | 0 | any number |
//
// acc_o = sum of code * activation + correction, per pass; correction = -2^(ACT_BITS-1) * (sum of the row's codes) with
// paired positions, else 0. Lane codes (8 bits, two's complement): the code; with paired rows, in the second
// row of a pair, code - (first row's code < 0). LATENCY is dsp_packing::fixed8_latency.
module fixed8_dsp_array #(
  // output channels; even where TP is odd, unless PRODUCTS is 1
  parameter int ROWS     = 2,
  // products added per cycle and output
  parameter int TK       = 16,
  // output positions
  parameter int TP       = 1,
  // bits of the unsigned activations, 4 to 8
  parameter int ACT_BITS = 4,
  parameter int ACC_BITS = 32,
  // products per DSP: 2 needs even ROWS or even TP; 1
  parameter int PRODUCTS = 2,
  // DSPs in a cascade: a divisor of TK. A longer chain needs fewer LUTs and more flip-flops
  parameter int CHAIN    = dsp_packing::default_chain(TK),
  // DSPs between two registers of the cascade
  parameter int STAGE    = 2,
  // products summed before a narrow field is split; a smaller number is allowed
  parameter int SEGMENT  = dsp_packing::fixed8_segment(TP, ACT_BITS, PRODUCTS, CHAIN),
  // cycles by which sums wait for those of slower arrays
  parameter int WAIT     = 0,
  // only in tests that must fail: products too many per segment, bits too few below the top field
  parameter int UNSAFE_PRODUCTS = 0,
  parameter int UNSAFE_BITS     = 0
) (
  input  logic                        clk_i,
  // 0 freezes everything
  input  logic                        en_i,
  // first step of a frame
  input  logic                        clear_i,
  // first step of a second pass: acc <- 2^ACT_BITS * acc + sum
  input  logic                        shift_i,
  // [position][lane]
  input  logic [TP*TK*ACT_BITS-1:0]   act_i,
  // [row][lane]
  input  logic [ROWS*TK*8-1:0]        weight_i,
  // [row][position]
  output logic [ROWS*TP*ACC_BITS-1:0] acc_o
);
  localparam int LANE_BITS = 8;
  localparam int LATENCY = dsp_packing::fixed8_latency(TK, TP, ACT_BITS, PRODUCTS, CHAIN, STAGE, SEGMENT);
  localparam bit PAIR_ROWS = dsp_packing::fixed8_pairs_rows(TP, PRODUCTS);
  localparam bit PAIR_POSITIONS = dsp_packing::fixed8_offset(TP, PRODUCTS);
  localparam int STEP = dsp_packing::fixed8_step(TP, ACT_BITS, PRODUCTS);

  if (PRODUCTS == 2 && ROWS % 2 != 0 && TP % 2 != 0) begin : g_bad_pairs
    $error("fixed8_dsp_array needs even ROWS or even TP; or set PRODUCTS to 1");
  end
  if (ACT_BITS < 4 || ACT_BITS > 8 || PRODUCTS != 1 && PRODUCTS != 2) begin : g_bad_bits
    $error("fixed8_dsp_array ACT_BITS must be 4 to 8, PRODUCTS 1 or 2");
  end

  dsp_array #(
    .ROWS(ROWS), .TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .ACC_BITS(ACC_BITS), .WEIGHT_BITS(LANE_BITS),
    .PAIR_ROWS(PAIR_ROWS), .PAIR_POSITIONS(PAIR_POSITIONS), .ON_A_ACTIVATIONS(PAIR_POSITIONS),
    .STEP_ROW(STEP), .STEP_POSITION(STEP), .SEGMENT(SEGMENT), .CHAIN(CHAIN), .STAGE(STAGE), .WAIT(WAIT), .UNSAFE_PRODUCTS(UNSAFE_PRODUCTS), .UNSAFE_BITS(UNSAFE_BITS)
  ) array (
    .clk_i, .en_i, .clear_i, .shift_i, .act_i, .weight_i, .acc_o
  );
endmodule
