// Sizes and latencies that the LUT arrays and whoever balances them must agree on.
package lut_array_pkg;

  // Bits of an unsigned number that reaches `limit`.
  function automatic int bits_for(input int limit);
    bits_for = $clog2(limit + 1);
  endfunction

  // Bits of Σ_g 2^(g·step) · Σ words[g], with `words` words of at most `limit` in each group.
  function automatic int sum_width(input int groups, input int step, input int words, input int limit);
    sum_width = bits_for(words * limit * ((2 ** (groups * step) - 1) / (2 ** step - 1)));
  endfunction

  // Enabled cycles of an array whose products, that many words, go through a register, a `heap_sum` and an accumulator.
  function automatic int latency(input int groups, input int step, input int words, input int limit);
    latency = 2 + bit_heap_pkg::levels(
      bit_heap_pkg::of_words(groups, words, bits_for(limit), step), sum_width(groups, step, words, limit)
    );
  endfunction

endpackage
