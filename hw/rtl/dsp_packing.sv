// How products are packed into the 48 bits of a DSP48E1: the sizes of fields and what follows from them.
//
// A layout is (fields, low, high): a field at bit 0, or 2 at 0 and `high`, or 4 at 0, `low`, `high`, `low` + `high`. A load is
// (chain, segment, top): `chain` DSPs in a cascade, products up to ±`top`, and a field too narrow for the sum of a chain
// is split after every `segment` products. dsp_column.sv tells what splitting is.
package dsp_packing;

  function automatic int position(input int field, input int fields, input int low, input int high);
    position = (fields == 4) ? (field % 2) * low + (field / 2) * high : field * high;
  endfunction

  // Bits up to the next field.
  function automatic int room(input int field, input int fields, input int low, input int high);
    room = ((field == fields - 1) ? 48 : position(field + 1, fields, low, high)) - position(field, fields, low, high);
  endfunction

  // Bits of the sum of a chain.
  function automatic int needed(input int chain, input int top);
    needed = $clog2(chain * top + 1) + 1;
  endfunction

  function automatic bit split(
      input int field, input int fields, input int low, input int high, input int chain, input int segment, input int top);
    split = chain > segment && needed(chain, top) > room(field, fields, low, high);
  endfunction

  // Bits of a field.
  function automatic int width(
      input int field, input int fields, input int low, input int high, input int chain, input int segment, input int top);
    width = split(field, fields, low, high, chain, segment, top) ? room(field, fields, low, high) : needed(chain, top);
  endfunction

  // Low bits of a field that stay in the chain where it is split: the largest k with 2^k + segment * top <= 2^(width - 1).
  function automatic int kept(
      input int field, input int fields, input int low, input int high, input int chain, input int segment, input int top);
    int left;
    left = (1 << (room(field, fields, low, high) - 1)) - segment * top;
    kept = !split(field, fields, low, high, chain, segment, top) ? 0 : (left < 2) ? 1 : $clog2(left + 1) - 1;
  endfunction

  // The bit of a field that is its offset: half its range, or a quarter where it is split into digits of two bits.
  function automatic int offset_bit(
      input int field, input int fields, input int low, input int high, input int chain, input int segment, input int top);
    offset_bit = width(field, fields, low, high, chain, segment, top) - 1;
    if (kept(field, fields, low, high, chain, segment, top) == offset_bit - 1) offset_bit = offset_bit - 1;
  endfunction

  // Numbers into which a chain of `chain` DSPs splits a field.
  function automatic int parts(input bit split, input int chain, input int segment);
    parts = split ? (chain + segment - 1) / segment : 1;
  endfunction

  // Bits of the sum of `count` numbers with an offset of 2^offset_bit each, the sum's offset rounded up to a power of two.
  function automatic int sum_width(input int count, input int offset_bit);
    sum_width = offset_bit + $clog2(count) + 1;
  endfunction
  function automatic int rounding(input int count, input int offset_bit);
    rounding = ((1 << $clog2(count)) - count) << offset_bit;
  endfunction

  // The columns of the heap that adds up a field: the low `kept` bits of the last number of each chain, the bits from
  // there to `width` of all numbers, and the rounding of the offset.
  function automatic logic [bit_heap_pkg::COLUMNS*bit_heap_pkg::FIELD-1:0] heights(
      input int chains, input int parts, input int kept, input int width, input int offset_bit);
    int column;
    for (column = 0; column < bit_heap_pkg::COLUMNS; column = column + 1) begin
      heights[bit_heap_pkg::FIELD*column+:bit_heap_pkg::FIELD] = bit_heap_pkg::FIELD'(
        ((column < kept) ? chains : (column < width) ? chains * parts : 0) + (rounding(chains * parts, offset_bit) >> column & 1)
      );
    end
  endfunction

  // Levels of that heap, of the highest of all fields.
  function automatic int levels(
      input int tk, input int fields, input int low, input int high, input int chain, input int segment, input int top);
    int field, count, one;
    levels = 0;
    for (field = 0; field < fields; field = field + 1) begin
      count = parts(split(field, fields, low, high, chain, segment, top), chain, segment);
      one = bit_heap_pkg::levels(
        heights(tk / chain, count, kept(field, fields, low, high, chain, segment, top),
                width(field, fields, low, high, chain, segment, top), offset_bit(field, fields, low, high, chain, segment, top)),
        sum_width(tk / chain * count, offset_bit(field, fields, low, high, chain, segment, top))
      );
      if (one > levels) levels = one;
    end
  endfunction

  // Enabled cycles from the activations to the accumulators: the A/B, M and P registers, the skew of a chain with a
  // register after every `stage` DSPs, the heap, the accumulator.
  function automatic int latency(
      input int tk, input int stage, input int fields, input int low, input int high, input int chain, input int segment,
      input int top);
    latency = 3 + (chain - 1) / stage + levels(tk, fields, low, high, chain, segment, top) + 1;
  endfunction

  // The longest cascade by default: the largest divisor of `tk` up to 32.
  function automatic int default_chain(input int tk);
    default_chain = (tk < 32) ? tk : 32;
    while (tk % default_chain != 0) default_chain = default_chain - 1;
  endfunction

  // Fixed4. With 4-bit activations and four products they lie on port A with an offset, else weights lie on port A, but
  // where two products are of two positions. A product alone has a DSP's 48 bits and needs neither offset nor splitting.
  function automatic bit fixed4_pairs_rows(input int rows, input int products);
    fixed4_pairs_rows = products == 4 || products == 2 && rows % 2 == 0;
  endfunction
  function automatic bit fixed4_offset(input int rows, input int act_bits, input int products);
    fixed4_offset = (products == 4) ? act_bits == 4 : products == 2 && !fixed4_pairs_rows(rows, products);
  endfunction
  function automatic int fixed4_low(input int act_bits);
    fixed4_low = (act_bits == 4) ? 10 : 11;
  endfunction
  function automatic int fixed4_high(input int rows, input int act_bits, input int products);
    fixed4_high = fixed4_offset(rows, act_bits, products) ? ((act_bits == 4) ? 20 : 24 - act_bits) : 21;
  endfunction
  function automatic int fixed4_segment(input int act_bits, input int products, input int chain);
    fixed4_segment = (products != 4) ? chain : (act_bits == 4) ? 8 : (act_bits == 5) ? 2 : 1;
  endfunction
  function automatic int fixed4_latency(
      input int rows, input int tk, input int act_bits, input int products, input int chain, input int stage, input int segment);
    fixed4_latency = latency(
      tk, stage, products, fixed4_low(act_bits), fixed4_high(rows, act_bits, products), chain, segment,
      largest_product(4, act_bits, fixed4_offset(rows, act_bits, products))
    );
  endfunction

  // Fixed8. Of two products an even number of positions is paired, on port A with an offset; else rows are.
  function automatic bit fixed8_pairs_rows(input int tp, input int products);
    fixed8_pairs_rows = products == 2 && tp % 2 != 0;
  endfunction
  function automatic bit fixed8_offset(input int tp, input int products);
    fixed8_offset = products == 2 && !fixed8_pairs_rows(tp, products);
  endfunction
  function automatic int fixed8_step(input int tp, input int act_bits, input int products);
    fixed8_step = fixed8_pairs_rows(tp, products) ? 17 : 24 - act_bits;
  endfunction
  function automatic int fixed8_segment(input int tp, input int act_bits, input int products, input int chain);
    if (products == 1) fixed8_segment = chain;
    else if (fixed8_pairs_rows(tp, products)) fixed8_segment = (act_bits == 4) ? 32 : 1 << (8 - act_bits);
    else fixed8_segment = (act_bits <= 6) ? 32 : (act_bits == 7) ? 4 : 1;
  endfunction
  function automatic int fixed8_latency(
      input int tk, input int tp, input int act_bits, input int products, input int chain, input int stage, input int segment);
    fixed8_latency = latency(
      tk, stage, products, 0, fixed8_step(tp, act_bits, products), chain, segment,
      largest_product(8, act_bits, fixed8_offset(tp, products))
    );
  endfunction

  // Largest magnitude of weight * activation; `offset` takes half the range from the activation.
  function automatic int largest_product(input int weight_bits, input int act_bits, input bit offset);
    largest_product = ((1 << (weight_bits - 1)) - 1) * (offset ? 1 << (act_bits - 1) : (1 << act_bits) - 1);
  endfunction

endpackage
