// The operation in work: takes a descriptor, checks its fields, multiplies out row steps, starts the core and ends it.
//
// The words stay while the operation runs. MAX is given the arithmetic that leaves codes as they are.
module operation #(
  // activation lanes
  parameter int TK = 16,
  // positions
  parameter int TP = 4,
  // bits of the arrays' activations
  parameter int ACT_BITS = 4,
  // bits of a pixel number
  parameter int PIXEL = 17
) (
  input  logic             clk_i,
  input  logic             rst_i,
  input  logic             op_valid_i,
  output logic             op_ready_o,
  input  logic [1023:0]    op_words_i,
  output logic [1023:0]    op_o,
  output logic             start_o,     // one cycle: everything begins
  output logic             running_o,   // from then until finished_i
  input  logic             finished_i,
  output logic             op_done_o,
  output logic             illegal_o,   // one cycle
  // rows that a step goes down, in pixels; the same less the ring, negative without one
  output logic [PIXEL-1:0] step_y_o,
  output logic [PIXEL:0]   step_y_less_o,
  output logic [PIXEL-1:0] tap_y_o,
  output logic [PIXEL:0]   tap_y_less_o,
  output logic [PIXEL:0]   target_y_less_o,
  output logic [PIXEL-1:0] residual_y_o,
  output logic [PIXEL:0]   residual_y_less_o
);
  localparam logic [3:0] CONV = 4'd3, MAX = 4'd4, AVERAGE = 4'd5;
  localparam logic [2:0] IDLE = 3'd0, CHECK = 3'd5, RUN = 3'd6;  // between: a product each, then the differences

  logic [1023:0] words;
  logic [2:0] state;
  assign op_o = words;
  assign op_ready_o = state == IDLE && !op_done_o;
  assign running_o = state == RUN;

  // One small multiplier, three products; rings are taken off them one after another, which is seldom needed.
  logic [3:0] factor;
  logic [15:0] pitch;
  logic [19:0] product;
  logic [23:0] ring;
  logic fresh, reduced;
  assign ring = (state == 3'd3) ? words[19*32+:24] : words[6*32+:24];
  assign reduced = !fresh && (ring == 24'd0 || 24'(product) < ring);
  assign factor = (state == 3'd1) ? words[8*32+24+:4] : (state == 3'd2) ? words[8*32+16+:4] : words[19*32+24+:4];
  assign pitch = (state == 3'd3) ? words[18*32+:16] : words[5*32+:16];

  // Signed; every ring is at least as large as a step.
  function automatic logic [PIXEL:0] less_ring(input logic [PIXEL-1:0] step, input logic [23:0] ring);
    less_ring = (ring == 24'd0) ? {1'b1, {PIXEL{1'b0}}} : {1'b0, step} - {1'b0, ring[PIXEL-1:0]};
  endfunction

  logic [3:0] kind;
  logic [2:0] mode;
  logic conv, image, pair, position_outer, residual, logits;
  logic signed [31:0] low, high;
  assign kind = words[3:0];
  assign mode = words[3*32+:3];
  assign conv = kind == CONV;
  assign image = words[3*32+4];
  assign position_outer = words[3*32+5];
  assign pair = words[3*32+6];
  assign residual = words[3*32+8];
  assign logits = words[3*32+10];
  assign low = $signed(words[24*32+:32]);
  assign high = $signed(words[25*32+:32]);

  // Narrowing: from 0 or 1 to 2^b - 1, b at most ACT_BITS; what is taken off is a byte.
  logic [2:0] shift;
  logic [7:0] sub, least, most_code;
  logic no_narrowing;
  assign {most_code, least, sub, shift} = words[21*32+:27];
  assign no_narrowing = mode == 3'd2 && (32'(shift) > 8 - ACT_BITS || (({7'd0, sub} << shift) >> 8) != 0 || least > 8'd1
      || !most_code[0] || (most_code & (most_code + 8'd1)) != 0 || (most_code >> ACT_BITS) != 0);

  // Sizes that must not be 0, combinations that there are not, rows outside their ring.
  logic no_size, no_source, no_residual, no_mode, no_tile, no_row, no_clamp, wrong;
  logic [3:0] most;
  assign most = words[3*32+12+:4];
  assign no_size = words[9*32+:16] == 0 || words[9*32+16+:16] == 0 || words[26*32+:16] == 0;
  assign no_source = image ? words[26*32+16+:5] == 0
      : words[7*32+:16] == 0 || words[7*32+16+:16] == 0 || words[8*32+:8] == 0 || words[8*32+8+:8] == 0
      || words[8*32+16+:4] == 0 || words[8*32+20+:4] == 0 || words[8*32+24+:4] == 0 || words[8*32+28+:4] == 0;
  assign no_residual = residual && (!conv || words[19*32+24+:4] == 0 || words[19*32+28+:4] == 0);
  assign no_mode = mode > (conv ? 3'd3 : 3'd1) || (ACT_BITS != 4 && (mode == 3'd0 || pair))
      || (image && (!conv || (mode != 3'd1 && mode != 3'd3) || (!position_outer && words[26*32+:16] != 16'd1)))
      || (!conv && position_outer) || (logits && (pair || kind == MAX)) || (kind == AVERAGE && pair);
  assign no_tile = 32'(most) >= TP || ((logits || kind == AVERAGE) && most != 0) || (kind == MAX && ((most + 4'd1) & most) != 0);
  assign no_row = outside(words[11*32+:24], words[6*32+:24]) || outside(words[15*32+:24], words[14*32+:24])
      || (residual && outside(words[20*32+:24], words[19*32+:24])) || (words[14*32+:24] != 0 && words[13*32+:16] > words[14*32+:24]);
  assign no_clamp = words[23*32+25+:6] == 6'd63 || (!logits && (low < -256 || high > 255)) || low > high;
  assign wrong = kind < CONV || kind > AVERAGE || no_size || no_source || no_residual || no_mode || no_narrowing || no_tile
      || no_row || no_clamp;

  function automatic logic outside(input logic [23:0] row, input logic [23:0] ring);
    outside = ring != 0 && (row >= ring || (ring >> (PIXEL - 1)) != 0);
  endfunction

  always_ff @(posedge clk_i) begin
    step_y_less_o <= less_ring(step_y_o, words[6*32+:24]);
    tap_y_less_o <= less_ring(tap_y_o, words[6*32+:24]);
    target_y_less_o <= less_ring(PIXEL'(words[13*32+:16]), words[14*32+:24]);
    residual_y_less_o <= less_ring(residual_y_o, words[19*32+:24]);
    fresh <= state == IDLE || reduced;
    product <= fresh ? factor * pitch : product - 20'(ring);
    if (state == 3'd1) step_y_o <= PIXEL'(product);
    if (state == 3'd2) tap_y_o <= PIXEL'(product);
    if (state == 3'd3) residual_y_o <= PIXEL'(product);
    if (op_valid_i && op_ready_o) begin
      words <= op_words_i;
      if (op_words_i[3:0] == MAX) begin
        words[22*32+16+:8] <= 8'd0;
        words[23*32+25+:6] <= 6'd0;
        words[24*32+:32] <= 32'd0;
        words[25*32+:32] <= 32'd255;
        words[27*32+:20] <= 20'd1;
        words[28*32+:32] <= 32'd0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    start_o <= 1'b0;
    op_done_o <= 1'b0;
    illegal_o <= 1'b0;
    if (rst_i) begin
      state <= IDLE;
    end else if (state == IDLE) begin
      if (op_valid_i && op_ready_o) state <= 3'd1;
    end else if (state == CHECK) begin
      if (wrong) illegal_o <= 1'b1;
      else begin
        start_o <= 1'b1;
        state <= RUN;
      end
    end else if (state == RUN) begin
      if (finished_i) begin
        op_done_o <= 1'b1;
        state <= IDLE;
      end
    end else if (state == 3'd4 || reduced) begin
      state <= state + 1'b1;
    end
  end
endmodule
