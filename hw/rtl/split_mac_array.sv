// A list of MAC arrays side by side: every row sees the same activations, all rows' sums are ready in the same cycle.
//
// A frame is a sequence of accepted steps, the last one marked. Steps enter when `in_valid_i` and `in_ready_o` are both
// 1. Inside a frame the pipeline stands still while no step comes; between frames it runs on, so that the last sums come
// out. A frame's sums stay at the output until `out_ready_i`; the pipeline stands still behind them. Frames may follow
// one another without a gap. acc_o is [row][position], the rows of the first array in the lowest bits, with each
// array's `correction` in it.
module split_mac_array #(
  // number of arrays, at most 16
  parameter int ARRAYS = 3,
  // kind of each array (mac_kinds), 16 bits each, the first in the lowest
  parameter logic [16*16-1:0] KINDS = {16'(mac_kinds::FIXED8_DSP), 16'(mac_kinds::FIXED4_DSP), 16'(mac_kinds::POT4_LUT)},
  // rows of each array, likewise
  parameter logic [16*16-1:0] ROWS = {16'd2, 16'd4, 16'd4},
  // products added per step and output
  parameter int TK = 16,
  // output positions
  parameter int TP = 2,
  // bits of the unsigned activations, 4 to 8
  parameter int ACT_BITS = 4,
  // bits of an accumulator
  parameter int ACC_BITS = 32,
  // rows of all arrays
  localparam int ALL_ROWS = mac_kinds::rows_before(ROWS, ARRAYS),
  // bits of all lane codes of a step
  localparam int WEIGHT_BITS = mac_kinds::bits_before(KINDS, ROWS, ARRAYS, TK),
  // cycles from a frame's last step to its sums, without stalls
  localparam int LATENCY = mac_kinds::slowest(KINDS, ROWS, ARRAYS, TK, TP, ACT_BITS)
) (
  input  logic                            clk_i,
  input  logic                            rst_i,
  input  logic                            in_valid_i,
  output logic                            in_ready_o,
  // first step of a second pass over the frame: acc <- 2^ACT_BITS * acc + sum
  input  logic                            in_shift_i,
  // last step of the frame
  input  logic                            in_last_i,
  // [position][lane]
  input  logic [TP*TK*ACT_BITS-1:0]       act_i,
  // lane codes: arrays, in each [row][lane]
  input  logic [WEIGHT_BITS-1:0]          weight_i,
  output logic                            out_valid_o,
  input  logic                            out_ready_i,
  output logic [ALL_ROWS*TP*ACC_BITS-1:0] acc_o
);
  if (ARRAYS < 1 || ARRAYS > 16) begin : g_check
    $error("ARRAYS must be 1 to 16");
  end

  // The pipeline: `running` steps it; a step is in flight where `last` may be set.
  logic inside_frame;
  logic running;
  logic [LATENCY-1:0] last;
  assign out_valid_o = last[LATENCY-1];
  assign running = (!out_valid_o || out_ready_i) && (in_valid_i || !inside_frame);
  assign in_ready_o = !rst_i && (!out_valid_o || out_ready_i);

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      inside_frame <= 1'b0;
      last <= '0;
    end else if (running) begin
      if (in_valid_i) inside_frame <= !in_last_i;
      last <= LATENCY'({last, in_valid_i && in_last_i});
    end else if (out_valid_o && out_ready_i) begin
      last[LATENCY-1] <= 1'b0;  // taken while the pipeline waits for a step
    end
  end

  for (genvar a = 0; a < ARRAYS; a++) begin : g_array
    localparam int KIND = mac_kinds::element(KINDS, a);
    localparam int COUNT = mac_kinds::element(ROWS, a);
    localparam int BITS = COUNT * TK * mac_kinds::lane_bits(KIND);
    localparam int WAIT = LATENCY - mac_kinds::latency(KIND, COUNT, TK, TP, ACT_BITS);
    localparam int PRODUCTS = mac_kinds::products(KIND, COUNT, TP, ACT_BITS);
    localparam int AT = mac_kinds::rows_before(ROWS, a) * TP * ACC_BITS;

    logic [BITS-1:0] weight;
    logic [COUNT*TP*ACC_BITS-1:0] acc;
    assign weight = weight_i[mac_kinds::bits_before(KINDS, ROWS, a, TK)+:BITS];
    assign acc_o[AT+:COUNT*TP*ACC_BITS] = acc;

    if (KIND == mac_kinds::POT4_LUT) begin : g_pot4
      pot4_array #(.ROWS(COUNT), .TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .ACC_BITS(ACC_BITS), .WAIT(WAIT)) array (
        .clk_i, .en_i(running), .clear_i(!inside_frame), .shift_i(in_shift_i), .act_i, .weight_i(weight), .acc_o(acc));
    end else if (KIND == mac_kinds::FIXED4_DSP || KIND == mac_kinds::FIXED4_DSP_TWO || KIND == mac_kinds::FIXED4_DSP_ONE) begin : g_fixed4
      fixed4_dsp_array #(.ROWS(COUNT), .TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .ACC_BITS(ACC_BITS), .PRODUCTS(PRODUCTS), .WAIT(WAIT)) array (
        .clk_i, .en_i(running), .clear_i(!inside_frame), .shift_i(in_shift_i), .act_i, .weight_i(weight), .acc_o(acc));
    end else if (KIND == mac_kinds::FIXED8_DSP || KIND == mac_kinds::FIXED8_DSP_ONE) begin : g_fixed8
      fixed8_dsp_array #(.ROWS(COUNT), .TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .ACC_BITS(ACC_BITS), .PRODUCTS(PRODUCTS), .WAIT(WAIT)) array (
        .clk_i, .en_i(running), .clear_i(!inside_frame), .shift_i(in_shift_i), .act_i, .weight_i(weight), .acc_o(acc));
    end else if (KIND == mac_kinds::POT3_LUT) begin : g_pot3
      pot3_array #(.ROWS(COUNT), .TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .ACC_BITS(ACC_BITS), .WAIT(WAIT)) array (
        .clk_i, .en_i(running), .clear_i(!inside_frame), .shift_i(in_shift_i), .act_i, .weight_i(weight), .acc_o(acc));
    end else if (KIND <= mac_kinds::FIXED8_LUT) begin : g_sign_magnitude
      sign_magnitude_array #(
        .ROWS(COUNT), .TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .ACC_BITS(ACC_BITS), .MAGNITUDE_BITS(mac_kinds::lane_bits(KIND) - 1), .WAIT(WAIT)
      ) array (
        .clk_i, .en_i(running), .clear_i(!inside_frame), .shift_i(in_shift_i), .act_i, .weight_i(weight), .acc_o(acc));
    end else begin : g_unknown
      $error("KINDS must be those of mac_kinds");
    end
  end
endmodule
