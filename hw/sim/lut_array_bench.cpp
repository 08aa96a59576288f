// Verilated LUT array against plain integers: every code with every activation in every lane, then random frames.
//
// Built once per configuration with its parameters as macros (tests/backends.py does). LANE is 103 for PoT3, 104 for
// PoT4, else the number of magnitude bits of a sign-magnitude array. Ends with 0 only if every word agreed.
#include "Vdut.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <random>
#include <vector>

constexpr int POT3 = 103, POT4 = 104;
constexpr int LANE_BITS = LANE == POT3 ? 3 : LANE == POT4 ? 5 : LANE + 1;
constexpr uint64_t ACC_MASK = (uint64_t(1) << ACC_BITS) - 1;
constexpr int ACT_TOP = (1 << ACT_BITS) - 1;

// Sets or reads bits [at, at + count) of a port of any width.
template <typename Port> void put(Port& port, int at, int count, uint64_t value) {
    const Port mask = Port((Port(1) << count) - 1) << at;
    port = (port & ~mask) | (Port(value) << at & mask);
}
template <std::size_t N> void put(VlWide<N>& port, int at, int count, uint64_t value) {
    for (int i = 0; i < count; i++, at++) {
        port[at / 32] = (port[at / 32] & ~(1u << at % 32)) | uint32_t(value >> i & 1) << at % 32;
    }
}
template <typename Port> uint64_t get(const Port& port, int at, int count) {
    return uint64_t(port) >> at & ((uint64_t(1) << count) - 1);
}
template <std::size_t N> uint64_t get(const VlWide<N>& port, int at, int count) {
    uint64_t value = 0;
    for (int i = 0; i < count; i++) value |= uint64_t(port[(at + i) / 32] >> (at + i) % 32 & 1) << i;
    return value;
}

std::vector<int> all_codes() {
    std::vector<int> codes{0};
    if (LANE == POT3 || LANE == POT4) {
        for (int e = 0; e <= (LANE == POT3 ? 2 : 6); e++) codes.insert(codes.end(), {1 << e, -(1 << e)});
    } else {
        for (int m = 1; m < 1 << (LANE_BITS - 1); m++) codes.insert(codes.end(), {m, -m});
    }
    return codes;
}

uint64_t encode(int code) {
    const int size = std::abs(code), negate = code < 0;
    if (LANE != POT3 && LANE != POT4) return negate << (LANE_BITS - 1) | size;
    const int zero = LANE == POT3 ? 3 : 7, exponent = size ? __builtin_ctz(size) : zero;
    if (LANE == POT3) return negate << 2 | exponent;
    return (exponent == 5 || exponent == 6) << 4 | negate << 3 | exponent;
}

struct Step {
    bool clear = false, shift = false;
    std::vector<int> acts = std::vector<int>(TP * TK), codes = std::vector<int>(ROWS * TK);
};

class Bench {
    Vdut dut;
    std::deque<std::vector<uint64_t>> expected;  // of the steps under way
    std::vector<uint64_t> model = std::vector<uint64_t>(ROWS * TP), shown;

    void clock() {
        dut.clk_i = 0, dut.eval();
        dut.clk_i = 1, dut.eval();
    }
    uint64_t word(int i) const { return get(dut.acc_o, i * ACC_BITS, ACC_BITS); }

  public:
    int latency = 0;
    uint64_t compared = 0;

    void drive(const Step& step, bool enable) {
        dut.en_i = enable, dut.clear_i = step.clear, dut.shift_i = step.shift;
        for (int i = 0; i < TP * TK; i++) put(dut.act_i, i * ACT_BITS, ACT_BITS, step.acts[i]);
        for (int i = 0; i < ROWS * TK; i++) put(dut.weight_i, i * LANE_BITS, LANE_BITS, encode(step.codes[i]));
    }
    // From a cleared pipeline, one step of weights 1 and activations 1 tells the latency.
    void measure_latency() {
        Step step;
        step.clear = true;
        for (int i = 0; i < 64; i++) drive(step, true), clock();
        for (int& a : step.acts) a = 1;
        for (int& c : step.codes) c = 1;
        for (latency = 1; latency < 64; latency++) {
            drive(step, true), clock();
            if (word(0) == TK) break;
        }
    }
    void run(const Step& step, bool enable) {
        drive(step, enable), clock();
        if (enable) {
            for (int r = 0; r < ROWS; r++) {
                for (int p = 0; p < TP; p++) {
                    uint64_t& acc = model[r * TP + p];
                    acc = step.clear ? 0 : step.shift ? acc << ACT_BITS : acc;
                    for (int k = 0; k < TK; k++) {
                        const int code = step.codes[r * TK + k];
                        acc += int64_t(code) * step.acts[p * TK + k];
                        if (code < 0) acc += uint64_t(ACT_TOP) * -code;  // the step's share of the correction
                    }
                    acc &= ACC_MASK;
                }
            }
            expected.push_back(model);
            if (int(expected.size()) == latency) shown = expected.front(), expected.pop_front();
        }
        for (std::size_t i = 0; i < shown.size(); i++, compared++) {
            if (word(i) != shown[i]) {
                std::printf("word %zu must be %llx, not %llx\n", i, (unsigned long long)shown[i], (unsigned long long)word(i));
                std::exit(1);
            }
        }
    }
};

int main(int argc, char** argv) {
    const int vectors = argc > 1 ? std::atoi(argv[1]) : 20000;
    std::mt19937 random(1);
    const auto below = [&](int n) { return int(random() % n); };
    const std::vector<int> codes = all_codes();
    Bench bench;
    bench.measure_latency();

    const auto random_step = [&](bool clear, bool shift, int extreme) {
        Step step;
        step.clear = clear, step.shift = shift;
        for (int& a : step.acts) a = extreme == 1 ? ACT_TOP : below(ACT_TOP + 1);
        for (int& c : step.codes) c = extreme ? codes[codes.size() - 1 - below(2)] : codes[below(codes.size())];
        return step;
    };
    bench.run(random_step(true, false, 0), true);
    for (int k = 0; k < TK; k++) {
        for (int code : codes) {
            for (int a = 0; a <= ACT_TOP; a++) {
                Step step = random_step(true, false, 0);
                for (int p = 0; p < TP; p++) step.acts[p * TK + k] = a;
                for (int r = 0; r < ROWS; r++) step.codes[r * TK + k] = code;
                bench.run(step, true);
            }
        }
    }
    for (int done = 0; done < vectors;) {  // frames of one or two passes, back to back, stalled at random
        const int passes = 1 + below(2), steps = 1 + below(12), extreme = below(4), busy = 1 + below(4);
        for (int pass = 0; pass < passes; pass++) {
            for (int s = 0; s < steps; s++, done++) {
                while (below(4) >= busy) bench.run(random_step(below(2), below(2), extreme), false);
                bench.run(random_step(pass == 0 && s == 0, pass == 1 && s == 0, extreme), true);
            }
        }
    }
    std::printf("ok: latency %d, %llu words compared\n", bench.latency, (unsigned long long)bench.compared);
}
