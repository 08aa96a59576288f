// A first-in first-out queue in LUT memory; the oldest entry is seen without delay.
module small_fifo #(
  // bits of an entry
  parameter int WIDTH = 8,
  // entries: 2^DEPTH_BITS; 5 fills LUT memories exactly
  parameter int DEPTH_BITS = 5
) (
  input  logic             clk_i,
  input  logic             rst_i,
  input  logic             push_i,   // only with room_o
  input  logic [WIDTH-1:0] data_i,
  output logic             room_o,
  output logic             valid_o,
  input  logic             pop_i,    // only with valid_o
  output logic [WIDTH-1:0] data_o
);
  (* ram_style = "distributed" *) logic [WIDTH-1:0] memory[0:2**DEPTH_BITS-1];
  logic [DEPTH_BITS:0] written, taken;

  assign valid_o = written != taken;
  assign room_o = written != {!taken[DEPTH_BITS], taken[DEPTH_BITS-1:0]};
  assign data_o = memory[taken[DEPTH_BITS-1:0]];

  always_ff @(posedge clk_i) begin
    if (push_i) memory[written[DEPTH_BITS-1:0]] <= data_i;
  end
  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      written <= '0;
      taken <= '0;
    end else begin
      if (push_i) written <= written + 1'b1;
      if (pop_i) taken <= taken + 1'b1;
    end
  end
endmodule
