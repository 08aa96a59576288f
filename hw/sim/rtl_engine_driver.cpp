// The verilated engine and its memory behind a C interface: registers by AXI-Lite, cycles, errors on request.
//
// Built with WEIGHT_PORTS as a macro, and with STUB where `compute_core` is the stub that tells what it gets.
#include "Vtop.h"
#include "Vtop___024root.h"
#include "axi_memory.hpp"
#include <memory>

namespace {
template <typename Port> uint64_t field(const Port& port, int at, int bits) { return uint64_t(port) >> at & (~uint64_t(0) >> (64 - bits)); }
template <std::size_t N> uint64_t field(const VlWide<N>& port, int at, int bits) {
    const uint64_t low = port[at / 32] >> at % 32;
    const uint64_t high = bits > 32 - at % 32 ? uint64_t(port[at / 32 + 1]) << (32 - at % 32) : 0;
    return (low | high) & (~uint64_t(0) >> (64 - bits));
}
template <typename Port> void set_word(Port& port, int, uint64_t value) { port = Port(value); }
template <std::size_t N> void set_word(VlWide<N>& port, int at, uint64_t value) {
    port[at / 32] = uint32_t(value);
    port[at / 32 + 1] = uint32_t(value >> 32);
}

struct Engine {
    std::unique_ptr<Vtop> top{new Vtop};
    AxiMemory memory;
    AxiReadPort reads{"m_axi"};
    AxiWritePort writes{"m_axi"};
    int first = 0;  // port to be served in a cycle: after the one that last had a word, so that none waits for all others
    uint64_t started = 0;
    std::vector<uint64_t> completed;  // since then: cycle and what had been completed then, whenever that changed
    std::vector<AxiReadPort> weights{std::vector<AxiReadPort>(WEIGHT_PORTS, AxiReadPort{"m_axi_w"})};

    ~Engine() { top->final(); }

    // By the numbers of `fail_burst`.
    bool drive(int port) {
        if (port == 0) return reads.drive(memory);
        if (port == 1) return writes.drive(memory, top->m_axi_awvalid_o, top->m_axi_wvalid_o);
        return weights[port - 2].drive(memory);
    }

    void cycle() {
        memory.begin_cycle();
        constexpr int PORTS = 2 + WEIGHT_PORTS;
        int next = first;
        for (int i = 0; i < PORTS; i++) {
            const int port = (first + i) % PORTS;
            if (drive(port)) next = (port + 1) % PORTS;
        }
        first = next;
        top->m_axi_arready_i = reads.arready;
        top->m_axi_rvalid_i = reads.rvalid;
        top->m_axi_rlast_i = reads.rlast;
        top->m_axi_rresp_i = reads.rresp;
        top->m_axi_rdata_i = reads.rdata;
        top->m_axi_awready_i = writes.awready;
        top->m_axi_wready_i = writes.wready;
        top->m_axi_bvalid_i = writes.bvalid;
        top->m_axi_bresp_i = writes.bresp;
        int arready = 0, rvalid = 0, rlast = 0, rresp = 0;
        for (int p = 0; p < WEIGHT_PORTS; p++) {
            arready |= weights[p].arready << p;
            rvalid |= weights[p].rvalid << p;
            rlast |= weights[p].rlast << p;
            rresp |= weights[p].rresp << 2 * p;
            set_word(top->m_axi_w_rdata_i, 64 * p, weights[p].rdata);
        }
        top->m_axi_w_arready_i = arready;
        top->m_axi_w_rvalid_i = rvalid;
        top->m_axi_w_rlast_i = rlast;
        top->m_axi_w_rresp_i = rresp;
        top->clk_i = 0;
        top->eval();
        reads.sample(memory, top->m_axi_arvalid_o, top->m_axi_araddr_o, top->m_axi_arlen_o, top->m_axi_rready_o);
        for (int p = 0; p < WEIGHT_PORTS; p++) {
            weights[p].sample(memory, field(top->m_axi_w_arvalid_o, p, 1), uint32_t(field(top->m_axi_w_araddr_o, 32 * p, 32)),
                              int(field(top->m_axi_w_arlen_o, 8 * p, 8)), field(top->m_axi_w_rready_o, p, 1));
        }
        writes.sample(memory, top->m_axi_awvalid_o, top->m_axi_awaddr_o, top->m_axi_awlen_o, top->m_axi_wvalid_o,
                      top->m_axi_wdata_o, top->m_axi_wstrb_o, top->m_axi_wlast_o, top->m_axi_bready_o);
        top->clk_i = 1;
        top->eval();
        const uint64_t done = top->rootp->engine__DOT__completed;
        if (completed.empty() ? done != 0 : completed.back() != done) {
            completed.push_back(memory.now - started);
            completed.push_back(done);
        }
    }
};

Engine* of(void* engine) { return static_cast<Engine*>(engine); }
}  // namespace

