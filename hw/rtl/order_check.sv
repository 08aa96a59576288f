// Whether as many operations have completed as a descriptor waits for; counts are modulo 2^16.
module order_check (
  // words 1 and 2 of the descriptor: LOAD, STORE, COMPUTE
  input  logic [47:0] waits_i,
  // completed since the start, in the same order
  input  logic [47:0] completed_i,
  output logic        met_o
);
  logic [15:0] loads, stores, computes;
  assign loads = completed_i[15:0] - waits_i[15:0];
  assign stores = completed_i[31:16] - waits_i[31:16];
  assign computes = completed_i[47:32] - waits_i[47:32];
  assign met_o = !loads[15] && !stores[15] && !computes[15];
endmodule
