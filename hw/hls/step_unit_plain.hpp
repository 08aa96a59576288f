// StepUnit in plain integers: a lane code is a weight and a constant, so that a lane adds weight * activation + constant.
#ifndef ILMPQ_STEP_UNIT_PLAIN_HPP
#define ILMPQ_STEP_UNIT_PLAIN_HPP

#include "step_unit.hpp"

namespace ilmpq {

struct PlainCode {
  int weight, constant;
};

// How a lane type's codes are read: those of L::ROWS rows at once.
template <class L>
struct PlainLane;

// A negative weight complements the activation.
template <int A>
PlainCode complementing(int magnitude, bool negate) {
  const PlainCode code = {negate ? -magnitude : magnitude, negate ? magnitude * ((1 << A) - 1) : 0};
  return code;
}

template <int A, int CODE_BITS, int EXPONENT_BITS>
struct PlainLane<PowerOfTwo<A, CODE_BITS, EXPONENT_BITS> > {
  static void decode(const unsigned codes[1], PlainCode found[1]) {
    const int zero = (1 << EXPONENT_BITS) - 1, exponent = codes[0] & zero;
    found[0] = complementing<A>(exponent == zero ? 0 : 1 << exponent, codes[0] >> EXPONENT_BITS & 1);
  }
};

template <int A, int MAGNITUDE_BITS>
struct PlainLane<SignMagnitude<A, MAGNITUDE_BITS> > {
  static void decode(const unsigned codes[1], PlainCode found[1]) {
    found[0] = complementing<A>(codes[0] & ((1 << MAGNITUDE_BITS) - 1), codes[0] >> MAGNITUDE_BITS & 1);
  }
};

template <int W, int A, int ROWS, int POSITIONS, int ROW_STEP, int POSITION_STEP, bool OFFSET, int UP, int UB>
struct PlainLane<DspLane<W, A, ROWS, POSITIONS, ROW_STEP, POSITION_STEP, OFFSET, UP, UB> > {
  static void decode(const unsigned codes[ROWS], PlainCode found[ROWS]) {
    bool borrow = false;  // the code of a pair's second row is one less where the first weight is negative
    for (int r = 0; r < ROWS; r++) {
      const int code = codes[r] >> (W - 1) ? static_cast<int>(codes[r]) - (1 << W) : static_cast<int>(codes[r]);
      found[r].weight = code + (borrow ? 1 : 0);
      found[r].constant = OFFSET ? -found[r].weight * (1 << (A - 1)) : 0;
      borrow = found[r].weight < 0;
    }
  }
};

// Hands the codes of all rows, array after array, to `step.set(row, lane, code)`.
template <class List>
struct PlainLanes;

template <>
struct PlainLanes<LaneList<> > {
  template <class Step>
  static void decode(const uint64_t[], int, int, Step &) {}
};

template <class First, class... Rest>
struct PlainLanes<LaneList<First, Rest...> > {
  template <class Step>
  static void decode(const uint64_t words[], int at, int row, Step &step) {
    typedef typename First::Lane L;
    static const int BITS = image_bits(L::BITS);
    for (int r = 0; r < First::ROWS; r += L::ROWS) {
      for (int k = 0; k < Step::TK; k++) {
        unsigned codes[L::ROWS];
        PlainCode found[L::ROWS];
        for (int i = 0; i < L::ROWS; i++) codes[i] = step_field(words, at + ((r + i) * Step::TK + k) * BITS, BITS);
        PlainLane<L>::decode(codes, found);
        for (int i = 0; i < L::ROWS; i++) step.set(row + r + i, k, found[i]);
      }
    }
    PlainLanes<LaneList<Rest...> >::decode(words, at + First::ROWS * Step::TK * BITS, row + First::ROWS, step);
  }
};

template <class Config>
class StepUnit {
  static const int ROWS = Config::ROWS;
  static const int TK = Config::TK;
  static const int TP = Config::TP;

 public:
  void load(int at, const uint64_t words[]) {
    for (int r = 0; r < ROWS; r++) ring[at].constant[r] = 0;
    PlainLanes<typename Config::Lanes>::decode(words, 0, 0, ring[at]);
  }

  void step(int at, const uint8_t act[TP][TK], int positions, bool clear, bool shift) {
    const Step &own = ring[at];
    for (int p = 0; p < positions; p++) {
      uint32_t sums[ROWS];
      for (int r = 0; r < ROWS; r++) {
        const uint32_t before = clear ? 0 : shift ? acc[p][r] << Config::ACT_BITS : acc[p][r];
        sums[r] = before + own.constant[r];
      }
      for (int k = 0; k < TK; k++) {
        const int32_t value = act[p][k];
        for (int r = 0; r < ROWS; r++) sums[r] += static_cast<uint32_t>(own.weight[k][r] * value);
      }
      for (int r = 0; r < ROWS; r++) acc[p][r] = sums[r];
    }
  }

  // Modulo 2^ACC_BITS.
  uint32_t sum(int row, int position) const { return acc[position][row]; }

 private:
  struct Step {
    static const int TK = Config::TK;
    int16_t weight[Config::TK][Config::ROWS];
    int32_t constant[Config::ROWS];

    void set(int row, int lane, const PlainCode &code) {
      weight[lane][row] = static_cast<int16_t>(code.weight);
      constant[row] += code.constant;
    }
  };

  Step ring[Config::RING];
  uint32_t acc[TP][ROWS];
};

}  // namespace ilmpq

#endif
