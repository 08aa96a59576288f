// What the arrays see of a stored byte, in every mode: (byte + addend) / 2^shift, clamped in mode 2, or the padding's code.
//
// Ties go to even: a byte whose bit at `ties_i` is set gets one more. One register, behind the sum. Clamping is to
// [0 or 1, 2^b - 1], b at most ACT_BITS: what the formats need, and no comparison.
module narrow #(
  // bits of the arrays' activations
  parameter int ACT_BITS = 4
) (
  input  logic                clk_i,
  input  logic [7:0]          byte_i,
  // of the operation
  input  logic                clamp_i,     // mode 2
  input  logic [7:0]          ties_i,      // the bit that decides ties, or none
  input  logic [9:0]          addend_i,    // signed: what rounds, 2^(k-1) - 1, less sub * 2^k, which is at most 255
  input  logic                least_i,     // 0 or 1
  input  logic [ACT_BITS-1:0] most_i,      // 2^b - 1
  input  logic [8:0]          over_i,      // bits of the sum above the code's; none if not clamped
  // a cycle after the byte
  input  logic [2:0]          shift_i,
  input  logic                padding_i,
  input  logic [ACT_BITS-1:0] pad_i,
  output logic [7:0]          whole_o,     // the byte, but in mode 2
  output logic [ACT_BITS-1:0] act_o
);
  logic [9:0] sum;
  always_ff @(posedge clk_i) sum <= {2'b00, byte_i} + addend_i + 10'(|(byte_i & ties_i));
  assign whole_o = sum[7:0];

  // A code is at most 8 - ACT_BITS or, in modes 0 and 3, ACT_BITS away.
  logic [ACT_BITS-1:0] code;
  always_comb begin
    code = sum[ACT_BITS-1:0];
    for (int k = 1; k <= 7; k = k + 1) begin
      if ((k <= 8 - ACT_BITS || k == ACT_BITS) && 32'(shift_i) == k) code = ACT_BITS'(sum[7:0] >> k);
    end
  end

  logic over, below;
  assign over = |(sum[8:0] & over_i);
  assign below = clamp_i && sum[9];
  always_comb begin
    case ({padding_i || (over && !below), padding_i || below})
      2'b00: act_o = code;
      2'b10: act_o = most_i;
      2'b01: act_o = '0;
      default: act_o = pad_i;
    endcase
    if (least_i && !padding_i && act_o == '0) act_o[0] = 1'b1;
  end
endmodule
