// The only place that knows the tool: pragmas and ap_int for Vitis HLS, for Vivado HLS 2020.1 and for g++.
//
// Vitis HLS (2022.1 or newer) needs ILMPQ_VITIS defined, Vivado HLS 2020.1 needs ILMPQ_VIVADO_HLS, both also in C
// simulation (-cflags) so that their own streams are taken. With neither, g++ compiles a functional simulator in which
// the pragmas are empty. Include this before any other header that includes ap_int.h.
#ifndef ILMPQ_TOOL_HPP
#define ILMPQ_TOOL_HPP

// The widest word: weights of one step, or accumulators of one frame. 4096 is the most that both tools take.
#ifndef AP_INT_MAX_W
#define AP_INT_MAX_W 4096
#endif
#include <ap_int.h>

#if defined(__SYNTHESIS__) && !defined(ILMPQ_VITIS) && !defined(ILMPQ_VIVADO_HLS)
#error "define ILMPQ_VITIS (Vitis HLS) or ILMPQ_VIVADO_HLS (Vivado HLS 2020.1) for synthesis and C simulation"
#endif

// ILMPQ_HLS(pipeline II=1) is `#pragma HLS pipeline II=1`, and nothing under g++.
#if defined(ILMPQ_VITIS) || defined(ILMPQ_VIVADO_HLS)
#define ILMPQ_PRAGMA(text) _Pragma(#text)
#define ILMPQ_HLS(...) ILMPQ_PRAGMA(HLS __VA_ARGS__)
#else
#define ILMPQ_HLS(...)
#endif

// The multiplication that gives `result` is one DSP48, or LUTs. Vitis may not merge a bound multiplication with the
// additions around it (pre-adder, cascade); with ILMPQ_FREE_DSP it is left to decide.
#if defined(ILMPQ_VIVADO_HLS)
#define ILMPQ_DSP(result) ILMPQ_HLS(resource variable=result core=DSP48)
#define ILMPQ_LUT(result) ILMPQ_HLS(resource variable=result core=Mul_LUT)
#elif defined(ILMPQ_FREE_DSP)
#define ILMPQ_DSP(result)
#define ILMPQ_LUT(result) ILMPQ_HLS(bind_op variable=result op=mul impl=fabric)
#else
#define ILMPQ_DSP(result) ILMPQ_HLS(bind_op variable=result op=mul impl=dsp)
#define ILMPQ_LUT(result) ILMPQ_HLS(bind_op variable=result op=mul impl=fabric)
#endif

namespace ilmpq {

// Bits of an unsigned number up to `limit`.
constexpr int bits_of(long long limit) { return limit == 0 ? 0 : 1 + bits_of(limit / 2); }

constexpr int least(int a, int b) { return a < b ? a : b; }

// Field `index` of BITS bits of a word, the first in the lowest bits.
template <int BITS, int WIDTH>
ap_uint<BITS> field(const ap_uint<WIDTH> &word, int index) {
  ILMPQ_HLS(inline)
  return word.range(index * BITS + BITS - 1, index * BITS);
}

}  // namespace ilmpq

#endif
