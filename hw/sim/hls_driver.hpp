// Between numpy's 32-bit words and an array: what accel/hls.py calls. It defines the type Array, then includes this.
#include <cstdint>

#include "matrix_vector.hpp"

template <int BITS> ap_uint<BITS> load(const uint32_t *words) {
  ap_uint<BITS> value;
  for (int low = 0; low < BITS; low += 32) {
    const int high = low + 31 < BITS ? low + 31 : BITS - 1;
    value.range(high, low) = ap_uint<32>(words[low / 32]);
  }
  return value;
}

template <int BITS> void store(const ap_uint<BITS> &value, uint32_t *words) {
  for (int low = 0; low < BITS; low += 32) {
    const int high = low + 31 < BITS ? low + 31 : BITS - 1;
    words[low / 32] = value.range(high, low).to_uint();
  }
}

static const int ACT = (Array::ACT_WORD + 31) / 32;
static const int WEIGHT = (Array::WEIGHT_WORD + 31) / 32;
static const int ACC = (Array::ACC_WORD + 31) / 32;

// Flags: 1 clear, 2 shift. Accumulators after every step.
extern "C" long run_steps(long steps, const uint32_t *act, const uint32_t *weight, const uint32_t *flags, uint32_t *acc) {
  Array array;
  for (long i = 0; i < steps; i++, act += ACT, weight += WEIGHT, acc += ACC) {
    array.step(load<Array::ACT_WORD>(act), load<Array::WEIGHT_WORD>(weight), flags[i] & 1, flags[i] & 2);
    store<Array::ACC_WORD>(array.accumulators(), acc);
  }
  return steps;
}

// Flags: 1 last, 2 shift. Accumulators of every frame; returns how many, a negative number if a stream ran dry or over.
extern "C" long run_stream(long steps, const uint32_t *act, const uint32_t *weight, const uint32_t *flags, uint32_t *acc) {
  ilmpq::Stream<ilmpq::AxiBeat<Array::ACT_WORD> > acts;
  ilmpq::Stream<ilmpq::AxiBeat<Array::WEIGHT_WORD> > weights;
  ilmpq::Stream<ilmpq::AxiBeat<Array::ACC_WORD> > accumulators;
  long frames = 0, found = 0;
  for (long i = 0; i < steps; i++, act += ACT, weight += WEIGHT) {
    acts.write(ilmpq::axi_beat(load<Array::ACT_WORD>(act), flags[i] & 2, flags[i] & 1));
    weights.write(ilmpq::axi_beat(load<Array::WEIGHT_WORD>(weight), false, false));
    frames += flags[i] & 1;
  }
  try {
    ilmpq::matrix_vector<Array>(acts, weights, accumulators, frames);
    if (!acts.empty() || !weights.empty()) return -1;
    for (; found < frames; found++, acc += ACC) {
      const ilmpq::AxiBeat<Array::ACC_WORD> beat = accumulators.read();
      if (!beat.last) return -2;
      store<Array::ACC_WORD>(beat.data.range(Array::ACC_WORD - 1, 0), acc);
    }
  } catch (const std::underflow_error &) {
    return -3;
  }
  return accumulators.empty() ? found : -4;
}
