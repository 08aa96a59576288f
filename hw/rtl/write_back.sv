// From sums to bytes in the activation memory: walks the slots of each finished tile, one a cycle, or one in two cycles
// with a residual operand, which is read through the same port in between.
//
// Stages: 1 slot; 2 its rows' sums; 3 biased; 4 residual address; 5 residual word; 6 its lanes, first operand; 7 second
// operand; seven cycles of requantizer; the write. A residual's read and the write of an earlier slot never meet: a write
// comes eleven cycles after its slot's read, and reads only in every other cycle.
module write_back #(
  parameter int TK = 16,
  parameter int TP = 4,
  parameter int ACC_BITS = 24,
  parameter int SUM_BITS = 18,
  parameter int AM_DEPTH = 5120,
  parameter int TABLE_DEPTH = 128,
  // rows of all arrays, even
  parameter int ROWS = 32,
  localparam int ROW_BITS = (ROWS > 2) ? $clog2(ROWS / 2) : 1,
  localparam int PIXEL = engine_pkg::pixel_bits(AM_DEPTH, TP),
  localparam int ADDRESS = engine_pkg::address_bits(AM_DEPTH),
  localparam int WORD = $clog2(AM_DEPTH),
  localparam int BANKS = engine_pkg::banks(TP),
  localparam int BANK_BITS = $clog2(TP),
  localparam int TARGET = engine_pkg::target_bits(AM_DEPTH, TP),
  localparam int RESIDUAL = engine_pkg::residual_bits(AM_DEPTH, TP),
  localparam int TABLE = $clog2(TABLE_DEPTH)
) (
  input  logic                     clk_i,
  input  logic                     rst_i,
  input  logic [1023:0]            op_i,
  // a tile begins
  input  logic                     tile_push_i,
  output logic                     tile_room_o,
  input  logic                     tile_free_i,
  input  logic                     tile_last_i,
  input  logic                     tile_positions_i,
  input  logic                     tile_rows_i,
  input  logic [7:0]               slots_i,
  input  logic [TABLE-1:0]         slot_base_i,
  input  logic [9:0]               target_group_i,
  input  logic [TARGET-1:0]        target_i,
  input  logic [RESIDUAL-1:0]      residual_i,
  // its results
  input  logic                     sums_valid_i,
  output logic                     sums_done_o,
  output logic [ROW_BITS-1:0]      even_row_o,
  output logic [ROW_BITS-1:0]      odd_row_o,
  input  logic [TP*ACC_BITS-1:0]   even_i,
  input  logic [TP*ACC_BITS-1:0]   odd_i,
  input  logic                     pool_valid_i,
  output logic                     pool_done_o,
  output logic [$clog2(TK/2)-1:0]  pool_pair_o,
  input  logic [TP*SUM_BITS-1:0]   pool_even_i,
  input  logic [TP*SUM_BITS-1:0]   pool_odd_i,
  // slot table
  input  logic                     slot_write_i,
  input  logic [TABLE-1:0]         slot_address_i,
  input  logic [191:0]             slot_data_i,
  output logic [7:0]               slot_free_o,
  // the side port of the activation memory
  input  logic                     am_valid_i,
  output logic                     am_ready_o,
  input  logic                     am_write_i,
  input  logic [15:0]              am_address_i,
  input  logic [BANKS*TK*8-1:0]    am_data_i,
  output logic                     am_data_valid_o,
  // port B
  output logic [BANKS*TK-1:0]      write_o,
  output logic [BANKS*WORD-1:0]    address_o,
  output logic [BANKS*TK*8-1:0]    data_o,
  input  logic [BANKS*TK*8-1:0]    data_i,
  output logic                     finished_o,
  output logic                     illegal_o
);
  localparam int TARGET_EACH = 1 + 2 * BANK_BITS + ADDRESS;
  localparam int OPERAND = (ACC_BITS > SUM_BITS) ? ACC_BITS : SUM_BITS;
  localparam int LANE_BITS = $clog2(TK);
  localparam int WIDE = 33, NARROW = 9;

  logic pool, pair, residual, logits;
  logic [5:0] shift;
  assign pool = op_i[3:0] != 4'd3;
  assign pair = op_i[3*32+6];
  assign residual = op_i[3*32+8] && !pool;
  assign logits = op_i[3*32+10];
  assign shift = op_i[23*32+25+:6];

  // Queues of tiles, one for each stage that needs something of them. What a tile shares with the one before is kept.
  logic [TARGET-1:0] target_kept, target_new, target_head;
  logic [RESIDUAL-1:0] residual_kept, residual_new, residual_head;
  logic [7:0] slots_kept, slots_new, slots;
  logic [TABLE-1:0] slot_base_kept, slot_base_new, slot_base;
  logic [9:0] group_kept, group_new, group;
  logic tile_valid, tile_pop, tile_free, tile_last, room_walk, room_from, room_to, from_pop, to_pop;
  assign {target_new, residual_new} = tile_positions_i ? {target_i, residual_i} : {target_kept, residual_kept};
  assign {slots_new, slot_base_new, group_new} =
      tile_rows_i ? {slots_i, slot_base_i, target_group_i} : {slots_kept, slot_base_kept, group_kept};
  always_ff @(posedge clk_i) begin
    if (tile_push_i) begin
      {target_kept, residual_kept} <= {target_new, residual_new};
      {slots_kept, slot_base_kept, group_kept} <= {slots_new, slot_base_new, group_new};
    end
  end
  assign tile_room_o = room_to;  // its entries stay longest
  small_fifo #(.WIDTH(20 + TABLE)) walk (
    .clk_i, .rst_i, .push_i(tile_push_i), .data_i({tile_last_i, tile_free_i, group_new, slot_base_new, slots_new}), .room_o(room_walk),
    .valid_o(tile_valid), .pop_i(tile_pop), .data_o({tile_last, tile_free, group, slot_base, slots}));
  small_fifo #(.WIDTH(RESIDUAL)) from (
    .clk_i, .rst_i, .push_i(tile_push_i), .data_i(residual_new), .room_o(room_from),
    .valid_o(), .pop_i(from_pop), .data_o(residual_head));
  small_fifo #(.WIDTH(TARGET)) to (
    .clk_i, .rst_i, .push_i(tile_push_i), .data_i(target_new), .room_o(room_to),
    .valid_o(), .pop_i(to_pop), .data_o(target_head));

  // 0 and 1: the next slot.
  logic [7:0] number, number_1, slots_1;
  logic go_0, go_1, valid_1, end_1, free_1, last_1, phase;
  logic [9:0] group_1;
  logic [191:0] slot;
  assign go_0 = tile_valid && (!valid_1 || go_1);
  assign tile_pop = go_0 && number == slots - 1'b1;
  assign go_1 = valid_1 && (pool ? pool_valid_i : sums_valid_i) && (!residual || phase);
  assign sums_done_o = go_1 && end_1 && !pool;
  assign pool_done_o = go_1 && end_1 && pool;
  assign slot_free_o = (go_1 && end_1 && free_1 && !pool) ? slots_1 : 8'd0;
  slot_table #(.DEPTH(TABLE_DEPTH)) table_memory (
    .clk_i, .write_i(slot_write_i), .write_address_i(slot_address_i), .data_i(slot_data_i),
    .read_i(go_0), .read_address_i(TABLE'(slot_base + number)), .data_o(slot));
  always_ff @(posedge clk_i) begin
    if (go_0) begin
      {number_1, group_1, slots_1} <= {number, group, slots};
      {end_1, free_1, last_1} <= {tile_pop, tile_free, tile_last};
    end
    if (rst_i) begin
      {valid_1, phase} <= 2'b00;
      number <= '0;
    end else begin
      phase <= !phase;
      if (go_0) number <= tile_pop ? '0 : number + 1'b1;
      valid_1 <= go_0 || (valid_1 && !go_1);
    end
  end

  // 2: the slot's fields and its rows' sums.
  logic [63:0] even_slot, odd_slot, places;
  assign {places, odd_slot, even_slot} = slot;
  assign even_row_o = even_slot[52+:ROW_BITS];
  assign odd_row_o = odd_slot[52+:ROW_BITS];
  assign pool_pair_o = ($clog2(TK/2))'(number_1);

  logic [13:0] valid;  // of stages 2 ...
  logic [13:0] ends, lasts;
  logic [TP*OPERAND-1:0] even_2, odd_2, even_3, odd_3, even_4, odd_4, even_5, odd_5, even_6, odd_6;
  logic [ACC_BITS-1:0] even_bias, odd_bias;
  logic [9:0] to_group, from_group;
  logic [4:0] even_lane_2, odd_lane_2, even_from_2, odd_from_2, even_from_3, odd_from_3, even_from_4, odd_from_4, even_from_5, odd_from_5;
  logic [19:0] even_factor_2, odd_factor_2;
  logic [1:0] used_2, adds_2;
  always_ff @(posedge clk_i) begin
    for (int p = 0; p < TP; p = p + 1) begin
      even_2[p*OPERAND+:OPERAND] <= pool ? OPERAND'(pool_even_i[p*SUM_BITS+:SUM_BITS]) : OPERAND'(even_i[p*ACC_BITS+:ACC_BITS]);
      odd_2[p*OPERAND+:OPERAND] <= pool ? OPERAND'(pool_odd_i[p*SUM_BITS+:SUM_BITS]) : OPERAND'(odd_i[p*ACC_BITS+:ACC_BITS]);
    end
    even_bias <= pool ? op_i[28*32+:ACC_BITS] : even_slot[ACC_BITS-1:0];
    odd_bias <= pool ? op_i[28*32+:ACC_BITS] : odd_slot[ACC_BITS-1:0];
    even_factor_2 <= pool ? op_i[27*32+:20] : even_slot[51:32];
    odd_factor_2 <= pool ? op_i[27*32+:20] : odd_slot[51:32];
    used_2 <= pool ? 2'b11 : {odd_slot[57], even_slot[57]};
    adds_2 <= pool ? 2'b00 : {odd_slot[58], even_slot[58]};
    even_lane_2 <= pool ? 5'(2 * number_1) : even_slot[63:59];
    odd_lane_2 <= pool ? 5'(2 * number_1 + 1) : odd_slot[63:59];
    to_group <= pool ? group_1 : places[9:0];
    {odd_from_2, even_from_2, from_group} <= places[29:10];
  end

  // A slot names rows and lanes that there are.
  logic no_place;
  assign no_place = go_1 && !pool && ((even_slot[57] && (32'(even_slot[56:52]) >= ROWS / 2 || 32'(even_slot[63:59]) >= TK))
      || (odd_slot[57] && (32'(odd_slot[56:52]) >= ROWS / 2 || 32'(odd_slot[63:59]) >= TK))
      || (residual && even_slot[57] && even_slot[58] && 32'(places[24:20]) >= TK)
      || (residual && odd_slot[57] && odd_slot[58] && 32'(places[29:25]) >= TK));

  // What a slot needs further on travels with it.
  logic [4*42-1:0] factors;            // stages 3 to 6: {adds, odd factor, even factor}
  logic [ADDRESS-1:0] to_product, from_product, to_base_4;
  logic [BANKS*ADDRESS-1:0] from_words;
  logic [TP*BANK_BITS-1:0] from_banks_4, from_banks_5, from_banks_6;
  logic [BANKS*ADDRESS-1:0] from_address;
  logic [11:0] lanes_3, lanes_4;
  localparam int CARRIED = ADDRESS + 12;
  logic [10*CARRIED-1:0] carried;  // stages 5 to 14

  assign from_pop = valid[1] && ends[1];  // in stage 3
  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid <= '0;
    end else begin
      valid <= {valid[12:0], go_1};
    end
    ends <= {ends[12:0], end_1};
    lasts <= {lasts[12:0], last_1};
    factors <= {factors[3*42-1:0], adds_2, odd_factor_2, even_factor_2};
    to_product <= ADDRESS'(to_group * op_i[12*32+16+:16]);
    from_product <= ADDRESS'(from_group * op_i[17*32+16+:16]);
    lanes_3 <= {used_2, odd_lane_2, even_lane_2};
    lanes_4 <= lanes_3;
    to_base_4 <= op_i[12*32+:ADDRESS] + to_product;
    carried <= {carried[9*CARRIED-1:0], lanes_4, to_base_4};
    {odd_from_3, even_from_3} <= {odd_from_2, even_from_2};
    {odd_from_4, even_from_4} <= {odd_from_3, even_from_3};
    {odd_from_5, even_from_5} <= {odd_from_4, even_from_4};
    for (int p = 0; p < TP; p = p + 1) begin
      even_3[p*OPERAND+:OPERAND] <= wrapped(even_2[p*OPERAND+:OPERAND], even_bias);
      odd_3[p*OPERAND+:OPERAND] <= wrapped(odd_2[p*OPERAND+:OPERAND], odd_bias);
    end
    {even_4, odd_4} <= {even_3, odd_3};
    {even_5, odd_5} <= {even_4, odd_4};
    {even_6, odd_6} <= {even_5, odd_5};
    from_banks_4 <= residual_head[BANKS*ADDRESS+:TP*BANK_BITS];
    {from_banks_6, from_banks_5} <= {from_banks_5, from_banks_4};
  end

  // acc + bias in ACC_BITS bits, signed.
  function automatic logic [OPERAND-1:0] wrapped(input logic [OPERAND-1:0] sum, input logic [ACC_BITS-1:0] bias);
    logic [ACC_BITS-1:0] biased;
    biased = sum[ACC_BITS-1:0] + bias;
    wrapped = OPERAND'($signed(biased));
  endfunction

  // 3: addresses of the residual words.
  for (genvar b = 0; b < BANKS; b++) begin : g_from
    assign from_address[b*ADDRESS+:ADDRESS] = residual_head[b*ADDRESS+:ADDRESS] + op_i[17*32+:ADDRESS] + from_product;
  end

  // 5, 6: the residual lanes of each bank, then of each position.
  logic [BANKS*8-1:0] even_lane_6, odd_lane_6;
  logic [TP*9-1:0] even_code_7, odd_code_7;
  for (genvar b = 0; b < BANKS; b++) begin : g_lanes
    for (genvar i = 0; i < 8; i++) begin : g_bit
      logic [2**LANE_BITS-1:0] column;
      for (genvar l = 0; l < 2**LANE_BITS; l++) begin : g_lane
        if (l < TK) begin : g_in
          assign column[l] = data_i[(b*TK+l)*8+i];
        end else begin : g_out
          assign column[l] = 1'b0;
        end
      end
      always_ff @(posedge clk_i) begin
        even_lane_6[b*8+i] <= column[even_from_5[LANE_BITS-1:0]];
        odd_lane_6[b*8+i] <= column[odd_from_5[LANE_BITS-1:0]];
      end
    end
  end
  always_ff @(posedge clk_i) begin
    for (int p = 0; p < TP; p = p + 1) begin
      even_code_7[p*9+:9] <= {1'b0, even_lane_6[8*32'(from_banks_6[p*BANK_BITS+:BANK_BITS])+:8]} - {1'b0, op_i[22*32+24+:8]};
      odd_code_7[p*9+:9] <= {1'b0, odd_lane_6[8*32'(from_banks_6[p*BANK_BITS+:BANK_BITS])+:8]} - {1'b0, op_i[22*32+24+:8]};
    end
  end

  // Requantizers: the first operand in 6, the second in 7. valid[n] is stage n + 2.
  logic second;
  logic [24:0] even_factor, odd_factor, residual_factor;
  logic [41:0] factor_6;
  logic [1:0] adds_7;
  assign second = residual && valid[5];
  assign factor_6 = factors[3*42+:42];
  assign residual_factor = op_i[23*32+:25];
  assign even_factor = second ? (adds_7[0] ? residual_factor : 25'd0) : {5'd0, factor_6[19:0]};
  assign odd_factor = second ? (adds_7[1] ? residual_factor : 25'd0) : {5'd0, factor_6[39:20]};
  always_ff @(posedge clk_i) adds_7 <= factor_6[41:40];

  logic [OPERAND+20:0] sticky, over_wide, over_narrow;
  always_ff @(posedge clk_i) begin
    for (int i = 0; i < OPERAND + 21; i = i + 1) begin
      sticky[i] <= i + 1 < 32'(shift);
      over_wide[i] <= i >= 32'(shift) + WIDE - 1;
      over_narrow[i] <= i >= 32'(shift) + NARROW - 1;
    end
  end

  logic [TP*8-1:0] even_byte, odd_byte;
  logic [31:0] even_logit, odd_logit;
  for (genvar p = 0; p < TP; p++) begin : g_requantize
    localparam int CODE = (p == 0) ? WIDE : NARROW;
    logic [CODE-1:0] even_code, odd_code;
    logic signed [CODE-1:0] low, high;
    assign low = CODE'($signed(op_i[24*32+:32]));
    assign high = CODE'($signed(op_i[25*32+:32]));
    requantizer #(.OPERAND(OPERAND), .CODE(CODE)) even (
      .clk_i, .first_i(!second),
      .operand_i(second ? OPERAND'($signed(even_code_7[p*9+:9])) : even_6[p*OPERAND+:OPERAND]), .multiplier_i(even_factor),
      .shift_i(shift), .sticky_i(sticky), .over_i((p == 0) ? over_wide : over_narrow), .low_i(low), .high_i(high), .code_o(even_code));
    requantizer #(.OPERAND(OPERAND), .CODE(CODE)) odd (
      .clk_i, .first_i(!second),
      .operand_i(second ? OPERAND'($signed(odd_code_7[p*9+:9])) : odd_6[p*OPERAND+:OPERAND]), .multiplier_i(odd_factor),
      .shift_i(shift), .sticky_i(sticky), .over_i((p == 0) ? over_wide : over_narrow), .low_i(low), .high_i(high), .code_o(odd_code));
    assign even_byte[p*8+:8] = even_code[7:0] + op_i[22*32+16+:8];
    assign odd_byte[p*8+:8] = odd_code[7:0] + op_i[22*32+16+:8];
    if (p == 0) begin : g_logit
      assign even_logit = even_code[31:0];
      assign odd_logit = odd_code[31:0];
    end
  end

  // The write: codes are there in stage 13, with a residual operand in 14.
  logic write, write_end, write_last;
  logic [CARRIED-1:0] carried_now;
  logic [4:0] even_lane, odd_lane;
  logic [1:0] used;
  logic [ADDRESS-1:0] to_base;
  assign write = residual ? valid[12] : valid[11];
  assign write_end = residual ? ends[12] : ends[11];
  assign write_last = residual ? lasts[12] : lasts[11];
  assign carried_now = residual ? carried[9*CARRIED+:CARRIED] : carried[8*CARRIED+:CARRIED];
  assign {used, odd_lane, even_lane, to_base} = carried_now;
  assign to_pop = write && write_end;

  // Port B: write-back first, then the side port.
  logic reads, serve, answer;
  assign reads = residual && valid[1];
  assign am_ready_o = !write && !reads;
  assign serve = am_valid_i && am_ready_o;
  logic [BANKS-1:0] illegal_write, illegal_read;
  for (genvar b = 0; b < BANKS; b++) begin : g_bank
    logic [TARGET_EACH-1:0] there;
    logic [ADDRESS-1:0] address;
    logic [BANK_BITS-1:0] low_position, high_position;
    logic [7:0] even, odd;
    logic hit;
    assign there = target_head[b*TARGET_EACH+:TARGET_EACH];
    assign {hit, high_position, low_position} = there[TARGET_EACH-1:ADDRESS];
    assign address = to_base + there[ADDRESS-1:0];
    assign even = logits ? even_logit[8*(b%4)+:8]
        : {even_byte[8*32'(pair ? high_position : low_position)+(pair ? 0 : 4)+:4], even_byte[8*32'(low_position)+:4]};
    assign odd = logits ? odd_logit[8*(b%4)+:8]
        : {odd_byte[8*32'(pair ? high_position : low_position)+(pair ? 0 : 4)+:4], odd_byte[8*32'(low_position)+:4]};
    assign illegal_write[b] = hit && address >= ADDRESS'(AM_DEPTH);
    assign illegal_read[b] = from_address[b*ADDRESS+:ADDRESS] >= ADDRESS'(AM_DEPTH);
    always_ff @(posedge clk_i) begin
      address_o[b*WORD+:WORD] <= write ? address[WORD-1:0] : reads ? from_address[b*ADDRESS+:WORD] : am_address_i[WORD-1:0];
    end
    for (genvar l = 0; l < TK; l++) begin : g_lane
      logic to_even, to_odd;
      assign to_even = used[0] && even_lane == l;
      assign to_odd = used[1] && odd_lane == l;
      always_ff @(posedge clk_i) begin
        write_o[b*TK+l] <= rst_i ? 1'b0 : write ? hit && (to_even || to_odd) : serve && am_write_i;
        data_o[(b*TK+l)*8+:8] <= !write ? am_data_i[(b*TK+l)*8+:8] : to_odd ? odd : even;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      {answer, am_data_valid_o, finished_o, illegal_o} <= '0;
    end else begin
      answer <= serve && !am_write_i;
      am_data_valid_o <= answer;
      finished_o <= write && write_end && write_last;
      illegal_o <= (write && |illegal_write) || (reads && |illegal_read) || (serve && am_address_i >= 16'(AM_DEPTH))
          || (write && reads) || no_place;
    end
  end
endmodule
