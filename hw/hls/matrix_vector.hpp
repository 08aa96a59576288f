// A streaming matrix-vector unit on any array: one step per cycle, one beat of accumulators per frame.
//
// A step takes one beat of activations and one of lane codes. The activations frame the work, as in_last_i and in_shift_i
// of hw/rtl/split_mac_array.sv do: TLAST ends a frame, and its accumulators leave in one beat (which has TLAST again);
// TUSER begins a second pass, the accumulators are multiplied by 2^ACT_BITS first. Frames follow one another without a gap.
#ifndef ILMPQ_MATRIX_VECTOR_HPP
#define ILMPQ_MATRIX_VECTOR_HPP

#include "axi_stream.hpp"
#include "split_mac_array.hpp"

namespace ilmpq {

// Returns after so many frames, at least one.
template <class Array>
void matrix_vector(Stream<AxiBeat<Array::ACT_WORD> > &acts, Stream<AxiBeat<Array::WEIGHT_WORD> > &weights,
                   Stream<AxiBeat<Array::ACC_WORD> > &accumulators, ap_uint<24> frames) {
  ILMPQ_HLS(inline)
  Array array;
  ap_uint<24> left = frames;
  bool clear = true;
  bool done = false;
  while (!done) {
    ILMPQ_HLS(pipeline II=1)
    const AxiBeat<Array::ACT_WORD> act = acts.read();
    const AxiBeat<Array::WEIGHT_WORD> weight = weights.read();
    const ap_uint<Array::ACT_WORD> act_word = act.data.range(Array::ACT_WORD - 1, 0);
    const ap_uint<Array::WEIGHT_WORD> weight_word = weight.data.range(Array::WEIGHT_WORD - 1, 0);
    const bool last = act.last;
    array.step(act_word, weight_word, clear, act.user);
    if (last) accumulators.write(axi_beat<Array::ACC_WORD>(array.accumulators(), false, true));
    done = last && left <= 1;
    if (last) left = left - 1;
    clear = last;
  }
}

}  // namespace ilmpq

#endif
