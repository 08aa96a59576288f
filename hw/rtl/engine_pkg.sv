// Sizes that the engine's modules must agree on; docs/engine.md defines the terms.
package engine_pkg;

  // Banks of the activation memory: the smallest power of two that is at least TP.
  function automatic int banks(input int tp);
    banks = 1 << $clog2(tp);
  endfunction

  // Bits of a word address. One more than the depth needs, so that an address past the end is seen.
  function automatic int address_bits(input int am_depth);
    address_bits = $clog2(am_depth) + 1;
  endfunction

  // Bits of a pixel number: a word address, a bank, and the half of a pair. All numbers are modulo this.
  function automatic int pixel_bits(input int am_depth, input int tp);
    pixel_bits = address_bits(am_depth) + $clog2(tp) + 1;
  endfunction

  // Bits of a lane code in the weight image: PoT4's fifth bit follows from the others.
  function automatic int image_bits(input int kind);
    image_bits = (kind == mac_kinds::POT4_LUT) ? 4 : mac_kinds::lane_bits(kind);
  endfunction

  // Bits of the first `count` arrays in a step of the weight image.
  function automatic int image_before(input logic [16*16-1:0] kinds, input logic [16*16-1:0] rows, input int count, input int tk);
    int i;
    image_before = 0;
    for (i = 0; i < count; i = i + 1)
      image_before = image_before + mac_kinds::element(rows, i) * tk * image_bits(mac_kinds::element(kinds, i));
  endfunction

  // Bits of what the write-back must know of a tile's destination: per bank {used, high position, low position, address}.
  function automatic int target_bits(input int am_depth, input int tp);
    target_bits = banks(tp) * (1 + 2 * $clog2(tp) + address_bits(am_depth));
  endfunction

  // ... and of its residual pixels: each bank's address, then each position's bank.
  function automatic int residual_bits(input int am_depth, input int tp);
    residual_bits = banks(tp) * address_bits(am_depth) + tp * $clog2(tp);
  endfunction

endpackage
