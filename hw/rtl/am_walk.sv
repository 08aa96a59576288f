// The addresses of a LOAD's or STORE's words in the activation memory, one after another.
module am_walk (
  input  logic         clk_i,
  // back to the first word
  input  logic         start_i,
  // the descriptor's first eight words
  input  logic [255:0] op_words_i,
  input  logic         next_i,
  output logic [15:0]  address_o,
  // it is the last word
  output logic         last_o
);
  logic [15:0] words, words_left, runs_left, run_start, next_run;
  assign words = op_words_i[160+:16];
  assign next_run = run_start + op_words_i[144+:16];
  assign last_o = words_left == 16'd1 && runs_left == 16'd1;
  always_ff @(posedge clk_i) begin
    if (start_i) begin
      address_o <= op_words_i[128+:16];
      run_start <= op_words_i[128+:16];
      words_left <= words;
      runs_left <= op_words_i[176+:16];
    end else if (next_i) begin
      address_o <= (words_left == 16'd1) ? next_run : address_o + 1'b1;
      words_left <= (words_left == 16'd1) ? words : words_left - 1'b1;
      if (words_left == 16'd1) begin
        run_start <= next_run;
        runs_left <= runs_left - 1'b1;
      end
    end
  end
endmodule
