// The window of an image: every column shifts it by a kernel's column of bytes; it leaves in pairs of words.
//
// Byte (KW-1-kx)*n + ky*C + c holds tap (ky, kx, c), n = KH*C; n is one of those of the kernels.
module window_register #(
  // products per step of the arrays
  parameter int TK = 16,
  // most bytes of a window
  parameter int IMAGE_BYTES = 147,
  // number of kernels, at most 4
  parameter int KERNELS = 4,
  // bytes of each kernel's column, 8 bits each, the first in the lowest
  parameter logic [31:0] COLUMN_BYTES = {8'd3, 8'd15, 8'd9, 8'd21},
  // bytes of the longest column
  parameter int COLUMN = 21,
  // most bytes of each kernel's window, likewise
  parameter logic [31:0] WINDOW_BYTES = {8'd9, 8'd75, 8'd27, 8'd147}
) (
  input  logic                clk_i,
  input  logic                rst_i,
  input  logic [1:0]          kernel_i,
  // pairs of words of a window
  input  logic [4:0]          pairs_i,
  input  logic                column_valid_i,
  output logic                column_ready_o,
  // it completes a window
  input  logic                column_last_i,
  input  logic [8*COLUMN-1:0] column_i,
  output logic                patch_valid_o,
  input  logic                patch_ready_i,
  output logic [16*TK-1:0]    patch_data_o,
  output logic                patch_last_o
);
  localparam int PAIRS = (IMAGE_BYTES + 2 * TK - 1) / (2 * TK);
  localparam int PAIR_BITS = (PAIRS > 1) ? $clog2(PAIRS) : 1;
  logic [8*IMAGE_BYTES-1:0] window, shifted;
  logic [8*(IMAGE_BYTES+COLUMN)-1:0] sources;
  assign sources = {window, {8*COLUMN{1'b0}}};

  // What a byte is shifted from depends on the kernel; kernels whose windows end before it have no say.
  for (genvar i = 0; i < IMAGE_BYTES; i++) begin : g_byte
    logic decided;
    logic [7:0] from;
    always_comb begin
      decided = 1'b0;
      from = '0;
      for (int k = 0; k < KERNELS; k++) begin
        if (i < 32'(WINDOW_BYTES[8*k+:8])) begin
          if (!decided || kernel_i == 2'(k)) begin
            from = sources[8*(COLUMN+i-32'(COLUMN_BYTES[8*k+:8]))+:8];
            if (i < 32'(COLUMN_BYTES[8*k+:8])) from = column_i[8*(i%COLUMN)+:8];
          end
          decided = 1'b1;
        end
      end
    end
    assign shifted[8*i+:8] = from;
  end
  assign column_ready_o = !patch_valid_o;
  always_ff @(posedge clk_i) if (column_valid_i && column_ready_o) window <= shifted;

  logic [PAIR_BITS-1:0] pair;
  logic [16*TK*PAIRS-1:0] padded;
  assign padded = (16*TK*PAIRS)'(window);
  assign patch_data_o = padded[16*TK*32'(pair)+:16*TK];
  assign patch_last_o = 5'(pair) + 1'b1 == pairs_i;
  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      patch_valid_o <= 1'b0;
      pair <= '0;
    end else if (column_valid_i && column_ready_o) begin
      patch_valid_o <= column_last_i;
    end else if (patch_valid_o && patch_ready_i) begin
      pair <= patch_last_o ? '0 : pair + 1'b1;
      patch_valid_o <= !patch_last_o;
    end
  end
endmodule
