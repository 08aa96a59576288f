// An array on DSP48E1s: packs weights of two rows, activations of two positions, both or neither into one product, and
// skews the lanes.
//
// ON_A_ACTIVATIONS = 0: A = w0 + w1 * 2^STEP_ROW, B = a0 + a1 * 2^STEP_POSITION. The product holds w0*a0 at bit 0, w1*a0 at
// STEP_ROW, w0*a1 at STEP_POSITION, w1*a1 at their sum. ON_A_ACTIVATIONS = 1: activations on A, less 2^(ACT_BITS-1) each
// by the pre-adder, which halves the largest product; weights on B. Then acc_o is the sum of products and, per pass,
//     correction = -2^(ACT_BITS-1) * (sum of the row's codes)
// (the first of two passes counts 2^ACT_BITS times); with ON_A_ACTIVATIONS = 0 it is exact.
//
// Lane codes, WEIGHT_BITS each, two's complement: w0, and for the second row of a pair w1 - (w0 < 0), so that the packed
// pair is a concatenation and needs no adder.
module dsp_array #(
  parameter int ROWS             = 2,
  parameter int TK               = 16,
  parameter int TP               = 2,
  parameter int ACT_BITS         = 4,
  parameter int ACC_BITS         = 32,
  // bits of a lane code; codes are symmetric, up to 2^(WEIGHT_BITS-1) - 1
  parameter int WEIGHT_BITS      = 4,
  // 1: two rows share a DSP, two positions share a DSP
  parameter bit PAIR_ROWS        = 1,
  parameter bit PAIR_POSITIONS   = 1,
  // distance in bits of the two weights, of the two activations
  parameter int STEP_ROW         = 10,
  parameter int STEP_POSITION    = 20,
  parameter bit ON_A_ACTIVATIONS = 1,
  // as in dsp_column
  parameter int SEGMENT          = 8,
  parameter int CHAIN            = 16,
  parameter int STAGE            = 2,
  parameter int WAIT             = 0,
  parameter int UNSAFE_PRODUCTS  = 0,
  parameter int UNSAFE_BITS      = 0
) (
  input  logic                           clk_i,
  input  logic                           en_i,
  input  logic                           clear_i,
  input  logic                           shift_i,
  input  logic [TP*TK*ACT_BITS-1:0]      act_i,
  input  logic [ROWS*TK*WEIGHT_BITS-1:0] weight_i,
  output logic [ROWS*TP*ACC_BITS-1:0]    acc_o
);
  localparam int PER_ROWS = PAIR_ROWS ? 2 : 1;
  localparam int PER_POSITIONS = PAIR_POSITIONS ? 2 : 1;
  localparam int ROW_AT = STEP_ROW - UNSAFE_BITS;
  localparam int POSITION_AT = STEP_POSITION - UNSAFE_BITS;
  localparam int MAX = dsp_packing::largest_product(WEIGHT_BITS, ACT_BITS, ON_A_ACTIVATIONS);
  localparam int HALF = 1 << (ACT_BITS - 1);
  // Bits of a weight word and of an activation word; the signed one is extended to its port's width.
  localparam int WEIGHT_WORD = WEIGHT_BITS + (PAIR_ROWS ? ROW_AT : 0);
  localparam int ACT_WORD = ACT_BITS + (PAIR_POSITIONS ? POSITION_AT : 0);

  if (ROWS % PER_ROWS != 0 || TP % PER_POSITIONS != 0) begin : g_bad_pairs
    $error("dsp_array ROWS must be even to pair rows, TP must be even to pair positions");
  end
  if (WEIGHT_WORD > (ON_A_ACTIVATIONS ? 18 : 25) || ACT_WORD > (ON_A_ACTIVATIONS ? 24 : 17)) begin : g_bad_step
    $error("dsp_array STEP_ROW and STEP_POSITION must leave the packed operands within the DSP's ports");
  end

  // Lane l works l / STAGE cycles after lane 0 of its chain; a second register in the DSP is the last of these cycles.
  logic [TP*TK*ACT_BITS-1:0] act;
  logic [ROWS*TK*WEIGHT_BITS-1:0] weight;
  for (genvar l = 0; l < TK; l++) begin : g_skew
    localparam int CYCLES = (l % CHAIN) / STAGE;
    localparam int IN_FABRIC = (CYCLES > 0) ? CYCLES - 1 : 0;
    for (genvar p = 0; p < TP; p++) begin : g_position
      delay_line #(.WIDTH(ACT_BITS), .CYCLES(IN_FABRIC)) line (
        .clk_i, .en_i, .data_i(act_i[(p*TK+l)*ACT_BITS+:ACT_BITS]), .data_o(act[(p*TK+l)*ACT_BITS+:ACT_BITS])
      );
    end
    for (genvar r = 0; r < ROWS; r++) begin : g_row
      delay_line #(.WIDTH(WEIGHT_BITS), .CYCLES(IN_FABRIC)) line (
        .clk_i, .en_i, .data_i(weight_i[(r*TK+l)*WEIGHT_BITS+:WEIGHT_BITS]),
        .data_o(weight[(r*TK+l)*WEIGHT_BITS+:WEIGHT_BITS])
      );
    end
  end

  for (genvar r = 0; r < ROWS; r += PER_ROWS) begin : g_rows
    for (genvar p = 0; p < TP; p += PER_POSITIONS) begin : g_positions
      logic [TK*25-1:0] a;
      logic [TK*18-1:0] b;
      for (genvar l = 0; l < TK; l++) begin : g_lane
        logic [WEIGHT_BITS-1:0] w0;
        logic signed [WEIGHT_WORD-1:0] weight_word;
        logic [ACT_WORD-1:0] act_word;
        assign w0 = weight[(r*TK+l)*WEIGHT_BITS+:WEIGHT_BITS];
        if (PAIR_ROWS) begin : g_two_rows
          assign weight_word = {weight[((r+1)*TK+l)*WEIGHT_BITS+:WEIGHT_BITS], {(ROW_AT - WEIGHT_BITS) {w0[WEIGHT_BITS-1]}}, w0};
        end else begin : g_one_row
          assign weight_word = w0;
        end
        if (PAIR_POSITIONS) begin : g_two_positions
          assign act_word = {act[((p+1)*TK+l)*ACT_BITS+:ACT_BITS], {(POSITION_AT - ACT_BITS) {1'b0}}, act[(p*TK+l)*ACT_BITS+:ACT_BITS]};
        end else begin : g_one_position
          assign act_word = act[(p*TK+l)*ACT_BITS+:ACT_BITS];
        end
        if (ON_A_ACTIVATIONS) begin : g_activations_on_a
          assign a[l*25+:25] = {{(25 - ACT_WORD) {1'b0}}, act_word};
          assign b[l*18+:18] = {{(18 - WEIGHT_WORD) {weight_word[WEIGHT_WORD-1]}}, weight_word};
        end else begin : g_weights_on_a
          assign a[l*25+:25] = {{(25 - WEIGHT_WORD) {weight_word[WEIGHT_WORD-1]}}, weight_word};
          assign b[l*18+:18] = {{(18 - ACT_WORD) {1'b0}}, act_word};
        end
      end

      // Fields lie in the order of their positions in P: the nearer pair varies first.
      localparam int FIELDS = PER_ROWS * PER_POSITIONS;
      localparam bit ROWS_NEARER = PAIR_ROWS && (!PAIR_POSITIONS || STEP_ROW < STEP_POSITION);
      localparam int NEAR = (PAIR_ROWS && PAIR_POSITIONS) ? (ROWS_NEARER ? STEP_ROW : STEP_POSITION) : 0;
      localparam int FAR = PAIR_ROWS && (!PAIR_POSITIONS || !ROWS_NEARER) ? STEP_ROW : STEP_POSITION;
      logic [FIELDS*ACC_BITS-1:0] acc;
      dsp_column #(
        .TK(TK), .CHAIN(CHAIN), .STAGE(STAGE), .SEGMENT(SEGMENT), .FIELDS(FIELDS), .STEP_LOW(NEAR), .STEP_HIGH(FAR), .MAX(MAX),
        .A_OFFSET(ON_A_ACTIVATIONS ? -HALF - (PAIR_POSITIONS ? HALF << POSITION_AT : 0) : 0),
        .ACC_BITS(ACC_BITS), .SHIFT(ACT_BITS), .WAIT(WAIT), .UNSAFE_PRODUCTS(UNSAFE_PRODUCTS), .UNSAFE_BITS(UNSAFE_BITS)
      ) column (
        .clk_i, .en_i, .clear_i, .shift_i, .a_i(a), .b_i(b), .acc_o(acc)
      );
      for (genvar f = 0; f < FIELDS; f++) begin : g_field
        localparam int ROW = r + ((FIELDS == 2) ? (PAIR_ROWS ? f : 0) : (ROWS_NEARER ? f % 2 : f / 2));
        localparam int POSITION = p + ((FIELDS == 2) ? (PAIR_ROWS ? 0 : f) : (ROWS_NEARER ? f / 2 : f % 2));
        assign acc_o[(ROW*TP+POSITION)*ACC_BITS+:ACC_BITS] = acc[f*ACC_BITS+:ACC_BITS];
      end
    end
  end
endmodule
