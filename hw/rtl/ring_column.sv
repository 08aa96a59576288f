// One column of the weight ring in block RAM. Data leave one cycle after their step's number.
//
// A depth that is no power of two is a deep memory and a small one beside it, so that a bit is chosen among two.
module ring_column #(
  parameter int WIDTH = 192,
  // steps
  parameter int DEPTH = 512,
  localparam int ADDRESS = $clog2(DEPTH)
) (
  input  logic               clk_i,
  input  logic               write_i,
  input  logic [ADDRESS-1:0] write_step_i,
  input  logic [WIDTH-1:0]   data_i,
  input  logic               read_i,
  input  logic [ADDRESS-1:0] read_step_i,
  output logic [WIDTH-1:0]   data_o
);
  localparam int LEAST = 512;  // steps that a block RAM holds, however few there are
  localparam int DEEP = (2 ** ADDRESS == DEPTH || DEPTH <= LEAST) ? DEPTH : 2 ** (ADDRESS - 1);
  localparam int REST = DEPTH - DEEP;

  if (REST == 0) begin : g_one
    (* ram_style = "block", no_rw_check *) logic [WIDTH-1:0] memory[0:DEPTH-1];
    always_ff @(posedge clk_i) if (write_i) memory[write_step_i] <= data_i;
    always_ff @(posedge clk_i) if (read_i) data_o <= memory[read_step_i];
  end else begin : g_two
    localparam int LOW = $clog2(REST);
    (* ram_style = "block", no_rw_check *) logic [WIDTH-1:0] deep[0:DEEP-1];
    (* ram_style = "block", no_rw_check *) logic [WIDTH-1:0] rest[0:REST-1];
    logic [WIDTH-1:0] from_deep, from_rest;
    logic in_rest;
    always_ff @(posedge clk_i) if (write_i && !write_step_i[ADDRESS-1]) deep[write_step_i[ADDRESS-2:0]] <= data_i;
    always_ff @(posedge clk_i) if (write_i && write_step_i[ADDRESS-1]) rest[write_step_i[LOW-1:0]] <= data_i;
    always_ff @(posedge clk_i) begin
      if (read_i) begin
        from_deep <= deep[read_step_i[ADDRESS-2:0]];
        from_rest <= rest[read_step_i[LOW-1:0]];
        in_rest <= read_step_i[ADDRESS-1];
      end
    end
    assign data_o = in_rest ? from_rest : from_deep;
  end
endmodule
