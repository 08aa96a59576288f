// The engine of the XC7Z020 example, as `config_source` of accel/engine/hls_engine.py writes it; another one is another file.
#ifndef ILMPQ_ENGINE_CONFIG_HPP
#define ILMPQ_ENGINE_CONFIG_HPP

#include "step_unit.hpp"

struct Config {
  static const int ROWS = 32;
  static const int TK = 16;
  static const int TP = 4;
  static const int ACT_BITS = 4;
  static const int ACC_BITS = 24;
  static const int BANKS = 4;
  static const int DEPTH = 5120;
  static const int RING = 512;
  static const int TABLE = 128;
  static const int PORTS = 3;
  static const int STEP_WORDS = 34;
  static const uint32_t LINE = 512u;
  static const uint32_t IMAGE_BYTES = 147u;
  static const uint32_t GEOMETRY_ID = 843467280u;
  typedef ilmpq::LaneList<ilmpq::LaneRows<ilmpq::Pot4<4>, 22>,
                          ilmpq::LaneRows<ilmpq::Fixed4Dsp<4, ilmpq::FOUR, 0, 0>, 8>,
                          ilmpq::LaneRows<ilmpq::Fixed8Dsp<4, ilmpq::POSITION_PAIR, 0, 0>, 2>>
      Lanes;
  static bool image_kernel(uint32_t rows, uint32_t channels) {
    return (rows == 7 && channels == 3) ||
           (rows == 3 && channels == 3) ||
           (rows == 5 && channels == 3) ||
           (rows == 3 && channels == 1);
  }
};

#endif
