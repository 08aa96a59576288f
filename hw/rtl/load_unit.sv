// LOAD: copies runs of words from a region into the activation memory.
module load_unit #(
  // bits of a word of the activation memory, a multiple of 128
  parameter int WORD_BITS = 512,
  // words of the activation memory
  parameter int AM_DEPTH = 5120
) (
  input  logic                 clk_i,
  input  logic                 rst_i,
  // the descriptor's first eight words, word 3 an address; they stay until `op_done_o`
  input  logic                 op_valid_i,
  input  logic [255:0]         op_words_i,
  output logic                 op_done_o,
  // illegal field or address
  output logic                 error_o,
  output logic                 burst_valid_o,
  input  logic                 burst_ready_i,
  output logic [31:0]          burst_address_o,
  output logic [3:0]           burst_less_one_o,
  input  logic                 data_valid_i,
  output logic                 data_ready_o,
  input  logic [63:0]          data_i,
  output logic                 am_valid_o,
  input  logic                 am_ready_i,
  output logic [15:0]          am_address_o,
  output logic [WORD_BITS-1:0] am_data_o
);
  localparam int BEATS = WORD_BITS / 64;
  localparam int COUNT_BITS = $clog2(BEATS);

  logic run_valid, run_ready, active, unused_issued;
  logic [31:0] run_address;
  logic [23:0] run_beats;
  copy_runs #(.BEATS(BEATS), .AM_DEPTH(AM_DEPTH)) copy (
    .clk_i, .rst_i, .op_valid_i, .op_done_i(op_done_o), .op_words_i, .active_o(active), .issued_o(unused_issued), .error_o,
    .run_valid_o(run_valid), .run_ready_i(run_ready), .run_address_o(run_address), .run_beats_o(run_beats)
  );
  burst_splitter bursts (
    .clk_i, .rst_i, .run_valid_i(run_valid), .run_ready_o(run_ready), .run_address_i(run_address), .run_beats_i(run_beats),
    .burst_valid_o, .burst_ready_i, .burst_address_o, .burst_less_one_o
  );

  logic last_word;
  am_walk walk (
    .clk_i, .start_i(!active), .op_words_i, .next_i(am_valid_o && am_ready_i), .address_o(am_address_o), .last_o(last_word)
  );
  assign op_done_o = am_valid_o && am_ready_i && last_word;

  // A word is put together from the top down.
  logic [COUNT_BITS-1:0] count;
  assign data_ready_o = !am_valid_o || am_ready_i;
  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      count <= '0;
      am_valid_o <= 1'b0;
    end else if (data_ready_o) begin
      am_valid_o <= data_valid_i && count == COUNT_BITS'(BEATS - 1);
      if (data_valid_i) count <= (count == COUNT_BITS'(BEATS - 1)) ? '0 : count + 1'b1;
    end
    if (data_valid_i && data_ready_o) am_data_o <= {data_i, am_data_o[WORD_BITS-1:64]};
  end
endmodule
