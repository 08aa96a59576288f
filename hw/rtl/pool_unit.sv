// Largest codes of TP positions, or sums of one position's, over the taps of a window; then its lanes, two at a time.
//
// The result stays until its last pair of lanes is taken; the sequencer leaves so much time between two windows.
module pool_unit #(
  // activation lanes
  parameter int TK = 16,
  // positions
  parameter int TP = 4,
  // bits of a result; sums wrap around
  parameter int SUM_BITS = 18
) (
  input  logic                    clk_i,
  input  logic                    rst_i,
  input  logic                    average_i,
  input  logic                    valid_i,
  input  logic                    first_i,
  input  logic                    last_i,
  input  logic [TP-1:0]           inside_i,
  input  logic [TP*TK*8-1:0]      byte_i,
  output logic                    valid_o,
  input  logic                    done_i,
  input  logic [$clog2(TK/2)-1:0] pair_i,
  output logic [TP*SUM_BITS-1:0]  even_o,
  output logic [TP*SUM_BITS-1:0]  odd_o,
  output logic                    overrun_o
);
  logic [TP*TK*8-1:0] largest;
  logic [TK*SUM_BITS-1:0] sums;
  logic finished;

  for (genvar p = 0; p < TP; p++) begin : g_position
    for (genvar l = 0; l < TK; l++) begin : g_lane
      logic [7:0] tap;
      logic [7:0] best;
      assign tap = byte_i[(p*TK+l)*8+:8];
      assign largest[(p*TK+l)*8+:8] = best;
      always_ff @(posedge clk_i) begin
        if (valid_i && first_i && !inside_i[p]) best <= 8'd0;
        else if (valid_i && inside_i[p] && (first_i || tap > best)) best <= tap;
      end
    end
  end
  for (genvar l = 0; l < TK; l++) begin : g_sum
    always_ff @(posedge clk_i) begin
      if (valid_i) sums[l*SUM_BITS+:SUM_BITS] <= (first_i ? '0 : sums[l*SUM_BITS+:SUM_BITS]) + SUM_BITS'(byte_i[l*8+:8]);
    end
  end

  // The result, apart from the next one's making.
  logic [TP*TK*8-1:0] held;
  logic [TK*SUM_BITS-1:0] held_sums;
  always_ff @(posedge clk_i) begin
    if (finished) {held, held_sums} <= {largest, sums};
    overrun_o <= !rst_i && finished && valid_o && !done_i;
    if (rst_i) begin
      finished <= 1'b0;
      valid_o <= 1'b0;
    end else begin
      finished <= valid_i && last_i;
      valid_o <= finished || (valid_o && !done_i);
    end
  end
  for (genvar p = 0; p < TP; p++) begin : g_out
    logic [7:0] even, odd;
    assign even = held[(p*TK+2*32'(pair_i))*8+:8];
    assign odd = held[(p*TK+2*32'(pair_i)+1)*8+:8];
    if (p == 0) begin : g_first
      assign even_o[SUM_BITS-1:0] = average_i ? held_sums[(2*32'(pair_i))*SUM_BITS+:SUM_BITS] : SUM_BITS'(even);
      assign odd_o[SUM_BITS-1:0] = average_i ? held_sums[(2*32'(pair_i)+1)*SUM_BITS+:SUM_BITS] : SUM_BITS'(odd);
    end else begin : g_other
      assign even_o[p*SUM_BITS+:SUM_BITS] = SUM_BITS'(even);
      assign odd_o[p*SUM_BITS+:SUM_BITS] = SUM_BITS'(odd);
    end
  end
endmodule
