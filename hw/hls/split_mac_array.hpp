// Any list of MacArrays side by side: one activation word for all, their weights and accumulators one after the other.
//
// The first array's words are in the lowest bits, so rows are numbered in the order of the list.
#ifndef ILMPQ_SPLIT_MAC_ARRAY_HPP
#define ILMPQ_SPLIT_MAC_ARRAY_HPP

#include "mac_array.hpp"

namespace ilmpq {

template <class... Arrays>
class SplitMacArray;

template <class Only>
class SplitMacArray<Only> : public Only {};

template <class First, class Second, class... Rest>
class SplitMacArray<First, Second, Rest...> {
  typedef SplitMacArray<Second, Rest...> Others;
  static_assert(First::ACT_WORD == Others::ACT_WORD, "SplitMacArray arrays must share TK, TP and the activation bits");

 public:
  static const int ACT_WORD = First::ACT_WORD;
  static const int WEIGHT_WORD = First::WEIGHT_WORD + Others::WEIGHT_WORD;
  static const int ACC_WORD = First::ACC_WORD + Others::ACC_WORD;

  void step(const ap_uint<ACT_WORD> &act, const ap_uint<WEIGHT_WORD> &weight, bool clear, bool shift) {
    ILMPQ_HLS(inline)
    const ap_uint<First::WEIGHT_WORD> own = weight.range(First::WEIGHT_WORD - 1, 0);
    const ap_uint<Others::WEIGHT_WORD> theirs = weight.range(WEIGHT_WORD - 1, First::WEIGHT_WORD);
    first.step(act, own, clear, shift);
    others.step(act, theirs, clear, shift);
  }

  ap_uint<ACC_WORD> accumulators() const {
    ILMPQ_HLS(inline)
    ap_uint<ACC_WORD> word;
    word.range(First::ACC_WORD - 1, 0) = first.accumulators();
    word.range(ACC_WORD - 1, First::ACC_WORD) = others.accumulators();
    return word;
  }

 private:
  First first;
  Others others;
};

}  // namespace ilmpq

#endif