#ifdef STUB
static std::vector<int32_t> told;
static int pace = 256;
extern "C" void stub_tell(int kind, int word) {
    told.push_back(kind);
    told.push_back(word);
}
extern "C" int stub_pace() { return pace; }
extern "C" const int32_t* stub_told(long* count) {
    *count = long(told.size() / 2);
    return told.data();
}
extern "C" void stub_reset(int ready) {
    told.clear();
    pace = ready;
}
#endif

extern "C" {
void* make() {
    Verilated::randSeed(1);  // the stub's; without it every run would be another
    auto* engine = new Engine;
    engine->top->rst_i = 1;
    for (int i = 0; i < 4; i++) engine->cycle();
    engine->top->rst_i = 0;
    return engine;
}
void drop(void* engine) { delete of(engine); }
void resize(void* engine, uint64_t bytes) { of(engine)->memory.bytes.resize(bytes); }
uint8_t* memory_of(void* engine) { return of(engine)->memory.bytes.data(); }

void set_timing(void* engine, int latency, int bytes_per_cycle, int stall, int words_first, uint32_t seed) {
    of(engine)->memory.timing = {latency, bytes_per_cycle, stall, words_first, seed};
    of(engine)->memory.random.seed(seed);
}
// The burst after so many more fails: port 0 reads, 1 writes, 2 … weights.
void fail_burst(void* engine, int port, int64_t after) {
    Engine& e = *of(engine);
    (port == 0 ? e.reads.fail_in : port == 1 ? e.writes.fail_in : e.weights[port - 2].fail_in) = after;
}
void write_register(void* engine, uint32_t address, uint32_t value) {
    Vtop& top = *of(engine)->top;
    top.s_axil_awaddr_i = address;
    top.s_axil_wdata_i = value;
    top.s_axil_wstrb_i = 15;
    top.s_axil_awvalid_i = top.s_axil_wvalid_i = top.s_axil_bready_i = 1;
    of(engine)->cycle();
    top.s_axil_awvalid_i = top.s_axil_wvalid_i = 0;
    of(engine)->cycle();
}
uint32_t read_register(void* engine, uint32_t address) {
    Vtop& top = *of(engine)->top;
    top.s_axil_araddr_i = address;
    top.s_axil_arvalid_i = top.s_axil_rready_i = 1;
    of(engine)->cycle();
    top.s_axil_arvalid_i = 0;
    const uint32_t value = top.s_axil_rdata_o;
    of(engine)->cycle();
    return value;
}
// Runs until the interrupt or for so many cycles; returns how many.
int64_t run(void* engine, int64_t cycles) {
    int64_t done = 0;
    while (done < cycles && !of(engine)->top->interrupt_o) {
        of(engine)->cycle();
        done++;
    }
    return done;
}
// Nothing is under way at any port.
int bus_idle(void* engine) {
    Engine& e = *of(engine);
    bool idle = e.reads.idle() && e.writes.idle();
    for (const AxiReadPort& port : e.weights) idle = idle && port.idle();
    return idle;
}
const char* violation(void* engine) { return of(engine)->memory.violation.c_str(); }
void forget_completed(void* engine) {
    of(engine)->completed.clear();
    of(engine)->started = of(engine)->memory.now;
}
// (cycle, operations of LOAD, STORE and COMPUTE that were completed, 16 bits each) in order.
const uint64_t* completed(void* engine, long* count) {
    *count = long(of(engine)->completed.size() / 2);
    return of(engine)->completed.data();
}
void words_moved(void* engine, uint64_t* read, uint64_t* written) {
    *read = of(engine)->memory.words_read;
    *written = of(engine)->memory.words_written;
}
}
