// Weight lanes as types: the bits of a lane code, the products that share one multiplier, and how they are multiplied.
//
// A lane type L takes the lane codes of `accel/engine/lanes_*.py`, as the arrays of hw/rtl do, and gives the same sums,
// constant `correction` included. A kernel needs only this of it:
//   L::BITS, L::ACT_BITS             bits of a lane code, of an unsigned activation
//   L::ROWS, L::POSITIONS            rows and positions whose products share one multiplier
//   L::SEGMENT                       products that one L::Sum can hold
//   L::LARGEST_PRODUCT               magnitude of a product
//   L::Weights * L::Acts             the ROWS x POSITIONS products of one lane, as an L::Product
//   L::Sum<N> += L::Product          the sum of N of them; at(row, position) takes it apart
#ifndef ILMPQ_LANES_HPP
#define ILMPQ_LANES_HPP

#include "tool.hpp"

namespace ilmpq {

// What all lanes in LUTs have: one product per multiplier, never negative, because a negative weight complements the
// activation: correction = (2^A - 1) * (sum of |negative weights|) per pass.
template <int A, int CODE_BITS, int LARGEST_WEIGHT>
struct LutLane {
  static const int BITS = CODE_BITS;
  static const int ACT_BITS = A;
  static const int ROWS = 1;
  static const int POSITIONS = 1;
  static const int SEGMENT = 1 << 16;
  static const int LARGEST_PRODUCT = LARGEST_WEIGHT * ((1 << A) - 1);

  typedef ap_uint<bits_of(LARGEST_PRODUCT)> Product;

  struct Acts {
    ap_uint<A> value;
    Acts() : value(0) {}
    explicit Acts(const ap_uint<A> act[1]) : value(act[0]) {}
  };

  template <int N>
  struct Sum {
    ap_uint<bits_of(static_cast<long long>(N) * LARGEST_PRODUCT)> value;
    Sum() : value(0) {}
    void operator+=(const Product &product) {
      ILMPQ_HLS(inline)
      value += product;
    }
    ap_uint<bits_of(static_cast<long long>(N) * LARGEST_PRODUCT)> at(int, int) const { return value; }
  };

  static ap_uint<A> complemented(const Acts &acts, bool negate) {
    ILMPQ_HLS(inline)
    return negate ? ap_uint<A>(~acts.value) : acts.value;
  }
};

// 0 and +-2^k: {(not used,) negate, exponent}, the highest exponent is the weight 0.
template <int A, int CODE_BITS, int EXPONENT_BITS>
struct PowerOfTwo : LutLane<A, CODE_BITS, 1 << ((1 << EXPONENT_BITS) - 2)> {
  typedef LutLane<A, CODE_BITS, 1 << ((1 << EXPONENT_BITS) - 2)> Base;
  typedef typename Base::Product Product;

  struct Weights {
    ap_uint<CODE_BITS> code;
    Weights() : code(0) {}
    explicit Weights(const ap_uint<CODE_BITS> codes[1]) : code(codes[0]) {}
    Product operator*(const typename Base::Acts &acts) const {
      ILMPQ_HLS(inline)
      const ap_uint<EXPONENT_BITS> exponent = code.range(EXPONENT_BITS - 1, 0);
      const Product act = Base::complemented(acts, code[EXPONENT_BITS]);
      return exponent == (1 << EXPONENT_BITS) - 1 ? Product(0) : Product(act << exponent);
    }
  };
};

// Any symmetric integer: {negate, magnitude}.
template <int A, int MAGNITUDE_BITS>
struct SignMagnitude : LutLane<A, MAGNITUDE_BITS + 1, (1 << MAGNITUDE_BITS) - 1> {
  typedef LutLane<A, MAGNITUDE_BITS + 1, (1 << MAGNITUDE_BITS) - 1> Base;
  typedef typename Base::Product Product;

  struct Weights {
    ap_uint<MAGNITUDE_BITS + 1> code;
    Weights() : code(0) {}
    explicit Weights(const ap_uint<MAGNITUDE_BITS + 1> codes[1]) : code(codes[0]) {}
    Product operator*(const typename Base::Acts &acts) const {
      ILMPQ_HLS(inline)
      const ap_uint<MAGNITUDE_BITS> magnitude = code.range(MAGNITUDE_BITS - 1, 0);
      const ap_uint<A> act = Base::complemented(acts, code[MAGNITUDE_BITS]);
      const Product product = magnitude * act;
      ILMPQ_LUT(product)
      return product;
    }
  };
};

// One product or several in one multiplication of a DSP48E1 (25 x 18 bits, 48 bits of sum).
//
// (w0 + w1*2^ROW_STEP) * (a0 + a1*2^POSITION_STEP) holds w_r*a_p at bit r*ROW_STEP + p*POSITION_STEP. A sum starts with
// half a field's range in every field, so that no field is ever negative and none borrows from the next: taking the sum
// apart is slicing it. The lane code of a pair's second row is w1 - (w0 < 0), so that packing weights is concatenation.
// With OFFSET, 2^(A-1) is taken from each activation, which halves the largest product:
// correction = -2^(A-1) * (sum of the row's codes) per pass; else 0.
template <int W, int A, int PER_ROWS, int PER_POSITIONS, int ROW_STEP, int POSITION_STEP, bool OFFSET,
          // only in tests that must fail: products too many in a sum, bits too few in a field
          int UNSAFE_PRODUCTS = 0, int UNSAFE_BITS = 0>
struct DspLane {
  static const int BITS = W;
  static const int ACT_BITS = A;
  static const int ROWS = PER_ROWS;
  static const int POSITIONS = PER_POSITIONS;
  static const int LARGEST_PRODUCT = ((1 << (W - 1)) - 1) * (OFFSET ? 1 << (A - 1) : (1 << A) - 1);

