// CONV, MAX and AVERAGE of the engine (docs/engine.md): steps out of the activation memory or the patch buffer and the
// weight ring into the split array or the pool unit, results through requantizers back into the activation memory.
//
// It works on one operation at a time and knows nothing of the memory outside: the weight loader fills ring, slot table
// and row tiles, all of which start at 0 after a reset; LOAD and STORE use the side port of the activation memory.
module compute_core #(
  // arrays, their kinds and rows (split_mac_array)
  parameter int ARRAYS = 3,
  parameter logic [16*16-1:0] KINDS = 256'h0002_0001_0000,
  parameter logic [16*16-1:0] ROWS = 256'h0002_0008_0016,
  // products added per step and output, a multiple of 4
  parameter int TK = 16,
  // output positions, even, at least 4
  parameter int TP = 4,
  // bits of the arrays' activations
  parameter int ACT_BITS = 4,
  // bits of an accumulator
  parameter int ACC_BITS = 24,
  // words of the activation memory
  parameter int AM_DEPTH = 5120,
  // steps in the weight ring
  parameter int RING_DEPTH = 512,
  // slots in the slot table, a power of two
  parameter int TABLE_DEPTH = 128,
  // 64-bit words in a beat of the weight image
  parameter int WEIGHT_PORTS = 3,
  // most bytes of an unrolled window
  parameter int IMAGE_BYTES = 147,
  // windows of an image that are stored at a time
  parameter int PATCH_WRITERS = 1,
  localparam int BANKS = engine_pkg::banks(TP),
  localparam int ALL_ROWS = mac_kinds::rows_before(ROWS, ARRAYS),
  localparam int WORD_BITS = BANKS * TK * 8,
  localparam int BEAT = 64 * WEIGHT_PORTS,
  localparam int RING = $clog2(RING_DEPTH),
  localparam int TABLE = $clog2(TABLE_DEPTH)
) (
  input  logic                 clk_i,
  input  logic                 rst_i,             // also aborts; memories keep their contents
  // operations
  input  logic                 op_valid_i,
  output logic                 op_ready_o,
  input  logic [1023:0]        op_words_i,        // descriptor word w at 32w
  output logic                 op_done_o,
  output logic                 error_o,           // illegal field or address; a reset must follow
  // weights
  input  logic                 beat_write_i,
  input  logic [RING-1:0]      beat_step_i,
  input  logic [5:0]           beat_index_i,
  input  logic [BEAT-1:0]      beat_data_i,
  input  logic                 step_count_i,      // one more step is complete
  input  logic                 slot_write_i,
  input  logic [TABLE-1:0]     slot_address_i,
  input  logic [191:0]         slot_data_i,       // places, odd, even
  input  logic                 tile_valid_i,
  output logic                 tile_ready_o,
  input  logic [63:0]          tile_i,            // a row tile's header
  output logic                 step_free_o,
  output logic [7:0]           slot_free_o,       // so many
  // LOAD and STORE
  input  logic                 am_valid_i,
  output logic                 am_ready_o,
  input  logic                 am_write_i,
  input  logic [15:0]          am_address_i,
  input  logic [WORD_BITS-1:0] am_data_i,
  output logic [WORD_BITS-1:0] am_data_o,
  output logic                 am_data_valid_o,   // two cycles after the read was taken
  // windows of images
  input  logic                 patch_valid_i,
  output logic                 patch_ready_o,
  input  logic [8*IMAGE_BYTES-1:0] patch_data_i,
  // counters
  output logic                 step_o,
  output logic                 stall_weights_o,
  output logic                 stall_patches_o,
  output logic                 stall_results_o
);
  if (TP < 4 || TP % 2 != 0 || TP > 16) begin : g_check_tp
    $error("TP must be even, from 4 to 16");
  end
  if (TK % 4 != 0 || TK < 4 || TK > 32) begin : g_check_tk
    $error("TK must be a multiple of 4, from 4 to 32");
  end
  if (ALL_ROWS % 2 != 0 || ALL_ROWS > 64) begin : g_check_rows
    $error("the rows of all arrays must be even, at most 64");
  end
  if (RING_DEPTH % 4 != 0 || RING_DEPTH < 4 || RING_DEPTH > 32768) begin : g_check_ring
    $error("RING_DEPTH must be a multiple of 4, from 4 to 32768");
  end
  if (2 ** TABLE != TABLE_DEPTH) begin : g_check_table
    $error("TABLE_DEPTH must be a power of two");
  end

  localparam int PIXEL = engine_pkg::pixel_bits(AM_DEPTH, TP);
  localparam int ADDRESS = engine_pkg::address_bits(AM_DEPTH);
  localparam int ACTS = TP * TK * ACT_BITS;
  localparam int SUM_BITS = (ACC_BITS < 18) ? ACC_BITS : 18;  // a pool's
  localparam int ROW_BITS = (ALL_ROWS > 2) ? $clog2(ALL_ROWS / 2) : 1;

  logic [1023:0] op;
  logic start, running, finished;
  logic [PIXEL-1:0] step_y, tap_y, residual_y;
  logic [PIXEL:0] step_y_less, tap_y_less, target_y_less, residual_y_less;
  logic illegal_op, illegal_steps, illegal_read, illegal_write, overrun;
  assign error_o = illegal_op || illegal_steps || illegal_read || illegal_write || overrun;
  operation #(.TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .PIXEL(PIXEL)) operation_in_work (
    .clk_i, .rst_i, .op_valid_i, .op_ready_o, .op_words_i, .op_o(op), .start_o(start), .running_o(running),
    .finished_i(finished), .op_done_o, .illegal_o(illegal_op), .step_y_o(step_y), .step_y_less_o(step_y_less), .tap_y_o(tap_y),
    .tap_y_less_o(tap_y_less), .target_y_less_o(target_y_less), .residual_y_o(residual_y), .residual_y_less_o(residual_y_less));

  logic positions_valid, positions_take, positions_last;
  logic [TP-1:0] next_used, used;
  logic [TP*16-1:0] next_x, next_y, x, y;
  logic [TP*PIXEL-1:0] next_row, row;
  logic [engine_pkg::target_bits(AM_DEPTH, TP)-1:0] target;
  logic [engine_pkg::residual_bits(AM_DEPTH, TP)-1:0] residual;
  position_generator #(.TP(TP), .AM_DEPTH(AM_DEPTH)) positions (
    .clk_i, .rst_i, .start_i(start), .op_i(op), .step_y_i(step_y), .step_y_less_i(step_y_less),
    .target_y_less_i(target_y_less), .residual_y_i(residual_y), .residual_y_less_i(residual_y_less),
    .tile_valid_o(positions_valid), .tile_take_i(positions_take), .last_o(positions_last), .used_o(next_used),
    .x_o(next_x), .y_o(next_y), .row_o(next_row), .target_o(target), .residual_o(residual));

  logic rows_valid, rows_take, rows_last;
  logic [7:0] slots;
  logic [TABLE-1:0] slot_base;
  logic [9:0] target_group, groups;
  logic [ADDRESS-1:0] source;
  logic [15:0] steps;
  logic [RING:0] ring;
  row_tile_queue #(.TK(TK), .ADDRESS(ADDRESS), .TABLE(TABLE)) row_tiles (
    .clk_i, .rst_i, .start_i(start), .finished_i(finished), .op_i(op), .tile_valid_i, .tile_ready_o, .tile_i,
    .valid_o(rows_valid), .take_i(rows_take), .last_o(rows_last), .slots_o(slots), .slot_base_o(slot_base),
    .target_group_o(target_group), .groups_o(groups), .source_o(source), .steps_o(steps));

  logic tile_push, tile_room, tile_free, tile_last, tile_positions, tile_rows;
  logic queue_pop, patch_valid, patch_done, issue, first, last, second, shift, free;
  logic [15:0] offset_x, offset_y;
  logic [PIXEL-1:0] offset_row;
  logic [ADDRESS-1:0] group;
  logic [4:0] word;
  step_sequencer #(.TK(TK), .TP(TP), .AM_DEPTH(AM_DEPTH), .RING_DEPTH(RING_DEPTH), .QUEUE(32)) sequencer (
    .clk_i, .rst_i, .start_i(start), .finished_i(finished), .op_i(op), .tap_y_i(tap_y), .tap_y_less_i(tap_y_less),
    .positions_valid_i(positions_valid), .positions_take_o(positions_take), .positions_last_i(positions_last),
    .used_i(next_used), .x_i(next_x), .y_i(next_y), .row_i(next_row),
    .rows_valid_i(rows_valid), .rows_take_o(rows_take), .rows_last_i(rows_last), .groups_i(groups), .source_i(source),
    .steps_i(steps),
    .tile_push_o(tile_push), .tile_room_i(tile_room), .tile_free_o(tile_free), .tile_last_o(tile_last),
    .tile_positions_o(tile_positions), .tile_rows_o(tile_rows),
    .step_count_i, .queue_pop_i(queue_pop), .patch_valid_i(patch_valid), .patch_done_o(patch_done),
    .issue_o(issue), .offset_x_o(offset_x), .offset_y_o(offset_y), .offset_row_o(offset_row), .group_o(group), .word_o(word),
    .used_o(used), .x_o(x), .y_o(y), .row_o(row), .first_o(first), .last_o(last), .second_o(second), .shift_o(shift),
    .free_o(free), .ring_o(ring), .stall_weights_o, .stall_patches_o, .illegal_o(illegal_steps));

  logic [ACTS-1:0] patch;
  patch_buffer #(.TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .IMAGE_BYTES(IMAGE_BYTES), .WRITERS(PATCH_WRITERS)) patches (
    .clk_i, .rst_i, .start_i(start), .running_i(running), .op_i(op), .patch_valid_i, .patch_ready_o, .patch_data_i,
    .valid_o(patch_valid), .word_i(word), .high_i(op[3*32+:3] == 3'd3 && !second), .data_o(patch), .done_i(patch_done));

  // Steps on their way: {first, last, free, ring address, shift, second}.
  localparam int FLAGS = RING + 5;
  localparam int WORD = $clog2(AM_DEPTH);
  logic [FLAGS-1:0] flags;
  logic read_valid;
  logic [TP-1:0] no_padding;
  logic [ACTS-1:0] act;
  logic [TP*TK*8-1:0] pool_bytes;
  logic [BANKS*WORD-1:0] address_a, address_b;
  logic [WORD_BITS-1:0] data_a, data_b;
  logic [BANKS*TK-1:0] write_b;
  read_path #(.TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .AM_DEPTH(AM_DEPTH), .FLAGS(FLAGS)) reader (
    .clk_i, .rst_i, .op_i(op), .issue_i(issue), .flags_i({first, last, free, ring[RING-1:0], shift, second}), .used_i(used),
    .x_i(x), .y_i(y), .row_i(row), .offset_x_i(offset_x), .offset_y_i(offset_y), .offset_row_i(offset_row), .group_i(group),
    .patch_i(patch), .address_o(address_a), .data_i(data_a), .valid_o(read_valid), .flags_o(flags), .inside_o(no_padding),
    .act_o(act), .byte_o(pool_bytes), .illegal_o(illegal_read));
  logic [WORD_BITS-1:0] data_to_b;
  activation_memory #(.BANKS(BANKS), .TK(TK), .DEPTH(AM_DEPTH)) memory (
    .clk_i, .address_a_i(address_a), .data_a_o(data_a), .write_b_i(write_b), .address_b_i(address_b),
    .data_b_i(data_to_b), .data_b_o(data_b));
  assign am_data_o = data_b;

  logic pool;
  assign pool = op[3:0] != 4'd3;
  logic queue_valid, queue_last, queue_free, queue_shift;
  logic [RING-1:0] queue_ring;
  logic [ACTS-1:0] queue_act;
  small_fifo #(.WIDTH(ACTS + RING + 3)) queue (
    .clk_i, .rst_i, .push_i(read_valid && !pool), .data_i({flags[RING+3], flags[RING+2], flags[1], flags[2+:RING], act}), .room_o(),
    .valid_o(queue_valid), .pop_i(queue_pop), .data_o({queue_last, queue_free, queue_shift, queue_ring, queue_act}));

  localparam int WEIGHT_BITS = mac_kinds::bits_before(KINDS, ROWS, ARRAYS, TK);
  logic array_valid, array_ready, array_last, array_shift, sums_valid, sums_ready;
  logic [ACTS-1:0] array_act;
  logic [WEIGHT_BITS-1:0] array_weight;
  logic [ALL_ROWS*TP*ACC_BITS-1:0] sums;
  weight_ring #(
    .ARRAYS(ARRAYS), .KINDS(KINDS), .ROWS(ROWS), .TK(TK), .DEPTH(RING_DEPTH), .BEAT(BEAT), .WITH(ACTS + 2)
  ) weights (
    .clk_i, .rst_i, .beat_write_i, .beat_step_i, .beat_index_i, .beat_data_i, .valid_i(queue_valid), .take_o(queue_pop),
    .step_i(queue_ring), .with_i({queue_last, queue_shift, queue_act}), .ready_i(array_ready), .valid_o(array_valid),
    .with_o({array_last, array_shift, array_act}), .weight_o(array_weight));
  always_ff @(posedge clk_i) step_free_o <= !rst_i && queue_pop && queue_free;
  split_mac_array #(
    .ARRAYS(ARRAYS), .KINDS(KINDS), .ROWS(ROWS), .TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .ACC_BITS(ACC_BITS)
  ) arrays (
    .clk_i, .rst_i, .in_valid_i(array_valid), .in_ready_o(array_ready), .in_shift_i(array_shift), .in_last_i(array_last),
    .act_i(array_act), .weight_i(array_weight), .out_valid_o(sums_valid), .out_ready_i(sums_ready), .acc_o(sums));
  assign step_o = array_valid && array_ready;
  assign stall_results_o = sums_valid && !sums_ready;

  logic held_valid, held_done, pool_valid, pool_done;
  logic [ROW_BITS-1:0] even_row, odd_row;
  logic [TP*ACC_BITS-1:0] even, odd;
  logic [$clog2(TK/2)-1:0] pool_pair;
  logic [TP*SUM_BITS-1:0] pool_even, pool_odd;
  result_hold #(.ROWS(ALL_ROWS), .WIDTH(TP * ACC_BITS)) hold (
    .clk_i, .rst_i, .valid_i(sums_valid), .ready_o(sums_ready), .sums_i(sums), .valid_o(held_valid), .done_i(held_done),
    .even_row_i(even_row), .odd_row_i(odd_row), .even_o(even), .odd_o(odd));
  pool_unit #(.TK(TK), .TP(TP), .SUM_BITS(SUM_BITS)) pools (
    .clk_i, .rst_i, .average_i(op[0]), .valid_i(read_valid && pool), .first_i(flags[RING+4]), .last_i(flags[RING+3]),
    .inside_i(no_padding), .byte_i(pool_bytes), .valid_o(pool_valid), .done_i(pool_done), .pair_i(pool_pair),
    .even_o(pool_even), .odd_o(pool_odd), .overrun_o(overrun));

  write_back #(
    .TK(TK), .TP(TP), .ACC_BITS(ACC_BITS), .SUM_BITS(SUM_BITS), .AM_DEPTH(AM_DEPTH), .TABLE_DEPTH(TABLE_DEPTH), .ROWS(ALL_ROWS)
  ) writer (
    .clk_i, .rst_i, .op_i(op), .tile_push_i(tile_push), .tile_room_o(tile_room), .tile_free_i(tile_free), .tile_last_i(tile_last),
    .tile_positions_i(tile_positions), .tile_rows_i(tile_rows), .slots_i(slots), .slot_base_i(slot_base),
    .target_group_i(target_group), .target_i(target), .residual_i(residual),
    .sums_valid_i(held_valid), .sums_done_o(held_done), .even_row_o(even_row), .odd_row_o(odd_row), .even_i(even), .odd_i(odd),
    .pool_valid_i(pool_valid), .pool_done_o(pool_done), .pool_pair_o(pool_pair), .pool_even_i(pool_even), .pool_odd_i(pool_odd),
    .slot_write_i, .slot_address_i, .slot_data_i, .slot_free_o, .am_valid_i, .am_ready_o, .am_write_i, .am_address_i,
    .am_data_i, .am_data_valid_o, .write_o(write_b), .address_o(address_b), .data_o(data_to_b),
    .data_i(data_b), .finished_o(finished), .illegal_o(illegal_write));
endmodule
