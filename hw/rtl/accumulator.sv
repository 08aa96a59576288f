// acc <- (clear ? 0 : shift ? 2^SHIFT * acc : acc) + sum, one LUT per bit; clear and shift travel with their step.
//
// The sum is unsigned. With OFFSET it is 2^(SUM_BITS-1) too large, as packed DSP fields give it: taking that away is
// inverting the top bit and extending it as a sign, which costs nothing inside the accumulator's LUTs.
// With SYNTHESIS defined these LUTs are instantiated.
module accumulator #(
  // bits of the accumulator, which wraps around
  parameter int ACC_BITS = 32,
  // bits of the sum
  parameter int SUM_BITS = 13,
  // bits by which shift_i multiplies
  parameter int SHIFT    = 4,
  // 1: take half of the sum's range away
  parameter bit OFFSET   = 1'b0,
  // cycles by which the sum waits (clear and shift do not)
  parameter int WAIT     = 0
) (
  input  logic                clk_i,
  input  logic                en_i,
  input  logic                clear_i,
  input  logic                shift_i,
  input  logic [SUM_BITS-1:0] sum_i,
  output logic [ACC_BITS-1:0] acc_o
);
  logic [SUM_BITS-1:0] sum;
  delay_line #(.WIDTH(SUM_BITS), .CYCLES(WAIT)) wait_line (.clk_i, .en_i, .data_i(sum_i), .data_o(sum));

  logic [ACC_BITS-1:0] acc_q, next;
  always_ff @(posedge clk_i) if (en_i) acc_q <= next;
  assign acc_o = acc_q;

`ifdef SYNTHESIS
  // Of {sum, shift, clear, acc << SHIFT, acc}: clear ? 0 : shift ? acc << SHIFT : acc, and the sum.
  localparam logic [31:0] START = {2{16'h0C0A}};
  localparam logic [31:0] SUM = 32'hFFFF_0000;
  logic [ACC_BITS-1:0] propagate, addend;
  for (genvar i = 0; i < ACC_BITS; i++) begin : g_bit
    localparam int FROM = (i < SUM_BITS) ? i : SUM_BITS - 1;
    localparam logic [31:0] TOP = OFFSET ? ~SUM : (i < SUM_BITS) ? SUM : 32'h0;
    localparam logic [31:0] ADDEND = (i < SUM_BITS - 1) ? SUM : TOP;
    logic shifted;
    if (i < SHIFT) begin : g_low
      assign shifted = 1'b0;
    end else begin : g_high
      assign shifted = acc_q[i-SHIFT];
    end
    lut_pair #(.TABLE5(ADDEND), .TABLE6(ADDEND ^ START)) bit_lut (
      .inputs_i({sum[FROM], shift_i, clear_i, shifted, acc_q[i]}), .select_i(1'b1), .o5_o(addend[i]), .o6_o(propagate[i])
    );
  end
  carry_chain #(.WIDTH(ACC_BITS)) chain (
    .carry_i(1'b0), .propagate_i(propagate), .generate_i(addend), .sum_o(next), .carry_o()
  );
`else
  logic [ACC_BITS-1:0] start, addend;
  assign start = clear_i ? '0 : shift_i ? acc_q << SHIFT : acc_q;
  assign addend = ACC_BITS'(sum) - (OFFSET ? ACC_BITS'(64'd1 << (SUM_BITS - 1)) : '0);
  assign next = start + addend;
`endif
endmodule