  // Bits from one field to the next, the narrowest. A field alone has 48; 31 are more than a sum needs and fit an int.
  static const int APART = ROW_STEP > POSITION_STEP ? ROW_STEP - POSITION_STEP : POSITION_STEP - ROW_STEP;
  static const int ROOM = PER_ROWS * PER_POSITIONS == 1 ? 31
                          : PER_ROWS == 1               ? POSITION_STEP
                          : PER_POSITIONS == 1          ? ROW_STEP
                                                        : least(APART, least(ROW_STEP, POSITION_STEP));
  static const int SEGMENT = ((1 << (ROOM - 1)) - 1) / LARGEST_PRODUCT + UNSAFE_PRODUCTS;

  static const int ROW_AT = PER_ROWS == 2 ? ROW_STEP - UNSAFE_BITS : 0;
  static const int POSITION_AT = PER_POSITIONS == 2 ? POSITION_STEP - UNSAFE_BITS : 0;
  static const int WEIGHT_WORD = W + ROW_AT;
  static const int ACT_WORD = A + POSITION_AT + 1;

  static_assert(least(PER_ROWS, PER_POSITIONS) >= 1 && PER_ROWS <= 2 && PER_POSITIONS <= 2,
                "DspLane pairs rows, positions, both or neither");
  static_assert(SEGMENT >= 1, "DspLane fields must hold a product: fewer activation bits or fewer products per DSP");
  static_assert((WEIGHT_WORD <= 25 && ACT_WORD <= 18) || (WEIGHT_WORD <= 18 && ACT_WORD <= 25),
                "DspLane operands must fit a DSP48E1's 25 x 18 bits");

  typedef ap_int<WEIGHT_WORD + ACT_WORD> Product;

  struct Acts {
    ap_int<ACT_WORD> value;
    Acts() : value(0) {}
    explicit Acts(const ap_uint<A> act[PER_POSITIONS]) {
      ILMPQ_HLS(inline)
      ap_uint<A + POSITION_AT> packed = act[0];
      packed.range(A + POSITION_AT - 1, POSITION_AT) = act[PER_POSITIONS - 1];
      const int half = OFFSET ? 1 << (A - 1) : 0;
      value = packed - ((half << POSITION_AT) | half);
    }
  };

  struct Weights {
    ap_int<WEIGHT_WORD> value;
    Weights() : value(0) {}
    explicit Weights(const ap_uint<W> codes[PER_ROWS]) {
      ILMPQ_HLS(inline)
      value = ap_int<W>(codes[0]);
      value.range(WEIGHT_WORD - 1, ROW_AT) = codes[PER_ROWS - 1];
    }
    Product operator*(const Acts &acts) const {
      ILMPQ_HLS(inline)
      const Product product = value * acts.value;
      ILMPQ_DSP(product)
      return product;
    }
  };

  template <int N>
  struct Sum {
    static const int FIELD = least(bits_of(static_cast<long long>(N) * LARGEST_PRODUCT) + 1, ROOM - UNSAFE_BITS);
    ap_int<48> value;
    Sum() : value(0) {
      ILMPQ_HLS(inline)
      for (int r = 0; r < PER_ROWS; r++) {
        ILMPQ_HLS(unroll)
        for (int p = 0; p < PER_POSITIONS; p++) {
          ILMPQ_HLS(unroll)
          value[r * ROW_AT + p * POSITION_AT + FIELD - 1] = 1;
        }
      }
    }
    void operator+=(const Product &product) {
      ILMPQ_HLS(inline)
      value += product;
    }
    ap_int<FIELD> at(int row, int position) const {
      ILMPQ_HLS(inline)
      const int low = row * ROW_AT + position * POSITION_AT;
      ap_int<FIELD> sum = value.range(low + FIELD - 1, low);
      sum[FIELD - 1] = !sum[FIELD - 1];
      return sum;
    }
  };
};

// Products per DSP: two rows x two positions, two rows, two positions, or one.
enum Pairing { FOUR, ROW_PAIR, POSITION_PAIR, SINGLE };
constexpr int paired_rows(Pairing pairing) { return pairing == FOUR || pairing == ROW_PAIR ? 2 : 1; }
constexpr int paired_positions(Pairing pairing) { return pairing == FOUR || pairing == POSITION_PAIR ? 2 : 1; }

template <int A> using Pot3 = PowerOfTwo<A, 3, 2>;
template <int A> using Pot4 = PowerOfTwo<A, 5, 3>;
template <int A> using Ternary = SignMagnitude<A, 1>;
template <int A> using Fixed3Lut = SignMagnitude<A, 2>;
template <int A> using Fixed4Lut = SignMagnitude<A, 3>;
template <int A> using Fixed8Lut = SignMagnitude<A, 7>;

template <int A, Pairing P = (A <= 6 ? FOUR : ROW_PAIR), int UNSAFE_PRODUCTS = 0, int UNSAFE_BITS = 0>
using Fixed4Dsp = DspLane<4, A, paired_rows(P), paired_positions(P), P == FOUR && A == 4 ? 10 : 21,
                          P == POSITION_PAIR ? 24 - A : (A == 4 ? 20 : 11), P == POSITION_PAIR || (P == FOUR && A == 4),
                          UNSAFE_PRODUCTS, UNSAFE_BITS>;

template <int A, Pairing P = POSITION_PAIR, int UNSAFE_PRODUCTS = 0, int UNSAFE_BITS = 0>
using Fixed8Dsp = DspLane<8, A, paired_rows(P), paired_positions(P), 17, 24 - A, P == POSITION_PAIR, UNSAFE_PRODUCTS,
                          UNSAFE_BITS>;

}  // namespace ilmpq

#endif
