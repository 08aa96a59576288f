// Fixed4 weights (-7 ... 7) on DSP48E1s: 4 products per DSP with 4-, 5- and 6-bit activations, 2 with 7 and 8 bits; or
// fewer, for comparison.
//
// | products | activations | bit positions of the fields | products summed before a field is split |
// |---|---|---|---|
// | 4 | 4 bits | 0, 10 (row), 20 (position), 30; activations on A, offset | 8 |
// | 4 | 5 bits | 0, 11 (position), 21 (row), 32 | 2 |
// | 4 | 6 bits | the same | 1 |
// | 2 | 4 to 8 bits, two rows | 0, 21 | any number |
// | 2 | 4 to 8 bits, one row, two positions | 0, 24 - ACT_BITS; activations on A, offset | a chain of 32 |
// | 1 | 4 to 8 bits | 0 | any number |
//
// acc_o = sum of code * activation + correction, per pass; correction = -2^(ACT_BITS-1) * (sum of the row's codes) where
// the table says "offset", else 0. Lane codes (4 bits, two's complement): the code; in the second row of a pair (all but
// the table's last two lines) code - (first row's code < 0). LATENCY is dsp_packing::fixed4_latency.
module fixed4_dsp_array #(
  // output channels; even, unless PRODUCTS is 2 and TP is even, or PRODUCTS is 1
  parameter int ROWS     = 2,
  // products added per cycle and output
  parameter int TK       = 16,
  // output positions; even, unless PRODUCTS is 2 and ROWS is even, or PRODUCTS is 1
  parameter int TP       = 2,
  // bits of the unsigned activations, 4 to 8
  parameter int ACT_BITS = 4,
  parameter int ACC_BITS = 32,
  // products per DSP: 4 needs ACT_BITS <= 6, even ROWS and even TP; 2 needs even ROWS or even TP; 1
  parameter int PRODUCTS = (ACT_BITS <= 6) ? 4 : 2,
  // DSPs in a cascade: a divisor of TK. A longer chain needs fewer LUTs and more flip-flops
  parameter int CHAIN    = dsp_packing::default_chain(TK),
  // DSPs between two registers of the cascade
  parameter int STAGE    = 2,
  // products summed before a narrow field is split; a smaller number is allowed
  parameter int SEGMENT  = dsp_packing::fixed4_segment(ACT_BITS, PRODUCTS, CHAIN),
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
  input  logic [ROWS*TK*4-1:0]        weight_i,
  // [row][position]
  output logic [ROWS*TP*ACC_BITS-1:0] acc_o
);
  localparam int LANE_BITS = 4;
  localparam int LATENCY = dsp_packing::fixed4_latency(ROWS, TK, ACT_BITS, PRODUCTS, CHAIN, STAGE, SEGMENT);
  localparam bit PAIR_ROWS = dsp_packing::fixed4_pairs_rows(ROWS, PRODUCTS);
  localparam bit ON_A_ACTIVATIONS = dsp_packing::fixed4_offset(ROWS, ACT_BITS, PRODUCTS);
  localparam int LOW = dsp_packing::fixed4_low(ACT_BITS);
  localparam int HIGH = dsp_packing::fixed4_high(ROWS, ACT_BITS, PRODUCTS);

  if (PRODUCTS == 4 && (ACT_BITS > 6 || ROWS % 2 != 0 || TP % 2 != 0)) begin : g_bad_four
    $error("fixed4_dsp_array with 4 products per DSP needs even ROWS, even TP and ACT_BITS <= 6; set PRODUCTS to 2");
  end
  if (PRODUCTS == 2 && ROWS % 2 != 0 && TP % 2 != 0) begin : g_bad_two
    $error("fixed4_dsp_array needs even ROWS or even TP; or set PRODUCTS to 1");
  end
  if (ACT_BITS < 4 || ACT_BITS > 8 || PRODUCTS != 1 && PRODUCTS != 2 && PRODUCTS != 4) begin : g_bad_bits
    $error("fixed4_dsp_array ACT_BITS must be 4 to 8, PRODUCTS 1, 2 or 4");
  end

  dsp_array #(
    .ROWS(ROWS), .TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .ACC_BITS(ACC_BITS), .WEIGHT_BITS(LANE_BITS),
    .PAIR_ROWS(PAIR_ROWS), .PAIR_POSITIONS(PRODUCTS == 4 || PRODUCTS == 2 && !PAIR_ROWS), .ON_A_ACTIVATIONS(ON_A_ACTIVATIONS),
    .STEP_ROW((PRODUCTS == 4 && ON_A_ACTIVATIONS) ? LOW : HIGH),
    .STEP_POSITION((PRODUCTS == 4 && !ON_A_ACTIVATIONS) ? LOW : HIGH),
    .SEGMENT(SEGMENT), .CHAIN(CHAIN), .STAGE(STAGE), .WAIT(WAIT), .UNSAFE_PRODUCTS(UNSAFE_PRODUCTS), .UNSAFE_BITS(UNSAFE_BITS)
  ) array (
    .clk_i, .en_i, .clear_i, .shift_i, .act_i, .weight_i, .acc_o
  );
endmodule
