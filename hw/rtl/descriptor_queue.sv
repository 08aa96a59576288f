// Descriptors wait here, 64 bits a cycle in, the first one whole at the output.
module descriptor_queue #(
  // pairs of words that are kept of a descriptor
  parameter int BEATS = 16,
  // descriptors beside the one at the output, a power of two
  parameter int DEPTH = 4
) (
  input  logic                clk_i,
  input  logic                rst_i,
  // there is room for another descriptor, if none is being written
  output logic                room_o,
  input  logic                write_i,
  input  logic [63:0]         data_i,
  output logic                valid_o,
  input  logic                ready_i,
  output logic [64*BEATS-1:0] words_o,
  output logic                empty_o
);
  localparam int COUNT_BITS = $clog2(BEATS);
  localparam int LEVEL_BITS = $clog2(BEATS * DEPTH) + 1;
  logic beat_valid, unused_ready, shift;
  logic [63:0] beat;
  logic [COUNT_BITS-1:0] count;
  logic [LEVEL_BITS-1:0] level;
  stream_fifo #(.WIDTH(64), .DEPTH(BEATS * DEPTH)) waiting (
    .clk_i, .rst_i, .in_valid_i(write_i), .in_ready_o(unused_ready), .in_data_i(data_i),
    .out_valid_o(beat_valid), .out_ready_i(shift), .out_data_o(beat), .level_o(level)
  );
  assign room_o = level <= LEVEL_BITS'(BEATS * (DEPTH - 1));
  assign shift = beat_valid && !valid_o;
  assign empty_o = !beat_valid && !valid_o && count == '0;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      count <= '0;
      valid_o <= 1'b0;
    end else if (shift) begin
      count <= (count == COUNT_BITS'(BEATS - 1)) ? '0 : count + 1'b1;
      valid_o <= count == COUNT_BITS'(BEATS - 1);
    end else if (ready_i) begin
      valid_o <= 1'b0;
    end
    if (shift) words_o <= {beat, words_o[64*BEATS-1:64]};
  end
endmodule
