// Unrolled windows of an image: collects those of the next tile's positions while the arrays read those of the present one.
//
// A window comes in one cycle and is held while it is stored, two words a cycle; so many windows at a time as there are
// WRITERS, position p by writer p modulo WRITERS.
module patch_buffer #(
  // activation lanes
  parameter int TK = 16,
  // positions
  parameter int TP = 4,
  // bits of the arrays' activations
  parameter int ACT_BITS = 4,
  // most bytes of a window
  parameter int IMAGE_BYTES = 147,
  // windows that are stored at a time, at most TP
  parameter int WRITERS = 1
) (
  input  logic                      clk_i,
  input  logic                      rst_i,
  input  logic                      start_i,
  input  logic                      running_i,
  input  logic [1023:0]             op_i,
  input  logic                      patch_valid_i,
  output logic                      patch_ready_o,
  input  logic [8*IMAGE_BYTES-1:0]  patch_data_i,
  output logic                      valid_o,  // the tile is there
  input  logic [4:0]                word_i,
  input  logic                      high_i,   // the high bits of its bytes, those of the first pass of two
  output logic [TP*TK*ACT_BITS-1:0] data_o,   // in the same cycle
  input  logic                      done_i
);
  if (WRITERS < 1 || WRITERS > TP) begin : g_check
    $error("WRITERS must be at least 1 and at most TP");
  end
  // pairs of words of a window; there are at most 31 words
  localparam int ALL_PAIRS = (IMAGE_BYTES + 2 * TK - 1) / (2 * TK);
  localparam int PAIRS = (ALL_PAIRS > 16) ? 16 : ALL_PAIRS;
  localparam int PAIR_BITS = (PAIRS > 1) ? $clog2(PAIRS) : 1;
  localparam int TURN_BITS = (WRITERS > 1) ? $clog2(WRITERS) : 1;

  // Positions still to come; the last tile, or a row's, may have fewer of them than others.
  logic [15:0] columns_left, rows_left;
  logic active, column_last, last;
  assign column_last = columns_left == 16'd1;
  assign last = column_last && rows_left == 16'd1;

  // Tiles are filled in turn: all of a tile's windows have come (`claimed`), are stored (`full`).
  logic [1:0] claimed, full;
  logic fill, read;
  logic [3:0] position, last_pair;
  logic [TURN_BITS-1:0] turn;  // writer of the next window
  logic [WRITERS-1:0] busy, ends;
  logic accept, tile_last;
  assign last_pair = 4'((op_i[26*32+16+:5] - 5'd1) >> 1);
  assign tile_last = last || position == op_i[3*32+12+:4] || (column_last && op_i[3*32+11]);
  assign patch_ready_o = active && running_i && !claimed[fill] && (!busy[turn] || ends[turn]);
  assign accept = patch_valid_i && patch_ready_o;
  assign valid_o = full[read];
  always_ff @(posedge clk_i) begin
    if (rst_i || start_i) begin
      active <= !rst_i && op_i[3*32+4];
      {columns_left, rows_left} <= {op_i[9*32+16+:16], op_i[9*32+:16]};
      {fill, read} <= 2'b00;
      claimed <= 2'b00;
      position <= '0;
      turn <= '0;
    end else begin
      if (accept) begin
        position <= tile_last ? 4'd0 : position + 1'b1;
        turn <= (tile_last || turn == TURN_BITS'(WRITERS - 1)) ? '0 : turn + 1'b1;
        columns_left <= column_last ? op_i[9*32+16+:16] : columns_left - 1'b1;
        if (column_last) rows_left <= rows_left - 1'b1;
        if (last) active <= 1'b0;
        if (tile_last) begin
          claimed[fill] <= 1'b1;
          fill <= !fill;
        end
      end
      if (done_i) begin
        claimed[read] <= 1'b0;
        read <= !read;
      end
    end
  end

  // All writers take as long, so a tile's last window is the last one that is stored.
  logic [WRITERS-1:0] fills, fills_half;
  always_ff @(posedge clk_i) begin
    if (rst_i || start_i) begin
      full <= 2'b00;
    end else begin
      full <= (full | {|(fills & fills_half), |(fills & ~fills_half)}) & ~(done_i ? {read, !read} : 2'b00);
    end
  end
  logic [WRITERS*8-1:0] places;  // {half, position} of the window that is being stored
  logic [WRITERS*4-1:0] pairs;
  logic [WRITERS*16*TK-1:0] words;
  for (genvar w = 0; w < WRITERS; w++) begin : g_writer
    logic [8*IMAGE_BYTES-1:0] window;
    logic [16*TK*PAIRS-1:0] padded;
    logic [3:0] pair, window_position;
    logic half, tile_ends, taken;
    assign taken = accept && 32'(turn) == w;
    assign ends[w] = pair == last_pair;
    assign fills[w] = busy[w] && ends[w] && tile_ends;
    assign fills_half[w] = half;
    assign places[8*w+:8] = {3'b000, half, window_position};
    assign pairs[4*w+:4] = pair;
    assign padded = (16*TK*PAIRS)'(window);
    assign words[16*TK*w+:16*TK] = padded[16*TK*32'(pair[PAIR_BITS-1:0])+:16*TK];
    always_ff @(posedge clk_i) begin
      if (rst_i || start_i) busy[w] <= 1'b0;
      else busy[w] <= taken || (busy[w] && !ends[w]);
      pair <= taken ? '0 : pair + 1'b1;
      if (taken) begin
        window <= patch_data_i;
        {half, window_position} <= {fill, position};
        tile_ends <= tile_last;
      end
    end
  end

  for (genvar p = 0; p < TP; p++) begin : g_position
    localparam int W = p % WRITERS;
    (* ram_style = "distributed" *) logic [TK*8-1:0] even[0:31];
    (* ram_style = "distributed" *) logic [TK*8-1:0] odd[0:31];
    always_ff @(posedge clk_i) begin
      if (busy[W] && 32'(places[8*W+:4]) == p) begin
        even[{places[8*W+4], pairs[4*W+:4]}] <= words[16*TK*W+:TK*8];
        odd[{places[8*W+4], pairs[4*W+:4]}] <= words[16*TK*W+TK*8+:TK*8];
      end
    end
    logic [TK*8-1:0] even_word, odd_word;
    assign even_word = even[{read, word_i[4:1]}];
    assign odd_word = odd[{read, word_i[4:1]}];
    for (genvar l = 0; l < TK; l++) begin : g_lane
      for (genvar i = 0; i < ACT_BITS; i++) begin : g_bit
        logic [3:0] column;
        assign column[0] = even_word[l*8+i];
        assign column[1] = odd_word[l*8+i];
        if (i + ACT_BITS < 8) begin : g_high
          assign column[3:2] = {odd_word[l*8+ACT_BITS+i], even_word[l*8+ACT_BITS+i]};
        end else begin : g_none
          assign column[3:2] = 2'b00;
        end
        assign data_o[(p*TK+l)*ACT_BITS+i] = column[{high_i, word_i[0]}];
      end
    end
  end
endmodule
