// Sums to codes: bias, multiplier, residual, rounding to even, clamp. What the arrays see of a byte is here too.
#ifndef ILMPQ_REQUANTIZE_HPP
#define ILMPQ_REQUANTIZE_HPP

#include "descriptors.hpp"

namespace ilmpq {

// sum + bias, wrapped to ACC_BITS bits.
template <int ACC_BITS>
int32_t biased(uint32_t sum, int32_t bias) {
  ILMPQ_HLS(inline)
  const uint32_t wide = (sum + static_cast<uint32_t>(bias)) << (32 - ACC_BITS);
  return static_cast<int32_t>(wide) >> (32 - ACC_BITS);
}

// clamp(v / 2^shift, ties to even).
inline int32_t rounded(int64_t v, int shift, int32_t low, int32_t high) {
  ILMPQ_HLS(inline)
  if (shift) v = (v + (static_cast<int64_t>(1) << (shift - 1)) - 1 + ((v >> shift) & 1)) >> shift;
  if (v < low) v = low;
  if (v > high) v = high;
  return static_cast<int32_t>(v);
}

// What the arrays see of a stored byte (or of a pair's four bits) in a pass.
template <int ACT_BITS>
uint8_t seen(const Compute &op, uint8_t byte, int pass) {
  ILMPQ_HLS(inline)
  int code = byte;
  if (op.mode == NARROWED) {
    const int k = op.narrow_shift;
    if (k) code = (code + (1 << (k - 1)) - 1 + ((code >> k) & 1)) >> k;
    code -= op.narrow_sub;
    if (code < op.narrow_low) code = op.narrow_low;
    if (code > op.narrow_high) code = op.narrow_high;
  } else if (op.mode == TWO_PASS && pass == 0) {
    code >>= ACT_BITS;
  }
  return code & ((1 << ACT_BITS) - 1);
}

}  // namespace ilmpq

#endif
