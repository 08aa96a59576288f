// Behavioural twin of hw/rtl/heap_sum.sv: the sum written as a sum, with the same latency. Large simulations need it.
module heap_sum #(
  parameter int GROUPS = 1,
  parameter int STEP = 1,
  parameter int WORDS = 32,
  parameter int WORD_LIMIT = 63,
  localparam int WIDTH = lut_array_pkg::bits_for(WORD_LIMIT),
  localparam int SUM_WIDTH = lut_array_pkg::sum_width(GROUPS, STEP, WORDS, WORD_LIMIT)
) (
  input  logic                          clk_i,
  input  logic                          en_i,
  input  logic [GROUPS*WORDS*WIDTH-1:0] words_i,
  output logic [SUM_WIDTH-1:0]          sum_o
);
  localparam int LEVELS = bit_heap_pkg::levels(bit_heap_pkg::of_words(GROUPS, WORDS, WIDTH, STEP), SUM_WIDTH);
  logic [SUM_WIDTH-1:0] sum;
  always_comb begin
    sum = '0;
    for (int g = 0; g < GROUPS; g++) begin
      for (int w = 0; w < WORDS; w++) sum += SUM_WIDTH'(words_i[(g*WORDS+w)*WIDTH+:WIDTH]) << (g * STEP);
    end
  end
  delay_line #(.WIDTH(SUM_WIDTH), .CYCLES(LEVELS)) levels (.clk_i, .en_i, .data_i(sum), .data_o(sum_o));
endmodule
