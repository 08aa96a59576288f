// Walks the output positions in raster order, one a cycle, and collects the next tile of them beside the tile in work.
// A tile may have to end with a row of them. Images lie one below the other: after so many rows of outputs taps begin
// again at the first one's row of the image, while row starts go on.
//
// After the last position it begins again, for the next row tile. A tile has, of each position: column and row of its
// first tap, and its row start; and what the write-back needs (engine_pkg): destination and residual pixels by bank.
module position_generator #(
  // positions
  parameter int TP = 4,
  // words of the activation memory
  parameter int AM_DEPTH = 5120,
  localparam int PIXEL = engine_pkg::pixel_bits(AM_DEPTH, TP),
  localparam int ADDRESS = engine_pkg::address_bits(AM_DEPTH),
  localparam int BANKS = engine_pkg::banks(TP),
  localparam int BANK_BITS = $clog2(TP),
  localparam int TARGET = engine_pkg::target_bits(AM_DEPTH, TP),
  localparam int RESIDUAL = engine_pkg::residual_bits(AM_DEPTH, TP)
) (
  input  logic                clk_i,
  input  logic                rst_i,
  input  logic                start_i,
  input  logic [1023:0]       op_i,
  input  logic [PIXEL-1:0]    step_y_i,
  input  logic [PIXEL:0]      step_y_less_i,
  input  logic [PIXEL:0]      target_y_less_i,
  input  logic [PIXEL-1:0]    residual_y_i,
  input  logic [PIXEL:0]      residual_y_less_i,
  output logic                tile_valid_o,
  input  logic                tile_take_i,
  output logic                last_o,      // no tile follows
  output logic [TP-1:0]       used_o,
  output logic [TP*16-1:0]    x_o,
  output logic [TP*16-1:0]    y_o,
  output logic [TP*PIXEL-1:0] row_o,
  output logic [TARGET-1:0]   target_o,
  output logic [RESIDUAL-1:0] residual_o
);
  localparam int TARGET_EACH = 1 + 2 * BANK_BITS + ADDRESS;

  logic pair, target_split, residual_split, logits, row_ends_tile;
  logic [3:0] most;
  assign target_split = op_i[3*32+7];
  assign pair = op_i[3*32+6];
  assign residual_split = op_i[3*32+9];
  assign logits = op_i[3*32+10];
  assign row_ends_tile = op_i[3*32+11];
  assign most = op_i[3*32+12+:4];

  // x's share of a pixel number.
  function automatic logic [15:0] place(input logic [15:0] x, input logic split, input logic [15:0] half);
    place = split ? {1'b0, x[15:1]} + (x[0] ? half : 16'd0) : x;
  endfunction

  logic enable;
  assign enable = !tile_valid_o || tile_take_i;

  // The position at hand.
  logic [3:0] index;
  logic [15:0] columns_left, rows_left, image_rows_left, x, y, target_x, residual_x;
  logic [PIXEL-1:0] row, target_row, residual_row, next_row, next_target, next_residual;
  logic column_last, last, tile_last, walking;
  assign column_last = columns_left == 16'd1;
  assign last = column_last && rows_left == 16'd1;
  assign tile_last = last || index == most || (column_last && row_ends_tile);
  row_adder #(.BITS(PIXEL)) source_adder (.row_i(row), .step_i(step_y_i), .step_less_ring_i(step_y_less_i), .sum_o(next_row));
  row_adder #(.BITS(PIXEL)) target_adder (
    .row_i(target_row), .step_i(PIXEL'(op_i[13*32+:16])), .step_less_ring_i(target_y_less_i), .sum_o(next_target));
  row_adder #(.BITS(PIXEL)) residual_adder (
    .row_i(residual_row), .step_i(residual_y_i), .step_less_ring_i(residual_y_less_i), .sum_o(next_residual));

  always_ff @(posedge clk_i) begin
    if (start_i || (enable && last)) begin
      {columns_left, rows_left} <= {op_i[9*32+16+:16], op_i[9*32+:16]};
      image_rows_left <= op_i[2*32+16+:16];
      {x, y} <= {op_i[10*32+16+:16], op_i[10*32+:16]};
      row <= op_i[11*32+:PIXEL];
      target_row <= op_i[15*32+:PIXEL];
      residual_row <= op_i[20*32+:PIXEL];
      {residual_x, target_x} <= op_i[16*32+:32];
    end else if (enable) begin
      columns_left <= column_last ? op_i[9*32+16+:16] : columns_left - 1'b1;
      x <= column_last ? op_i[10*32+16+:16] : x + 16'(op_i[8*32+28+:4]);
      target_x <= column_last ? op_i[16*32+:16] : target_x + 1'b1;
      residual_x <= column_last ? op_i[16*32+16+:16] : residual_x + 16'(op_i[19*32+28+:4]);
      if (column_last) begin
        rows_left <= rows_left - 1'b1;
        // Without a number of rows it never comes to 1 before the last row's end.
        image_rows_left <= (image_rows_left == 16'd1) ? op_i[2*32+16+:16] : image_rows_left - 1'b1;
        y <= (image_rows_left == 16'd1) ? op_i[10*32+:16] : y + 16'(op_i[8*32+24+:4]);
        row <= next_row;
        target_row <= next_target;
        residual_row <= next_residual;
      end
    end
    if (start_i) index <= 4'd0;
    else if (enable) index <= tile_last ? 4'd0 : index + 1'b1;
    if (rst_i) walking <= 1'b0;
    else if (start_i) walking <= 1'b1;
  end

  // Its pixels, two cycles later.
  logic [1:0] valid, tile_last_q, last_q;
  logic [3:0] index_1, index_2;
  logic [15:0] x_1, x_2, y_1, y_2, target_place, residual_place;
  logic [PIXEL-1:0] row_1, row_2, target_row_1, residual_row_1, target, from;
  always_ff @(posedge clk_i) begin
    if (rst_i || start_i) valid <= 2'b00;
    else if (enable) valid <= {valid[0], walking};
    if (enable) begin
      tile_last_q <= {tile_last_q[0], tile_last};
      last_q <= {last_q[0], last};
      {index_2, index_1} <= {index_1, index};
      {x_2, x_1} <= {x_1, x};
      {y_2, y_1} <= {y_1, y};
      {row_2, row_1} <= {row_1, row};
      target_row_1 <= target_row;
      residual_row_1 <= residual_row;
      target_place <= place(target_x, target_split, op_i[13*32+16+:16]);
      residual_place <= place(residual_x, residual_split, op_i[18*32+16+:16]);
      target <= target_row_1 + PIXEL'(target_place);
      from <= residual_row_1 + PIXEL'(residual_place);
    end
  end

  // The tile. A pair's byte has two positions; a byte that is no pair has one, twice. Logits are in four banks.
  logic [PIXEL-2:0] byte_number;
  logic [BANK_BITS-1:0] bank, from_bank;
  logic [ADDRESS-1:0] address;
  logic write;
  assign byte_number = logits ? (PIXEL-1)'({target, 2'b00}) : pair ? target[PIXEL-1:1] : target[PIXEL-2:0];
  assign bank = byte_number[BANK_BITS-1:0];
  assign address = byte_number[BANK_BITS+:ADDRESS];
  assign from_bank = from[BANK_BITS-1:0];
  assign write = enable && valid[1];

  always_ff @(posedge clk_i) begin
    if (rst_i || start_i) tile_valid_o <= 1'b0;
    else if (enable) tile_valid_o <= valid[1] && tile_last_q[1];
    if (write) last_o <= last_q[1];
  end

  for (genvar p = 0; p < TP; p++) begin : g_position
    always_ff @(posedge clk_i) begin
      if (write && index_2 == p) begin
        x_o[p*16+:16] <= x_2;
        y_o[p*16+:16] <= y_2;
        row_o[p*PIXEL+:PIXEL] <= row_2;
        residual_o[BANKS*ADDRESS+p*BANK_BITS+:BANK_BITS] <= from_bank;
      end
      if (write) used_o[p] <= index_2 == p || (index_2 != 0 && used_o[p]);
    end
  end
  for (genvar b = 0; b < BANKS; b++) begin : g_bank
    logic hit;
    assign hit = logits ? b / 4 == 32'(bank) / 4 : 32'(bank) == b;
    always_ff @(posedge clk_i) begin
      if (write) target_o[(b+1)*TARGET_EACH-1] <= hit || (index_2 != 0 && target_o[(b+1)*TARGET_EACH-1]);
      if (write && hit) target_o[b*TARGET_EACH+:ADDRESS] <= address;
      if (write && hit && !(pair && target[0])) target_o[b*TARGET_EACH+ADDRESS+:BANK_BITS] <= BANK_BITS'(index_2);
      if (write && hit && !(pair && !target[0])) target_o[b*TARGET_EACH+ADDRESS+BANK_BITS+:BANK_BITS] <= BANK_BITS'(index_2);
      // Banks without a pixel have the first one's address: every bank's is then one of the tile's.
      if (write && (index_2 == 0 || 32'(from_bank) == b)) residual_o[b*ADDRESS+:ADDRESS] <= from[BANK_BITS+:ADDRESS];
    end
  end
endmodule
