// All rows' sums of a finished tile, kept while they are written; an even and an odd row at a time, all positions.
module result_hold #(
  // rows, even
  parameter int ROWS = 32,
  // bits of a row's sums
  parameter int WIDTH = 96,
  localparam int HALF = ROWS / 2,
  localparam int INDEX = (HALF > 1) ? $clog2(HALF) : 1
) (
  input  logic                  clk_i,
  input  logic                  rst_i,
  input  logic                  valid_i,
  output logic                  ready_o,
  input  logic [ROWS*WIDTH-1:0] sums_i,
  output logic                  valid_o,
  input  logic                  done_i,
  input  logic [INDEX-1:0]      even_row_i,  // row div 2
  input  logic [INDEX-1:0]      odd_row_i,
  output logic [WIDTH-1:0]      even_o,
  output logic [WIDTH-1:0]      odd_o
);
  logic [ROWS*WIDTH-1:0] held;
  assign ready_o = !valid_o || done_i;
  always_ff @(posedge clk_i) begin
    if (valid_i && ready_o) held <= sums_i;
    if (rst_i) valid_o <= 1'b0;
    else valid_o <= (valid_i && ready_o) || (valid_o && !done_i);
  end

  // Bit by bit, so that a row is chosen by a tree of multiplexers.
  for (genvar i = 0; i < WIDTH; i++) begin : g_bit
    logic [2**INDEX-1:0] even, odd;
    for (genvar r = 0; r < 2**INDEX; r++) begin : g_row
      if (r < HALF) begin : g_held
        assign even[r] = held[2*r*WIDTH+i];
        assign odd[r] = held[(2*r+1)*WIDTH+i];
      end else begin : g_none
        assign even[r] = 1'b0;
        assign odd[r] = 1'b0;
      end
    end
    assign even_o[i] = even[even_row_i];
    assign odd_o[i] = odd[odd_row_i];
  end
endmodule
