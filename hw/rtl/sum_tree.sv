// Sum of unsigned numbers by three-operand adders, one register after each level; latency DEPTH.
//
// A tree of depth n adds up to 3^n numbers. Where fewer arrive, flip-flops fill up the depth behind the last adder.
module sum_tree #(
    parameter int OPERANDS = 3,  // how many numbers
    parameter int BITS     = 4,  // bits of each
    parameter int DEPTH    = 1,  // register levels, at least dsp_packing::tree_depth(OPERANDS)
    parameter int SUM_BITS = dsp_packing::sum_bits(OPERANDS, BITS)  // do not set
) (
    input  logic                     clk_i,
    input  logic                     en_i,
    input  logic [OPERANDS*BITS-1:0] data_i,
    output logic [     SUM_BITS-1:0] sum_o
);

  if (OPERANDS < 1 || DEPTH < dsp_packing::tree_depth(OPERANDS)) begin : g_depth
    $error("sum_tree DEPTH must be at least tree_depth(OPERANDS)");
  end

  if (DEPTH == 0) begin : g_wire
    assign sum_o = data_i;
  end else begin : g_level
    logic [SUM_BITS-1:0] sum;
    logic [SUM_BITS-1:0] sum_q;
    if (OPERANDS <= dsp_packing::tree_reach(DEPTH - 1)) begin : g_delay
      sum_tree #(.OPERANDS(OPERANDS), .BITS(BITS), .DEPTH(DEPTH - 1)) tree (
          .clk_i, .en_i, .data_i, .sum_o(sum));
    end else if (OPERANDS == 2) begin : g_two
      assign sum = SUM_BITS'(data_i[0+:BITS]) + SUM_BITS'(data_i[BITS+:BITS]);
    end else begin : g_three
      localparam int N0 = dsp_packing::first_branch(OPERANDS, DEPTH);
      localparam int N1 = dsp_packing::second_branch(OPERANDS, DEPTH);
      localparam int N2 = OPERANDS - N0 - N1;
      localparam int WIDE = dsp_packing::sum_bits((N0 > N2) ? N0 : N2, BITS);
      logic [dsp_packing::sum_bits(N0, BITS)-1:0] sum0;
      logic [dsp_packing::sum_bits(N1, BITS)-1:0] sum1;
      logic [dsp_packing::sum_bits(N2, BITS)-1:0] sum2;
      logic [WIDE-1:0] wide0, wide1, wide2;
      logic [WIDE+1:0] total;
      sum_tree #(.OPERANDS(N0), .BITS(BITS), .DEPTH(DEPTH - 1)) tree0 (
          .clk_i, .en_i, .data_i(data_i[0+:N0*BITS]), .sum_o(sum0));
      sum_tree #(.OPERANDS(N1), .BITS(BITS), .DEPTH(DEPTH - 1)) tree1 (
          .clk_i, .en_i, .data_i(data_i[N0*BITS+:N1*BITS]), .sum_o(sum1));
      sum_tree #(.OPERANDS(N2), .BITS(BITS), .DEPTH(DEPTH - 1)) tree2 (
          .clk_i, .en_i, .data_i(data_i[(N0+N1)*BITS+:N2*BITS]), .sum_o(sum2));
      assign wide0 = WIDE'(sum0);
      assign wide1 = WIDE'(sum1);
      assign wide2 = WIDE'(sum2);
      ternary_adder #(.WIDTH(WIDE)) adder (.a_i(wide0), .b_i(wide1), .c_i(wide2), .sum_o(total));
      assign sum = SUM_BITS'(total);
    end
    always_ff @(posedge clk_i) if (en_i) sum_q <= sum;
    assign sum_o = sum_q;
  end

endmodule
