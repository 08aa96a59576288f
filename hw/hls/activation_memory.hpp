// The activation memory, DEPTH words of BANKS x TK bytes, and views: where a tensor's pixels lie in it.
#ifndef ILMPQ_ACTIVATION_MEMORY_HPP
#define ILMPQ_ACTIVATION_MEMORY_HPP

#include <stdint.h>

#include "tool.hpp"

namespace ilmpq {

struct View {
  uint32_t base, stride, pitch, half, ring;
  bool split, pair;

  // Rows that a walk goes down at once, as a distance between row starts: below the ring, where there is one.
  uint32_t distance(uint32_t rows) const {
    ILMPQ_HLS(inline)
    const uint32_t plain = rows * pitch;
    return ring ? plain % ring : plain & 0xFFFFFF;
  }

  uint32_t advanced(uint32_t row, uint32_t by) const {
    ILMPQ_HLS(inline)
    const uint32_t sum = row + by;
    if (!ring) return sum & 0xFFFFFF;
    return sum >= ring ? sum - ring : sum;
  }

  // Columns, and their share of a pixel's number, are modulo 2^16.
  uint32_t pixel(uint32_t row, uint32_t x) const {
    ILMPQ_HLS(inline)
    return row + ((split ? (x & 1) * half + (x >> 1 & 0x7FFF) : x) & 0xFFFF);
  }

  // The number of a pixel's byte.
  uint32_t byte(uint32_t pixel) const {
    ILMPQ_HLS(inline)
    return pair ? pixel >> 1 : pixel;
  }
};

template <class Config>
class ActivationMemory {
 public:
  static const int TK = Config::TK;
  static const int BANKS = Config::BANKS;
  static const int WORD = BANKS * TK / 8;  // 64-bit words in one of ours

  // Tiles whose positions share a bank: hardware would read or write something else. Counted in simulation only.
  uint32_t misplaced;

  ActivationMemory() : misplaced(0) {
    ILMPQ_HLS(array_partition variable=bytes complete dim=2)
    ILMPQ_HLS(array_partition variable=bytes complete dim=3)
  }

  // Words are numbered modulo the power of two that is at least twice the depth, pixels modulo twice as many as bytes then.
  static const uint32_t WORDS = 2u << bits_of(Config::DEPTH - 1);
  static const uint32_t PIXELS = 2 * BANKS * WORDS;

  static bool holds(uint32_t d) { return d < static_cast<uint32_t>(Config::DEPTH); }

  // The word of a group's pixel; it may lie beyond the memory.
  static uint32_t word(const View &view, uint32_t group, uint32_t pixel) {
    ILMPQ_HLS(inline)
    return (view.base + group * view.stride + view.byte(pixel % PIXELS) / BANKS) % WORDS;
  }

  // A tensor's ring and what begins in it.
  static bool encircles(const View &view, uint32_t row) { return !view.ring || (row < view.ring && view.ring < PIXELS / 2); }

  // A pixel's codes.
  void read(const View &view, uint32_t d, uint32_t pixel, uint8_t codes[TK]) const {
    ILMPQ_HLS(inline)
    const uint32_t bank = view.byte(pixel) % BANKS;
    const int shift = (pixel & 1) * 4;
    for (int l = 0; l < TK; l++) {
      ILMPQ_HLS(unroll)
      const uint8_t byte = bytes[d][bank][l];
      codes[l] = view.pair ? (byte >> shift) & 15 : byte;
    }
  }

  uint8_t read_lane(uint32_t d, uint32_t byte, int lane) const {
    ILMPQ_HLS(inline)
    return bytes[d][byte % BANKS][lane];
  }

  void write_lane(const View &view, uint32_t d, uint32_t pixel, int lane, uint8_t code) {
    ILMPQ_HLS(inline)
    uint8_t &byte = bytes[d][view.byte(pixel) % BANKS][lane];
    if (!view.pair) {
      byte = code;
    } else if (pixel & 1) {
      byte = (byte & 15) | (code & 15) << 4;
    } else {
      byte = (byte & 240) | (code & 15);
    }
  }

  // The i-th 64 bits of a word.
  uint64_t get(uint32_t d, int i) const {
    ILMPQ_HLS(inline)
    uint64_t value = 0;
    for (int n = 0; n < 8; n++) {
      ILMPQ_HLS(unroll)
      value |= static_cast<uint64_t>(bytes[d][(8 * i + n) / TK][(8 * i + n) % TK]) << (8 * n);
    }
    return value;
  }

  void put(uint32_t d, int i, uint64_t value) {
    ILMPQ_HLS(inline)
    for (int n = 0; n < 8; n++) {
      ILMPQ_HLS(unroll)
      bytes[d][(8 * i + n) / TK][(8 * i + n) % TK] = static_cast<uint8_t>(value >> (8 * n));
    }
  }

  // Counts it if two of the bytes lie in one bank.
  void check_banks(const uint32_t byte[], const bool used[], int count) {
#ifndef __SYNTHESIS__
    bool clash = false;
    for (int p = 0; p < count; p++)
      for (int q = 0; q < p; q++)
        clash |= used[p] && used[q] && byte[p] != byte[q] && byte[p] % BANKS == byte[q] % BANKS;
    misplaced += clash;
#endif
  }

  uint8_t bytes[Config::DEPTH][BANKS][TK];
};

}  // namespace ilmpq

#endif
