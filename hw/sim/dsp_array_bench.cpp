// Drives a Fixed4 or Fixed8 DSP array (verilated, parameters repeated as macros) and compares each accumulator, on every
// enabled cycle, with plain integers. Exit status 1 and the first difference on failure. tests/backends.py builds it.
//
// Modes: `products` (TK = 1: every combination of the operands of a DSP), `extremes` (constant and alternating largest
// operands), `random STEPS SEED` (random stalls, frames of 1 ... 12 steps back to back, second passes), `mild STEPS SEED`
// (the same, but a row has one weight 1, else 0, and activations are in their upper half: sums so small and never negative
// that an array with a bit too few computes them. A control that fails here too fails for another reason than overflow).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <vector>
#include "verilated.h"
#include "Vdut.h"

static const int LARGEST = (1 << (LANE_BITS - 1)) - 1, ACTS = 1 << ACT_BITS;
static const uint64_t ACC_MASK = (ACC_BITS == 64) ? ~0ull : (1ull << ACC_BITS) - 1;

// A port of any width is little-endian 32-bit words in memory (Verilator's VlWide, IData, QData on x86).
template <class Port> static void put(Port &port, int at, int bits, uint64_t value) {
  auto *bytes = reinterpret_cast<uint8_t *>(&port);
  for (int i = 0; i < bits; i++, at++)
    bytes[at / 8] = (bytes[at / 8] & ~(1 << at % 8)) | ((value >> i & 1) << at % 8);
}
template <class Port> static uint64_t get(const Port &port, int at, int bits) {
  auto *bytes = reinterpret_cast<const uint8_t *>(&port);
  uint64_t value = 0;
  for (int i = 0; i < bits; i++, at++) value |= uint64_t(bytes[at / 8] >> at % 8 & 1) << i;
  return value;
}

struct Step {
  bool clear = false, shift = false;
  int weight[ROWS][TK], act[TP][TK];
};

class Bench {
 public:
  explicit Bench(uint64_t seed, bool stalls) : random(seed), stalls(stalls) {
    Step nothing;
    memset(&nothing, 0, sizeof nothing);
    nothing.clear = true;
    Step one = nothing;
    one.weight[0][0] = one.act[0][0] = 1;
    for (int i = 0; i < 200; i++) drive(nothing), tick(true);
    drive(one);
    for (latency = 0; get(dut.acc_o, 0, ACC_BITS) == 0 && latency < 200; latency++) tick(true), drive(nothing);
  }

  void step(const Step &s) {
    while (stalls && random() % 4 == 0) tick(false);
    drive(s);
    for (int r = 0; r < ROWS; r++)
      for (int p = 0; p < TP; p++) {
        int64_t sum = 0, codes = 0;
        for (int l = 0; l < TK; l++) sum += int64_t(s.weight[r][l]) * s.act[p][l], codes += s.weight[r][l];
        exact[r][p] = (s.clear ? 0 : s.shift ? exact[r][p] << ACT_BITS : exact[r][p]) + sum;
        correction[r][p] = (s.clear ? 0 : s.shift ? correction[r][p] << ACT_BITS : correction[r][p]) - OFFSET * codes;
        expected.push_back((exact[r][p] + correction[r][p]) & ACC_MASK);
      }
    tick(true);
    if (++steps >= latency) compare();
  }

  void drain() {
    Step nothing;
    memset(&nothing, 0, sizeof nothing);
    for (int i = 0; i < latency; i++) step(nothing);
  }

  long compared = 0;
  std::mt19937_64 random;

 private:
  void drive(const Step &s) {
    dut.clear_i = s.clear;
    dut.shift_i = s.shift;
    for (int p = 0; p < TP; p++)
      for (int l = 0; l < TK; l++) put(dut.act_i, (p * TK + l) * ACT_BITS, ACT_BITS, s.act[p][l]);
    for (int r = 0; r < ROWS; r++)
      for (int l = 0; l < TK; l++) {
        int borrow = PAIR_ROWS && r % 2 == 1 && s.weight[r - 1][l] < 0;  // the lane code of a pair's second row
        put(dut.weight_i, (r * TK + l) * LANE_BITS, LANE_BITS, s.weight[r][l] - borrow);
      }
  }

  void tick(bool enable) {
    dut.en_i = enable;
    if (!enable) {  // garbage while stalled must not matter
      dut.clear_i = random() & 1;
      dut.shift_i = random() & 1;
      for (int i = 0; i < TP * TK; i++) put(dut.act_i, i * ACT_BITS, ACT_BITS, random());
      for (int i = 0; i < ROWS * TK; i++) put(dut.weight_i, i * LANE_BITS, LANE_BITS, random());
    }
    dut.clk_i = 0;
    dut.eval();
    dut.clk_i = 1;
    dut.eval();
  }

