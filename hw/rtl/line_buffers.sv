// The last eight rows of an image, rows modulo eight: pixels are written one by one, columns are read whole.
module line_buffers #(
  // most pixels in a row
  parameter int LINE = 512,
  // bits of a pixel
  parameter int PIXEL_BITS = 24
) (
  input  logic                    clk_i,
  input  logic                    write_i,
  input  logic [2:0]              write_row_i,
  input  logic [$clog2(LINE)-1:0] write_x_i,
  input  logic [PIXEL_BITS-1:0]   pixel_i,
  input  logic                    read_i,
  input  logic [$clog2(LINE)-1:0] read_x_i,
  // of the column read last, the buffers' pixels in order
  output logic [8*PIXEL_BITS-1:0] column_o
);
  for (genvar r = 0; r < 8; r++) begin : g_row
    (* ram_style = "block" *) logic [PIXEL_BITS-1:0] pixels [0:LINE-1];
    logic [PIXEL_BITS-1:0] found;
    always_ff @(posedge clk_i) if (write_i && write_row_i == 3'(r)) pixels[write_x_i] <= pixel_i;
    always_ff @(posedge clk_i) if (read_i) found <= pixels[read_x_i];
    assign column_o[r*PIXEL_BITS+:PIXEL_BITS] = found;
  end
endmodule
