// The last eight rows of an image, rows modulo eight: pixels are written one by one or two by two, columns are read whole.
module line_buffers #(
  // most pixels in a row
  parameter int LINE = 512,
  // bits of a pixel
  parameter int PIXEL_BITS = 24,
  // pixels that are written at a time, 1 or 2
  parameter int PIXELS = 1
) (
  input  logic                         clk_i,
  input  logic                         write_i,
  input  logic [2:0]                   write_row_i,
  // of the first one, a multiple of PIXELS
  input  logic [$clog2(LINE)-1:0]      write_x_i,
  input  logic [PIXELS*PIXEL_BITS-1:0] pixels_i,
  input  logic                         read_i,
  input  logic [$clog2(LINE)-1:0]      read_x_i,
  // of the column read last, the buffers' pixels in order
  output logic [8*PIXEL_BITS-1:0]      column_o
);
  localparam int SHIFT = PIXELS - 1;
  localparam int DEPTH = (LINE + SHIFT) >> SHIFT;
  logic odd;
  always_ff @(posedge clk_i) if (read_i) odd <= read_x_i[0] && PIXELS == 2;
  for (genvar r = 0; r < 8; r++) begin : g_row
    logic [2*PIXEL_BITS-1:0] found;
    if (PIXELS == 1) begin : g_alone
      assign found[2*PIXEL_BITS-1:PIXEL_BITS] = '0;
    end
    for (genvar i = 0; i < PIXELS; i++) begin : g_pixel
      (* ram_style = "block" *) logic [PIXEL_BITS-1:0] pixels [0:DEPTH-1];
      logic [PIXEL_BITS-1:0] each;
      always_ff @(posedge clk_i) begin
        if (write_i && write_row_i == 3'(r)) pixels[write_x_i[$clog2(LINE)-1:SHIFT]] <= pixels_i[i*PIXEL_BITS+:PIXEL_BITS];
      end
      always_ff @(posedge clk_i) if (read_i) each <= pixels[read_x_i[$clog2(LINE)-1:SHIFT]];
      assign found[i*PIXEL_BITS+:PIXEL_BITS] = each;
    end
    assign column_o[r*PIXEL_BITS+:PIXEL_BITS] = odd ? found[2*PIXEL_BITS-1:PIXEL_BITS] : found[PIXEL_BITS-1:0];
  end
endmodule
