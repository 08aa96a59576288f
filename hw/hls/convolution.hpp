// CONV: row tiles times position tiles on the arrays, weights taken from the stream when they are first needed.
#ifndef ILMPQ_CONVOLUTION_HPP
#define ILMPQ_CONVOLUTION_HPP

#include "image.hpp"
#include "positions.hpp"
#include "step_unit.hpp"
#include "store_result.hpp"
#include "weight_stream.hpp"

namespace ilmpq {

template <class Config>
class Convolution {
  static const int TK = Config::TK;
  static const int TP = Config::TP;

 public:
  template <class Port>
  Error run(const Compute &op, Port &port, ActivationMemory<Config> &memory, Windows<Config> &windows, uint32_t &steps) {
    stream.begin(op.first_beat, op.beats);
    return stream.finish(port, op.weight_checksum, tiles(op, port, memory, windows, steps));
  }

 private:
  typedef ActivationMemory<Config> Memory;

  WeightStream<Config> stream;
  StepUnit<Config> arrays;
  RowTile row_tiles[OUTER_TILES];
  Slot slots[Config::TABLE];
  uint8_t patches[TP][Windows<Config>::WORDS * TK];

  template <class Port>
  Error tiles(const Compute &op, Port &port, Memory &memory, Windows<Config> &windows, uint32_t &steps) {
    Positions<Config> positions(op);
    const uint32_t position_tiles = Positions<Config>::tiles(op);
    const bool streams = position_tiles == 1 && op.passes() == 1 && !op.position_outer;
    const uint32_t outer_tiles = op.position_outer ? position_tiles : op.tiles;
    const uint32_t inner_tiles = op.position_outer ? op.tiles : position_tiles;
    for (uint32_t outer = 0; outer < outer_tiles; outer++) {
      if (!op.position_outer) positions.restart(op);
      Tile<TP> tile;
      tile.count = 0;
      for (uint32_t inner = 0; inner < inner_tiles; inner++) {
        const bool first = (op.position_outer ? outer : inner) == 0;
        const uint32_t r = op.position_outer ? inner : 0;
        if (first) {
          const Error error = begin(op, port, r, streams);
          if (error != OK) return error;
        }
        if (!op.position_outer || inner == 0) {
          positions.next(op, tile);
          check_targets<Config>(op, tile, memory);
          for (int p = 0; op.image && p < tile.count; p++) {
            const Error error = windows.next(port, op.patch_words, patches[p]);
            if (error != OK) return error;
          }
        }
        Error error = sums(op, port, memory, row_tiles[r], tile, first, steps);
        if (error == OK) error = results(op, memory, row_tiles[r], tile);
        if (error != OK) return error;
      }
    }
    return OK;
  }

  // A row tile's header and slots.
  template <class Port>
  Error begin(const Compute &op, Port &port, uint32_t r, bool streams) {
    RowTile &tile = row_tiles[r];
    Error error = stream.header(port, tile);
    tile.first_slot = r ? row_tiles[r - 1].first_slot + row_tiles[r - 1].slots : 0;
    tile.first_step = r ? row_tiles[r - 1].first_step + row_tiles[r - 1].steps : 0;
    const uint64_t steps = op.image ? op.patch_words : static_cast<uint64_t>(op.kernel_y * op.kernel_x) * tile.groups;
    if (error != OK) return error;
    if (!tile.slots || tile.slots > MOST_SLOTS || !tile.groups || tile.groups > MOST_GROUPS) return ILLEGAL;
    if (!tile.steps || tile.steps != steps) return ILLEGAL;
    if (tile.first_slot + tile.slots > static_cast<uint32_t>(Config::TABLE)) return ILLEGAL;
    if (!streams && tile.first_step + tile.steps > static_cast<uint32_t>(Config::RING)) return ILLEGAL;
    for (uint32_t i = 0; i < tile.slots && error == OK; i++) {
      Slot &slot = slots[tile.first_slot + i];
      error = stream.slot(port, slot);
      for (int h = 0; h < 2 && error == OK; h++)
        if (slot.half[h].valid && (slot.half[h].row >= Config::ROWS || slot.half[h].lane >= TK ||
                                   (op.has_residual && slot.half[h].residual && slot.residual_lane[h] >= TK)))
          error = ILLEGAL;
    }
    return error;
  }

