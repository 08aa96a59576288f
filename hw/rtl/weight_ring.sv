// The steps' weights in block RAM, and the two stages in which they and their activations enter the arrays together.
//
// A step is freed when it has been read. PoT4's fifth bit (exponent is 5 or 6) is made here.
module weight_ring #(
  parameter int ARRAYS = 3,
  parameter logic [16*16-1:0] KINDS = '0,
  parameter logic [16*16-1:0] ROWS = '0,
  parameter int TK = 16,
  // steps
  parameter int DEPTH = 512,
  // bits of a beat of the weight image
  parameter int BEAT = 192,
  // bits that enter with the weights
  parameter int WITH = 258,
  localparam int IMAGE_BITS = engine_pkg::image_before(KINDS, ROWS, ARRAYS, TK),
  localparam int WEIGHT_BITS = mac_kinds::bits_before(KINDS, ROWS, ARRAYS, TK),
  localparam int COLUMNS = (IMAGE_BITS + BEAT - 1) / BEAT
) (
  input  logic                     clk_i,
  input  logic                     rst_i,
  input  logic                     beat_write_i,
  input  logic [$clog2(DEPTH)-1:0] beat_step_i,
  input  logic [5:0]               beat_index_i,
  input  logic [BEAT-1:0]          beat_data_i,
  input  logic                     valid_i,
  output logic                     take_o,
  input  logic [$clog2(DEPTH)-1:0] step_i,
  input  logic [WITH-1:0]          with_i,
  input  logic                     ready_i,
  output logic                     valid_o,
  output logic [WITH-1:0]          with_o,
  output logic [WEIGHT_BITS-1:0]   weight_o
);
  logic [COLUMNS*BEAT-1:0] image;
  for (genvar c = 0; c < COLUMNS; c++) begin : g_column
    ring_column #(.WIDTH(BEAT), .DEPTH(DEPTH)) column (
      .clk_i, .write_i(beat_write_i && 32'(beat_index_i) == c), .write_step_i(beat_step_i), .data_i(beat_data_i),
      .read_i(ready_i), .read_step_i(step_i), .data_o(image[c*BEAT+:BEAT])
    );
  end

  logic [WEIGHT_BITS-1:0] lane_codes;
  for (genvar a = 0; a < ARRAYS; a++) begin : g_array
    localparam int KIND = mac_kinds::element(KINDS, a);
    localparam int LANES = mac_kinds::element(ROWS, a) * TK;
    localparam int FROM = engine_pkg::image_before(KINDS, ROWS, a, TK);
    localparam int TO = mac_kinds::bits_before(KINDS, ROWS, a, TK);
    localparam int BITS = mac_kinds::lane_bits(KIND);
    if (KIND == mac_kinds::POT4_LUT) begin : g_pot4
      for (genvar l = 0; l < LANES; l++) begin : g_lane
        logic [3:0] code;
        assign code = image[FROM+4*l+:4];
        assign lane_codes[TO+5*l+:5] = {code[2:0] == 3'd5 || code[2:0] == 3'd6, code};
      end
    end else begin : g_same
      assign lane_codes[TO+:LANES*BITS] = image[FROM+:LANES*BITS];
    end
  end

  assign take_o = valid_i && ready_i;
  logic valid_1;
  logic [WITH-1:0] with_1;
  always_ff @(posedge clk_i) begin
    if (ready_i) begin
      with_1 <= with_i;
      with_o <= with_1;
      weight_o <= lane_codes;
    end
    if (rst_i) {valid_1, valid_o} <= 2'b00;
    else if (ready_i) {valid_o, valid_1} <= {valid_1, valid_i};
  end
endmodule
