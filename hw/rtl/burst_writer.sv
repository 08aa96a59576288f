// AXI4 write master for bursts of 64-bit words.
//
// Words do not wait until their address is taken: a memory may want them first. While `flush_i` is 1 no burst starts, and
// those that were begun end with words that write nothing; `idle_o` says that every response is here.
module burst_writer #(
  // bursts in flight, a power of two
  parameter int BURSTS = 8
) (
  input  logic        clk_i,
  input  logic        rst_i,
  input  logic        flush_i,
  output logic        idle_o,
  input  logic        burst_valid_i,
  output logic        burst_ready_o,
  input  logic [31:0] burst_address_i,
  input  logic [3:0]  burst_less_one_i,
  input  logic        data_valid_i,
  output logic        data_ready_o,
  input  logic [63:0] data_i,
  // an error response came
  output logic        error_o,
  output logic [31:0] axi_awaddr_o,
  output logic [7:0]  axi_awlen_o,
  output logic        axi_awvalid_o,
  input  logic        axi_awready_i,
  output logic [63:0] axi_wdata_o,
  output logic [7:0]  axi_wstrb_o,
  output logic        axi_wlast_o,
  output logic        axi_wvalid_o,
  input  logic        axi_wready_i,
  input  logic [1:0]  axi_bresp_i,
  input  logic        axi_bvalid_i,
  output logic        axi_bready_o
);
  localparam int COUNT_BITS = $clog2(BURSTS) + 1;
  logic [COUNT_BITS-1:0] pending;  // bursts without a response
  logic [31:3] address;
  logic [3:0] less_one, length, beat;
  logic begun, length_valid, word, unused_ready;
  logic [COUNT_BITS-1:0] unused_level;
  assign burst_ready_o = (!axi_awvalid_o || axi_awready_i) && !pending[COUNT_BITS-1] && !flush_i;
  assign begun = burst_valid_i && burst_ready_o;
  assign axi_awaddr_o = {address, 3'b000};
  assign axi_awlen_o = {4'b0000, less_one};
  assign axi_bready_o = 1'b1;
  assign error_o = axi_bvalid_i && axi_bresp_i[1] && !flush_i;
  assign idle_o = pending == '0;

  // Of bursts that lack words; it has room, for those are pending.
  stream_fifo #(.WIDTH(4), .DEPTH(BURSTS)) lengths (
    .clk_i, .rst_i,
    .in_valid_i(begun), .in_ready_o(unused_ready), .in_data_i(burst_less_one_i),
    .out_valid_o(length_valid), .out_ready_i(word && beat == length), .out_data_o(length), .level_o(unused_level)
  );
  assign word = length_valid && (data_valid_i || flush_i) && (!axi_wvalid_o || axi_wready_i);
  assign data_ready_o = length_valid && !flush_i && (!axi_wvalid_o || axi_wready_i);

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      axi_awvalid_o <= 1'b0;
      axi_wvalid_o <= 1'b0;
      beat <= '0;
      pending <= '0;
    end else begin
      if (begun) axi_awvalid_o <= 1'b1;
      else if (axi_awready_i) axi_awvalid_o <= 1'b0;
      if (word) axi_wvalid_o <= 1'b1;
      else if (axi_wready_i) axi_wvalid_o <= 1'b0;
      if (word) beat <= (beat == length) ? '0 : beat + 1'b1;
      pending <= pending + COUNT_BITS'(begun) - COUNT_BITS'(axi_bvalid_i);
    end
    if (begun) begin
      address <= burst_address_i[31:3];
      less_one <= burst_less_one_i;
    end
    if (word) begin
      axi_wdata_o <= data_i;
      axi_wstrb_o <= {8{!flush_i}};
      axi_wlast_o <= beat == length;
    end
  end
endmodule
