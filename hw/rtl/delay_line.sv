// Delays a signal by a number of enabled cycles, in flip-flops (never in LUTs used as shift registers).
module delay_line #(
  // bits of the signal
  parameter int WIDTH = 1,
  // enabled cycles of delay, 0 or more
  parameter int CYCLES = 1
) (
  input  logic             clk_i,
  input  logic             en_i,
  input  logic [WIDTH-1:0] data_i,
  output logic [WIDTH-1:0] data_o
);
  if (CYCLES == 0) begin : g_wire
    assign data_o = data_i;
  end else begin : g_registers
    (* shreg_extract = "no" *) logic [CYCLES*WIDTH-1:0] stages;
    always_ff @(posedge clk_i) if (en_i) stages <= (CYCLES*WIDTH)'({stages, data_i});
    assign data_o = stages[CYCLES*WIDTH-1 -: WIDTH];
  end
endmodule
