// A descriptor's 32 words as fields, and which values are legal (docs/engine.md has the tables).
#ifndef ILMPQ_DESCRIPTORS_HPP
#define ILMPQ_DESCRIPTORS_HPP

#include "activation_memory.hpp"
#include "registers.hpp"

namespace ilmpq {

static const int DESCRIPTOR_WORDS = 32;
static const uint32_t PROGRAM_MAGIC = 0x314D4C49;
static const uint32_t DESCRIPTOR_MARK = 0xA5;
static const uint32_t MOST_DESCRIPTORS = 0xFFFF;
static const uint32_t OUTER_TILES = 32;  // most row tiles of a position-outer CONV

enum Kind { LOAD = 1, STORE, CONV, MAX, AVERAGE, IMAGE };
enum Mode { PAIR, BYTE, NARROWED, TWO_PASS };

inline uint32_t bits(uint32_t word, int low, int count) {
  ILMPQ_HLS(inline)
  return (word >> low) & ((1u << count) - 1);
}

struct Copy {
  uint32_t space, offset, base, word_stride, words, runs, stride;

  explicit Copy(const uint32_t w[DESCRIPTOR_WORDS])
      : space(bits(w[0], 8, 2)), offset(w[3]), base(bits(w[4], 0, 16)), word_stride(bits(w[4], 16, 16)),
        words(bits(w[5], 0, 16)), runs(bits(w[5], 16, 16)), stride(w[6]) {}

  bool legal() const { return space <= OUTPUT && offset % 8 == 0 && stride % 8 == 0 && words && runs; }
};

struct Image {
  uint32_t space, offset, height, width, rows, columns, kernel_y, kernel_x, stride_y, stride_x, top, left, channels,
      words, padding;

  Image() {}
  explicit Image(const uint32_t w[DESCRIPTOR_WORDS])
      : space(bits(w[0], 8, 2)), offset(w[3]), height(bits(w[4], 0, 16)), width(bits(w[4], 16, 16)),
        rows(bits(w[5], 0, 16)), columns(bits(w[5], 16, 16)), kernel_y(bits(w[6], 0, 4)), kernel_x(bits(w[6], 4, 4)),
        stride_y(bits(w[6], 8, 4)), stride_x(bits(w[6], 12, 4)), top(bits(w[6], 16, 4)), left(bits(w[6], 20, 4)),
        channels(bits(w[6], 24, 3)), words(bits(w[6], 27, 5)), padding(bits(w[7], 0, 8)) {}

  template <class Config>
  bool legal() const {
    const uint32_t window = kernel_y * kernel_x * channels;
    return space <= OUTPUT && offset % 8 == 0 && height && width && width <= Config::LINE && rows && columns &&
           kernel_x && kernel_x <= kernel_y && stride_y && stride_x && Config::image_kernel(kernel_y, channels) &&
           window <= Config::IMAGE_BYTES && words == (window + Config::TK - 1) / Config::TK;
  }
};

// CONV, MAX and AVERAGE.
struct Compute {
  uint32_t kind, mode;
  bool image, position_outer, has_residual, logits, row_ends_tile;
  int positions;
  View source, target, residual;
  int32_t height, width;
  uint32_t kernel_y, kernel_x, dilation_y, dilation_x, stride_y, stride_x, rows, columns, image_rows;
  int32_t first_y, first_x;
  uint32_t source_row, target_row, target_x, residual_row, residual_x, residual_stride_y, residual_stride_x;
  int narrow_shift, narrow_sub, narrow_low, narrow_high;
  uint8_t padding[2];
  int target_offset, residual_offset;
  uint32_t residual_multiplier;
  int shift;
  int32_t low, high;
  uint32_t tiles, patch_words;
  // AVERAGE: multiplier, bias; MAX, AVERAGE: first destination group
  uint32_t multiplier, target_group;
  int32_t bias;
  // CONV
  uint32_t first_beat, beats, weight_checksum;

