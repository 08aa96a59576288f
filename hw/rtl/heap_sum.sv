// Pipelined Σ_g 2^(g·STEP) · Σ words[g]: the words' bits go into one `bit_heap`.
module heap_sum #(
  // groups of words, each worth 2^STEP of the one before
  parameter int GROUPS = 1,
  parameter int STEP = 1,
  // words of a group
  parameter int WORDS = 32,
  // the largest value of a word
  parameter int WORD_LIMIT = 63,
  // bits of a word
  localparam int WIDTH = lut_array_pkg::bits_for(WORD_LIMIT),
  // bits of the sum
  localparam int SUM_WIDTH = lut_array_pkg::sum_width(GROUPS, STEP, WORDS, WORD_LIMIT)
) (
  input  logic                          clk_i,
  input  logic                          en_i,
  input  logic [GROUPS*WORDS*WIDTH-1:0] words_i,
  output logic [SUM_WIDTH-1:0]          sum_o
);
  localparam logic [bit_heap_pkg::COLUMNS*bit_heap_pkg::FIELD-1:0] HEIGHTS = bit_heap_pkg::of_words(GROUPS, WORDS, WIDTH, STEP);
  if (SUM_WIDTH > bit_heap_pkg::COLUMNS || GROUPS * WORDS >= 2 ** bit_heap_pkg::FIELD) begin : g_check
    $error("a sum must fit bit_heap_pkg::COLUMNS, and a column bit_heap_pkg::FIELD");
  end

  logic [GROUPS*WORDS*WIDTH-1:0] heap;
  for (genvar g = 0; g < GROUPS; g++) begin : g_group
    for (genvar b = 0; b < WIDTH; b++) begin : g_bit
      // Groups below that reach this column come first.
      localparam int COLUMN = g * STEP + b;
      localparam int BELOW = ((WIDTH - 1 - b) / STEP < g) ? (WIDTH - 1 - b) / STEP : g;
      for (genvar w = 0; w < WORDS; w++) begin : g_word
        assign heap[bit_heap_pkg::base(HEIGHTS, COLUMN)+BELOW*WORDS+w] = words_i[(g*WORDS+w)*WIDTH+b];
      end
    end
  end
  bit_heap #(.HEIGHTS(HEIGHTS), .SUM_WIDTH(SUM_WIDTH)) reduce (.clk_i, .en_i, .heap_i(heap), .sum_o);
endmodule
