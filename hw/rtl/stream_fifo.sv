// A queue in LUTs: what is written in one cycle can be read in the next, without asking for it first.
module stream_fifo #(
  // bits of an entry
  parameter int WIDTH = 64,
  // entries, a power of two
  parameter int DEPTH = 32,
  localparam int LEVEL_BITS = $clog2(DEPTH) + 1
) (
  input  logic                  clk_i,
  input  logic                  rst_i,
  input  logic                  in_valid_i,
  output logic                  in_ready_o,
  input  logic [WIDTH-1:0]      in_data_i,
  output logic                  out_valid_o,
  input  logic                  out_ready_i,
  output logic [WIDTH-1:0]      out_data_o,
  // entries in it
  output logic [LEVEL_BITS-1:0] level_o
);
  if (DEPTH != 2 ** $clog2(DEPTH) || DEPTH < 2) begin : g_check
    $error("DEPTH must be a power of two");
  end

  (* ram_style = "distributed" *) logic [WIDTH-1:0] entries [0:DEPTH-1];
  logic [LEVEL_BITS-1:0] head, tail;
  assign level_o = tail - head;
  assign in_ready_o = !level_o[LEVEL_BITS-1];
  assign out_valid_o = head != tail;
  assign out_data_o = entries[head[LEVEL_BITS-2:0]];

  always_ff @(posedge clk_i) if (in_valid_i && in_ready_o) entries[tail[LEVEL_BITS-2:0]] <= in_data_i;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      head <= '0;
      tail <= '0;
    end else begin
      if (in_valid_i && in_ready_o) tail <= tail + 1'b1;
      if (out_valid_o && out_ready_i) head <= head + 1'b1;
    end
  end
endmodule
