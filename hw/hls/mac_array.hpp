// ROWS x TP accumulators over TK lanes, for any lane type of lanes.hpp.
//
// Words are those of the arrays in hw/rtl: activations [position][lane], lane codes [row][lane], accumulators
// [row][position], the first in the lowest bits. After step():
//   acc = (clear ? 0 : shift ? acc * 2^ACT_BITS : acc) + sum of TK products, modulo 2^ACC_BITS.
#ifndef ILMPQ_MAC_ARRAY_HPP
#define ILMPQ_MAC_ARRAY_HPP

#include "lanes.hpp"

namespace ilmpq {

template <class L, int ROWS, int TK, int TP, int ACC_BITS>
class MacArray {
  static_assert(ROWS % L::ROWS == 0, "MacArray ROWS must be a multiple of the rows that share a multiplier");
  static_assert(TP % L::POSITIONS == 0, "MacArray TP must be a multiple of the positions that share a multiplier");

 public:
  static const int ACT_WORD = TP * TK * L::ACT_BITS;
  static const int WEIGHT_WORD = ROWS * TK * L::BITS;
  static const int ACC_WORD = ROWS * TP * ACC_BITS;

  MacArray() {
    ILMPQ_HLS(array_partition variable=acc complete dim=0)
    for (int r = 0; r < ROWS; r++) {
      ILMPQ_HLS(unroll)
      for (int p = 0; p < TP; p++) {
        ILMPQ_HLS(unroll)
        acc[r][p] = 0;
      }
    }
  }

  void step(const ap_uint<ACT_WORD> &act, const ap_uint<WEIGHT_WORD> &weight, bool clear, bool shift) {
    ILMPQ_HLS(inline)
    typename L::Acts acts[TP / L::POSITIONS][TK];
    typename L::Weights weights[ROWS / L::ROWS][TK];
    ILMPQ_HLS(array_partition variable=acts complete dim=0)
    ILMPQ_HLS(array_partition variable=weights complete dim=0)
    for (int k = 0; k < TK; k++) {
      ILMPQ_HLS(unroll)
      for (int p = 0; p < TP; p += L::POSITIONS) {
        ILMPQ_HLS(unroll)
        acts[p / L::POSITIONS][k] = gather<typename L::Acts, L::POSITIONS, L::ACT_BITS>(act, p, k);
      }
      for (int r = 0; r < ROWS; r += L::ROWS) {
        ILMPQ_HLS(unroll)
        weights[r / L::ROWS][k] = gather<typename L::Weights, L::ROWS, L::BITS>(weight, r, k);
      }
    }
    for (int r = 0; r < ROWS / L::ROWS; r++) {
      ILMPQ_HLS(unroll)
      for (int p = 0; p < TP / L::POSITIONS; p++) {
        ILMPQ_HLS(unroll)
        add(r, p, weights[r], acts[p], clear, shift);
      }
    }
  }

  ap_uint<ACC_WORD> accumulators() const {
    ILMPQ_HLS(inline)
    ap_uint<ACC_WORD> word;
    for (int r = 0; r < ROWS; r++) {
      ILMPQ_HLS(unroll)
      for (int p = 0; p < TP; p++) {
        ILMPQ_HLS(unroll)
        word.range((r * TP + p) * ACC_BITS + ACC_BITS - 1, (r * TP + p) * ACC_BITS) = acc[r][p];
      }
    }
    return word;
  }

 private:
  // Products that are summed before they are taken apart, and the sum of all lanes.
  static const int GROUP = least(TK, L::SEGMENT);
  typedef ap_int<bits_of(static_cast<long long>(TK) * L::LARGEST_PRODUCT) + 1> StepSum;

  ap_int<ACC_BITS> acc[ROWS][TP];

  // One lane's operands of the COUNT rows or positions from `first` on.
  template <class Operands, int COUNT, int BITS, int WIDTH>
  static Operands gather(const ap_uint<WIDTH> &word, int first, int lane) {
    ILMPQ_HLS(inline)
    ap_uint<BITS> each[COUNT];
    ILMPQ_HLS(array_partition variable=each complete)
    for (int i = 0; i < COUNT; i++) {
      ILMPQ_HLS(unroll)
      each[i] = field<BITS>(word, (first + i) * TK + lane);
    }
    return Operands(each);
  }

  // The accumulators of one row of multipliers.
  void add(int row, int position, const typename L::Weights weights[TK], const typename L::Acts acts[TK], bool clear,
           bool shift) {
    ILMPQ_HLS(inline)
    StepSum sums[L::ROWS][L::POSITIONS];
    ILMPQ_HLS(array_partition variable=sums complete dim=0)
    for (int first = 0; first < TK; first += GROUP) {
      ILMPQ_HLS(unroll)
      typename L::template Sum<GROUP> group;
      for (int k = first; k < first + GROUP; k++) {
        ILMPQ_HLS(unroll)
        if (k < TK) group += weights[k] * acts[k];
      }
      for (int r = 0; r < L::ROWS; r++) {
        ILMPQ_HLS(unroll)
        for (int p = 0; p < L::POSITIONS; p++) {
          ILMPQ_HLS(unroll)
          const StepSum before = first == 0 ? StepSum(0) : sums[r][p];
          sums[r][p] = before + group.at(r, p);
        }
      }
    }
    for (int r = 0; r < L::ROWS; r++) {
      ILMPQ_HLS(unroll)
      for (int p = 0; p < L::POSITIONS; p++) {
        ILMPQ_HLS(unroll)
        ap_int<ACC_BITS> &each = acc[row * L::ROWS + r][position * L::POSITIONS + p];
        const ap_int<ACC_BITS> shifted = each << L::ACT_BITS;
        const ap_int<ACC_BITS> start = clear ? ap_int<ACC_BITS>(0) : shift ? shifted : each;
        each = start + sums[r][p];
      }
    }
  }
};

}  // namespace ilmpq

#endif
