// One result at a time: (operand * multiplier [+ operand * multiplier]) / 2^S, ties to even, clamped; a new operand each cycle.
//
// The multiplier comes in two parts, low 17 bits and the rest, one DSP each. Latency from last_i: 7 cycles.
module requantizer #(
  // bits of the operand
  parameter int OPERAND = 24,
  // bits of the code; outside them the sign alone decides what clamping gives
  parameter int CODE = 10
) (
  input  logic                      clk_i,
  input  logic                      first_i,
  input  logic signed [OPERAND-1:0] operand_i,
  input  logic [24:0]               multiplier_i,
  // of the operation
  input  logic [5:0]                shift_i,
  input  logic [OPERAND+20:0]       sticky_i,   // bits below the guard bit
  input  logic [OPERAND+20:0]       over_i,     // bits at and above the code's sign
  input  logic signed [CODE-1:0]    low_i,
  input  logic signed [CODE-1:0]    high_i,
  output logic signed [CODE-1:0]    code_o
);
  localparam int BITS = OPERAND + 21;

  logic signed [OPERAND-1:0] operand_q;
  logic signed [17:0] small_q, large_q;
  logic signed [OPERAND+17:0] small_product, large_product;
  logic signed [OPERAND+18:0] small_sum, large_sum;
  logic first_1, first_2;
  always_ff @(posedge clk_i) begin
    operand_q <= operand_i;
    small_q <= $signed({1'b0, multiplier_i[16:0]});
    large_q <= $signed({10'd0, multiplier_i[24:17]});
    small_product <= operand_q * small_q;
    large_product <= operand_q * large_q;
    {first_2, first_1} <= {first_1, first_i};
    small_sum <= (first_2 ? $signed({(OPERAND+19){1'b0}}) : small_sum) + small_product;
    large_sum <= (first_2 ? $signed({(OPERAND+19){1'b0}}) : large_sum) + large_product;
  end

  // Shift by sixteens, fours and ones, guard bit included.
  logic [BITS-1:0] value;
  logic [CODE+16:0] sixteens;
  logic [CODE+3:0] fours, fours_q;
  logic [CODE:0] ones;
  logic sticky, over, sign, over_q, sign_q;
  logic [BITS+63:0] extended;
  assign extended = {{63{value[BITS-1]}}, value, 1'b0};
  assign sixteens = extended[16*shift_i[5:4]+:CODE+17];
  assign fours = sixteens[4*shift_i[3:2]+:CODE+4];
  assign ones = fours_q[shift_i[1:0]+:CODE+1];

  logic signed [CODE:0] rounded;
  logic below, above;
  assign below = over_q ? sign_q : rounded < $signed({low_i[CODE-1], low_i});
  assign above = over_q ? !sign_q : rounded > $signed({high_i[CODE-1], high_i});
  always_ff @(posedge clk_i) begin
    value <= BITS'(small_sum) + (BITS'(large_sum) <<< 17);
    fours_q <= fours;
    sticky <= |(value & sticky_i);
    over <= |((value ^ {BITS{value[BITS-1]}}) & over_i);
    sign <= value[BITS-1];
    rounded <= $signed({ones[CODE], ones[CODE:1]}) + $signed({{CODE{1'b0}}, ones[0] && (sticky || ones[1])});
    {over_q, sign_q} <= {over, sign};
    code_o <= below ? low_i : above ? high_i : rounded[CODE-1:0];
  end
endmodule
