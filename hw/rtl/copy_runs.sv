// The runs of a LOAD or STORE, checked, with their addresses in the region.
module copy_runs #(
  // 64-bit words of a word of the activation memory
  parameter int BEATS = 8,
  // words of the activation memory
  parameter int AM_DEPTH = 5120
) (
  input  logic         clk_i,
  input  logic         rst_i,
  // the descriptor's first eight words, word 3 an address; they stay until `op_done_i`
  input  logic         op_valid_i,
  input  logic         op_done_i,
  input  logic [255:0] op_words_i,
  // the copy is on
  output logic         active_o,
  // every run has been asked for
  output logic         issued_o,
  // illegal field or address
  output logic         error_o,
  output logic         run_valid_o,
  input  logic         run_ready_i,
  output logic [31:0]  run_address_o,
  output logic [23:0]  run_beats_o
);
  logic [15:0] first, am_stride, words, runs;
  logic [31:0] address, stride;
  assign address = op_words_i[96+:32];
  assign {am_stride, first} = op_words_i[128+:32];
  assign {runs, words} = op_words_i[160+:32];
  assign stride = op_words_i[192+:32];

  logic [15:0] left;         // runs
  logic signed [17:0] room;  // words from the run's start to the activation memory's end
  logic legal, fits;
  assign legal = op_words_i[9:8] != 2'd3 && words != '0 && runs != '0 && address[2:0] == '0 && stride[2:0] == '0;
  assign fits = room >= signed'(18'(words));
  assign run_valid_o = active_o && left != '0 && fits;
  assign run_beats_o = 24'(words) * 24'(BEATS);
  assign issued_o = active_o && left == '0;
  assign error_o = active_o && (!legal || (left != '0 && !fits));

  always_ff @(posedge clk_i) begin
    if (rst_i || op_done_i) active_o <= 1'b0;
    else if (op_valid_i) active_o <= 1'b1;
    if (!active_o) begin
      left <= runs;
      room <= signed'(18'(AM_DEPTH)) - signed'(18'(first));
      run_address_o <= {address[31:3], 3'b000};
    end else if (run_valid_o && run_ready_i) begin
      left <= left - 1'b1;
      room <= room - signed'(18'(am_stride));
      run_address_o <= run_address_o + {stride[31:3], 3'b000};
    end
  end
endmodule
