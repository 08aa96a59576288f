// StepUnit on the arrays themselves: packed words, one step per cycle.
#ifndef ILMPQ_STEP_UNIT_PACKED_HPP
#define ILMPQ_STEP_UNIT_PACKED_HPP

#include "step_unit.hpp"

namespace ilmpq {

// The arrays of a LaneList, and their lane codes out of those of the weight image.
template <class Config, class List>
struct PackedLanes;

template <class Config>
struct PackedLanes<Config, LaneList<> > {
  template <int WIDTH>
  static void unpack(const uint64_t[], int, ap_uint<WIDTH> &, int) {}
};

template <class Config, class... Each>
struct PackedArrays;

template <class Config, class... Each>
struct PackedArrays<Config, LaneList<Each...> > {
  typedef SplitMacArray<MacArray<typename Each::Lane, Each::ROWS, Config::TK, Config::TP, Config::ACC_BITS>...> Array;
};

// PoT4's fifth bit: exponent is 5 or 6.
template <int BITS>
ap_uint<BITS> lane_code(unsigned image) {
  ILMPQ_HLS(inline)
  const unsigned exponent = image & 7;
  return BITS == 5 ? image | (exponent == 5 || exponent == 6 ? 16u : 0u) : image;
}

template <class Config, class First, class... Rest>
struct PackedLanes<Config, LaneList<First, Rest...> > {
  static const int BITS = First::Lane::BITS;
  static const int IMAGE = image_bits(BITS);
  static const int CODES = First::ROWS * Config::TK;

  template <int WIDTH>
  static void unpack(const uint64_t words[], int at, ap_uint<WIDTH> &weight, int low) {
    ILMPQ_HLS(inline)
    for (int i = 0; i < CODES; i++) {
      ILMPQ_HLS(unroll)
      const ap_uint<BITS> code = lane_code<BITS>(step_field(words, at + i * IMAGE, IMAGE));
      weight.range(low + i * BITS + BITS - 1, low + i * BITS) = code;
    }
    PackedLanes<Config, LaneList<Rest...> >::unpack(words, at + CODES * IMAGE, weight, low + CODES * BITS);
  }
};

template <class Config>
class StepUnit {
  static const int TK = Config::TK;
  static const int TP = Config::TP;
  static const int A = Config::ACT_BITS;
  typedef typename PackedArrays<Config, typename Config::Lanes>::Array Array;

 public:
  void load(int at, const uint64_t words[]) {
    ILMPQ_HLS(inline)
    ap_uint<Array::WEIGHT_WORD> weight = 0;
    PackedLanes<Config, typename Config::Lanes>::unpack(words, 0, weight, 0);
    ring[at] = weight;
  }

  void step(int at, const uint8_t act[TP][TK], int, bool clear, bool shift) {
    ILMPQ_HLS(inline)
    ap_uint<Array::ACT_WORD> word = 0;
    for (int i = 0; i < TP * TK; i++) {
      ILMPQ_HLS(unroll)
      word.range(i * A + A - 1, i * A) = ap_uint<A>(act[i / TK][i % TK]);
    }
    arrays.step(word, ring[at], clear, shift);
  }

  // Modulo 2^ACC_BITS.
  uint32_t sum(int row, int position) const {
    ILMPQ_HLS(inline)
    const ap_uint<Array::ACC_WORD> all = arrays.accumulators();
    const ap_uint<Config::ACC_BITS> found = field<Config::ACC_BITS>(all, row * TP + position);
    return found.to_uint();
  }

 private:
  ap_uint<Array::WEIGHT_WORD> ring[Config::RING];
  Array arrays;
};

}  // namespace ilmpq

#endif
