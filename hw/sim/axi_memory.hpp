// A memory behind AXI4 ports: latency, a bandwidth that all ports share, ports that are not always ready, errors on
// request; it checks the protocol.
#pragma once
#include <cstdint>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <vector>

struct MemoryTiming {
    int latency = 20;           // cycles from an address to its first word
    int bytes_per_cycle = 0;    // of all ports together, in 1/256; 0: no limit
    int stall = 0;              // in how many of 256 cycles a port that could go on does not
    uint32_t seed = 1;
};

class AxiMemory {
public:
    std::vector<uint8_t> bytes;
    MemoryTiming timing;
    std::mt19937 random{1};
    std::string violation;      // of the protocol; the first one
    uint64_t now = 0, words_read = 0, words_written = 0;
    int64_t credit = 0;

    void begin_cycle() {
        now++;
        credit = std::min<int64_t>(credit + timing.bytes_per_cycle, 64 * 256);
    }
    bool may_go() { return timing.stall == 0 || int(random() & 255) >= timing.stall; }
    bool spend() {
        if (timing.bytes_per_cycle == 0) return true;
        if (credit < 8 * 256) return false;
        credit -= 8 * 256;
        return true;
    }
    void refuse(const std::string& what) {
        if (violation.empty()) violation = what + " in cycle " + std::to_string(now);
    }
    bool holds(uint32_t address, int words) const { return uint64_t(address) + 8 * uint64_t(words) <= bytes.size(); }
    void check(const char* port, uint32_t address, int words) {
        if (address % 8) refuse(std::string(port) + ": address is not aligned");
        if (words > 16) refuse(std::string(port) + ": burst of more than 16");
        if (address / 4096 != (address + 8 * words - 1) / 4096) refuse(std::string(port) + ": burst crosses 4 KiB");
    }
};

// A port's read side. Set the signals of a cycle with `drive`, tell what came back with `sample`.
class AxiReadPort {
public:
    const char* name;
    bool arready = false, rvalid = false, rlast = false;
    int rresp = 0;
    uint64_t rdata = 0;
    int64_t fail_in = -1;       // error response for the burst after so many
    explicit AxiReadPort(const char* name) : name(name) {}

    bool idle() const { return bursts.empty() && !rvalid && !waiting; }
    void drive(AxiMemory& memory) {
        arready = bursts.size() < 8 && memory.may_go();
        if (rvalid) return;     // the last word was not taken
        if (bursts.empty() || bursts.front().due > memory.now || !memory.may_go() || !memory.spend()) return;
        Burst& burst = bursts.front();
        rvalid = true;
        rresp = burst.fails ? 2 : 0;
        if (!memory.holds(burst.address, 1)) rresp = 3;
        else std::memcpy(&rdata, &memory.bytes[burst.address], 8);
        burst.address += 8;
        rlast = --burst.left == 0;
        memory.words_read++;
        if (rlast) bursts.pop_front();
    }
    void sample(AxiMemory& memory, bool arvalid, uint32_t araddr, int arlen, bool rready) {
        if (waiting && (!arvalid || araddr != held_address || arlen != held_length)) memory.refuse(std::string(name) + ": AR changed");
        waiting = arvalid && !arready;
        held_address = araddr;
        held_length = arlen;
        if (arvalid && arready) {
            memory.check(name, araddr, arlen + 1);
            bursts.push_back({araddr, arlen + 1, memory.now + memory.timing.latency, fail_in == 0});
            if (fail_in >= 0) fail_in--;
        }
        if (rvalid && rready) rvalid = false;
    }

private:
    struct Burst {
        uint32_t address;
        int left;
        uint64_t due;
        bool fails;
    };
    std::deque<Burst> bursts;
    bool waiting = false;
    uint32_t held_address = 0;
    int held_length = 0;
};

// A port's write side.
class AxiWritePort {
public:
    const char* name;
    bool awready = false, wready = false, bvalid = false;
    int bresp = 0;
    int64_t fail_in = -1;
    explicit AxiWritePort(const char* name) : name(name) {}

    bool idle() const { return bursts.empty() && answers.empty() && !bvalid && !waiting && !word_waiting; }
    void drive(AxiMemory& memory) {
        awready = bursts.size() < 8 && memory.may_go();
        wready = memory.may_go() && memory.spend();
        if (bvalid || answers.empty() || answers.front().due > memory.now || !memory.may_go()) return;
        bvalid = true;
        bresp = answers.front().fails ? 2 : 0;
        answers.pop_front();
    }
    void sample(AxiMemory& memory, bool awvalid, uint32_t awaddr, int awlen, bool wvalid, uint64_t wdata, int wstrb, bool wlast,
                bool bready) {
        if (waiting && (!awvalid || awaddr != held_address || awlen != held_length)) memory.refuse(std::string(name) + ": AW changed");
        waiting = awvalid && !awready;
        held_address = awaddr;
        held_length = awlen;
        const uint64_t flags = uint64_t(wstrb) << 1 | wlast;
        if (word_waiting && (!wvalid || wdata != held_word || flags != held_flags)) memory.refuse(std::string(name) + ": W changed");
        word_waiting = wvalid && !wready;
        held_word = wdata;
        held_flags = flags;
        if (awvalid && awready) {
            memory.check(name, awaddr, awlen + 1);
            bursts.push_back({awaddr, awlen + 1, 0, fail_in == 0});
            if (fail_in >= 0) fail_in--;
        }
        if (wvalid && wready) {
            if (bursts.empty()) {
                memory.refuse(std::string(name) + ": W before AW");
                return;
            }
            Burst& burst = bursts.front();
            if (wlast != (burst.left == 1)) memory.refuse(std::string(name) + ": WLAST");
            if (!memory.holds(burst.address, 1)) burst.fails = true;
            else
                for (int i = 0; i < 8; i++)
                    if (wstrb >> i & 1) memory.bytes[burst.address + i] = uint8_t(wdata >> 8 * i);
            burst.address += 8;
            memory.words_written++;
            if (--burst.left == 0) {
                answers.push_back({0, 0, memory.now + memory.timing.latency, burst.fails});
                bursts.pop_front();
            }
        }
        if (bvalid && bready) bvalid = false;
    }

private:
    struct Burst {
        uint32_t address;
        int left;
        uint64_t due;
        bool fails;
    };
    std::deque<Burst> bursts, answers;
    bool waiting = false, word_waiting = false;
    uint32_t held_address = 0;
    int held_length = 0;
    uint64_t held_word = 0, held_flags = 0;
};
