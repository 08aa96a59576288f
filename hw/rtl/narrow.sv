// What the arrays see of a stored byte, in every mode: (byte + addend) / 2^shift, clamped in mode 2, or the padding's code.
//
// Ties go to even: a byte whose bit `shift` is set gets one more. One register, behind the sum. 0 <= low <= high < 2^ACT_BITS.
module narrow #(
  // bits of the arrays' activations
  parameter int ACT_BITS = 4
) (
  input  logic                clk_i,
  input  logic [7:0]          byte_i,
  // of the operation
  input  logic                clamp_i,     // mode 2
  input  logic [2:0]          round_i,     // the bit that decides ties, if tie_i
  input  logic                tie_i,
  input  logic [9:0]          addend_i,    // signed: what rounds, 2^(k-1) - 1, less sub * 2^k, which is at most 255
  input  logic [ACT_BITS-1:0] low_i,
  input  logic [ACT_BITS-1:0] high_i,
  input  logic [8:0]          over_i,      // bits of the sum above the code's
  // a cycle after the byte
  input  logic [2:0]          shift_i,
  input  logic                padding_i,
  input  logic [ACT_BITS-1:0] pad_i,
  output logic [7:0]          whole_o,     // the byte, but in mode 2
  output logic [ACT_BITS-1:0] act_o
);
  logic [9:0] sum;
  always_ff @(posedge clk_i) sum <= {2'b00, byte_i} + addend_i + 10'(tie_i && byte_i[round_i]);
  assign whole_o = sum[7:0];

  logic [ACT_BITS-1:0] code;
  logic over, below, above;
  assign code = ACT_BITS'(sum[7:0] >> shift_i);
  assign over = |(sum[8:0] & over_i);
  assign below = clamp_i && (sum[9] || (!over && code < low_i));
  assign above = clamp_i && !sum[9] && (over || code > high_i);
  always_comb begin
    case ({padding_i || below, padding_i || above})
      2'b00: act_o = code;
      2'b10: act_o = low_i;
      2'b01: act_o = high_i;
      default: act_o = pad_i;
    endcase
  end
endmodule
