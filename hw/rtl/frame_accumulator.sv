// acc <- (clear ? 0 : shift ? acc << SHIFT : acc) + sum, one LUT per bit; clear and shift travel with their step.
module frame_accumulator #(
  // bits of the sum of one step, unsigned
  parameter int SUM_WIDTH = 12,
  // bits of the accumulator, which wraps around
  parameter int ACC_BITS = 32,
  // left shift at the start of a second pass
  parameter int SHIFT = 4
) (
  input  logic                 clk_i,
  input  logic                 en_i,
  input  logic                 clear_i,
  input  logic                 shift_i,
  input  logic [SUM_WIDTH-1:0] sum_i,
  output logic [ACC_BITS-1:0]  acc_o
);
  if (SUM_WIDTH > ACC_BITS) begin : g_check
    $error("ACC_BITS must hold the sum of one step");
  end
  logic [ACC_BITS-1:0] carried;
  always_comb begin
    carried = shift_i ? acc_o << SHIFT : acc_o;
    if (clear_i) carried = '0;
  end
  always_ff @(posedge clk_i) if (en_i) acc_o <= ACC_BITS'(sum_i) + carried;
endmodule
