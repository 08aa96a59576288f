// Turns the beats of the weight image into headers of row tiles, slots of the slot table and steps of the weight ring, as
// far ahead as these have room; checks every header and every op's end and checksum.
//
// An op (CONV) is `tiles` row tiles in `beats` beats from `first` on. A position-outer op needs room for all of them at once.
module weight_loader #(
  // ports
  parameter int WEIGHT_PORTS = 3,
  // steps in the ring
  parameter int RING_DEPTH = 512,
  // slots in the table, a power of two
  parameter int TABLE_DEPTH = 128,
  // 64-bit words of a step, at most 64 beats
  parameter int STEP_WORDS = 34,
  // most row tiles of a position-outer op: what the core can hold
  localparam int OUTER_TILES = 32,
  localparam int BEAT_BITS = 64 * WEIGHT_PORTS,
  localparam int RING_BITS = $clog2(RING_DEPTH),
  localparam int TABLE_BITS = $clog2(TABLE_DEPTH)
) (
  input  logic                       clk_i,
  input  logic                       rst_i,
  input  logic                       op_valid_i,
  output logic                       op_ready_o,
  input  logic [31:0]                op_first_i,
  input  logic [31:0]                op_beats_i,
  input  logic [31:0]                op_checksum_i,
  input  logic [15:0]                op_tiles_i,
  input  logic                       op_outer_i,
  // the descriptor's number
  input  logic [15:0]                op_index_i,
  // every op has been delivered and its checksum was right
  output logic                       idle_o,
  // of the op with `error_index_o`: an illegal number of row tiles or header; wrong checksum or end; an error response
  output logic                       error_field_o,
  output logic                       error_weights_o,
  output logic                       error_response_o,
  output logic [15:0]                error_index_o,
  // the reader
  output logic                       run_valid_o,
  input  logic                       run_ready_i,
  output logic [31:0]                run_first_o,
  output logic [31:0]                run_beats_o,
  input  logic                       beat_valid_i,
  output logic                       beat_ready_o,
  input  logic [BEAT_BITS-1:0]       beat_i,
  input  logic                       beat_error_i,
  // the core
  output logic                       beat_write_o,
  output logic [RING_BITS-1:0]       beat_step_o,
  output logic [5:0]                 beat_index_o,
  output logic [BEAT_BITS-1:0]       beat_data_o,
  output logic                       step_count_o,
  output logic                       slot_write_o,
  output logic [TABLE_BITS-1:0]      slot_address_o,
  output logic [191:0]               slot_data_o,
  output logic                       tile_valid_o,
  input  logic                       tile_ready_i,
  output logic [63:0]                tile_o,
  input  logic                       step_free_i,
  input  logic [7:0]                 slot_free_i
);
  // columns of a step in the ring
  localparam int STEP_BEATS = (STEP_WORDS + WEIGHT_PORTS - 1) / WEIGHT_PORTS;
  localparam int SLOT_BEATS = (3 + WEIGHT_PORTS - 1) / WEIGHT_PORTS;
  if (WEIGHT_PORTS < 1 || WEIGHT_PORTS > 4) begin : g_check_ports
    $error("WEIGHT_PORTS must be 1 to 4");
  end
  if (STEP_BEATS < 1 || STEP_BEATS > 64) begin : g_check_beats
    $error("STEP_WORDS must be 1 word to 64 beats");
  end

  typedef enum logic [2:0] {IDLE, HEADER, SLOTS, STEPS, SETTLE, CHECK} state_t;
  state_t state;

  // Ops go to the reader at once and wait here for their beats.
  logic op_valid, op_room;
  logic [31:0] beats, expected;
  logic [15:0] tiles;
  logic outer;
  logic [4:0] unused_level;
  assign op_ready_o = run_ready_i && op_room;
  assign run_valid_o = op_valid_i && op_room;
  assign run_first_o = op_first_i;
  assign run_beats_o = op_beats_i;
  stream_fifo #(.WIDTH(97), .DEPTH(16)) ops (
    .clk_i, .rst_i, .in_valid_i(op_valid_i && op_ready_o), .in_ready_o(op_room),
    .in_data_i({op_outer_i, op_beats_i, op_checksum_i, op_tiles_i, op_index_i}),
    .out_valid_o(op_valid), .out_ready_i(state == CHECK), .out_data_o({outer, beats, expected, tiles, error_index_o}),
    .level_o(unused_level)
  );

  logic [31:0] beats_left;
  logic [15:0] tiles_left, slots_left, steps_left;
  logic [1:0] slot_beat;
  logic [5:0] step_beat;
  logic slot_done, step_done, tile_room;
  logic [TABLE_BITS:0] slots_free;
  logic [RING_BITS:0] steps_free;
  logic [RING_BITS-1:0] step;
  logic [TABLE_BITS-1:0] slot;
  logic [63:0] header;
  // What a row tile may have: all, less what the others of a position-outer op have.
  logic [TABLE_BITS:0] slots_most;
  logic [RING_BITS:0] steps_most;
  logic header_legal;
  assign slot_done = slot_beat == 2'(SLOT_BEATS - 1);
  assign step_done = step_beat == 6'(STEP_BEATS - 1);
  assign header_legal = beat_i[15:0] != '0 && beat_i[15:0] <= 16'(slots_most) && beat_i[15:8] == '0
      && beat_i[47:32] != '0 && beat_i[47:42] == '0 && beat_i[63:48] != '0 && (!outer || beat_i[63:48] <= 16'(steps_most));

  // A slot or step begins when there is room for it. Something goes with a beat, or (columns of steps) without.
  logic room, needs_beat, wants, take, go;
  always_comb begin
    case (state)
      HEADER: room = tile_room;
      SLOTS: room = slot_beat != '0 || slots_free != '0;
      STEPS: room = step_beat != '0 || steps_free != '0;
      default: room = 1'b0;
    endcase
  end
  assign wants = state != STEPS || needs_beat;
  assign beat_ready_o = room && wants && beats_left != '0;
  assign take = beat_valid_i && beat_ready_o;
  assign go = take || (room && !wants);
  logic [BEAT_BITS-1:0] column, beat_taken;
  step_aligner #(.WEIGHT_PORTS(WEIGHT_PORTS), .STEP_WORDS(STEP_WORDS)) aligner (
    .clk_i, .idle_i(state != STEPS), .last_i(step_done), .needs_o(needs_beat), .go_i(go), .take_i(take), .beat_i,
    .column_o(column), .taken_o(beat_taken)
  );

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      state <= IDLE;
    end else begin
      case (state)
        IDLE: if (op_valid) state <= HEADER;
        HEADER: if (take) state <= SLOTS;
        SLOTS: if (take && slot_done && slots_left == 16'd1) state <= STEPS;
        STEPS: if (go && step_done && steps_left == 16'd1) state <= (tiles_left == 16'd1) ? SETTLE : HEADER;
        SETTLE: state <= CHECK;
        default: state <= IDLE;
      endcase
    end
    if (state == IDLE) begin
      beats_left <= beats;
      tiles_left <= tiles;
      slots_most <= (TABLE_BITS+1)'(TABLE_DEPTH);
      steps_most <= (RING_BITS+1)'(RING_DEPTH);
    end else begin
      if (state == HEADER && take && outer) begin
        slots_most <= slots_most - (TABLE_BITS+1)'(beat_i[15:0]);
        steps_most <= steps_most - (RING_BITS+1)'(beat_i[63:48]);
      end
      if (take) beats_left <= beats_left - 1'b1;
      if (state == STEPS && go && step_done && steps_left == 16'd1) tiles_left <= tiles_left - 1'b1;
    end
    if (state == HEADER) begin
      header <= beat_i[63:0];
      slots_left <= beat_i[15:0];
      steps_left <= beat_i[63:48];
      slot_beat <= '0;
      step_beat <= '0;
    end
    if (state == SLOTS && take) begin
      slot_beat <= slot_done ? '0 : slot_beat + 1'b1;
      if (slot_done) slots_left <= slots_left - 1'b1;
    end
    if (state == STEPS && go) begin
      step_beat <= step_done ? '0 : step_beat + 1'b1;
      if (step_done) steps_left <= steps_left - 1'b1;
    end
  end

  // Places in the table and the ring.
  logic slot_begins, step_begins, step_last;
  assign step_last = 2 ** RING_BITS != RING_DEPTH && step == RING_BITS'(RING_DEPTH - 1);
  assign slot_begins = state == SLOTS && take && slot_beat == '0;
  assign step_begins = state == STEPS && go && step_beat == '0;
  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      slots_free <= (TABLE_BITS+1)'(TABLE_DEPTH);
      steps_free <= (RING_BITS+1)'(RING_DEPTH);
      slot <= '0;
      step <= '0;
    end else begin
      slots_free <= slots_free + (TABLE_BITS+1)'(slot_free_i) - (TABLE_BITS+1)'(slot_begins);
      steps_free <= steps_free + (RING_BITS+1)'(step_free_i) - (RING_BITS+1)'(step_begins);
      if (state == SLOTS && take && slot_done) slot <= slot + 1'b1;
      if (state == STEPS && go && step_done) step <= step_last ? '0 : step + 1'b1;
    end
  end

  // What the core gets, a cycle later; a row tile's header when its last slot is in the table.
  logic taken, tile_push;
  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      taken <= 1'b0;
      beat_write_o <= 1'b0;
      step_count_o <= 1'b0;
      slot_write_o <= 1'b0;
      tile_push <= 1'b0;
    end else begin
      taken <= take;
      tile_push <= take && state == SLOTS && slot_done && slots_left == 16'd1;
      beat_write_o <= go && state == STEPS;
      step_count_o <= go && state == STEPS && step_done;
      slot_write_o <= take && state == SLOTS && slot_done;
    end
    if (go) beat_data_o <= column;
    beat_step_o <= step;
    beat_index_o <= step_beat;
    slot_address_o <= slot;
  end
  if (SLOT_BEATS == 1) begin : g_slot
    assign slot_data_o = beat_data_o[191:0];
  end else begin : g_slot
    logic [(SLOT_BEATS-1)*BEAT_BITS-1:0] earlier;
    always_ff @(posedge clk_i) if (take) earlier <= ((SLOT_BEATS-1)*BEAT_BITS)'({beat_data_o, earlier} >> BEAT_BITS);
    assign slot_data_o = 192'({beat_data_o, earlier});
  end
  logic [5:0] unused_tiles;
  stream_fifo #(.WIDTH(64), .DEPTH(32)) tile_queue (
    .clk_i, .rst_i, .in_valid_i(tile_push), .in_ready_o(tile_room), .in_data_i(header),
    .out_valid_o(tile_valid_o), .out_ready_i(tile_ready_i), .out_data_o(tile_o), .level_o(unused_tiles)
  );

  // The checksum: s <- rotl(s, 1) ^ w for each half of a word.
  logic [31:0] sum, next_sum;
  always_comb begin
    next_sum = sum;
    for (int w = 0; w < 2 * WEIGHT_PORTS; w++) next_sum = {next_sum[30:0], next_sum[31]} ^ beat_taken[32*w+:32];
  end
  always_ff @(posedge clk_i) begin
    if (state == IDLE) sum <= '0;
    else if (taken) sum <= next_sum;
  end

  assign idle_o = state == IDLE && !op_valid;
  assign error_field_o = (state == IDLE && op_valid && (tiles == '0 || (outer && tiles > 16'(OUTER_TILES)))) || (state == HEADER && take && !header_legal);
  assign error_response_o = take && beat_error_i;
  always_comb begin
    case (state)
      HEADER, SLOTS, STEPS: error_weights_o = wants && beats_left == '0;
      CHECK: error_weights_o = sum != expected || beats_left != '0;
      default: error_weights_o = 1'b0;
    endcase
  end
endmodule
