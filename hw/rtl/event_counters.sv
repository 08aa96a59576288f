// Counts events of a run.
module event_counters #(
  // number of events
  parameter int EVENTS = 6
) (
  input  logic                 clk_i,
  input  logic                 clear_i,
  input  logic [EVENTS-1:0]    event_i,
  output logic [32*EVENTS-1:0] count_o
);
  for (genvar e = 0; e < EVENTS; e++) begin : g_event
    logic [31:0] count;
    always_ff @(posedge clk_i) begin
      if (clear_i) count <= '0;
      else if (event_i[e]) count <= count + 1'b1;
    end
    assign count_o[32*e+:32] = count;
  end
endmodule
