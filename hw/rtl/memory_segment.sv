// Bytes of the activation memory in block RAM: port A reads; port B reads or writes, byte by byte.
//
// Data leave one cycle after their address.
module memory_segment #(
  // bytes side by side that share an address
  parameter int BYTES = 1,
  // words
  parameter int DEPTH = 4096
) (
  input  logic                     clk_i,
  input  logic [$clog2(DEPTH)-1:0] address_a_i,
  output logic [8*BYTES-1:0]       data_a_o,
  input  logic [BYTES-1:0]         write_b_i,
  input  logic [$clog2(DEPTH)-1:0] address_b_i,
  input  logic [8*BYTES-1:0]       data_b_i,
  output logic [8*BYTES-1:0]       data_b_o
);
  (* ram_style = "block", no_rw_check *) logic [8*BYTES-1:0] memory[0:DEPTH-1];

  always_ff @(posedge clk_i) data_a_o <= memory[address_a_i];

  always_ff @(posedge clk_i) begin
    data_b_o <= memory[address_b_i];
    for (int i = 0; i < BYTES; i = i + 1) begin
      if (write_b_i[i]) memory[address_b_i][8*i+:8] <= data_b_i[8*i+:8];
    end
  end
endmodule
