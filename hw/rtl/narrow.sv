// What the arrays see of a stored byte in mode 2: clamp(round(u / 2^k) - sub, low, high), ties to even, 0 <= low <= high.
module narrow #(
  // bits of the arrays' activations
  parameter int ACT_BITS = 4
) (
  input  logic [7:0]          byte_i,
  input  logic [2:0]          shift_i,
  input  logic [9:0]          addend_i,  // signed: what rounds, 2^(k-1) - 1, less sub * 2^k; fits for k and sub that make sense
  input  logic [7:0]          low_i,
  input  logic [7:0]          high_i,
  output logic [ACT_BITS-1:0] act_o
);
  logic tie;
  logic signed [10:0] sum, whole;
  assign tie = shift_i != 0 && byte_i[shift_i];
  assign sum = $signed({3'b000, byte_i}) + $signed({addend_i[9], addend_i}) + $signed({10'd0, tie});
  assign whole = sum >>> shift_i;
  assign act_o = (whole < $signed({3'b000, low_i})) ? low_i[ACT_BITS-1:0]
      : (whole > $signed({3'b000, high_i})) ? high_i[ACT_BITS-1:0] : whole[ACT_BITS-1:0];
endmodule