  void compare() {
    for (int r = 0; r < ROWS; r++)
      for (int p = 0; p < TP; p++, compared++) {
        uint64_t want = expected.front(), have = get(dut.acc_o, (r * TP + p) * ACC_BITS, ACC_BITS);
        expected.pop_front();
        if (want != have) {
          printf("step %ld row %d position %d: acc_o must be %llx, not %llx\n", steps - latency, r, p,
                 (unsigned long long)want, (unsigned long long)have);
          exit(1);
        }
      }
  }

  Vdut dut;
  bool stalls;
  int latency = 0;
  long steps = 0;
  int64_t exact[ROWS][TP] = {}, correction[ROWS][TP] = {};
  std::deque<uint64_t> expected;
};

static void every_product(Bench &bench) {
  const int paired_rows = PAIR_ROWS ? 2 : 1, paired_positions = PAIR_POSITIONS ? 2 : 1, codes = 2 * LARGEST + 1;
  Step s;
  memset(&s, 0, sizeof s);
  s.clear = true;
  for (int w0 = -LARGEST; w0 <= LARGEST; w0++)
    for (int w1 = -LARGEST; w1 < -LARGEST + (paired_rows == 2 ? codes : 1); w1++)
      for (int a0 = 0; a0 < ACTS; a0++)
        for (int a1 = 0; a1 < (paired_positions == 2 ? ACTS : 1); a1++) {
          for (int r = 0; r < ROWS; r++) s.weight[r][0] = r % 2 ? w1 : w0;
          for (int p = 0; p < TP; p++) s.act[p][0] = p % 2 ? a1 : a0;
          bench.step(s);
        }
}

// Constant, alternating and one-sided operands of the largest magnitude: what overflows a packed field first.
static void extremes(Bench &bench) {
  for (int pattern = 0; pattern < 4096; pattern++) {
    Step s;
    for (int r = 0; r < ROWS; r++)
      for (int l = 0; l < TK; l++) {
        int kind = pattern >> (3 * (r % 2)) & 7, sign = kind & 1;
        if (kind & 2) sign ^= l & 1;
        s.weight[r][l] = (kind & 4) && bench.random() % 2 ? 0 : sign ? -LARGEST : LARGEST;
      }
    for (int p = 0; p < TP; p++)
      for (int l = 0; l < TK; l++) {
        int kind = pattern >> (6 + 3 * (p % 2)) & 7, high = kind & 1;
        if (kind & 2) high ^= l & 1;
        if (kind & 4) high = bench.random() & 1;
        s.act[p][l] = high ? ACTS - 1 : 0;
      }
    for (int i = 0; i < 3; i++) {
      s.clear = i == 0;
      s.shift = i == 2;
      bench.step(s);
    }
  }
}

static void random_steps(Bench &bench, long count, bool mild) {
  auto &random = bench.random;
  while (count > 0) {
    int length = 1 + random() % 12, second = random() % 2 ? int(random() % (length + 1)) : length, largest = random() % 4 == 0 && !mild;
    for (int i = 0; i < length; i++, count--) {
      Step s;
      s.clear = i == 0;
      s.shift = i == second && i > 0;
      for (auto &row : s.weight) {
        for (int &w : row)
          w = mild ? 0 : largest ? (random() % 2 ? LARGEST : -LARGEST) : int(random() % (2 * LARGEST + 1)) - LARGEST;
        if (mild) row[random() % TK] = 1;
      }
      for (auto &position : s.act)
        for (int &a : position) {
          a = largest && random() % 8 ? ACTS - 1 : int(random() % ACTS);
          if (mild) a |= ACTS / 2;
        }
      bench.step(s);
    }
  }
}

int main(int argc, char **argv) {
  std::string mode = argc > 1 ? argv[1] : "random";
  long steps = argc > 2 ? atol(argv[2]) : 10000;
  Bench bench(argc > 3 ? atol(argv[3]) : 1, mode != "products");
  if (mode == "products" && TK == 1) every_product(bench);
  else if (mode == "extremes") extremes(bench);
  else if (mode == "random" || mode == "mild") random_steps(bench, steps, mode == "mild");
  else return fprintf(stderr, "mode must be products (TK = 1), extremes, random or mild, not %s\n", mode.c_str()), 2;
  bench.drain();
  printf("%s: %ld accumulators equal\n", mode.c_str(), bench.compared);
}
