// A top function to synthesise: the XC7Z020 example of the design, 22 PoT4, 8 Fixed4 and 2 Fixed8 rows, 4-bit activations.
//
// Another Geometry is another list of arrays. Vitis HLS: add_files -cflags "-std=c++14 -DILMPQ_VITIS"; Vivado HLS 2020.1:
// "-std=c++11 -DILMPQ_VIVADO_HLS"; set_top matrix_vector_top.
#include "matrix_vector.hpp"

static const int TK = 16;
static const int TP = 4;
static const int ACT_BITS = 4;
static const int ACC_BITS = 32;

typedef ilmpq::SplitMacArray<ilmpq::MacArray<ilmpq::Pot4<ACT_BITS>, 22, TK, TP, ACC_BITS>,
                             ilmpq::MacArray<ilmpq::Fixed4Dsp<ACT_BITS>, 8, TK, TP, ACC_BITS>,
                             ilmpq::MacArray<ilmpq::Fixed8Dsp<ACT_BITS>, 2, TK, TP, ACC_BITS> >
    Array;

void matrix_vector_top(ilmpq::Stream<ilmpq::AxiBeat<Array::ACT_WORD> > &acts,
                       ilmpq::Stream<ilmpq::AxiBeat<Array::WEIGHT_WORD> > &weights,
                       ilmpq::Stream<ilmpq::AxiBeat<Array::ACC_WORD> > &accumulators, ap_uint<24> frames) {
  ILMPQ_HLS(interface axis port=acts)
  ILMPQ_HLS(interface axis port=weights)
  ILMPQ_HLS(interface axis port=accumulators)
  ILMPQ_HLS(interface s_axilite port=frames)
  ILMPQ_HLS(interface s_axilite port=return)
  ilmpq::matrix_vector<Array>(acts, weights, accumulators, frames);
}