  // All steps of a row tile and a position tile.
  template <class Port>
  Error sums(const Compute &op, Port &port, Memory &memory, const RowTile &row_tile, const Tile<TP> &tile, bool first,
             uint32_t &steps) {
    const uint32_t row_distance = op.source.distance(op.dilation_y);
    const uint32_t kernel_y = op.image ? 1 : op.kernel_y, kernel_x = op.image ? 1 : op.kernel_x;
    const uint32_t groups = op.image ? op.patch_words : row_tile.groups;
    for (int pass = 0; pass < op.passes(); pass++) {
      uint32_t step = 0, row_offset = 0;
      for (uint32_t ky = 0; ky < kernel_y; ky++) {
        for (uint32_t kx = 0; kx < kernel_x; kx++) {
          Tap<TP> tap;
          uint32_t word[TP];
          if (!op.image) {
            tap = tap_at<Config>(op, tile, ky, kx, row_offset, memory);
            for (int p = 0; p < TP; p++)
              word[p] = Memory::word(op.source, row_tile.first_group, tap.pixel[p]);
          }
          for (uint32_t g = 0; g < groups; g++) {
            ILMPQ_HLS(pipeline II=1)
            uint8_t act[TP][TK];
            if (op.image) patch(op, tile, pass, g, act);
            else if (!read(op, memory, tile, tap, word, pass, act)) return ILLEGAL;
            const int at = (row_tile.first_step + step) % Config::RING;
            if (first && pass == 0) {
              uint64_t words[WeightStream<Config>::STEP_WORDS];
              const Error error = stream.step(port, words);
              if (error != OK) return error;
              arrays.load(at, words);
            }
            arrays.step(at, act, tile.count, pass == 0 && step == 0, step == 0);
            step++;
            steps++;
          }
        }
        row_offset = op.source.advanced(row_offset, row_distance);
      }
    }
    return OK;
  }

  // A step's activations out of the memory; the words move on to the next group.
  static bool read(const Compute &op, const Memory &memory, const Tile<TP> &tile, const Tap<TP> &tap, uint32_t word[TP],
                   int pass, uint8_t act[TP][TK]) {
    ILMPQ_HLS(inline)
    bool good = true;
    for (int p = 0; p < TP; p++) {
      ILMPQ_HLS(unroll)
      const bool inside = p < tile.count && tap.inside[p];
      const bool held = Memory::holds(word[p]);
      good &= !inside || held;
      if (inside && held) {
        memory.read(op.source, word[p], tap.pixel[p], act[p]);
        for (int l = 0; l < TK; l++) act[p][l] = seen<Config::ACT_BITS>(op, act[p][l], pass);
      } else {
        for (int l = 0; l < TK; l++) act[p][l] = op.padding[pass] & ((1 << Config::ACT_BITS) - 1);
      }
      word[p] = (word[p] + op.source.stride) % Memory::WORDS;
    }
    return good;
  }

  void patch(const Compute &op, const Tile<TP> &tile, int pass, uint32_t g, uint8_t act[TP][TK]) const {
    ILMPQ_HLS(inline)
    for (int p = 0; p < TP; p++) {
      ILMPQ_HLS(unroll)
      for (int l = 0; l < TK; l++)
        act[p][l] = p < tile.count ? seen<Config::ACT_BITS>(op, patches[p][g * TK + l], pass) : 0;
    }
  }

  // The row tile's slots in order.
  Error results(const Compute &op, Memory &memory, const RowTile &row_tile, const Tile<TP> &tile) {
    for (uint32_t i = 0; i < row_tile.slots; i++) {
      const Slot &slot = slots[row_tile.first_slot + i];
      bool reads = false;
      int64_t skip[2][TP];
      for (int p = 0; p < tile.count; p++)
        if (!reaches(op, slot, tile.position[p])) return ILLEGAL;
      for (int h = 0; h < 2; h++) {
        const Result &half = slot.half[h];
        const bool adds = op.has_residual && half.valid && half.residual;
        reads |= adds;
        for (int p = 0; p < tile.count; p++) {
          const uint32_t byte = tile.position[p].residual;
          const uint32_t d = Memory::word(op.residual, slot.residual_group, byte);
          skip[h][p] = adds ? memory.read_lane(d, byte, slot.residual_lane[h]) - op.residual_offset : 0;
        }
      }
      if (reads) check_residuals(tile, memory);
      for (int h = 0; h < 2; h++) {
        const Result &half = slot.half[h];
        for (int p = 0; half.valid && p < tile.count; p++) {
          ILMPQ_HLS(pipeline)
          const int64_t sum = biased<Config::ACC_BITS>(arrays.sum(half.row, p), half.bias);
          const int64_t v = sum * half.multiplier + skip[h][p] * op.residual_multiplier;
          const Error error = store_result<Config>(op, memory, slot.group, tile.position[p].target, half.lane, v);
          if (error != OK) return error;
        }
      }
    }
    return OK;
  }

  // Whether a slot's places are in the memory, used or not.
  static bool reaches(const Compute &op, const Slot &slot, const Position &at) {
    ILMPQ_HLS(inline)
    const uint32_t pixel = op.logits ? 4 * at.target : at.target;
    return Memory::holds(Memory::word(op.target, slot.group, pixel)) &&
           (!op.has_residual || Memory::holds(Memory::word(op.residual, slot.residual_group, at.residual)));
  }

  static void check_residuals(const Tile<TP> &tile, Memory &memory) {
    uint32_t byte[TP];
    bool used[TP];
    for (int p = 0; p < tile.count; p++) {
      byte[p] = tile.position[p].residual;
      used[p] = true;
    }
    memory.check_banks(byte, used, tile.count);
  }
};

}  // namespace ilmpq

#endif
