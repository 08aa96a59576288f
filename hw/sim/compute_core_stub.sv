// Stands in for the compute core where only the memory side is under test: takes what it is given at random times and
// tells a C++ program everything, in the order in which a core would use it.
//
// CONV takes its row tiles, their slots and steps, or with the `image` flag its patches; MAX and AVERAGE only wait.
// A kernel height of 255 is an illegal field.
module compute_core #(
  parameter int ARRAYS = 3,
  parameter logic [16*16-1:0] KINDS = '0,
  parameter logic [16*16-1:0] ROWS = '0,
  parameter int TK = 16,
  parameter int TP = 4,
  parameter int ACT_BITS = 4,
  parameter int ACC_BITS = 24,
  parameter int AM_DEPTH = 5120,
  parameter int RING_DEPTH = 512,
  parameter int TABLE_DEPTH = 128,
  parameter int WEIGHT_PORTS = 3,
  parameter int IMAGE_BYTES = 147,
  parameter int PATCH_WRITERS = 1,
  localparam int WORD_BITS = 2 ** $clog2(TP) * TK * 8,
  localparam int BEAT_BITS = 64 * WEIGHT_PORTS,
  localparam int RING_BITS = $clog2(RING_DEPTH),
  localparam int TABLE_BITS = $clog2(TABLE_DEPTH)
) (
  input  logic                  clk_i,
  input  logic                  rst_i,
  input  logic                  op_valid_i,
  output logic                  op_ready_o,
  input  logic [1023:0]         op_words_i,
  output logic                  op_done_o,
  output logic                  error_o,
  input  logic                  beat_write_i,
  input  logic [RING_BITS-1:0]  beat_step_i,
  input  logic [5:0]            beat_index_i,
  input  logic [BEAT_BITS-1:0]  beat_data_i,
  input  logic                  step_count_i,
  input  logic                  slot_write_i,
  input  logic [TABLE_BITS-1:0] slot_address_i,
  input  logic [191:0]          slot_data_i,
  input  logic                  tile_valid_i,
  output logic                  tile_ready_o,
  input  logic [63:0]           tile_i,
  output logic                  step_free_o,
  output logic [7:0]            slot_free_o,
  input  logic                  am_valid_i,
  output logic                  am_ready_o,
  input  logic                  am_write_i,
  input  logic [15:0]           am_address_i,
  input  logic [WORD_BITS-1:0]  am_data_i,
  output logic [WORD_BITS-1:0]  am_data_o,
  output logic                  am_data_valid_o,
  input  logic                  patch_valid_i,
  output logic                  patch_ready_o,
  input  logic [8*IMAGE_BYTES-1:0] patch_data_i,
  output logic                  step_o,
  output logic                  stall_weights_o,
  output logic                  stall_patches_o,
  output logic                  stall_results_o
);
  // 0 op's first word, 1 row tile, 2 slot, 3 step, 4 patch; one 32-bit word a call.
  import "DPI-C" context function void stub_tell(input int kind, input int word);
  // In how many of 256 cycles the core is ready.
  import "DPI-C" context function int stub_pace();

  int random;
  function automatic logic now(input int word, input int salt);
    now = (((word >> (3 * salt)) ^ (word >> 7)) & 255) < stub_pace();
  endfunction
  always_ff @(posedge clk_i) random <= $random;

  // Activation memory.
  logic [WORD_BITS-1:0] memory [0:AM_DEPTH-1];
  logic [WORD_BITS-1:0] found, found_next;
  logic [1:0] reads;
  assign am_ready_o = now(random, 1);
  assign am_data_o = found_next;
  assign am_data_valid_o = reads[1];
  always_ff @(posedge clk_i) begin
    if (am_valid_i && am_ready_o && am_write_i) memory[am_address_i] <= am_data_i;
    found <= memory[am_address_i];
    found_next <= found;
    reads <= rst_i ? '0 : {reads[0], am_valid_i && am_ready_o && !am_write_i};
  end

  // Ring and table.
  localparam int STEP_WORDS = (engine_pkg::image_before(KINDS, ROWS, ARRAYS, TK) + 63) / 64;
  localparam int MOST_BEATS = 64;
  logic [BEAT_BITS-1:0] ring [0:RING_DEPTH*MOST_BEATS-1];
  logic [191:0] table_slots [0:TABLE_DEPTH-1];
  always_ff @(posedge clk_i) begin
    if (beat_write_i) ring[32'(beat_step_i)*MOST_BEATS+32'(beat_index_i)] <= beat_data_i;
    if (slot_write_i) table_slots[slot_address_i] <= slot_data_i;
  end

  localparam int PATCH_WORDS = (IMAGE_BYTES + 3) / 4;
  logic [32*PATCH_WORDS-1:0] padded_patch;
  assign padded_patch = (32*PATCH_WORDS)'(patch_data_i);

  typedef enum logic [2:0] {IDLE, TILE, STEPS, PATCHES, WAIT} state_t;
  state_t state;
  int tiles_left, positions_left, steps_left, slots, steps_there, step, slot, wait_left;
  logic use_step;
  assign op_ready_o = state == IDLE && now(random, 2);
  assign tile_ready_o = state == TILE && now(random, 3);
  assign use_step = state == STEPS && steps_there != 0 && now(random, 4);
  assign patch_ready_o = state == PATCHES && now(random, 5);
  assign step_o = use_step;
  assign stall_weights_o = state == TILE && !tile_valid_i;
  assign stall_patches_o = state == PATCHES && !patch_valid_i;
  assign stall_results_o = 1'b0;

  always_ff @(posedge clk_i) begin
    op_done_o <= 1'b0;
    error_o <= 1'b0;
    step_free_o <= 1'b0;
    slot_free_o <= '0;
    if (rst_i) begin
      state <= IDLE;
      steps_there <= 0;
      step <= 0;
      slot <= 0;
    end else begin
      steps_there <= steps_there + 32'(step_count_i) - 32'(use_step);
      case (state)
        IDLE: if (op_valid_i && op_ready_o) begin
          stub_tell(0, op_words_i[31:0]);
          tiles_left <= 32'(op_words_i[32*26+:16]);
          positions_left <= 32'(op_words_i[32*9+:16]) * 32'(op_words_i[32*9+16+:16]);
          wait_left <= 32'(op_words_i[32*9+:16]);
          error_o <= op_words_i[32*8+:8] == 8'hFF;
          if (op_words_i[3:0] != 4'd3) state <= WAIT;
          else state <= op_words_i[32*3+4] ? PATCHES : TILE;
        end
        PATCHES: if (patch_valid_i && patch_ready_o) begin
          for (int w = 0; w < PATCH_WORDS; w++) stub_tell(4, padded_patch[32*w+:32]);
          positions_left <= positions_left - 1;
          if (positions_left == 1) state <= TILE;
        end
        TILE: if (tile_valid_i && tile_ready_o) begin
          stub_tell(1, tile_i[31:0]);
          stub_tell(1, tile_i[63:32]);
          slots <= 32'(tile_i[15:0]);
          for (int s = 0; s < 32'(tile_i[15:0]); s++) begin
            for (int w = 0; w < 6; w++) stub_tell(2, table_slots[(slot + s) % TABLE_DEPTH][32*w+:32]);
          end
          slot <= slot + 32'(tile_i[15:0]);
          steps_left <= 32'(tile_i[63:48]);
          state <= STEPS;
        end
        STEPS: if (use_step) begin
          for (int w = 0; w < STEP_WORDS; w++) begin
            for (int half = 0; half < 2; half++)
              stub_tell(3, ring[(step % RING_DEPTH)*MOST_BEATS+w/WEIGHT_PORTS][64*(w%WEIGHT_PORTS)+32*half+:32]);
          end
          step <= step + 1;
          step_free_o <= 1'b1;
          steps_left <= steps_left - 1;
          if (steps_left == 1) begin
            slot_free_o <= slots[7:0];
            tiles_left <= tiles_left - 1;
            op_done_o <= tiles_left == 1;
            state <= (tiles_left == 1) ? IDLE : TILE;
          end
        end
        default: begin
          wait_left <= wait_left - 1;
          if (wait_left <= 0) begin
            op_done_o <= 1'b1;
            state <= IDLE;
          end
        end
      endcase
    end
  end
endmodule
