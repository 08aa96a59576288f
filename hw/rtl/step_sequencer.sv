// One step a cycle: row tile, position tile, pass, ky, kx, group (`image`: word of the patch), tiles without a gap.
//
// A tile's counters and position registers stand still while its steps leave; `issue_o` says that this cycle's step does.
module step_sequencer #(
  // activation lanes
  parameter int TK = 16,
  // positions
  parameter int TP = 4,
  // words of the activation memory
  parameter int AM_DEPTH = 5120,
  // steps in the weight ring
  parameter int RING_DEPTH = 512,
  // steps that the queue behind the read path holds
  parameter int QUEUE = 32,
  // bits of a step's number: its address in the ring, and a bit that changes each time around
  localparam int RING = $clog2(RING_DEPTH) + 1,
  localparam int PIXEL = engine_pkg::pixel_bits(AM_DEPTH, TP),
  localparam int ADDRESS = engine_pkg::address_bits(AM_DEPTH)
) (
  input  logic                clk_i,
  input  logic                rst_i,
  input  logic                start_i,
  input  logic                finished_i,
  input  logic [1023:0]       op_i,
  input  logic [PIXEL-1:0]    tap_y_i,
  input  logic [PIXEL:0]      tap_y_less_i,
  // the next tile of positions
  input  logic                positions_valid_i,
  output logic                positions_take_o,
  input  logic                positions_last_i,
  input  logic [TP-1:0]       used_i,
  input  logic [TP*16-1:0]    x_i,
  input  logic [TP*16-1:0]    y_i,
  input  logic [TP*PIXEL-1:0] row_i,
  // the next row tile
  input  logic                rows_valid_i,
  output logic                rows_take_o,
  input  logic                rows_last_i,
  input  logic [9:0]          groups_i,
  input  logic [ADDRESS-1:0]  source_i,
  input  logic [15:0]         steps_i,
  // a tile begins: what write_back must know is pushed
  output logic                tile_push_o,
  input  logic                tile_room_i,
  output logic                tile_free_o,   // its slots are needed no more
  output logic                tile_last_o,   // of the operation
  output logic                tile_positions_o,  // it has new positions
  output logic                tile_rows_o,       // it has a new row tile
  // resources
  input  logic                step_count_i,
  input  logic                queue_pop_i,
  input  logic                patch_valid_i,
  output logic                patch_done_o,
  // the step
  output logic                issue_o,
  output logic [15:0]         offset_x_o,
  output logic [15:0]         offset_y_o,
  output logic [PIXEL-1:0]    offset_row_o,
  output logic [ADDRESS-1:0]  group_o,
  output logic [4:0]          word_o,
  output logic [TP-1:0]       used_o,
  output logic [TP*16-1:0]    x_o,
  output logic [TP*16-1:0]    y_o,
  output logic [TP*PIXEL-1:0] row_o,
  output logic                first_o,       // of the tile
  output logic                last_o,
  output logic                second_o,      // second pass
  output logic                shift_o,       // its first step
  output logic                free_o,        // the weights are needed no more
  output logic [RING-1:0]     ring_o,
  output logic                stall_weights_o,
  output logic                stall_patches_o,
  output logic                illegal_o
);
  logic pool, image, outer, two_pass;
  logic [7:0] kernel_y, kernel_x;
  assign pool = op_i[3:0] != 4'd3;
  assign image = op_i[3*32+4];
  assign outer = op_i[3*32+5] || pool;
  assign two_pass = op_i[3*32+:3] == 3'd3;
  assign kernel_y = image ? 8'd1 : op_i[8*32+:8];
  assign kernel_x = image ? 8'd1 : op_i[8*32+8+:8];

  // The tile in work.
  logic running, busy, fresh, positions_last, rows_last;
  logic [9:0] groups;
  logic [ADDRESS-1:0] source;
  logic [RING-1:0] ring_base, ring_first;  // of the tile's steps, of the operation's
  logic [15:0] step, steps;  // of a pass
  logic [9:0] group;
  logic [7:0] kx, ky;
  logic group_last, kx_last, ky_last, pass_end, pass_last, step_last, moved;

  // A step may go if its weights are there, there is room behind the read path, and so on.
  logic [RING-1:0] complete;
  logic [$clog2(QUEUE):0] credit;
  logic [$clog2(TK/2+1)-1:0] spacing;  // results of a pool must be taken before the next ones come
  logic weights_ok, pool_ok, wanted;
  assign weights_ok = pool || complete != ring_o;
  assign pool_ok = !pool || !step_last || spacing == 0;
  assign wanted = busy && credit != 0;
  assign issue_o = wanted && weights_ok && pool_ok && (!image || patch_valid_i);
  assign stall_weights_o = wanted && !weights_ok;
  assign stall_patches_o = wanted && weights_ok && image && !patch_valid_i;

  assign group_last = group == groups - 1'b1;
  assign kx_last = kx == kernel_x - 1'b1;
  assign ky_last = ky == kernel_y - 1'b1;
  assign pass_last = !two_pass || second_o;
  assign pass_end = group_last && kx_last && ky_last;
  assign step_last = pass_end && pass_last;
  assign first_o = !moved;
  assign last_o = step_last;
  assign free_o = pass_last && positions_last && !pool;
  assign word_o = group[4:0];

  // The next tile.
  logic tile_end, load, need_positions, need_rows, finished_last;
  assign tile_end = issue_o && step_last;
  assign need_positions = fresh || !outer || rows_last;
  assign need_rows = fresh || outer || positions_last;
  assign finished_last = !fresh && positions_last && rows_last;
  assign load = running && (!busy || tile_end) && !finished_last && tile_room_i
      && (!need_positions || positions_valid_i) && (!need_rows || rows_valid_i);
  assign positions_take_o = load && need_positions;
  assign rows_take_o = load && need_rows;
  assign tile_push_o = load;
  assign tile_positions_o = need_positions;
  assign tile_rows_o = need_rows;
  logic next_positions_last, next_rows_last;
  assign next_positions_last = need_positions ? positions_last_i : positions_last;
  assign next_rows_last = need_rows ? rows_last_i : rows_last;
  assign tile_free_o = next_positions_last;
  assign tile_last_o = next_positions_last && next_rows_last;
  assign patch_done_o = image && tile_end && need_positions;

  logic [PIXEL-1:0] next_row;
  row_adder #(.BITS(PIXEL)) tap_adder (
    .row_i(offset_row_o), .step_i(tap_y_i), .step_less_ring_i(tap_y_less_i), .sum_o(next_row));

  logic [ADDRESS-1:0] source_now;
  assign source_now = need_rows ? source_i : source;

  // Row tiles follow one another in the ring; position-outer operations go through them again and again.
  function automatic logic [RING-1:0] after(input logic [RING-1:0] number);
    after = (2 ** (RING - 1) != RING_DEPTH && number[RING-2:0] == (RING-1)'(RING_DEPTH - 1)) ?
        {!number[RING-1], {(RING-1){1'b0}}} : number + 1'b1;
  endfunction
  logic [RING-1:0] ring_after, ring_now;
  assign ring_after = (busy && !pool) ? after(ring_o) : ring_o;
  assign ring_now = !need_rows ? ring_base : (outer && rows_last && !fresh && !pool) ? ring_first : ring_after;

  always_ff @(posedge clk_i) begin
    if (load) begin
      if (need_positions) begin
        {used_o, x_o, y_o, row_o} <= {used_i, x_i, y_i, row_i};
        positions_last <= positions_last_i;
      end
      if (need_rows) begin
        groups <= image ? 10'(op_i[26*32+16+:5]) : groups_i;
        {source, steps} <= {source_i, steps_i};
        rows_last <= rows_last_i;
      end
      {step, group, kx, ky, second_o, shift_o, moved} <= '0;
      {offset_x_o, offset_y_o, offset_row_o} <= '0;
      group_o <= source_now;
      ring_base <= ring_now;
      if (fresh) ring_first <= ring_after;
    end else if (issue_o) begin
      moved <= 1'b1;
      shift_o <= 1'b0;
      step <= step + 1'b1;
      group <= group + 1'b1;
      group_o <= group_o + op_i[4*32+16+:ADDRESS];
      if (group_last) begin
        group <= '0;
        group_o <= source;
        kx <= kx + 1'b1;
        offset_x_o <= offset_x_o + 16'(op_i[8*32+20+:4]);
        if (kx_last) begin
          kx <= '0;
          offset_x_o <= '0;
          ky <= ky + 1'b1;
          offset_y_o <= offset_y_o + 16'(op_i[8*32+16+:4]);
          offset_row_o <= next_row;
          if (ky_last) begin
            ky <= '0;
            {offset_y_o, offset_row_o} <= '0;
            second_o <= 1'b1;
            shift_o <= 1'b1;
            step <= '0;
          end
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    // A row tile's steps are those of the kernel, and fit in the ring unless they pass through once.
    illegal_o <= (issue_o && !pool && pass_end && 16'(step + 1'b1) != steps) || (busy && !pool && step == steps)
        || (load && need_rows && !pool && steps_i > 16'(RING_DEPTH) && (outer || two_pass || !next_positions_last));
    if (rst_i) begin
      running <= 1'b0;
      busy <= 1'b0;
      complete <= '0;
      ring_o <= '0;
      credit <= ($clog2(QUEUE)+1)'(QUEUE);
      illegal_o <= 1'b0;
      spacing <= '0;
    end else begin
      if (step_count_i) complete <= after(complete);
      if ((issue_o && !pool) != queue_pop_i) credit <= queue_pop_i ? credit + 1'b1 : credit - 1'b1;
      if (load) ring_o <= ring_now;
      else if (issue_o) ring_o <= pass_end && !pass_last ? ring_base : ring_after;
      if (tile_end) spacing <= ($clog2(TK/2+1))'(TK / 2 - 1);
      else if (spacing != 0) spacing <= spacing - 1'b1;
      if (start_i) {running, fresh} <= 2'b11;
      else if (finished_i) running <= 1'b0;
      if (load) {busy, fresh} <= 2'b10;
      else if (tile_end) busy <= 1'b0;
    end
  end
endmodule
