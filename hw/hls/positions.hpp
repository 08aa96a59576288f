// The outputs of an operation in raster order, some to a tile, with where each begins to read and where it is written.
#ifndef ILMPQ_POSITIONS_HPP
#define ILMPQ_POSITIONS_HPP

#include "descriptors.hpp"

namespace ilmpq {

// The first tap's row and column and its row start; pixel numbers in destination and residual.
struct Position {
  int32_t y, x;
  uint32_t row, target, residual;
};

template <int TP>
struct Tile {
  Position position[TP];
  int count;
};

template <class Config>
class Positions {
 public:
  explicit Positions(const Compute &op)
      : source_step(op.source.distance(op.stride_y)), target_step(op.target.distance(1)),
        residual_step(op.residual.distance(op.residual_stride_y)) {
    restart(op);
  }

  void restart(const Compute &op) {
    oy = ox = 0;
    image_rows_left = op.image_rows;
    now.y = op.first_y;
    now.row = op.source_row;
    target_row = op.target_row;
    residual_row = op.residual_row;
  }

  static uint32_t tiles(const Compute &op) {
    const uint32_t size = op.positions;
    return op.row_ends_tile ? op.rows * ((op.columns + size - 1) / size) : (op.rows * op.columns + size - 1) / size;
  }

  void next(const Compute &op, Tile<Config::TP> &tile) {
    bool ended = false;
    tile.count = 0;
    for (int p = 0; p < op.positions; p++) {
      ILMPQ_HLS(pipeline II=1)
      if (ended || oy == op.rows) break;
      now.x = op.first_x + static_cast<int32_t>(ox * op.stride_x);
      now.target = op.target.pixel(target_row, op.target_x + ox);
      now.residual = op.residual.pixel(residual_row, op.residual_x + ox * op.residual_stride_x);
      tile.position[p] = now;
      tile.count = p + 1;
      if (++ox == op.columns) {
        ended = op.row_ends_tile;
        ox = 0;
        oy++;
        const bool image_ends = image_rows_left == 1;
        image_rows_left = image_ends ? op.image_rows : image_rows_left - 1;
        now.y = image_ends ? op.first_y : now.y + static_cast<int32_t>(op.stride_y);
        now.row = op.source.advanced(now.row, source_step);
        target_row = op.target.advanced(target_row, target_step);
        residual_row = op.residual.advanced(residual_row, residual_step);
      }
    }
  }

 private:
  uint32_t source_step, target_step, residual_step;
  uint32_t oy, ox, target_row, residual_row, image_rows_left;  // 0: there is one image
  Position now;
};

// One tap of all positions of a tile: which pixel, unless it is padding.
template <int TP>
struct Tap {
  bool inside[TP];
  uint32_t pixel[TP];
};

template <class Config>
Tap<Config::TP> tap_at(const Compute &op, const Tile<Config::TP> &tile, uint32_t ky, uint32_t kx, uint32_t row_distance,
                       ActivationMemory<Config> &memory) {
  ILMPQ_HLS(inline)
  Tap<Config::TP> tap;
  uint32_t byte[Config::TP];
  for (int p = 0; p < Config::TP; p++) {
    ILMPQ_HLS(unroll)
    const Position &at = tile.position[p];
    const int32_t y = (at.y + ky * op.dilation_y) & 0xFFFF, x = (at.x + kx * op.dilation_x) & 0xFFFF;
    tap.inside[p] = p < tile.count && y < op.height && x < op.width;
    tap.pixel[p] = tap.inside[p] ? op.source.pixel(op.source.advanced(at.row, row_distance), x) : 0;
    byte[p] = op.source.byte(tap.pixel[p]);
  }
  memory.check_banks(byte, tap.inside, tile.count);
  return tap;
}

// What hardware needs of a tile's destinations, counted where it is not so: different banks, and no odd pixel of a pair
// without the even one.
template <class Config>
void check_targets(const Compute &op, const Tile<Config::TP> &tile, ActivationMemory<Config> &memory) {
#ifndef __SYNTHESIS__
  uint32_t byte[Config::TP];
  bool used[Config::TP], alone = false;
  for (int p = 0; p < tile.count; p++) {
    byte[p] = op.target.byte(tile.position[p].target);
    used[p] = true;
    if (!op.target.pair || tile.position[p].target % 2 == 0) continue;
    bool found = false;
    for (int q = 0; q < tile.count; q++) found |= tile.position[q].target + 1 == tile.position[p].target;
    alone |= !found;
  }
  memory.check_banks(byte, used, tile.count);
  memory.misplaced += alone;
#endif
}

}  // namespace ilmpq

#endif
