// Sizes and latencies of the DSP arrays: the one place that knows how wide a packed field must be.
//
// Written in the subset of SystemVerilog that Yosys 0.23 reads: no `return`, no loop variable in `for`.
package dsp_packing;

  // Register stages of a tree of three-operand adders over `operands` numbers.
  function automatic int tree_depth(input int operands);
    int reach;
    int stages;
    begin
      stages = 0;
      for (reach = 1; reach < operands; reach = reach * 3) stages = stages + 1;
      tree_depth = stages;
    end
  endfunction

  // 3 to the power of `exponent`: what a tree of that depth can add.
  function automatic int tree_reach(input int exponent);
    int reach;
    int stage;
    begin
      reach = 1;
      for (stage = 0; stage < exponent; stage = stage + 1) reach = reach * 3;
      tree_reach = reach;
    end
  endfunction

  // Bits of the sum of `operands` unsigned numbers of `bits` bits.
  function automatic int sum_bits(input int operands, input int bits);
    sum_bits = $clog2(operands * ((1 << bits) - 1) + 1);
  endfunction

  // Operands of the first branch of a tree: as many as a shallower tree takes, and an odd number of them, so that an
  // even count costs one two-operand adder where numbers are narrowest, among the leaves.
  function automatic int first_branch(input int operands, input int depth);
    int reach;
    begin
      reach = tree_reach(depth - 1);
      if (reach > operands - 2) reach = operands - 2;
      first_branch = (reach % 2 == 1) ? reach : reach - 1;
    end
  endfunction

  function automatic int second_branch(input int operands, input int depth);
    int reach;
    int left;
    begin
      left = operands - first_branch(operands, depth);
      reach = tree_reach(depth - 1);
      if (reach > left - 1) reach = left - 1;
      second_branch = (reach % 2 == 1) ? reach : reach - 1;
    end
  endfunction

  // Segments of a chain of `lanes` DSPs of which each takes `segment`.
  function automatic int segments(input int lanes, input int segment);
    segments = (lanes + segment - 1) / segment;
  endfunction

  // Enabled cycles from the activations to the accumulators: A/B, M and P registers and the chain's skew, the trees over
  // the digits of a chain and over the chains, the accumulator.
  function automatic int latency(input int lanes, input int chain, input int stage, input int segment);
    latency = 3 + (chain + stage - 1) / stage - 1 + tree_depth(segments(chain, segment)) + tree_depth(lanes / chain) + 1;
  endfunction

endpackage
