// How a heap of bits is reduced: all sizes and positions in `bit_heap` follow from the heights of its columns.
//
// A level lays chains of ternary adders: the lowest column that has four bits left starts one with four; the chain goes
// on over columns with three bits left, takes three of each, and ends in a column of which it takes at most one. It
// leaves one bit in each of its columns and a carry in the next.
package bit_heap_pkg;

  // columns of a heap, bits of a height
  localparam int COLUMNS = 32;
  localparam int FIELD = 12;

  function automatic int height(input logic [COLUMNS*FIELD-1:0] heights, input int column);
    height = (column < COLUMNS) ? 32'(heights[FIELD*column+:FIELD]) : 0;
  endfunction

  // Position of a column's first bit, the columns' bits one after the other from column 0.
  function automatic int base(input logic [COLUMNS*FIELD-1:0] heights, input int column);
    base = 0;
    for (int c = 0; c < column; c++) base = base + height(heights, c);
  endfunction

  // Heights of `groups` × `words` words, group g shifted left by g · step.
  function automatic logic [COLUMNS*FIELD-1:0] of_words(input int groups, input int words, input int width, input int step);
    of_words = '0;
    for (int g = 0; g < groups; g++) begin
      for (int c = g * step; c < g * step + width; c++) begin
        of_words[FIELD*c+:FIELD] = FIELD'(height(of_words, c) + words);
      end
    end
  endfunction

  // The next chain's first column (COLUMNS if there is none) and its last.
  function automatic int chain_start(input logic [COLUMNS*FIELD-1:0] left);
    chain_start = 0;
    while (chain_start < COLUMNS && height(left, chain_start) < 4) chain_start = chain_start + 1;
  endfunction
  function automatic int chain_end(input logic [COLUMNS*FIELD-1:0] left);
    chain_end = chain_start(left) + 1;
    while (height(left, chain_end) >= 3) chain_end = chain_end + 1;
  endfunction

  // What one chain leaves of the heights, and what it adds to the next level's.
  function automatic logic [COLUMNS*FIELD-1:0] after_chain(input logic [COLUMNS*FIELD-1:0] left);
    int first, last;
    first = chain_start(left);
    last = chain_end(left);
    after_chain = left;
    for (int c = first; c < last; c++) after_chain[FIELD*c+:FIELD] = FIELD'(height(left, c) - ((c == first) ? 4 : 3));
    if (height(left, last) > 0) after_chain[FIELD*last+:FIELD] = FIELD'(height(left, last) - 1);
  endfunction
  function automatic logic [COLUMNS*FIELD-1:0] with_chain(
      input logic [COLUMNS*FIELD-1:0] made, input logic [COLUMNS*FIELD-1:0] left, input int columns);
    int last;
    last = chain_end(left) + 1;
    with_chain = made;
    for (int c = chain_start(left); c <= last && c < columns; c++) begin
      with_chain[FIELD*c+:FIELD] = FIELD'(height(made, c) + 1);
    end
  endfunction

  // Chains of a level; what is left, and what is made, when the first `count` of them are laid.
  function automatic int chains(input logic [COLUMNS*FIELD-1:0] heights);
    logic [COLUMNS*FIELD-1:0] left;
    left = heights;
    chains = 0;
    while (chain_start(left) < COLUMNS) begin
      left = after_chain(left);
      chains = chains + 1;
    end
  endfunction
  function automatic logic [COLUMNS*FIELD-1:0] left_after(input logic [COLUMNS*FIELD-1:0] heights, input int count);
    left_after = heights;
    for (int k = 0; k < count; k++) left_after = after_chain(left_after);
  endfunction
  function automatic logic [COLUMNS*FIELD-1:0] made_by(
      input logic [COLUMNS*FIELD-1:0] heights, input int count, input int columns);
    logic [COLUMNS*FIELD-1:0] left;
    left = heights;
    made_by = '0;
    for (int k = 0; k < count; k++) begin
      made_by = with_chain(made_by, left, columns);
      left = after_chain(left);
    end
  endfunction

  // The next level's heights: what the chains make and what waits.
  function automatic logic [COLUMNS*FIELD-1:0] next_heights(input logic [COLUMNS*FIELD-1:0] heights, input int columns);
    logic [COLUMNS*FIELD-1:0] made, left;
    made = made_by(heights, chains(heights), columns);
    left = left_after(heights, chains(heights));
    next_heights = '0;
    for (int c = 0; c < columns; c++) next_heights[FIELD*c+:FIELD] = FIELD'(height(made, c) + height(left, c));
  endfunction

  // Where no column has more than three bits one last adder, from the lowest column with two (else `columns`), gives the sum.
  function automatic int last_adder_start(input logic [COLUMNS*FIELD-1:0] heights, input int columns);
    last_adder_start = 0;
    while (last_adder_start < columns && height(heights, last_adder_start) < 2) last_adder_start = last_adder_start + 1;
  endfunction

  // Levels (registers) until the sum.
  function automatic int levels(input logic [COLUMNS*FIELD-1:0] heights, input int columns);
    logic [COLUMNS*FIELD-1:0] now;
    now = heights;
    levels = 0;
    while (chains(now) > 0) begin
      now = next_heights(now, columns);
      levels = levels + 1;
    end
    if (last_adder_start(now, columns) < columns) levels = levels + 1;
  endfunction

endpackage
