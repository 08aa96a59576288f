// A column of the line buffers as the column of a window: from the top line down, channels next to one another, lines
// outside the image replaced by padding.
module column_order #(
  // channels of a buffered pixel, at most 4
  parameter int CHANNELS = 3,
  // bytes of the longest column with 1, 2, … channels, 8 bits each, the first in the lowest; 0: there is none
  parameter logic [31:0] LONGEST = {8'd0, 8'd21, 8'd0, 8'd3},
  // bytes of the longest column
  parameter int COLUMN = 21
) (
  // pixels, in the buffers' order
  input  logic [64*CHANNELS-1:0] pixels_i,
  // buffer of the top line
  input  logic [2:0]             top_i,
  // lines that are shown, from the top; others are padding
  input  logic [7:0]             shown_i,
  input  logic [2:0]             channels_i,
  input  logic [7:0]             pad_code_i,
  output logic [8*COLUMN-1:0]    column_o
);
  localparam int PIXEL_BITS = 8 * CHANNELS;
  logic [8*PIXEL_BITS-1:0] by_one, by_two, turned;
  assign by_one = top_i[0] ? {pixels_i[PIXEL_BITS-1:0], pixels_i[8*PIXEL_BITS-1:PIXEL_BITS]} : pixels_i;
  assign by_two = top_i[1] ? {by_one[2*PIXEL_BITS-1:0], by_one[8*PIXEL_BITS-1:2*PIXEL_BITS]} : by_one;
  assign turned = top_i[2] ? {by_two[4*PIXEL_BITS-1:0], by_two[8*PIXEL_BITS-1:4*PIXEL_BITS]} : by_two;

  // Which line and channel a byte is of depends on the number of channels, unless the other columns end before it.
  for (genvar b = 0; b < COLUMN; b++) begin : g_byte
    logic decided;
    logic [7:0] code;
    always_comb begin
      decided = 1'b0;
      code = '0;
      for (int c = 1; c <= CHANNELS; c++) begin
        if (b < 32'(LONGEST[8*(c-1)+:8])) begin
          if (!decided || 32'(channels_i) == c) begin
            code = shown_i[(b/c)%8] ? turned[PIXEL_BITS*((b/c)%8)+8*(b%c)+:8] : pad_code_i;
          end
          decided = 1'b1;
        end
      end
    end
    assign column_o[8*b+:8] = code;
  end
endmodule
