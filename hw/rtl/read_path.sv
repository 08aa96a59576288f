// From a step's counters to its activations: pixel numbers of TP positions, bank addresses, bytes, codes.
//
// It never stands still: whoever issues steps knows that there is room behind it. A step of an image takes its bytes out
// of the patch buffer and enters in front of the last stage; the two kinds are never under way together.
module read_path #(
  // activation lanes
  parameter int TK = 16,
  // positions
  parameter int TP = 4,
  // bits of the arrays' activations
  parameter int ACT_BITS = 4,
  // words of the activation memory
  parameter int AM_DEPTH = 5120,
  // bits of the flags that travel with a step; flag 0 says that it belongs to the second pass
  parameter int FLAGS = 4,
  localparam int PIXEL = engine_pkg::pixel_bits(AM_DEPTH, TP),
  localparam int ADDRESS = engine_pkg::address_bits(AM_DEPTH),
  localparam int WORD = $clog2(AM_DEPTH),
  localparam int BANKS = engine_pkg::banks(TP),
  localparam int BANK_BITS = $clog2(TP)
) (
  input  logic                      clk_i,
  input  logic                      rst_i,
  input  logic [1023:0]             op_i,
  input  logic                      issue_i,
  input  logic [FLAGS-1:0]          flags_i,
  input  logic [TP-1:0]             used_i,
  input  logic [TP*16-1:0]          x_i,
  input  logic [TP*16-1:0]          y_i,
  input  logic [TP*PIXEL-1:0]       row_i,
  input  logic [15:0]               offset_x_i,
  input  logic [15:0]               offset_y_i,
  input  logic [PIXEL-1:0]          offset_row_i,
  input  logic [ADDRESS-1:0]        group_i,
  input  logic [TP*TK*ACT_BITS-1:0] patch_i,     // of this step, as the arrays see it
  output logic [BANKS*WORD-1:0]     address_o,   // its data come in the next cycle but one
  input  logic [BANKS*TK*8-1:0]     data_i,
  output logic                      valid_o,
  output logic [FLAGS-1:0]          flags_o,
  output logic [TP-1:0]             inside_o,    // the position is no padding
  output logic [TP*TK*ACT_BITS-1:0] act_o,
  output logic [TP*TK*8-1:0]        byte_o,      // for pools: the code, not narrowed
  output logic                      illegal_o
);
  logic pair, image, split;
  logic [1:0] mode;
  assign mode = op_i[3*32+:2];
  assign pair = mode == 2'd0;
  assign split = op_i[3*32+3];
  assign image = op_i[3*32+4];

  // Stages b to g in front of the bytes (h), then sums (s) and activations.
  logic [7:0] valid;  // of b to s
  logic [8*FLAGS-1:0] flags;
  logic [FLAGS-1:0] flags_s;
  logic [ADDRESS-1:0] group_b, group_c, group_d;
  assign flags_s = flags[7*FLAGS+:FLAGS];
  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid <= '0;
      valid_o <= 1'b0;
    end else begin
      valid <= {valid[6:0], issue_i && !image};
      valid_o <= valid[7] || (issue_i && image);
    end
    flags <= {flags[7*FLAGS-1:0], flags_i};
    flags_o <= image ? flags_i : flags_s;
    {group_d, group_c, group_b} <= {group_c, group_b, group_i};
  end

  // Constants of the operation.
  logic [PIXEL:0] ring;
  logic narrowed, first_pass, from_memory, from_patch;  // the last two are registers, as they reset registers
  logic [9:0] addend;
  logic [7:0] most;
  logic [7:1] over;
  logic [7:0] pad, ties;
  logic [2:0] shift;
  assign narrowed = mode == 2'd2;
  assign most = op_i[21*32+19+:8] << shift | ((8'd1 << shift) - 8'd1);
  assign first_pass = mode == 2'd3 && !flags_s[0];
  assign pad = (mode == 2'd3 && flags_s[0]) ? op_i[22*32+8+:8] : op_i[22*32+:8];
  always_ff @(posedge clk_i) begin
    ring <= {1'b0, op_i[6*32+:PIXEL]};
    {from_memory, from_patch} <= {!image, image};
    shift <= narrowed ? op_i[21*32+:3] : 3'd0;
    addend <= !narrowed ? 10'd0 : ((shift == 0) ? 10'd0 : (10'd1 << (shift - 1'b1)) - 10'd1) - (10'(op_i[21*32+3+:8]) << shift);
    ties <= (narrowed && shift != 0) ? 8'd1 << shift : 8'd0;
    over <= narrowed ? ~most[7:1] : 7'd0;
  end

  logic [TP*ADDRESS-1:0] address_e;
  logic [TP*BANK_BITS-1:0] bank_e;
  logic [TP-1:0] inside_e, illegal_e;
  for (genvar p = 0; p < TP; p++) begin : g_position
    // Pixel numbers.
    logic [15:0] x_b, y_b, place_c;
    logic [PIXEL-1:0] sum_b, row_c, number_d;
    logic [PIXEL:0] less;
    logic used_b, inside_c, inside_d, half_e;
    logic [PIXEL-1:0] byte_number;
    assign less = {1'b0, sum_b} - ring;
    assign byte_number = pair ? {1'b0, number_d[PIXEL-1:1]} : number_d;
    always_ff @(posedge clk_i) begin
      x_b <= x_i[p*16+:16] + offset_x_i;
      y_b <= y_i[p*16+:16] + offset_y_i;
      sum_b <= row_i[p*PIXEL+:PIXEL] + offset_row_i;
      used_b <= used_i[p];
      place_c <= split ? {1'b0, x_b[15:1]} + (x_b[0] ? op_i[5*32+16+:16] : 16'd0) : x_b;
      row_c <= (ring == 0 || less[PIXEL]) ? sum_b : less[PIXEL-1:0];
      inside_c <= used_b && x_b < op_i[7*32+16+:16] && y_b < op_i[7*32+:16];
      number_d <= row_c + PIXEL'(place_c);
      inside_d <= inside_c;
      address_e[p*ADDRESS+:ADDRESS] <= group_d + byte_number[BANK_BITS+:ADDRESS];
      bank_e[p*BANK_BITS+:BANK_BITS] <= byte_number[BANK_BITS-1:0];
      half_e <= number_d[0];
      inside_e[p] <= inside_d;
    end
    assign illegal_e[p] = inside_e[p] && address_e[p*ADDRESS+:ADDRESS] >= ADDRESS'(AM_DEPTH);

    // Bytes and activations.
    logic [BANK_BITS-1:0] bank_f, bank_g;
    logic half_f, half_g, half_h, half_s, inside_f, inside_g, inside_h, inside_s;
    logic least_s;
    logic [2:0] shift_s;
    logic [ACT_BITS-1:0] limit_s;
    assign shift_s = ((pair && half_s) || first_pass) ? 3'd4 : shift;
    assign limit_s = inside_s ? op_i[21*32+19+:ACT_BITS] : pad[ACT_BITS-1:0];
    assign least_s = narrowed && inside_s && op_i[21*32+11];
    always_ff @(posedge clk_i) begin
      {bank_g, bank_f} <= {bank_f, bank_e[p*BANK_BITS+:BANK_BITS]};
      {half_s, half_h, half_g, half_f} <= {half_h, half_g, half_f, half_e};
      {inside_s, inside_h, inside_g, inside_f} <= {inside_h, inside_g, inside_f, inside_e[p]};
      inside_o[p] <= inside_s;
    end
    for (genvar l = 0; l < TK; l++) begin : g_lane
      logic [7:0] stored, whole;
      logic [ACT_BITS-1:0] seen, act, unrolled;
      for (genvar i = 0; i < 8; i++) begin : g_bit
        logic [BANKS-1:0] column;
        for (genvar b = 0; b < BANKS; b++) begin : g_from
          assign column[b] = data_i[(b*TK+l)*8+i];
        end
        always_ff @(posedge clk_i) stored[i] <= column[bank_g];
      end
      narrow #(.ACT_BITS(ACT_BITS)) narrowing (
        .clk_i, .byte_i(stored), .ties_i(ties), .addend_i(addend), .over_i(over), .shift_i(shift_s), .padding_i(!inside_s),
        .least_i(least_s), .limit_i(limit_s), .whole_o(whole), .act_o(seen)
      );
      always_ff @(posedge clk_i) begin
        if (from_patch) act <= '0;
        else act <= (ACT_BITS == 8 && first_pass && inside_s) ? '0 : seen;
        if (from_memory) unrolled <= '0;
        else unrolled <= patch_i[(p*TK+l)*ACT_BITS+:ACT_BITS];
      end
      assign act_o[(p*TK+l)*ACT_BITS+:ACT_BITS] = act | unrolled;
      assign byte_o[(p*TK+l)*8+:ACT_BITS] = act;
      if (ACT_BITS < 8) begin : g_rest
        // Only an average sees padding, and it has one position.
        logic [7-ACT_BITS:0] rest;
        always_ff @(posedge clk_i) begin
          if (p == 0 && !inside_s) rest <= pad[7:ACT_BITS];
          else if (pair) rest <= '0;
          else rest <= whole[7:ACT_BITS];
        end
        assign byte_o[(p*TK+l)*8+ACT_BITS+:8-ACT_BITS] = rest;
      end
    end
  end

  // Each bank serves the position that lies in it; two positions of a pair's byte ask for the same word.
  for (genvar b = 0; b < BANKS; b++) begin : g_bank
    logic [ADDRESS-1:0] chosen;
    always_comb begin
      chosen = '0;
      for (int p = 0; p < TP; p = p + 1) begin
        if (inside_e[p] && 32'(bank_e[p*BANK_BITS+:BANK_BITS]) == b) chosen = chosen | address_e[p*ADDRESS+:ADDRESS];
      end
    end
    always_ff @(posedge clk_i) address_o[b*WORD+:WORD] <= chosen[WORD-1:0];
  end
  always_ff @(posedge clk_i) illegal_o <= !rst_i && valid[3] && |illegal_e;
endmodule
