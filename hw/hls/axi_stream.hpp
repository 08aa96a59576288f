// AXI-Stream: the tool's own classes under Vitis HLS and Vivado HLS, a queue under g++.
#ifndef ILMPQ_AXI_STREAM_HPP
#define ILMPQ_AXI_STREAM_HPP

#include "tool.hpp"

#if defined(ILMPQ_VITIS) || defined(ILMPQ_VIVADO_HLS)
#include <hls_stream.h>
#else
#include <deque>
#include <stdexcept>
#endif
#if defined(ILMPQ_VITIS)
#include <ap_axi_sdata.h>
#endif

namespace ilmpq {

// TDATA is whole bytes.
constexpr int whole_bytes(int bits) { return (bits + 7) / 8 * 8; }

// TDATA, one bit of TUSER, TLAST.
#if defined(ILMPQ_VITIS)
template <int BITS> using AxiBeat = ap_axiu<whole_bytes(BITS), 1, 0, 0>;
#else
template <int BITS>
struct AxiBeat {
  ap_uint<whole_bytes(BITS)> data;
  ap_uint<1> user;
  ap_uint<1> last;
};
#endif

template <int BITS>
AxiBeat<BITS> axi_beat(const ap_uint<BITS> &data, bool user, bool last) {
  ILMPQ_HLS(inline)
  AxiBeat<BITS> beat;
  beat.data = data;
  beat.user = user;
  beat.last = last;
#if defined(ILMPQ_VITIS)
  beat.keep = -1;
  beat.strb = -1;
#endif
  return beat;
}

#if defined(ILMPQ_VITIS) || defined(ILMPQ_VIVADO_HLS)
template <class T> using Stream = hls::stream<T>;
#else
// As many values as are written; reading more than that is an error, where hardware would wait for ever.
template <class T>
class Stream {
 public:
  bool empty() const { return values.empty(); }
  void write(const T &value) { values.push_back(value); }
  T read() {
    if (values.empty()) throw std::underflow_error("read from an empty stream");
    const T value = values.front();
    values.pop_front();
    return value;
  }

 private:
  std::deque<T> values;
};
#endif

}  // namespace ilmpq

#endif
