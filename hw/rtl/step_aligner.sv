// Columns of steps out of beats: the steps of a row tile follow one another word by word, so a step may begin in any word
// of a beat, while the ring wants it from word 0 on.
//
// A column is WEIGHT_PORTS words of a step, fewer in its last one. It begins in word `phase` of a beat: that beat's words from
// there on have been kept, and word i of the column is word (phase + i) mod WEIGHT_PORTS of the kept beat or of a new one.
module step_aligner #(
  // words of a beat
  parameter int WEIGHT_PORTS = 3,
  // 64-bit words of a step
  parameter int STEP_WORDS = 34,
  localparam int BEAT_BITS = 64 * WEIGHT_PORTS
) (
  input  logic                 clk_i,
  // no steps: columns are beats
  input  logic                 idle_i,
  // this column is its step's last
  input  logic                 last_i,
  // it needs a new beat
  output logic                 needs_o,
  // it goes, with a new beat
  input  logic                 go_i,
  input  logic                 take_i,
  input  logic [BEAT_BITS-1:0] beat_i,
  output logic [BEAT_BITS-1:0] column_o,
  // the newest beat that was taken
  output logic [BEAT_BITS-1:0] taken_o
);
  // words by which each step's beginning moves
  localparam int SHIFT = STEP_WORDS % WEIGHT_PORTS;

  always_ff @(posedge clk_i) if (take_i) taken_o <= beat_i;

  if (SHIFT == 0) begin : g_whole_beats
    logic unused;
    assign unused = &{idle_i, last_i, go_i};
    assign needs_o = 1'b1;
    assign column_o = beat_i;
  end else begin : g_parts_of_beats
    // phases that occur
    localparam int STRIDE = (WEIGHT_PORTS == 4 && SHIFT == 2) ? 2 : 1;
    logic [1:0] phase;
    logic ends_in_next;  // a last column from here ends in a new beat
    assign ends_in_next = phase > 2'(WEIGHT_PORTS - SHIFT);
    assign needs_o = phase == 2'd0 || !last_i || ends_in_next;
    always_ff @(posedge clk_i) begin
      if (idle_i) phase <= 2'd0;
      else if (go_i && last_i) phase <= (phase >= 2'(WEIGHT_PORTS - SHIFT)) ? phase - 2'(WEIGHT_PORTS - SHIFT) : phase + 2'(SHIFT);
    end
    always_comb begin
      column_o = beat_i;
      for (int p = STRIDE; p < WEIGHT_PORTS; p = p + STRIDE) begin
        if (phase == 2'(p)) begin
          for (int i = 0; i < WEIGHT_PORTS; i++)
            column_o[64*i+:64] = (p + i < WEIGHT_PORTS) ? taken_o[64*((p+i)%WEIGHT_PORTS)+:64] : beat_i[64*((p+i)%WEIGHT_PORTS)+:64];
        end
      end
    end
  end
endmodule
