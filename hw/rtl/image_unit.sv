// IMAGE: reads an image row after row, once, and gives the unrolled window of every output position, in raster order.
//
// A row is read as soon as the line buffers have room for it; a burst is only asked for when there is room for all of its
// pixels, so that they never wait for the windows.
module image_unit #(
  // products per step of the arrays
  parameter int TK = 16,
  // pixels written into the line buffers in a cycle, 1 or 2
  parameter int PIXELS = 1,
  // most pixels in a row
  parameter int LINE = 512,
  // most bytes of a window
  parameter int IMAGE_BYTES = 147,
  // number of kernels, at most 4
  parameter int KERNELS = 4,
  // kernels that can be unrolled, 8 bits each, the first in the lowest: channels (at most 4), height (at most 8)
  parameter logic [31:0] KERNEL_LIST = {4'd1, 4'd3, 4'd3, 4'd5, 4'd3, 4'd3, 4'd3, 4'd7}
) (
  input  logic                           clk_i,
  input  logic                           rst_i,
  // the descriptor's first eight words, word 3 an address; they stay until `op_done_o`
  input  logic                           op_valid_i,
  input  logic [255:0]                   op_words_i,
  output logic                           op_done_o,
  // illegal field
  output logic                           error_o,
  output logic                           burst_valid_o,
  input  logic                           burst_ready_i,
  output logic [31:0]                    burst_address_o,
  output logic [3:0]                     burst_less_one_o,
  input  logic                           data_valid_i,
  output logic                           data_ready_o,
  input  logic [63:0]                    data_i,
  // a whole window
  output logic                           patch_valid_o,
  input  logic                           patch_ready_i,
  output logic [8*IMAGE_BYTES-1:0]       patch_data_o
);
  // Element of the list, its column's bytes, and the greatest of each.
  function automatic int height(input int k);
    height = 32'(KERNEL_LIST[8*k+:4]);
  endfunction
  function automatic int channels(input int k);
    channels = 32'(KERNEL_LIST[8*k+4+:4]);
  endfunction
  function automatic int most(input int what);
    int k, one;
    most = 0;
    for (k = 0; k < KERNELS; k = k + 1) begin
      one = (what == 0) ? height(k) : (what == 1) ? channels(k) : height(k) * channels(k);
      if (one > most) most = one;
    end
  endfunction
  // Bytes of the longest column with so many channels.
  function automatic int longest(input int depth);
    int k;
    longest = 0;
    for (k = 0; k < KERNELS; k = k + 1) begin
      if (channels(k) == depth && height(k) * depth > longest) longest = height(k) * depth;
    end
  endfunction
  localparam int TALLEST = most(0);
  localparam int CHANNELS = most(1);
  localparam int COLUMN = most(2);
  localparam int PIXEL_BITS = 8 * CHANNELS;
  localparam int X_BITS = $clog2(LINE);
  // bits of a column's number, from the left padding to beyond the right end, signed
  localparam int PLACE_BITS = (X_BITS < 5) ? 7 : X_BITS + 2;
  localparam logic [31:0] COLUMN_BYTES = {
    8'(height(3) * channels(3)), 8'(height(2) * channels(2)), 8'(height(1) * channels(1)), 8'(height(0) * channels(0))};
  function automatic int window_bytes(input int k);
    window_bytes = (height(k) * height(k) * channels(k) < IMAGE_BYTES) ? height(k) * height(k) * channels(k) : IMAGE_BYTES;
  endfunction
  localparam logic [31:0] WINDOW_BYTES = {
    8'(window_bytes(3)), 8'(window_bytes(2)), 8'(window_bytes(1)), 8'(window_bytes(0))};
  if (TALLEST > 8 || CHANNELS > 4 || KERNELS < 1 || KERNELS > 4) begin : g_check
    $error("KERNEL_LIST must have 1 to 4 kernels of at most 8 rows and 4 channels");
  end
  if (PIXELS < 1 || PIXELS > 2) begin : g_check_pixels
    $error("PIXELS must be 1 or 2");
  end

  logic [15:0] image_height, image_width, rows, columns;
  logic [3:0] kernel_y, kernel_x, stride_y, stride_x, pad_top, pad_left;
  logic [2:0] depth;
  logic [4:0] words;
  logic [7:0] pad_code;
  assign {image_width, image_height} = op_words_i[128+:32];
  assign {columns, rows} = op_words_i[160+:32];
  assign {words, depth, pad_left, pad_top, stride_x, stride_y, kernel_x, kernel_y} = op_words_i[192+:32];
  assign pad_code = op_words_i[224+:8];

  // Kernels are at most as wide as tall, and the words are those of the window.
  logic [1:0] kernel;
  logic known, legal;
  always_comb begin
    kernel = '0;
    known = 1'b0;
    for (int k = 0; k < KERNELS; k++) begin
      if (32'(kernel_y) == height(k) && 32'(depth) == channels(k)) begin
        kernel = 2'(k);
        for (int w = 1; w <= height(k); w++) begin
          if (32'(kernel_x) == w && w * height(k) * channels(k) <= IMAGE_BYTES &&
              32'(words) == (w * height(k) * channels(k) + TK - 1) / TK) known = 1'b1;
        end
      end
    end
  end
  assign legal = known && stride_y != '0 && stride_x != '0 && image_height != '0 && image_width != '0 &&
      image_width <= 16'(LINE) && rows != '0 && columns != '0 && op_words_i[9:8] != 2'd3 && op_words_i[98:96] == '0;

  logic active, reading;
  assign error_o = active && !legal;
  always_ff @(posedge clk_i) begin
    if (rst_i || op_done_o) active <= 1'b0;
    else if (op_valid_i) active <= 1'b1;
  end

  // The reader walks the columns of one row of windows after another; its row's first line is `top`.
  logic [15:0] rows_left, columns_left;
  logic [2:0] slot;              // of `top` in the buffers
  logic [3:0] above;             // lines of padding from `top` on
  logic signed [17:0] below;     // the image's height less `top`
  logic signed [PLACE_BITS-1:0] x;  // column; far beyond the end it stands still
  logic [3:0] steps;             // columns until a window is complete
  logic step, complete, row_ends, available;
  logic inside_x;
  assign complete = steps == 4'd1;
  assign row_ends = step && complete && columns_left == 16'd1;
  logic [PLACE_BITS-2:0] width;
  assign width = image_width[PLACE_BITS-2:0];
  assign inside_x = !x[PLACE_BITS-1] && x[PLACE_BITS-2:0] < width;
  always_ff @(posedge clk_i) begin
    if (!active) begin
      reading <= 1'b1;
      rows_left <= rows;
      slot <= 3'(-pad_top);
      above <= pad_top;
      below <= signed'(18'(image_height)) + signed'(18'(pad_top));
    end else if (row_ends) begin
      reading <= rows_left != 16'd1;
      rows_left <= rows_left - 1'b1;
      slot <= slot + stride_y[2:0];
      above <= (above > stride_y) ? above - stride_y : '0;
      below <= below - signed'(18'(stride_y));
    end
    if (!active || row_ends) begin
      columns_left <= columns;
      steps <= kernel_x;
      x <= -signed'(PLACE_BITS'(pad_left));
    end else if (step) begin
      if (complete) columns_left <= columns_left - 1'b1;
      steps <= complete ? stride_x : steps - 1'b1;
      if (x[PLACE_BITS-1] || !(&x[PLACE_BITS-2:0])) x <= x + PLACE_BITS'(1);
    end
  end

  // Bursts: a line is asked for when this row of windows needs it or one of the next four. The line it takes the place of
  // must be above `top`, or the reader must be past the burst's columns for the last time.
  logic [15:0] lines_to_ask;
  logic signed [6:0] asked;  // the line asked for less `top`
  logic [PLACE_BITS-2:0] ask_x, burst_end;
  logic [31:0] line_address;
  logic [X_BITS-1:0] line_words;
  logic run_valid, run_ready, whole_valid, needed, place, next_line;
  assign line_words = X_BITS'((width + 1'b1) >> 1);
  assign burst_end = ask_x + (PLACE_BITS-1)'({burst_less_one_o, 1'b1}) + 1'b1;
  logic [5:0] ahead;  // lines that the next rows of windows need
  always_comb begin
    if (rows_left > 16'd4) ahead = {stride_y, 2'b00};
    else if (rows_left > 16'd2) ahead = {1'b0, stride_y, 1'b0};
    else ahead = (rows_left == 16'd1) ? '0 : {2'b00, stride_y};
  end
  assign needed = signed'({asked[6], asked}) < signed'(8'(kernel_y)) + signed'(8'(ahead));
  assign place = asked < 7'sd8 || (asked < 7'sd8 + signed'(7'(stride_y)) && !x[PLACE_BITS-1] && burst_end <= x[PLACE_BITS-2:0]);
  assign run_valid = active && legal && lines_to_ask != '0;
  burst_splitter #(.BEAT_BITS(X_BITS)) bursts (
    .clk_i, .rst_i(rst_i || !active), .run_valid_i(run_valid), .run_ready_o(run_ready),
    .run_address_i(line_address), .run_beats_i(line_words),
    .burst_valid_o(whole_valid), .burst_ready_i(burst_ready_i && burst_valid_o), .burst_address_o, .burst_less_one_o
  );
  assign burst_valid_o = whole_valid && needed && place && reading;
  assign next_line = burst_valid_o && burst_ready_i && burst_end >= width;
  always_ff @(posedge clk_i) begin
    if (!active) begin
      lines_to_ask <= image_height;
      line_address <= {op_words_i[127:99], 3'b000};
    end else if (run_valid && run_ready) begin
      lines_to_ask <= lines_to_ask - 1'b1;
      line_address <= line_address + 32'({line_words, 3'b000});
    end
    if (!active || next_line) ask_x <= '0;
    else if (burst_valid_o && burst_ready_i) ask_x <= burst_end;
    if (!active) asked <= signed'(7'(pad_top));
    else asked <= asked + signed'(7'(next_line)) - (row_ends ? signed'(7'(stride_y)) : 7'sd0);
  end

  // Pixels are written one by one, or a word's two.
  logic [15:0] lines_to_write;
  logic signed [6:0] written;  // the line being written less `top`
  logic [PLACE_BITS-2:0] write_x;
  logic [2:0] write_slot;
  logic [7:0] pending;         // words to come, of those asked for
  logic half, line_ends;
  if (PIXELS == 1) begin : g_pixel
    assign line_ends = data_valid_i && write_x + 1'b1 == width;
    assign data_ready_o = half || line_ends;
  end else begin : g_pixels
    assign line_ends = data_valid_i && write_x[X_BITS:1] + 1'b1 == line_words;
    assign data_ready_o = 1'b1;
  end
  always_ff @(posedge clk_i) begin
    if (rst_i || !active) begin
      lines_to_write <= image_height;
      written <= signed'(7'(pad_top));
      write_x <= '0;
      write_slot <= '0;
      half <= 1'b0;
      pending <= '0;
    end else begin
      if (data_valid_i) begin
        write_x <= line_ends ? '0 : write_x + (PLACE_BITS-1)'(PIXELS);
        half <= !half && !line_ends;
      end
      if (line_ends) begin
        lines_to_write <= lines_to_write - 1'b1;
        write_slot <= write_slot + 1'b1;
      end
      written <= written + signed'(7'(line_ends)) - (row_ends ? signed'(7'(stride_y)) : 7'sd0);
      pending <= pending + ((burst_valid_o && burst_ready_i) ? 8'(burst_less_one_o) + 8'd1 : 8'd0) - 8'(data_valid_i && data_ready_o);
    end
  end

  // A column is there when the lowest line it needs has been written so far.
  logic past;
  assign past = write_x > x[PLACE_BITS-2:0];
  assign available = !inside_x || lines_to_write == '0 || written >= signed'(7'(kernel_y)) ||
      (past && (written == signed'(7'(kernel_y)) - 7'sd1 || (lines_to_write == 16'd1 && written < signed'(7'(kernel_y)))));

  // Line buffers, then the column in the kernel's order with padding, then the window.
  logic advance, found_valid, found_last, column_valid, column_ready, column_last;
  logic [2:0] found_slot;
  logic [7:0] inside_y, found_shown;
  logic [8*PIXEL_BITS-1:0] found;
  logic [8*COLUMN-1:0] ordered, column;
  assign advance = !column_valid || column_ready;
  assign step = active && legal && reading && available && advance;
  logic [PIXELS*PIXEL_BITS-1:0] pixels;
  if (PIXELS == 1) begin : g_one
    assign pixels = half ? data_i[32+:PIXEL_BITS] : data_i[0+:PIXEL_BITS];
  end else begin : g_two
    assign pixels = {data_i[32+:PIXEL_BITS], data_i[0+:PIXEL_BITS]};
  end
  line_buffers #(.LINE(LINE), .PIXEL_BITS(PIXEL_BITS), .PIXELS(PIXELS)) lines (
    .clk_i, .write_i(data_valid_i), .write_row_i(write_slot), .write_x_i(write_x[X_BITS-1:0]),
    .pixels_i(pixels), .read_i(advance), .read_x_i(x[X_BITS-1:0]), .column_o(found)
  );
  always_comb begin
    for (int y = 0; y < 8; y++) begin
      inside_y[y] = above <= 4'(y) && !below[17] && (below[16:3] != '0 || below[2:0] > 3'(y));
    end
  end
  column_order #(
    .CHANNELS(CHANNELS), .LONGEST({8'(longest(4)), 8'(longest(3)), 8'(longest(2)), 8'(longest(1))}), .COLUMN(COLUMN)
  ) order (
    .pixels_i(found), .top_i(found_slot), .shown_i(found_shown), .channels_i(depth), .pad_code_i(pad_code), .column_o(ordered)
  );
  always_ff @(posedge clk_i) begin
    if (rst_i || !active) begin
      found_valid <= 1'b0;
      column_valid <= 1'b0;
    end else if (advance) begin
      found_valid <= step;
      column_valid <= found_valid;
    end
    if (advance) begin
      found_last <= complete;
      found_shown <= inside_x ? inside_y : '0;
      found_slot <= slot;
      column_last <= found_last;
      column <= ordered;
    end
  end
  window_register #(
    .IMAGE_BYTES(IMAGE_BYTES), .KERNELS(KERNELS), .COLUMN_BYTES(COLUMN_BYTES), .COLUMN(COLUMN), .WINDOW_BYTES(WINDOW_BYTES)
  ) register (
    .clk_i, .rst_i(rst_i || !active), .kernel_i(kernel), .column_valid_i(column_valid), .column_ready_o(column_ready), .column_last_i(column_last), .column_i(column),
    .patch_valid_o, .patch_ready_i, .patch_data_o
  );
  assign op_done_o = active && !reading && !found_valid && !column_valid && !patch_valid_o && pending == '0;
endmodule
