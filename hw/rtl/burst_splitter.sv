// Cuts a run of 64-bit words into bursts of at most 16 that end where the address is a multiple of 128 bytes, so that
// none crosses a boundary of 4 KiB.
module burst_splitter #(
  // bits of a run's length
  parameter int BEAT_BITS = 24
) (
  input  logic                 clk_i,
  input  logic                 rst_i,
  input  logic                 run_valid_i,
  output logic                 run_ready_o,
  // a multiple of 8
  input  logic [31:0]          run_address_i,
  // 1 or more
  input  logic [BEAT_BITS-1:0] run_beats_i,
  output logic                 burst_valid_o,
  input  logic                 burst_ready_i,
  output logic [31:0]          burst_address_o,
  output logic [3:0]           burst_less_one_o
);
  logic [28:0] address;  // in words
  logic [BEAT_BITS-1:0] left_less_one;
  logic [3:0] most;      // that the boundary allows, less one
  logic longer;          // than that
  assign most = ~address[3:0];
  assign longer = left_less_one > BEAT_BITS'(most);
  assign burst_address_o = {address, 3'b000};
  assign burst_less_one_o = longer ? most : left_less_one[3:0];
  assign run_ready_o = !burst_valid_o || (burst_ready_i && !longer);

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      burst_valid_o <= 1'b0;
    end else if (run_ready_o) begin
      burst_valid_o <= run_valid_i;
      address <= run_address_i[31:3];
      left_less_one <= run_beats_i - 1'b1;
    end else if (burst_ready_i) begin
      address <= {address[28:4] + 1'b1, 4'b0000};
      left_less_one <= left_less_one - BEAT_BITS'(most) - 1'b1;
    end
  end
endmodule
