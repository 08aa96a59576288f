// The engine and its memories for ctypes: what accel/engine/hls_engine.py calls. It defines the type Config, then includes this.
#include <string.h>

#include "engine.hpp"

// Regions and parts of the weight image in the caller's memory; beyond them nothing answers.
class Memories {
 public:
  struct Bytes {
    uint8_t *data;
    uint64_t size;
  };

  Memories() { memset(this, 0, sizeof *this); }

  bool read(uint32_t space, uint64_t at, uint64_t &word) const { return get(spaces[space], at, word); }

  bool write(uint32_t space, uint64_t at, uint64_t word) {
    if (!holds(spaces[space], at)) return false;
    memcpy(spaces[space].data + at, &word, 8);
    return true;
  }

  bool weights(int part, uint32_t beat, uint64_t &word) const { return get(parts[part], 8 * uint64_t(beat), word); }

  Bytes spaces[4];
  Bytes parts[Config::PORTS];

 private:
  static bool holds(const Bytes &bytes, uint64_t at) { return at + 8 <= bytes.size; }

  static bool get(const Bytes &bytes, uint64_t at, uint64_t &word) {
    word = 0;
    if (!holds(bytes, at)) return false;
    memcpy(&word, bytes.data + at, 8);
    return true;
  }
};

struct Machine {
  Memories memories;
  ilmpq::Engine<Config> engine;
};

extern "C" {

void *engine_new() {
  Machine *machine = new Machine;
  memset(machine->engine.memory.bytes, 0, sizeof machine->engine.memory.bytes);
  return machine;
}

void engine_delete(Machine *machine) { delete machine; }

// 0 scratch, 1 input, 2 output, 3 program, 4 … parts of the weight image. The caller keeps the bytes.
void engine_attach(Machine *machine, int place, uint8_t *data, uint64_t size) {
  const Memories::Bytes bytes = {data, size};
  (place < 4 ? machine->memories.spaces[place] : machine->memories.parts[place - 4]) = bytes;
}

void engine_start(Machine *machine) { machine->engine.start(machine->memories); }

// Until so many descriptors are done, or all, or an error.
void engine_run(Machine *machine, uint32_t descriptors) {
  while (machine->engine.busy() && machine->engine.descriptors_done() < descriptors)
    machine->engine.next(machine->memories);
}

uint32_t engine_status(const Machine *machine) { return machine->engine.status(); }
uint32_t engine_done(const Machine *machine) { return machine->engine.descriptors_done(); }
uint32_t engine_steps(const Machine *machine) { return machine->engine.steps; }
uint32_t engine_misplaced(const Machine *machine) { return machine->engine.memory.misplaced; }
uint8_t *engine_memory(Machine *machine) { return &machine->engine.memory.bytes[0][0][0]; }

// Steps of one frame on the arrays alone: the weight image's words, activations [step][position][lane], the step at which a
// second pass begins; sums [row][position].
void engine_sums(long steps, const uint64_t *words, const uint8_t *act, long second, uint32_t *sums) {
  typedef ilmpq::StepUnit<Config> Unit;
  Unit *unit = new Unit;
  for (long i = 0; i < steps; i++) {
    uint8_t own[Config::TP][Config::TK];
    memcpy(own, act + i * sizeof own, sizeof own);
    unit->load(i % Config::RING, words + i * ilmpq::WeightStream<Config>::STEP_WORDS);
    unit->step(i % Config::RING, own, Config::TP, i == 0, i == second);
  }
  for (int r = 0; r < Config::ROWS; r++)
    for (int p = 0; p < Config::TP; p++) sums[r * Config::TP + p] = unit->sum(r, p);
  delete unit;
}
}
