// A requantized value to its place in the activation memory: one code, or the four bytes of a logit.
#ifndef ILMPQ_STORE_RESULT_HPP
#define ILMPQ_STORE_RESULT_HPP

#include "requantize.hpp"

namespace ilmpq {

template <class Config>
Error store_result(const Compute &op, ActivationMemory<Config> &memory, uint32_t group, uint32_t pixel, int lane, int64_t v) {
  ILMPQ_HLS(inline)
  const int32_t code = rounded(v, op.shift, op.low, op.high);
  for (int i = 0; i < (op.logits ? 4 : 1); i++) {
    const uint32_t at = op.logits ? 4 * pixel + i : pixel;
    const uint32_t d = ActivationMemory<Config>::word(op.target, group, at);
    if (!memory.holds(d)) return ILLEGAL;
    const uint8_t byte = op.logits ? static_cast<uint32_t>(code) >> (8 * i) : static_cast<uint32_t>(code + op.target_offset);
    memory.write_lane(op.target, d, at, lane, byte);
  }
  return OK;
}

}  // namespace ilmpq

#endif
