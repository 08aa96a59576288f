// The weight ring, the arrays behind it and their accumulators, fed with the weight image's steps.
//
// For synthesis (and with ILMPQ_PACKED) these are the packed words of split_mac_array.hpp; under g++ every step is decoded
// once into plain integers, weights and the constant that its lanes add, which gives the same sums a thousand times faster.
#ifndef ILMPQ_STEP_UNIT_HPP
#define ILMPQ_STEP_UNIT_HPP

#include <stdint.h>

#include "split_mac_array.hpp"

namespace ilmpq {

// So many rows on one type of lane; Config::Lanes is a LaneList of them.
template <class L, int COUNT>
struct LaneRows {
  typedef L Lane;
  static const int ROWS = COUNT;
};

template <class... Each>
struct LaneList {};

// Bits of a lane code in the weight image: the fifth bit of PoT4 follows from the others.
constexpr int image_bits(int lane_bits) { return lane_bits < 8 ? least(lane_bits, 4) : 8; }

// `count` (at most 8) bits of a step from bit `at` on.
inline unsigned step_field(const uint64_t words[], int at, int count) {
  ILMPQ_HLS(inline)
  uint64_t value = words[at / 64] >> (at % 64);
  if (at % 64 + count > 64) value |= words[at / 64 + 1] << (64 - at % 64);
  return static_cast<unsigned>(value) & ((1u << count) - 1);
}

}  // namespace ilmpq

#if defined(__SYNTHESIS__) || defined(ILMPQ_PACKED)
#include "step_unit_packed.hpp"
#else
#include "step_unit_plain.hpp"
#endif

#endif
