// The activation memory: NB banks of TK bytes, D words deep. Port A reads a word of each bank for the arrays, port B
// reads or writes for everything else. Data leave one cycle after their address.
//
// Block RAMs are as deep as they go (4,096 bytes), so that few outputs must be chosen among: the words up to the last
// multiple of 4,096 lie in byte-wide RAMs, the rest in wider ones.
module activation_memory #(
  // banks
  parameter int BANKS = 4,
  // bytes of a bank's word, a multiple of 4
  parameter int TK = 16,
  // words
  parameter int DEPTH = 5120,
  // bits of an address
  localparam int ADDRESS = $clog2(DEPTH)
) (
  input  logic                     clk_i,
  input  logic [BANKS*ADDRESS-1:0] address_a_i,
  output logic [BANKS*TK*8-1:0]    data_a_o,
  input  logic [BANKS*TK-1:0]      write_b_i,
  input  logic [BANKS*ADDRESS-1:0] address_b_i,
  input  logic [BANKS*TK*8-1:0]    data_b_i,
  output logic [BANKS*TK*8-1:0]    data_b_o
);
  localparam int DEEP = 4096;
  localparam int FULL = DEPTH / DEEP;
  localparam int REST = DEPTH % DEEP;
  localparam int SEGMENTS = FULL + (REST > 0 ? 1 : 0);

  for (genvar b = 0; b < BANKS; b++) begin : g_bank
    logic [ADDRESS-1:0] address_a, address_b;
    assign address_a = address_a_i[b*ADDRESS+:ADDRESS];
    assign address_b = address_b_i[b*ADDRESS+:ADDRESS];

    logic [SEGMENTS*TK*8-1:0] from_a, from_b;
    for (genvar s = 0; s < SEGMENTS; s++) begin : g_segment
      localparam int WORDS = (s < FULL) ? DEEP : REST;
      localparam int BYTES = (WORDS > 2048) ? 1 : (WORDS > 1024) ? 2 : 4;
      logic chosen;
      assign chosen = SEGMENTS == 1 || 32'(address_b) / DEEP == s;
      for (genvar l = 0; l < TK; l += BYTES) begin : g_lanes
        memory_segment #(.BYTES(BYTES), .DEPTH(WORDS)) ram (
          .clk_i,
          .address_a_i(address_a[$clog2(WORDS)-1:0]), .data_a_o(from_a[(s*TK+l)*8+:BYTES*8]),
          .write_b_i(write_b_i[b*TK+l+:BYTES] & {BYTES{chosen}}),
          .address_b_i(address_b[$clog2(WORDS)-1:0]), .data_b_i(data_b_i[(b*TK+l)*8+:BYTES*8]),
          .data_b_o(from_b[(s*TK+l)*8+:BYTES*8])
        );
      end
    end

    if (SEGMENTS == 1) begin : g_one
      assign data_a_o[b*TK*8+:TK*8] = from_a;
      assign data_b_o[b*TK*8+:TK*8] = from_b;
    end else begin : g_choose
      localparam int BITS = $clog2(SEGMENTS);
      logic [BITS-1:0] segment_a, segment_b;
      always_ff @(posedge clk_i) begin
        segment_a <= BITS'(32'(address_a) / DEEP);
        segment_b <= BITS'(32'(address_b) / DEEP);
      end
      assign data_a_o[b*TK*8+:TK*8] = from_a[segment_a*TK*8+:TK*8];
      assign data_b_o[b*TK*8+:TK*8] = from_b[segment_b*TK*8+:TK*8];
    end
  end
endmodule
