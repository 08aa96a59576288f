// The window of an image: every column shifts it by a kernel's column of bytes. While a complete one is taken the next column
// comes in.
//
// Byte (KW-1-kx)*n + ky*C + c holds tap (ky, kx, c), n = KH*C; n is one of those of the kernels.
module window_register #(
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
  input  logic                     clk_i,
  input  logic                     rst_i,
  input  logic [1:0]               kernel_i,
  input  logic                     column_valid_i,
  output logic                     column_ready_o,
  // it completes a window
  input  logic                     column_last_i,
  input  logic [8*COLUMN-1:0]      column_i,
  output logic                     patch_valid_o,
  input  logic                     patch_ready_i,
  output logic [8*IMAGE_BYTES-1:0] patch_data_o
);
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
  assign patch_data_o = window;
  assign column_ready_o = !patch_valid_o || patch_ready_i;
  always_ff @(posedge clk_i) begin
    if (column_valid_i && column_ready_o) window <= shifted;
    if (rst_i) patch_valid_o <= 1'b0;
    else if (column_ready_o) patch_valid_o <= column_valid_i && column_last_i;
  end
endmodule
