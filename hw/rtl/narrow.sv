// What the arrays see of a stored byte, in every mode: (byte + addend) / 2^shift, clamped in mode 2, or the padding's code.
//
// Ties go to even: a byte whose bit at `ties_i` is set gets one more. One register, behind the sum. Clamping is to
// [0 or 1, 2^b - 1], b at most ACT_BITS, shifts are at most 8 - ACT_BITS: what the formats need, and no comparison. A sum
// outside of a byte is one above if it is positive.
module narrow #(
  // bits of the arrays' activations
  parameter int ACT_BITS = 4
) (
  input  logic                clk_i,
  input  logic [7:0]          byte_i,
  // of the operation; but in mode 2 all are 0
  input  logic [7:0]          ties_i,      // the bit that decides ties, or none
  input  logic [9:0]          addend_i,    // signed: what rounds, 2^(k-1) - 1, less sub * 2^k, which is at most 255
  input  logic [7:1]          over_i,      // bits of the sum above the code's
  // a cycle after the byte
  input  logic [2:0]          shift_i,     // from 4 on: by ACT_BITS
  input  logic                padding_i,
  input  logic                least_i,     // 0 or 1
  input  logic [ACT_BITS-1:0] limit_i,     // 2^b - 1, or the padding's code
  output logic [7:0]          whole_o,     // the byte, but in mode 2
  output logic [ACT_BITS-1:0] act_o
);
  logic tie;
  if (ACT_BITS < 8) begin : g_tie
    assign tie = |(byte_i[8-ACT_BITS:1] & ties_i[8-ACT_BITS:1]);
  end else begin : g_exact
    assign tie = 1'b0;
  end
  logic [9:0] sum;
  always_ff @(posedge clk_i) sum <= {2'b00, byte_i} + addend_i + 10'(tie);
  assign whole_o = sum[7:0];

  logic [ACT_BITS-1:0] code;
  always_comb begin
    code = sum[ACT_BITS-1:0];
    for (int k = 1; k <= 3; k = k + 1) if (k <= 8 - ACT_BITS && 32'(shift_i[1:0]) == k) code = ACT_BITS'(sum[7:0] >> k);
    if (ACT_BITS < 8 && shift_i[2]) code = ACT_BITS'(sum[7:0] >> ACT_BITS);
  end

  logic limited, below;
  assign limited = padding_i || sum[8] || |(sum[7:1] & over_i);
  assign below = sum[9] && !padding_i;
  always_comb begin
    act_o = !limited ? code : below ? '0 : limit_i;
    if (act_o == '0 && least_i) act_o[0] = 1'b1;
  end
endmodule
