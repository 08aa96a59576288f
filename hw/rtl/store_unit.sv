// STORE: copies runs of words of the activation memory into a region. It is done when its last write response is there.
module store_unit #(
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
  // of the writer
  input  logic                 idle_i,
  output logic                 data_valid_o,
  input  logic                 data_ready_i,
  output logic [63:0]          data_o,
  output logic                 am_valid_o,
  input  logic                 am_ready_i,
  output logic [15:0]          am_address_o,
  input  logic                 am_data_valid_i,
  input  logic [WORD_BITS-1:0] am_data_i
);
  localparam int BEATS = WORD_BITS / 64;
  localparam int COUNT_BITS = $clog2(BEATS + 1);
  localparam int DEPTH = (BEATS > 8) ? 4 * 2 ** $clog2(BEATS) : 32;
  localparam int LEVEL_BITS = $clog2(DEPTH) + 1;

  logic run_valid, run_ready, active, issued;
  logic [31:0] run_address;
  logic [23:0] run_beats;
  copy_runs #(.BEATS(BEATS), .AM_DEPTH(AM_DEPTH)) copy (
    .clk_i, .rst_i, .op_valid_i, .op_done_i(op_done_o), .op_words_i, .active_o(active), .issued_o(issued), .error_o,
    .run_valid_o(run_valid), .run_ready_i(run_ready), .run_address_o(run_address), .run_beats_o(run_beats)
  );
  burst_splitter bursts (
    .clk_i, .rst_i, .run_valid_i(run_valid), .run_ready_o(run_ready), .run_address_i(run_address), .run_beats_i(run_beats),
    .burst_valid_o, .burst_ready_i, .burst_address_o, .burst_less_one_o
  );
  assign op_done_o = issued && !burst_valid_o && idle_i;

  // A word is read when the queue has room for all of it, and not before the word ahead has left `word`.
  logic walking, last_word, taken;
  logic [COUNT_BITS-1:0] wait_count;
  logic [LEVEL_BITS-1:0] room;
  assign am_valid_o = walking && wait_count == '0 && room >= LEVEL_BITS'(BEATS) && !error_o;
  assign taken = am_valid_o && am_ready_i;
  am_walk walk (.clk_i, .start_i(!active), .op_words_i, .next_i(taken), .address_o(am_address_o), .last_o(last_word));
  always_ff @(posedge clk_i) begin
    if (rst_i || !active) walking <= op_valid_i && !rst_i;
    else if (taken && last_word) walking <= 1'b0;
    if (rst_i) wait_count <= '0;
    else if (taken) wait_count <= COUNT_BITS'(BEATS - 1);
    else if (wait_count != '0) wait_count <= wait_count - 1'b1;
    if (rst_i) room <= LEVEL_BITS'(DEPTH);
    else room <= room - (taken ? LEVEL_BITS'(BEATS) : '0) + LEVEL_BITS'(data_valid_o && data_ready_i);
  end

  logic [WORD_BITS-1:0] word;
  logic [COUNT_BITS-1:0] left, at;
  always_ff @(posedge clk_i) begin
    if (am_data_valid_i) word <= am_data_i;
    if (rst_i) left <= '0;
    else if (am_data_valid_i) left <= COUNT_BITS'(BEATS);
    else if (left != '0) left <= left - 1'b1;
    at <= am_data_valid_i ? '0 : at + 1'b1;
  end
  logic unused_ready;
  logic [LEVEL_BITS-1:0] unused_level;
  stream_fifo #(.WIDTH(64), .DEPTH(DEPTH)) queue (
    .clk_i, .rst_i, .in_valid_i(left != '0), .in_ready_o(unused_ready), .in_data_i(word[64*at[$clog2(BEATS)-1:0]+:64]),
    .out_valid_o(data_valid_o), .out_ready_i(data_ready_i), .out_data_o(data_o), .level_o(unused_level)
  );
endmodule
