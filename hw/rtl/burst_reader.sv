// AXI4 read master for bursts of 64-bit words; several in flight, as many as its buffer has room for, so that what was
// asked for is always taken.
//
// While `flush_i` is 1 no burst starts, and data that still arrive are thrown away; `idle_o` says that none will.
module burst_reader #(
  // words of the buffer: a power of two, at least 16
  parameter int DEPTH = 64
) (
  input  logic        clk_i,
  input  logic        rst_i,
  input  logic        flush_i,
  output logic        idle_o,
  input  logic        burst_valid_i,
  output logic        burst_ready_o,
  input  logic [31:0] burst_address_i,
  input  logic [3:0]  burst_less_one_i,
  output logic        data_valid_o,
  input  logic        data_ready_i,
  output logic [63:0] data_o,
  // this word came with an error response
  output logic        data_error_o,
  output logic [31:0] axi_araddr_o,
  output logic [7:0]  axi_arlen_o,
  output logic        axi_arvalid_o,
  input  logic        axi_arready_i,
  input  logic [63:0] axi_rdata_i,
  input  logic [1:0]  axi_rresp_i,
  input  logic        axi_rvalid_i,
  output logic        axi_rready_o
);
  localparam int LEVEL_BITS = $clog2(DEPTH) + 1;
  logic [LEVEL_BITS-1:0] room;     // words that nothing was asked for
  logic [LEVEL_BITS-1:0] pending;  // words to come
  logic [31:7] address_high;
  logic [6:3] address_low;
  logic [3:0] less_one;
  logic accepted, left;
  assign burst_ready_o = (!axi_arvalid_o || axi_arready_i) && room > LEVEL_BITS'(burst_less_one_i) && !flush_i;
  assign accepted = burst_valid_i && burst_ready_o;
  assign left = data_valid_o && data_ready_i;
  assign idle_o = !axi_arvalid_o && pending == '0;
  assign axi_araddr_o = {address_high, address_low, 3'b000};
  assign axi_arlen_o = {4'b0000, less_one};
  assign axi_rready_o = 1'b1;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      axi_arvalid_o <= 1'b0;
      pending <= '0;
    end else begin
      if (accepted) axi_arvalid_o <= 1'b1;
      else if (axi_arready_i) axi_arvalid_o <= 1'b0;
      pending <= pending + (accepted ? LEVEL_BITS'(burst_less_one_i) + 1'b1 : '0) - LEVEL_BITS'(axi_rvalid_i);
    end
    if (rst_i || flush_i) room <= LEVEL_BITS'(DEPTH);
    else room <= room - (accepted ? LEVEL_BITS'(burst_less_one_i) + 1'b1 : '0) + LEVEL_BITS'(left);
    if (accepted) begin
      {address_high, address_low} <= burst_address_i[31:3];
      less_one <= burst_less_one_i;
    end
  end

  logic unused_ready;
  logic [LEVEL_BITS-1:0] unused_level;
  stream_fifo #(.WIDTH(65), .DEPTH(DEPTH)) buffer (
    .clk_i, .rst_i(rst_i || flush_i),
    .in_valid_i(axi_rvalid_i), .in_ready_o(unused_ready), .in_data_i({axi_rresp_i[1], axi_rdata_i}),
    .out_valid_o(data_valid_o), .out_ready_i(data_ready_i), .out_data_o({data_error_o, data_o}), .level_o(unused_level)
  );
endmodule
