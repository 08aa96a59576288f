// Sizes and latencies that the LUT arrays and whoever balances them must agree on.
package lut_array_pkg;

  // Words left after one level of ternary adders: three become one; two at the very end become one.
  function automatic int words_after_level(input int words);
    words_after_level = (words == 2) ? 1 : words / 3 + words % 3;
  endfunction

  // Levels (registers) of an `adder_tree` over that many words.
  function automatic int tree_levels(input int words);
    int left;
    left = words;
    tree_levels = 0;
    while (left > 1) begin
      left = words_after_level(left);
      tree_levels = tree_levels + 1;
    end
  endfunction

  // Bits of an unsigned number that reaches `limit`.
  function automatic int bits_for(input int limit);
    bits_for = $clog2(limit + 1);
  endfunction

  // Levels of a `weighted_sum` of that many words.
  function automatic int weighted_levels(input int words);
    int left;
    left = words;
    weighted_levels = 0;
    while (left > 1) begin
      left = (left + 2) / 3;
      weighted_levels = weighted_levels + 1;
    end
  endfunction

endpackage
