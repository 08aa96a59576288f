// The registers, an AXI4-Lite slave. Words are written whole; what no register has reads as 0.
module register_file #(
  parameter logic [31:0] GEOMETRY_ID = 32'h0,
  // ports that bring weights
  parameter int WEIGHT_PORTS = 3
) (
  input  logic                       clk_i,
  input  logic                       rst_i,
  input  logic [6:0]                 s_axil_awaddr_i,
  input  logic                       s_axil_awvalid_i,
  output logic                       s_axil_awready_o,
  input  logic [31:0]                s_axil_wdata_i,
  input  logic [3:0]                 s_axil_wstrb_i,
  input  logic                       s_axil_wvalid_i,
  output logic                       s_axil_wready_o,
  output logic [1:0]                 s_axil_bresp_o,
  output logic                       s_axil_bvalid_o,
  input  logic                       s_axil_bready_i,
  input  logic [6:0]                 s_axil_araddr_i,
  input  logic                       s_axil_arvalid_i,
  output logic                       s_axil_arready_o,
  output logic [31:0]                s_axil_rdata_o,
  output logic [1:0]                 s_axil_rresp_o,
  output logic                       s_axil_rvalid_o,
  input  logic                       s_axil_rready_i,
  // pulses
  output logic                       start_o,
  output logic                       abort_o,
  output logic                       clear_o,
  input  logic [31:0]                status_i,
  output logic                       interrupt_enable_o,
  // bases, without their lowest seven bits: program, scratch, input, output
  output logic [99:0]                bases_o,
  output logic [25*WEIGHT_PORTS-1:0] weight_bases_o,
  // cycles, steps, stalls for weights, patches, results, order
  input  logic [191:0]               counters_i
);
  localparam int BASES = 4 + WEIGHT_PORTS;
  localparam logic [4:0] CONTROL = 5'h03, INTERRUPT = 5'h05, FIRST_BASE = 5'h06, FIRST_COUNTER = 5'h0E;

  // A write is taken when address and data are there and the last response is gone.
  logic write;
  logic [4:0] write_word, read_word;
  assign write_word = s_axil_awaddr_i[6:2];
  assign read_word = s_axil_araddr_i[6:2];
  assign write = s_axil_awvalid_i && s_axil_wvalid_i && !s_axil_bvalid_o;
  assign s_axil_awready_o = write;
  assign s_axil_wready_o = write;
  assign s_axil_bresp_o = 2'b00;
  assign s_axil_rresp_o = 2'b00;
  assign s_axil_arready_o = !s_axil_rvalid_o;

  logic [25*BASES-1:0] bases;
  logic control;
  assign {weight_bases_o, bases_o} = bases;
  assign control = write && write_word == CONTROL && s_axil_wstrb_i == '1;
  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      s_axil_bvalid_o <= 1'b0;
      s_axil_rvalid_o <= 1'b0;
      interrupt_enable_o <= 1'b0;
      {start_o, abort_o, clear_o} <= '0;
      bases <= '0;
    end else begin
      if (write) s_axil_bvalid_o <= 1'b1;
      else if (s_axil_bready_i) s_axil_bvalid_o <= 1'b0;
      if (s_axil_arvalid_i && s_axil_arready_o) s_axil_rvalid_o <= 1'b1;
      else if (s_axil_rready_i) s_axil_rvalid_o <= 1'b0;
      start_o <= control && s_axil_wdata_i[0];
      abort_o <= control && s_axil_wdata_i[1];
      clear_o <= control && s_axil_wdata_i[2];
      if (write && s_axil_wstrb_i == '1) begin
        if (write_word == INTERRUPT) interrupt_enable_o <= s_axil_wdata_i[0];
        for (int b = 0; b < BASES; b++) begin
          if (write_word == FIRST_BASE + 5'(b)) bases[25*b+:25] <= s_axil_wdata_i[31:7];
        end
      end
    end
  end

  logic [31:0] found;
  always_comb begin
    case (read_word)
      5'h00: found = 32'h494C4D50;
      5'h01: found = 32'd1;
      5'h02: found = GEOMETRY_ID;
      5'h04: found = status_i;
      INTERRUPT: found = {31'b0, interrupt_enable_o};
      default: found = '0;
    endcase
    for (int b = 0; b < BASES; b++) begin
      if (read_word == FIRST_BASE + 5'(b)) found = {bases[25*b+:25], 7'b0};
    end
    for (int c = 0; c < 6; c++) begin
      if (read_word == FIRST_COUNTER + 5'(c)) found = counters_i[32*c+:32];
    end
  end
  always_ff @(posedge clk_i) if (s_axil_arvalid_i && s_axil_arready_o) s_axil_rdata_o <= found;
endmodule
