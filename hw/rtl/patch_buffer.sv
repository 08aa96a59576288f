// Unrolled windows of an image: collects those of the next tile's positions while the arrays read those of the present one.
module patch_buffer #(
  // activation lanes
  parameter int TK = 16,
  // positions
  parameter int TP = 4,
  // bits of the arrays' activations
  parameter int ACT_BITS = 4
) (
  input  logic               clk_i,
  input  logic               rst_i,
  input  logic               start_i,
  input  logic               running_i,
  input  logic [1023:0]      op_i,
  input  logic               patch_valid_i,
  output logic               patch_ready_o,
  input  logic [2*TK*8-1:0]  patch_data_i,  // words 2j and 2j + 1
  input  logic               patch_last_i,  // of this position
  output logic               valid_o,       // the tile is there
  input  logic [4:0]         word_i,
  input  logic               high_i,        // the high bits of its bytes, those of the first pass of two
  output logic [TP*TK*ACT_BITS-1:0] data_o, // in the same cycle
  input  logic               done_i
);
  // Positions still to come; the last tile may have fewer of them than others.
  logic [15:0] columns_left, rows_left;
  logic active, column_last, last;
  assign column_last = columns_left == 16'd1;
  assign last = column_last && rows_left == 16'd1;

  logic [1:0] full;
  logic fill, read;
  logic [3:0] position, pair;
  logic accept, tile_done;
  assign patch_ready_o = active && running_i && !full[fill];
  assign accept = patch_valid_i && patch_ready_o;
  assign tile_done = accept && patch_last_i && (last || position == op_i[3*32+12+:4]);
  assign valid_o = full[read];

  always_ff @(posedge clk_i) begin
    if (rst_i || start_i) begin
      active <= !rst_i && op_i[3*32+4];
      {columns_left, rows_left} <= {op_i[9*32+16+:16], op_i[9*32+:16]};
      full <= 2'b00;
      {fill, read} <= 2'b00;
      {position, pair} <= '0;
    end else begin
      if (accept) begin
        pair <= patch_last_i ? 4'd0 : pair + 1'b1;
        if (patch_last_i) begin
          position <= tile_done ? 4'd0 : position + 1'b1;
          columns_left <= column_last ? op_i[9*32+16+:16] : columns_left - 1'b1;
          if (column_last) rows_left <= rows_left - 1'b1;
          if (last) active <= 1'b0;
        end
      end
      if (tile_done) begin
        full[fill] <= 1'b1;
        fill <= !fill;
      end
      if (done_i) begin
        full[read] <= 1'b0;
        read <= !read;
      end
    end
  end

  for (genvar p = 0; p < TP; p++) begin : g_position
    (* ram_style = "distributed" *) logic [TK*8-1:0] even[0:31];
    (* ram_style = "distributed" *) logic [TK*8-1:0] odd[0:31];
    always_ff @(posedge clk_i) begin
      if (accept && 32'(position) == p) begin
        even[{fill, pair}] <= patch_data_i[TK*8-1:0];
        odd[{fill, pair}] <= patch_data_i[2*TK*8-1:TK*8];
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
