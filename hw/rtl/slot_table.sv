// The slots of the row tiles at hand, in block RAM; a slot leaves one enabled cycle after its address and stays.
module slot_table #(
  // slots, a power of two
  parameter int DEPTH = 128
) (
  input  logic                     clk_i,
  input  logic                     write_i,
  input  logic [$clog2(DEPTH)-1:0] write_address_i,
  input  logic [191:0]             data_i,
  input  logic                     read_i,
  input  logic [$clog2(DEPTH)-1:0] read_address_i,
  output logic [191:0]             data_o
);
  (* ram_style = "block", no_rw_check *) logic [191:0] memory[0:DEPTH-1];
  always_ff @(posedge clk_i) if (write_i) memory[write_address_i] <= data_i;
  always_ff @(posedge clk_i) if (read_i) data_o <= memory[read_address_i];
endmodule
