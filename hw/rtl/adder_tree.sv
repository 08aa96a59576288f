// Pipelined sum of unsigned words: ternary adders, a register after every level, a word left over waits for the next.
module adder_tree #(
  // words to add, 1 or more
  parameter int WORDS = 32,
  // the largest value of a word
  parameter int WORD_LIMIT = 63,
  // the largest value of the sum
  parameter int SUM_LIMIT = WORDS * WORD_LIMIT,
  localparam int WIDTH = lut_array_pkg::bits_for(WORD_LIMIT),
  localparam int SUM_WIDTH = lut_array_pkg::bits_for(SUM_LIMIT)
) (
  input  logic                   clk_i,
  input  logic                   en_i,
  input  logic [WORDS*WIDTH-1:0] words_i,
  output logic [SUM_WIDTH-1:0]   sum_o
);
  localparam int NEXT_WORDS = lut_array_pkg::words_after_level(WORDS);
  localparam int NEXT_LIMIT = (3 * WORD_LIMIT < SUM_LIMIT) ? 3 * WORD_LIMIT : SUM_LIMIT;
  localparam int NEXT_WIDTH = lut_array_pkg::bits_for(NEXT_LIMIT);

  if (WORDS == 1) begin : g_done
    assign sum_o = SUM_WIDTH'(words_i);
  end else begin : g_level
    logic [NEXT_WORDS*NEXT_WIDTH-1:0] next, next_q;
    if (WORDS == 2) begin : g_last
      assign next = NEXT_WIDTH'(words_i[0+:WIDTH]) + NEXT_WIDTH'(words_i[WIDTH+:WIDTH]);
    end else begin : g_groups
      for (genvar g = 0; g < WORDS / 3; g++) begin : g_group
        logic [WIDTH+1:0] sum;
        ternary_adder #(.WIDTH(WIDTH)) adder (
          .a_i(words_i[(3*g+0)*WIDTH+:WIDTH]), .b_i(words_i[(3*g+1)*WIDTH+:WIDTH]), .c_i(words_i[(3*g+2)*WIDTH+:WIDTH]),
          .sum_o(sum)
        );
        assign next[g*NEXT_WIDTH+:NEXT_WIDTH] = NEXT_WIDTH'(sum);
      end
      for (genvar w = WORDS / 3; w < NEXT_WORDS; w++) begin : g_waiting
        assign next[w*NEXT_WIDTH+:NEXT_WIDTH] = NEXT_WIDTH'(words_i[(w+2*(WORDS/3))*WIDTH+:WIDTH]);
      end
    end
    always_ff @(posedge clk_i) if (en_i) next_q <= next;
    adder_tree #(.WORDS(NEXT_WORDS), .WORD_LIMIT(NEXT_LIMIT), .SUM_LIMIT(SUM_LIMIT)) rest (
      .clk_i, .en_i, .words_i(next_q), .sum_o
    );
  end
endmodule
