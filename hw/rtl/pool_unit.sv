// Largest codes of TP positions, or sums of one position's, over the taps of a window; then its lanes, two at a time.
//
// The result stays until its last pair of lanes is taken; the sequencer leaves so much time between two windows.
module pool_unit #(
  // activation lanes
  parameter int TK = 16,
  // positions
  parameter int TP = 4,
  // bits of a result; sums wrap around
  parameter int SUM_BITS = 18,
  localparam int PAIR = $clog2(TK / 2)
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
  input  logic [PAIR-1:0]         pair_i,
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
  always_ff @(posedge clk_i) begin
    if (finished) held <= largest;
    overrun_o <= !rst_i && finished && valid_o && !done_i;
    if (rst_i) begin
      finished <= 1'b0;
      valid_o <= 1'b0;
    end else begin
      finished <= valid_i && last_i;
      valid_o <= finished || (valid_o && !done_i);
    end
  end

  // The sums are the first position's results; bit by bit, so that lanes are chosen by a tree of multiplexers.
  logic [TK*SUM_BITS-1:0] first_results;
  for (genvar l = 0; l < TK; l++) begin : g_first
    always_ff @(posedge clk_i) begin
      if (finished) first_results[l*SUM_BITS+:SUM_BITS] <= average_i ? sums[l*SUM_BITS+:SUM_BITS] : SUM_BITS'(largest[l*8+:8]);
    end
  end
  for (genvar p = 0; p < TP; p++) begin : g_out
    for (genvar i = 0; i < SUM_BITS; i++) begin : g_bit
      if (p == 0 || i < 8) begin : g_chosen
        logic [2**PAIR-1:0] even, odd;
        for (genvar l = 0; l < 2**PAIR; l++) begin : g_pair
          if (l >= TK / 2) begin : g_none
            assign {even[l], odd[l]} = 2'b00;
          end else if (p == 0) begin : g_sum
            assign even[l] = first_results[2*l*SUM_BITS+i];
            assign odd[l] = first_results[(2*l+1)*SUM_BITS+i];
          end else begin : g_code
            assign even[l] = held[(p*TK+2*l)*8+i];
            assign odd[l] = held[(p*TK+2*l+1)*8+i];
          end
        end
        assign even_o[p*SUM_BITS+i] = even[pair_i];
        assign odd_o[p*SUM_BITS+i] = odd[pair_i];
      end else begin : g_zero
        assign even_o[p*SUM_BITS+i] = 1'b0;
        assign odd_o[p*SUM_BITS+i] = 1'b0;
      end
    end
  end
endmodule
