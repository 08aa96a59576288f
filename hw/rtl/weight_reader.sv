// Brings runs of beats of the weight image: every port reads its part, all at the same place, as far ahead as their
// buffers have room. A beat is there when every port has its word.
module weight_reader #(
  // ports
  parameter int WEIGHT_PORTS = 3
) (
  input  logic                       clk_i,
  input  logic                       rst_i,
  // no new burst, forget runs and what comes
  input  logic                       flush_i,
  // nothing will come
  output logic                       idle_o,
  // the parts' addresses, without their lowest seven bits
  input  logic [25*WEIGHT_PORTS-1:0] bases_i,
  input  logic                       run_valid_i,
  output logic                       run_ready_o,
  input  logic [31:0]                run_first_i,
  input  logic [31:0]                run_beats_i,
  output logic                       beat_valid_o,
  input  logic                       beat_ready_i,
  output logic [64*WEIGHT_PORTS-1:0] beat_o,
  // it came with an error response
  output logic                       beat_error_o,
  // AXI4 read masters
  output logic [32*WEIGHT_PORTS-1:0] axi_araddr_o,
  output logic [8*WEIGHT_PORTS-1:0]  axi_arlen_o,
  output logic [WEIGHT_PORTS-1:0]    axi_arvalid_o,
  input  logic [WEIGHT_PORTS-1:0]    axi_arready_i,
  input  logic [64*WEIGHT_PORTS-1:0] axi_rdata_i,
  input  logic [2*WEIGHT_PORTS-1:0]  axi_rresp_i,
  input  logic [WEIGHT_PORTS-1:0]    axi_rvalid_i,
  output logic [WEIGHT_PORTS-1:0]    axi_rready_o
);
  logic run_valid, run_ready, burst_valid, burst_ready;
  logic [31:0] run_first, run_beats, offset;
  logic [3:0] less_one;
  logic [4:0] unused_level;
  stream_fifo #(.WIDTH(64), .DEPTH(16)) runs (
    .clk_i, .rst_i(flush_i), .in_valid_i(run_valid_i), .in_ready_o(run_ready_o), .in_data_i({run_first_i, run_beats_i}),
    .out_valid_o(run_valid), .out_ready_i(run_ready), .out_data_o({run_first, run_beats}), .level_o(unused_level)
  );
  burst_splitter #(.BEAT_BITS(32)) bursts (
    .clk_i, .rst_i(flush_i), .run_valid_i(run_valid && run_beats != '0), .run_ready_o(run_ready),
    .run_address_i({run_first[28:0], 3'b000}), .run_beats_i(run_beats),
    .burst_valid_o(burst_valid), .burst_ready_i(burst_ready), .burst_address_o(offset), .burst_less_one_o(less_one)
  );

  logic [WEIGHT_PORTS-1:0] reader_ready, reader_idle, data_valid, data_error;
  assign burst_ready = &reader_ready;
  assign idle_o = &reader_idle;
  assign beat_valid_o = &data_valid;
  assign beat_error_o = |data_error;
  for (genvar p = 0; p < WEIGHT_PORTS; p++) begin : g_port
    logic [24:0] high;
    assign high = bases_i[25*p+:25] + offset[31:7];
    burst_reader reader (
      .clk_i, .rst_i, .flush_i, .idle_o(reader_idle[p]),
      .burst_valid_i(burst_valid && burst_ready), .burst_ready_o(reader_ready[p]),
      .burst_address_i({high, offset[6:0]}), .burst_less_one_i(less_one),
      .data_valid_o(data_valid[p]), .data_ready_i(beat_valid_o && beat_ready_i),
      .data_o(beat_o[64*p+:64]), .data_error_o(data_error[p]),
      .axi_araddr_o(axi_araddr_o[32*p+:32]), .axi_arlen_o(axi_arlen_o[8*p+:8]),
      .axi_arvalid_o(axi_arvalid_o[p]), .axi_arready_i(axi_arready_i[p]),
      .axi_rdata_i(axi_rdata_i[64*p+:64]), .axi_rresp_i(axi_rresp_i[2*p+:2]),
      .axi_rvalid_i(axi_rvalid_i[p]), .axi_rready_o(axi_rready_o[p])
    );
  end
endmodule
