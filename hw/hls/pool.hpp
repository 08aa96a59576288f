// MAX and AVERAGE: group by group, every lane by itself.
#ifndef ILMPQ_POOL_HPP
#define ILMPQ_POOL_HPP

#include "positions.hpp"
#include "store_result.hpp"

namespace ilmpq {

// One position and group: the largest code of each lane, or the sum.
template <class Config>
Error pooled(const Compute &op, const Tile<Config::TP> &tile, int p, uint32_t group, ActivationMemory<Config> &memory,
             uint32_t found[Config::TK]) {
  for (int l = 0; l < Config::TK; l++) found[l] = 0;
  const uint32_t row_distance = op.source.distance(op.dilation_y);
  uint32_t row_offset = 0;
  for (uint32_t ky = 0; ky < op.kernel_y; ky++) {
    for (uint32_t kx = 0; kx < op.kernel_x; kx++) {
      ILMPQ_HLS(pipeline II=1)
      const Tap<Config::TP> tap = tap_at<Config>(op, tile, ky, kx, row_offset, memory);
      const uint32_t d = ActivationMemory<Config>::word(op.source, group, tap.pixel[p]);
      uint8_t codes[Config::TK];
      if (tap.inside[p] && !memory.holds(d)) return ILLEGAL;
      if (tap.inside[p]) memory.read(op.source, d, tap.pixel[p], codes);
      for (int l = 0; l < Config::TK; l++) {
        ILMPQ_HLS(unroll)
        if (op.kind == AVERAGE) found[l] += tap.inside[p] ? codes[l] : op.padding[0];
        else if (tap.inside[p] && codes[l] > found[l]) found[l] = codes[l];
      }
    }
    row_offset = op.source.advanced(row_offset, row_distance);
  }
  return OK;
}

// Sums wrap to 18 bits, or to those of an accumulator if they are fewer.
template <class Config>
Error pool(const Compute &op, ActivationMemory<Config> &memory) {
  static const uint32_t SUM = (1u << least(Config::ACC_BITS, 18)) - 1;
  static const uint32_t GROUPS = 1024;  // their numbers are modulo this
  Positions<Config> positions(op);
  const uint32_t tiles = Positions<Config>::tiles(op);
  for (uint32_t t = 0; t < tiles; t++) {
    Tile<Config::TP> tile;
    positions.next(op, tile);
    check_targets<Config>(op, tile, memory);
    for (uint32_t g = 0; g < op.tiles; g++) {
      for (int p = 0; p < tile.count; p++) {
        const uint32_t pixel = tile.position[p].target, to = (op.target_group + g) % GROUPS;
        uint32_t found[Config::TK];
        Error error = pooled<Config>(op, tile, p, g, memory, found);
        for (int l = 0; l < Config::TK && error == OK; l++) {
          ILMPQ_HLS(pipeline)
          const uint32_t d = ActivationMemory<Config>::word(op.target, to, pixel);
          if (op.kind == AVERAGE) {
            const int64_t sum = biased<Config::ACC_BITS>(found[l] & SUM, op.bias);
            error = store_result<Config>(op, memory, to, pixel, l, sum * op.multiplier);
          } else if (memory.holds(d)) {
            memory.write_lane(op.target, d, pixel, l, found[l]);
          } else {
            error = ILLEGAL;
          }
        }
        if (error != OK) return error;
      }
    }
  }
  return OK;
}

}  // namespace ilmpq

#endif
