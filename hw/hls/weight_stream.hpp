// A convolution's beats of the weight image, in order: headers of row tiles, slots, steps; checksum and end.
#ifndef ILMPQ_WEIGHT_STREAM_HPP
#define ILMPQ_WEIGHT_STREAM_HPP

#include "registers.hpp"

namespace ilmpq {

inline uint32_t bits_of_word(uint64_t word, int low, int count) {
  ILMPQ_HLS(inline)
  return static_cast<uint32_t>((word >> low) & ((static_cast<uint64_t>(1) << count) - 1));
}

static const uint32_t MOST_SLOTS = 255, MOST_GROUPS = 1023;  // of a row tile

struct RowTile {
  uint32_t slots, first_group, groups, steps;
  // where its entries begin in table and ring
  uint32_t first_slot, first_step;
};

struct Result {
  int32_t bias;
  uint32_t multiplier;
  int row;
  bool valid, residual;
  int lane;
};

struct Slot {
  Result half[2];
  uint32_t group, residual_group;
  int residual_lane[2];
};

template <class Config>
class WeightStream {
  static const int PORTS = Config::PORTS;
  static const int SLOT_WORDS = 3;

 public:
  static const int STEP_WORDS = Config::STEP_WORDS;

  void begin(uint32_t first, uint32_t beats) {
    next = first;
    left = beats;
    sum = 0;
  }

  template <class Port>
  Error header(Port &port, RowTile &tile) {
    const Error error = take(port, beat);
    word = 0;
    tile.slots = bits_of_word(beat[0], 0, 16);
    tile.first_group = bits_of_word(beat[0], 16, 16);
    tile.groups = bits_of_word(beat[0], 32, 16);
    tile.steps = bits_of_word(beat[0], 48, 16);
    return error;
  }

  template <class Port>
  Error slot(Port &port, Slot &slot) {
    static const int BEATS = (SLOT_WORDS + PORTS - 1) / PORTS;
    uint64_t words[BEATS * PORTS];
    const Error error = item<BEATS>(port, words);
    for (int h = 0; h < 2; h++) {
      Result &half = slot.half[h];
      half.bias = static_cast<int32_t>(bits_of_word(words[h], 0, 32));
      half.multiplier = bits_of_word(words[h], 32, 20);
      half.row = 2 * bits_of_word(words[h], 52, 5) + h;
      half.valid = bits_of_word(words[h], 57, 1);
      half.residual = bits_of_word(words[h], 58, 1);
      half.lane = bits_of_word(words[h], 59, 5);
      slot.residual_lane[h] = bits_of_word(words[2], 20 + 5 * h, 5);
    }
    slot.group = bits_of_word(words[2], 0, 10);
    slot.residual_group = bits_of_word(words[2], 10, 10);
    return error;
  }

  // Words of a row tile's steps follow one another.
  template <class Port>
  Error step(Port &port, uint64_t words[STEP_WORDS]) {
    Error error = OK;
    for (int i = 0; i < STEP_WORDS; i += PORTS) {
      ILMPQ_HLS(pipeline II=1)
      const int count = i + PORTS <= STEP_WORDS ? PORTS : STEP_WORDS - i;
      uint64_t kept[PORTS];
      for (int j = 0; j < PORTS; j++) kept[j] = beat[j];
      if (error == OK && (word == 0 || word + count > PORTS)) error = take(port, beat);
      for (int j = 0; j < PORTS; j++) {
        ILMPQ_HLS(unroll)
        const int at = word + j;
        if (j < count) words[i + j] = word != 0 && at < PORTS ? kept[at] : beat[at % PORTS];
      }
      word = (word + count) % PORTS;
    }
    return error;
  }

  // Takes what is left. A wrong checksum explains whatever else was found wrong.
  template <class Port>
  Error finish(Port &port, uint32_t expected, Error found) {
    const bool over = left != 0;
    Error error = OK;
    while (left != 0 && error == OK && found != READ) {
      error = take(port, beat);
    }
    if (error != OK) return error;
    if (found == READ) return found;
    if (sum != expected) return WEIGHTS;
    return found == OK && over ? WEIGHTS : found;
  }

 private:
  uint32_t next, left, sum;
  // The newest beat of steps, and its first word that no step has had (0: none is left).
  uint64_t beat[PORTS];
  int word;

  template <class Port>
  Error take(Port &port, uint64_t found[PORTS]) {
    ILMPQ_HLS(inline)
    if (left == 0) {
      for (int j = 0; j < PORTS; j++) found[j] = 0;
      return WEIGHTS;
    }
    bool good = true;
    for (int j = 0; j < PORTS; j++) {
      ILMPQ_HLS(unroll)
      good &= port.weights(j, next, found[j]);
      sum = checksum(sum, static_cast<uint32_t>(found[j]));
      sum = checksum(sum, static_cast<uint32_t>(found[j] >> 32));
    }
    next++;
    left--;
    return good ? OK : READ;
  }

  template <int BEATS, class Port>
  Error item(Port &port, uint64_t words[BEATS * PORTS]) {
    ILMPQ_HLS(inline)
    Error error = OK;
    for (int i = 0; i < BEATS; i++) {
      ILMPQ_HLS(pipeline II=1)
      if (error == OK) error = take(port, words + i * PORTS);
      else for (int j = 0; j < PORTS; j++) words[i * PORTS + j] = 0;
    }
    return error;
  }
};

}  // namespace ilmpq

#endif
