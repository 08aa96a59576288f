// Pipelined Σ word[i] << (i · STEP) of unsigned words by ternary adders, a register after every level.
module weighted_sum #(
  // words to add, 1 or more
  parameter int WORDS = 3,
  // the largest value of a word
  parameter int WORD_LIMIT = 63,
  // left shift from a word to the next
  parameter int STEP = 1,
  // bits of a word
  localparam int WIDTH = lut_array_pkg::bits_for(WORD_LIMIT),
  // bits of the sum
  localparam int SUM_WIDTH = lut_array_pkg::bits_for(WORD_LIMIT * ((2 ** (WORDS * STEP) - 1) / (2 ** STEP - 1)))
) (
  input  logic                   clk_i,
  input  logic                   en_i,
  input  logic [WORDS*WIDTH-1:0] words_i,
  output logic [SUM_WIDTH-1:0]   sum_o
);
  localparam int GROUPS = (WORDS + 2) / 3;
  localparam int GROUP_LIMIT = WORD_LIMIT * (1 + 2 ** STEP + (WORDS > 2 ? 2 ** (2 * STEP) : 0));
  localparam int GROUP_WIDTH = lut_array_pkg::bits_for(GROUP_LIMIT);
  // The first STEP bits of a group are its first word's; the others are added.
  localparam int ADDER_WIDTH = (WORDS > 2 ? 2 * STEP : STEP) + WIDTH - STEP;

  if (WORDS == 1) begin : g_done
    assign sum_o = words_i;
  end else begin : g_level
    logic [GROUPS*GROUP_WIDTH-1:0] groups, groups_q;
    for (genvar g = 0; g < GROUPS; g++) begin : g_group
      localparam int MEMBERS = (WORDS - 3 * g < 3) ? WORDS - 3 * g : 3;
      logic [ADDER_WIDTH-1:0] first, second, third;
      logic [ADDER_WIDTH+1:0] sum;
      assign first = ADDER_WIDTH'(words_i[3*g*WIDTH+:WIDTH] >> STEP);
      assign second = (MEMBERS > 1) ? ADDER_WIDTH'(words_i[((3*g+1)%WORDS)*WIDTH+:WIDTH]) : '0;
      assign third = (MEMBERS > 2) ? ADDER_WIDTH'(words_i[((3*g+2)%WORDS)*WIDTH+:WIDTH]) << STEP : '0;
      if (MEMBERS == 3) begin : g_ternary
        ternary_adder #(.WIDTH(ADDER_WIDTH)) adder (.a_i(first), .b_i(second), .c_i(third), .sum_o(sum));
      end else begin : g_binary
        assign sum = (ADDER_WIDTH+2)'(first) + (ADDER_WIDTH+2)'(second);
      end
      assign groups[g*GROUP_WIDTH+:GROUP_WIDTH] = GROUP_WIDTH'({sum, words_i[3*g*WIDTH+:STEP]});
    end
    always_ff @(posedge clk_i) if (en_i) groups_q <= groups;
    if (GROUPS == 1) begin : g_last
      assign sum_o = SUM_WIDTH'(groups_q);
    end else begin : g_more
      localparam int REST_WIDTH = lut_array_pkg::bits_for(GROUP_LIMIT * ((2 ** (GROUPS * 3 * STEP) - 1) / (2 ** (3 * STEP) - 1)));
      logic [REST_WIDTH-1:0] rest_sum;
      weighted_sum #(.WORDS(GROUPS), .WORD_LIMIT(GROUP_LIMIT), .STEP(3 * STEP)) rest (
        .clk_i, .en_i, .words_i(groups_q), .sum_o(rest_sum)
      );
      assign sum_o = SUM_WIDTH'(rest_sum);
    end
  end
endmodule
