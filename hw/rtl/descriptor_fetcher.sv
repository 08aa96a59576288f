// Reads header and descriptors, checks them, and gives every descriptor to its unit's queue, in order.
//
// Word 0 of what it gives has the descriptor's number (from 1) in bits 31-16; word 3 of a LOAD, STORE or IMAGE is an
// address, its region's base added. The number, 0 for the header, goes with an error. The checksum is known at the end:
// operations run before.
module descriptor_fetcher #(
  // CRC-32 of the engine's parameters
  parameter logic [31:0] GEOMETRY_ID = 32'h0
) (
  input  logic        clk_i,
  input  logic        rst_i,
  // begins the program at `base_i` (without its lowest seven bits)
  input  logic        start_i,
  input  logic [24:0] base_i,
  // bases of scratch, input and output, likewise
  input  logic [74:0] regions_i,
  // every descriptor is in its queue, the checksum is right
  output logic        finished_o,
  output logic        error_o,
  output logic [3:0]  error_code_o,
  output logic [15:0] error_index_o,
  output logic        burst_valid_o,
  input  logic        burst_ready_i,
  output logic [31:0] burst_address_o,
  output logic [3:0]  burst_less_one_o,
  input  logic        data_valid_i,
  output logic        data_ready_o,
  input  logic [63:0] data_i,
  input  logic        data_error_i,
  // queues of LOAD, STORE, IMAGE, COMPUTE
  input  logic [3:0]  room_i,
  output logic [3:0]  write_o,
  // a word of the descriptor, and which
  output logic [63:0] pair_o,
  output logic [3:0]  beat_o,
  // the descriptor's number
  output logic [15:0] index_o,
  // the queue of the weight loader, written with the last word of a CONV
  input  logic        weights_room_i,
  output logic        weights_write_o,
  output logic [31:0] weights_first_o,
  output logic [15:0] weights_tiles_o,
  output logic        weights_outer_o,
  // an IMAGE waits for room in its queue
  output logic        image_waits_o,
  // operations that were given to LOAD, STORE, COMPUTE
  output logic [15:0] loads_o,
  output logic [15:0] stores_o,
  output logic [15:0] computes_o
);
  localparam logic [31:0] MAGIC = 32'h314D4C49;
  localparam logic [7:0] MARK = 8'hA5;
  typedef enum logic [2:0] {IDLE, HEADER, DESCRIPTORS, CHECK, FINISHED} state_t;
  state_t state;

  // What was asked for has its place here, so that it never stands in others' way.
  logic pair_valid, take, unused_ready;
  logic [63:0] pair;
  logic [1:0] bursts;  // asked for and not wholly taken, at most 2
  logic [5:0] unused_level;
  logic pair_error;
  stream_fifo #(.WIDTH(65), .DEPTH(32)) pairs (
    .clk_i, .rst_i, .in_valid_i(data_valid_i), .in_ready_o(unused_ready), .in_data_i({data_error_i, data_i}),
    .out_valid_o(pair_valid), .out_ready_i(take), .out_data_o({pair_error, pair}), .level_o(unused_level)
  );
  assign data_ready_o = 1'b1;
  logic [24:0] next_burst;
  logic [15:0] to_ask, to_give;
  logic ask, last_beat;
  assign burst_valid_o = to_ask != '0 && !bursts[1];
  assign burst_address_o = {next_burst, 7'b0};
  assign burst_less_one_o = 4'd15;
  assign ask = burst_valid_o && burst_ready_i;

  // The first pair of a descriptor decides; the others follow it.
  logic first, legal, ordered, room, conv;
  logic [3:0] target, held_target;
  logic [24:0] base;  // of the descriptor's region
  assign first = beat_o == '0;
  assign last_beat = beat_o == 4'd15;
  always_comb begin
    case (pair[3:0])
      4'd1: target = 4'b0001;
      4'd2: target = 4'b0010;
      4'd3, 4'd4, 4'd5: target = 4'b1000;
      4'd6: target = 4'b0100;
      default: target = 4'b0000;
    endcase
  end
  assign legal = pair[31:24] == MARK && target != '0;
  assign room = (target & room_i) != '0 && (pair[3:0] != 4'd3 || weights_room_i);
  assign image_waits_o = pair_valid && state == DESCRIPTORS && first && target[2] && !room_i[2];
  assign take = pair_valid && (state == HEADER || (state == DESCRIPTORS && (!first || room)));
  assign write_o = (take && state == DESCRIPTORS) ? (first ? target : held_target) : '0;
  assign pair_o = first ? {pair[63:32], index_o, pair[15:0]} : {pair[63:39] + ((beat_o == 4'd1) ? base : 25'd0), pair[38:0]};
  assign weights_write_o = take && state == DESCRIPTORS && conv && last_beat;

  // Counts may only refer to what was given before.
  logic [15:0] beyond_loads, beyond_stores, beyond_computes;
  assign beyond_loads = loads_o - pair[47:32];
  assign beyond_stores = stores_o - pair[63:48];
  assign beyond_computes = computes_o - pair[15:0];
  assign ordered = first ? (!beyond_loads[15] && !beyond_stores[15]) : (beat_o != 4'd1 || !beyond_computes[15]);

  logic [31:0] sum, half_sum, expected;
  assign half_sum = {sum[30:0], sum[31]} ^ pair[31:0];

  always_comb begin
    error_o = 1'b1;
    error_code_o = 4'd4;
    if (take && pair_error) error_code_o = 4'd6;
    else if (state == HEADER && take && first && pair != {32'd1, MAGIC}) error_code_o = 4'd1;
    else if (state == HEADER && take && beat_o == 4'd1 && pair[31:0] != GEOMETRY_ID) error_code_o = 4'd2;
    else if (state == HEADER && take && beat_o == 4'd1 && pair[63:48] != '0) error_code_o = 4'd1;
    else if (state == CHECK && sum != expected) error_code_o = 4'd3;
    else if (!(state == DESCRIPTORS && pair_valid && ((first && !legal) || !ordered))) error_o = 1'b0;
  end
  assign error_index_o = (state == DESCRIPTORS) ? index_o : '0;
  assign finished_o = state == FINISHED;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      state <= IDLE;
      to_ask <= '0;
      bursts <= '0;
      beat_o <= '0;
      loads_o <= '0;
      stores_o <= '0;
      computes_o <= '0;
    end else begin
      if (start_i) begin
        state <= HEADER;
        to_ask <= 16'd1;
      end else if (take && state == HEADER && beat_o == 4'd1) begin
        to_ask <= pair[47:32];
      end else if (ask) begin
        to_ask <= to_ask - 1'b1;
      end
      bursts <= bursts + 2'(ask) - 2'(take && last_beat);
      if (take) beat_o <= beat_o + 1'b1;
      if (take && last_beat && state == HEADER) state <= (to_give == '0) ? CHECK : DESCRIPTORS;
      if (take && last_beat && state == DESCRIPTORS && to_give == 16'd1) state <= CHECK;
      if (state == CHECK) state <= FINISHED;
      if (write_o[0] && last_beat) loads_o <= loads_o + 1'b1;
      if (write_o[1] && last_beat) stores_o <= stores_o + 1'b1;
      if (write_o[3] && last_beat) computes_o <= computes_o + 1'b1;
    end
    if (start_i) next_burst <= base_i;
    else if (ask) next_burst <= next_burst + 1'b1;
    if (state == HEADER) begin
      index_o <= 16'd1;
      sum <= '0;
      if (beat_o == 4'd1) to_give <= pair[47:32];
      if (beat_o == 4'd2) expected <= pair[31:0];
    end else if (take) begin
      sum <= {half_sum[30:0], half_sum[31]} ^ pair[63:32];
      if (first) begin
        held_target <= target;
        case (pair[9:8])
          2'd0: base <= regions_i[24:0];
          2'd1: base <= regions_i[49:25];
          default: base <= regions_i[74:50];
        endcase
        if (target[3]) base <= '0;
        conv <= pair[3:0] == 4'd3;
      end
      if (beat_o == 4'd1) weights_outer_o <= pair[37];
      if (beat_o == 4'd13) weights_tiles_o <= pair[15:0];
      if (beat_o == 4'd14) weights_first_o <= pair[63:32];
      if (last_beat) begin
        index_o <= index_o + 1'b1;
        to_give <= to_give - 1'b1;
      end
    end
  end
endmodule
