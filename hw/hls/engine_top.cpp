// A top function to synthesise: the engine of engine_config.hpp with its memories and registers.
//
// Vitis HLS: add_files -cflags "-std=c++14 -DILMPQ_VITIS"; config_interface -m_axi_addr64=0; set_top engine_top. The tool's own
// control register (start, done, interrupts) is at 0x00 … 0x0C, where docs/engine.md has ID … CONTROL; from STATUS on, registers
// lie where it says. Units run one after the other: for speed there is hw/rtl.
#include "engine.hpp"
#include "engine_config.hpp"

// Byte addresses as the registers hold them; a bus error cannot be seen from here.
class AxiPort {
 public:
  AxiPort(uint64_t *memory, const uint64_t *weights0, const uint64_t *weights1, const uint64_t *weights2,
          const uint32_t bases[4], const uint32_t weight_bases[3])
      : memory(memory), weights0(weights0), weights1(weights1), weights2(weights2) {
    for (int i = 0; i < 4; i++) base[i] = bases[i] >> 3;
    for (int i = 0; i < 3; i++) weight_base[i] = weight_bases[i] >> 3;
  }

  bool read(uint32_t space, uint64_t at, uint64_t &word) const {
    ILMPQ_HLS(inline)
    word = memory[base[space] + (at >> 3)];
    return true;
  }

  bool write(uint32_t space, uint64_t at, uint64_t word) {
    ILMPQ_HLS(inline)
    memory[base[space] + (at >> 3)] = word;
    return true;
  }

  bool weights(int part, uint32_t beat, uint64_t &word) const {
    ILMPQ_HLS(inline)
    const uint32_t at = weight_base[part] + beat;
    word = part == 0 ? weights0[at] : part == 1 ? weights1[at] : weights2[at];
    return true;
  }

 private:
  uint64_t *memory;
  const uint64_t *weights0, *weights1, *weights2;
  uint32_t base[4], weight_base[3];
};

static_assert(Config::PORTS == 3, "engine_top has three weight ports");

void engine_top(uint64_t *memory, const uint64_t *weights0, const uint64_t *weights1, const uint64_t *weights2,
                uint32_t program_base, uint32_t scratch_base, uint32_t input_base, uint32_t output_base,
                uint32_t weight_base0, uint32_t weight_base1, uint32_t weight_base2, uint32_t *status, uint32_t *steps) {
  ILMPQ_HLS(interface m_axi port=memory offset=off bundle=memory)
  ILMPQ_HLS(interface m_axi port=weights0 offset=off bundle=weights0)
  ILMPQ_HLS(interface m_axi port=weights1 offset=off bundle=weights1)
  ILMPQ_HLS(interface m_axi port=weights2 offset=off bundle=weights2)
  ILMPQ_HLS(interface s_axilite port=status offset=0x10)
  ILMPQ_HLS(interface s_axilite port=program_base offset=0x18)
  ILMPQ_HLS(interface s_axilite port=scratch_base offset=0x1C)
  ILMPQ_HLS(interface s_axilite port=input_base offset=0x20)
  ILMPQ_HLS(interface s_axilite port=output_base offset=0x24)
  ILMPQ_HLS(interface s_axilite port=weight_base0 offset=0x28)
  ILMPQ_HLS(interface s_axilite port=weight_base1 offset=0x2C)
  ILMPQ_HLS(interface s_axilite port=weight_base2 offset=0x30)
  ILMPQ_HLS(interface s_axilite port=steps offset=0x3C)
  ILMPQ_HLS(interface s_axilite port=return)
  static ilmpq::Engine<Config> engine;
  const uint32_t bases[4] = {scratch_base, input_base, output_base, program_base};
  const uint32_t weight_bases[3] = {weight_base0, weight_base1, weight_base2};
  AxiPort port(memory, weights0, weights1, weights2, bases, weight_bases);
  engine.start(port);
  while (engine.busy()) engine.next(port);
  *status = engine.status();
  *steps = engine.steps;
}
