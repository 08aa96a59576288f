// Several clients read through one `burst_reader`; the first one that asks goes first, data come back in order.
//
// Every client must take what it asked for without waiting for another client.
module read_arbiter #(
  // number of clients
  parameter int CLIENTS = 3
) (
  input  logic                  clk_i,
  input  logic                  rst_i,
  input  logic [CLIENTS-1:0]    burst_valid_i,
  output logic [CLIENTS-1:0]    burst_ready_o,
  input  logic [32*CLIENTS-1:0] burst_address_i,
  input  logic [4*CLIENTS-1:0]  burst_less_one_i,
  output logic [CLIENTS-1:0]    data_valid_o,
  input  logic [CLIENTS-1:0]    data_ready_i,
  // to and from the reader
  output logic                  reader_valid_o,
  input  logic                  reader_ready_i,
  output logic [31:0]           reader_address_o,
  output logic [3:0]            reader_less_one_o,
  input  logic                  reader_data_valid_i,
  output logic                  reader_data_ready_o
);
  logic [CLIENTS-1:0] chosen;
  logic order_ready, order_valid;
  always_comb begin
    chosen = '0;
    reader_address_o = burst_address_i[31:0];
    reader_less_one_o = burst_less_one_i[3:0];
    for (int c = CLIENTS - 1; c >= 0; c--) begin
      if (burst_valid_i[c]) begin
        chosen = '0;
        chosen[c] = 1'b1;
        reader_address_o = burst_address_i[32*c+:32];
        reader_less_one_o = burst_less_one_i[4*c+:4];
      end
    end
  end
  assign reader_valid_o = burst_valid_i != '0 && order_ready;
  assign burst_ready_o = (reader_ready_i && order_ready) ? chosen : '0;

  // Whose data come next.
  logic [CLIENTS-1:0] client;
  logic [3:0] less_one, beat;
  logic taken;
  logic [5:0] unused_level;
  stream_fifo #(.WIDTH(CLIENTS + 4), .DEPTH(32)) order (
    .clk_i, .rst_i,
    .in_valid_i(reader_valid_o && reader_ready_i), .in_ready_o(order_ready), .in_data_i({chosen, reader_less_one_o}),
    .out_valid_o(order_valid), .out_ready_i(taken && beat == less_one), .out_data_o({client, less_one}), .level_o(unused_level)
  );
  assign data_valid_o = (reader_data_valid_i && order_valid) ? client : '0;
  assign reader_data_ready_o = order_valid && (client & data_ready_i) != '0;
  assign taken = reader_data_valid_i && reader_data_ready_o;

  always_ff @(posedge clk_i) begin
    if (rst_i) beat <= '0;
    else if (taken) beat <= (beat == less_one) ? '0 : beat + 1'b1;
  end
endmodule
