// Every cell of the LUT arrays against plain arithmetic, exhaustively; run it for the behavioural twins and for the
// primitives, with the synthesiser's models of the latter:
//   $ verilator --binary -Wno-fatal --top-module lut_twins_tb -f hw/rtl/lut_arrays.f hw/sim/lut_twins_tb.sv [-DSYNTHESIS cells_sim.v]
// (from yosys' share/xilinx/cells_sim.v without its specify blocks).
module lut_twins_tb;
  int failures = 0;
  int checks = 0;

  function automatic void check(input string what, input int index, input int found, input int wanted);
    checks++;
    if (found != wanted) begin
      failures++;
      if (failures < 20) $display("%s input %0x must give %0d, not %0d", what, index, wanted, found);
    end
  endfunction

  for (genvar w = 1; w <= 4; w++) begin : g_chain
    logic [3*w+1:0] in;
    logic [w+1:0] sum;
    logic [w-1:0] wrapped;
    ternary_chain #(.WIDTH(w)) dut (
      .a_i(in[w-1:0]), .b_i(in[2*w-1:w]), .c_i(in[3*w-1:2*w]), .extra_i(in[3*w]), .top_i(in[3*w+1]), .sum_o(sum));
    ternary_chain #(.WIDTH(w), .SUM_WIDTH(w)) dut_wrapped (
      .a_i(in[w-1:0]), .b_i(in[2*w-1:w]), .c_i(in[3*w-1:2*w]), .extra_i(in[3*w]), .top_i(1'b0), .sum_o(wrapped));
    initial begin
      int wanted;
      for (int i = 0; i < 2 ** (3 * w + 2); i++) begin
        in = (3*w+2)'(i);
        #1 wanted = int'(in[w-1:0]) + int'(in[2*w-1:w]) + int'(in[3*w-1:2*w]) + int'(in[3*w]) + (int'(in[3*w+1]) << w);
        check("ternary_chain", i, int'(sum), wanted);
        check("ternary_chain wrapped", i, int'(wrapped), wanted % 2 ** w);
      end
    end
  end

  for (genvar w = 1; w <= 5; w++) begin : g_pair
    logic [2*w+3:0] in;
    logic [w:0] sum;
    pair_adder #(.WIDTH(w)) dut (
      .enable_a_i(in[0]), .negate_a_i(in[1]), .a_i(in[w+3:4]), .enable_b_i(in[2]), .negate_b_i(in[3]), .b_i(in[2*w+3:w+4]),
      .sum_o(sum));
    initial begin
      int a, b;
      for (int i = 0; i < 2 ** (2 * w + 4); i++) begin
        in = (2*w+4)'(i);
        #1 a = in[1] ? 2 ** w - 1 - int'(in[w+3:4]) : int'(in[w+3:4]);
        b = in[3] ? 2 ** w - 1 - int'(in[2*w+3:w+4]) : int'(in[2*w+3:w+4]);
        check("pair_adder", i, int'(sum), (in[0] ? a : 0) + (in[2] ? b : 0));
      end
    end
  end

  for (genvar w = 4; w <= 8; w++) begin : g_pot3
    logic [w+2:0] in;
    logic [w+1:0] product;
    pot3_product #(.ACT_BITS(w)) dut (.code_i(in[w+2:w]), .act_i(in[w-1:0]), .product_o(product));
    initial begin
      int act;
      for (int i = 0; i < 2 ** (w + 3); i++) begin
        in = (w+3)'(i);
        #1 act = in[w+2] ? 2 ** w - 1 - int'(in[w-1:0]) : int'(in[w-1:0]);
        check("pot3_product", i, int'(product), in[w+1:w] == 3 ? 0 : act << in[w+1:w]);
      end
    end
  end

  for (genvar w = 4; w <= 7; w++) begin : g_pot4
    logic [w+3:0] in;
    logic [w+5:0] product;
    logic [4:0] code;
    assign code = {in[w+2:w] == 5 || in[w+2:w] == 6, in[w+3:w]};
    if (w == 4) begin : g_nibble
      pot4_product dut (.code_i(code), .act_i(in[w-1:0]), .product_o(product));
    end else begin : g_wide
      pot4_wide_product #(.ACT_BITS(w)) dut (.code_i(code), .act_i(in[w-1:0]), .product_o(product));
    end
    initial begin
      int act;
      for (int i = 0; i < 2 ** (w + 4); i++) begin
        in = (w+4)'(i);
        #1 act = in[w+3] ? 2 ** w - 1 - int'(in[w-1:0]) : int'(in[w-1:0]);
        check("pot4_product", i, int'(product), in[w+2:w] == 7 ? 0 : act << in[w+2:w]);
      end
    end
  end

  initial begin
    #100000;
    if (failures > 0) $fatal(1, "%0d of %0d checks failed", failures, checks);
    $display("ok: %0d checks", checks);
    $finish;
  end
endmodule
