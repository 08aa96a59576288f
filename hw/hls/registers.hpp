// What the host sees of the engine beside its memory: error codes, STATUS, counters (docs/engine.md).
#ifndef ILMPQ_REGISTERS_HPP
#define ILMPQ_REGISTERS_HPP

#include <stdint.h>

#include "tool.hpp"

namespace ilmpq {

enum Error { OK, HEADER, GEOMETRY, CHECKSUM, ILLEGAL, WEIGHTS, READ, WRITE, ABORT };

// Where an offset counts from.
enum Space { SCRATCH, INPUT, OUTPUT, PROGRAM };

static const uint32_t ENGINE_ID = 0x494C4D50;
static const uint32_t ENGINE_VERSION = 1;

inline uint32_t status_word(bool busy, Error error, uint32_t descriptor) {
  ILMPQ_HLS(inline)
  if (error == OK) return busy ? 1 : 2;
  return (busy ? 1 : 0) | 4 | static_cast<uint32_t>(error) << 8 | (descriptor & 0xFFFF) << 16;
}

// The checksum of 32-bit words: rotate by one, exclusive or.
inline uint32_t checksum(uint32_t before, uint32_t word) {
  ILMPQ_HLS(inline)
  return (before << 1 | before >> 31) ^ word;
}

}  // namespace ilmpq

#endif