  explicit Compute(const uint32_t w[DESCRIPTOR_WORDS])
      : kind(bits(w[0], 0, 4)), mode(bits(w[3], 0, 3)), image(bits(w[3], 4, 1)), position_outer(bits(w[3], 5, 1)),
        has_residual(bits(w[3], 8, 1)), logits(bits(w[3], 10, 1)),
        row_ends_tile(bits(w[3], 11, 1)), positions(bits(w[3], 12, 4) + 1),
        source(view(w[4], w[5], w[6], bits(w[3], 3, 1), mode == PAIR)),
        target(view(w[12], w[13], w[14], bits(w[3], 7, 1), bits(w[3], 6, 1))),
        residual(view(w[17], w[18], w[19], bits(w[3], 9, 1), false)), height(bits(w[7], 0, 16)),
        width(bits(w[7], 16, 16)), kernel_y(bits(w[8], 0, 8)), kernel_x(bits(w[8], 8, 8)),
        dilation_y(bits(w[8], 16, 4)), dilation_x(bits(w[8], 20, 4)), stride_y(bits(w[8], 24, 4)),
        stride_x(bits(w[8], 28, 4)), rows(bits(w[9], 0, 16)), columns(bits(w[9], 16, 16)),
        image_rows(bits(w[2], 16, 16)), first_y(static_cast<int16_t>(bits(w[10], 0, 16))), first_x(static_cast<int16_t>(bits(w[10], 16, 16))),
        source_row(bits(w[11], 0, 24)), target_row(bits(w[15], 0, 24)), target_x(bits(w[16], 0, 16)),
        residual_row(bits(w[20], 0, 24)), residual_x(bits(w[16], 16, 16)), residual_stride_y(bits(w[19], 24, 4)),
        residual_stride_x(bits(w[19], 28, 4)), narrow_shift(bits(w[21], 0, 3)), narrow_sub(bits(w[21], 3, 8)),
        narrow_low(bits(w[21], 11, 8)), narrow_high(bits(w[21], 19, 8)), target_offset(bits(w[22], 16, 8)),
        residual_offset(bits(w[22], 24, 8)), residual_multiplier(bits(w[23], 0, 25)), shift(bits(w[23], 25, 6)),
        low(static_cast<int32_t>(w[24])), high(static_cast<int32_t>(w[25])), tiles(bits(w[26], 0, 16)),
        patch_words(bits(w[26], 16, 5)), multiplier(bits(w[27], 0, 20)), target_group(bits(w[27], 20, 10)),
        bias(static_cast<int32_t>(w[28])), first_beat(w[29]), beats(w[30]), weight_checksum(w[31]) {
    padding[0] = bits(w[22], 0, 8);
    padding[1] = bits(w[22], 8, 8);
  }

  int passes() const { return mode == TWO_PASS ? 2 : 1; }

  template <class Config>
  bool legal() const {
    typedef ActivationMemory<Config> Memory;
    const bool conv = kind == CONV;
    bool good = mode <= (conv ? TWO_PASS : BYTE) && positions <= Config::TP && rows && columns && tiles;
    good &= Config::ACT_BITS == 4 || (!target.pair && (image || mode != PAIR));
    good &= !logits || (!target.pair && positions == 1 && kind != MAX);
    good &= Memory::encircles(source, source_row) && Memory::encircles(target, target_row);
    good &= !target.ring || target.pitch <= target.ring;
    if (position_outer) good &= conv && tiles <= OUTER_TILES;
    // An image's windows come once.
    if (image) good &= conv && (mode == BYTE || mode == TWO_PASS) && patch_words && (position_outer || tiles == 1);
    else good &= height && width && kernel_y && kernel_x && dilation_y && dilation_x && stride_y && stride_x;
    if (has_residual) good &= conv && residual_stride_y && residual_stride_x && Memory::encircles(residual, residual_row);
    if (mode == NARROWED) good &= narrows<Config::ACT_BITS>();
    if (kind == MAX) good &= (positions & (positions - 1)) == 0;
    else good &= shift < 63 && low <= high && (logits || (low >= -256 && high <= 255));
    if (kind == AVERAGE) good &= positions == 1 && !target.pair;
    return good;
  }

  // To codes from 0 or 1 to 2^b - 1.
  template <int ACT_BITS>
  bool narrows() const {
    return narrow_shift <= 8 - ACT_BITS && narrow_sub << narrow_shift <= 255 && narrow_low <= 1 && narrow_high &&
           narrow_high < 1 << ACT_BITS && (narrow_high & (narrow_high + 1)) == 0;
  }

 private:
  static View view(uint32_t place, uint32_t shape, uint32_t ring, bool split, bool pair) {
    const View found = {bits(place, 0, 16), bits(place, 16, 16), bits(shape, 0, 16), bits(shape, 16, 16),
                        bits(ring, 0, 24),  split,               pair};
    return found;
  }
};

}  // namespace ilmpq

#endif
