// A memory behind AXI4 ports: latency, a bandwidth that all ports share, ports that are not always ready, addresses that
// are not taken before a word, errors on request; it checks the protocol.
#pragma once
#include <algorithm>
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
    int words_first = 0;        // how many of 256 write addresses are not taken before their first word is offered
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
    bool chance(int of_256) { return of_256 != 0 && int(random() & 255) < of_256; }
    bool may_go() { return !chance(timing.stall); }
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

// A port's read side. Set the signals of a cycle with `drive`, which says whether a word was paid for; tell what came back
// with `sample`.
class AxiReadPort {
public:
    const char* name;
    bool arready = false, rvalid = false, rlast = false;
    int rresp = 0;
    uint64_t rdata = 0;
    int64_t fail_in = -1;       // error response for the burst after so many
    explicit AxiReadPort(const char* name) : name(name) {}

    bool idle() const { return bursts.empty() && !rvalid && !waiting; }
    bool drive(AxiMemory& memory) {
        arready = bursts.size() < 8 && memory.may_go();
        if (rvalid) return false;   // the last word was not taken
        if (bursts.empty() || bursts.front().due > memory.now || !memory.may_go() || !memory.spend()) return false;
        Burst& burst = bursts.front();
        rvalid = true;
        rresp = burst.fails ? 2 : 0;
        if (!memory.holds(burst.address, 1)) rresp = 3;
        else std::memcpy(&rdata, &memory.bytes[burst.address], 8);
        burst.address += 8;
        rlast = --burst.left == 0;
        memory.words_read++;
        if (rlast) bursts.pop_front();
        return true;
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

// A port's write side. Words are taken before their address too; `drive` is told what is offered in this cycle, so that only
// words that are taken are paid for.
class AxiWritePort {
public:
    const char* name;
    bool awready = false, wready = false, bvalid = false;
    int bresp = 0;
    int64_t fail_in = -1;
    explicit AxiWritePort(const char* name) : name(name) {}

    // No burst lacks a word, no word an address.
    bool idle() const { return bursts.empty() && early.empty() && answers.empty() && !bvalid && !waiting && !word_waiting; }
    bool drive(AxiMemory& memory, bool awvalid, bool wvalid) {
        if (awvalid && !waiting) holds = memory.chance(memory.timing.words_first);
        const bool word_is_here = !early.empty() || (bursts.empty() && wvalid);
        awready = bursts.size() < 8 && (!holds || word_is_here) && memory.may_go();
        offered = wvalid;
        wready = early.size() < MOST_EARLY && memory.may_go() && (!wvalid || memory.spend());
        if (!bvalid && !answers.empty() && answers.front().due <= memory.now && memory.may_go()) {
            bvalid = true;
            bresp = answers.front().fails ? 2 : 0;
            answers.pop_front();
        }
        return wready && wvalid;
    }
    void sample(AxiMemory& memory, bool awvalid, uint32_t awaddr, int awlen, bool wvalid, uint64_t wdata, int wstrb, bool wlast,
                bool bready) {
        if (waiting && (!awvalid || awaddr != held_address || awlen != held_length)) memory.refuse(std::string(name) + ": AW changed");
        waiting = awvalid && !awready;
        held_address = awaddr;
        held_length = awlen;
        if (wvalid != offered) memory.refuse(std::string(name) + ": WVALID hangs on a ready");
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
        if (wvalid && wready) early.push_back({wdata, wstrb, wlast});
        while (!bursts.empty() && !early.empty()) {
            write(memory, early.front());
            early.pop_front();
        }
        if (bvalid && bready) bvalid = false;
    }

private:
    static constexpr std::size_t MOST_EARLY = 32;
    struct Word {
        uint64_t data;
        int strobes;
        bool last;
    };
    struct Burst {
        uint32_t address;
        int left;
        uint64_t due;
        bool fails;
    };
    std::deque<Burst> bursts, answers;
    std::deque<Word> early;     // than their address
    bool waiting = false, word_waiting = false, offered = false;
    bool holds = false;         // the address until a word is here
    uint32_t held_address = 0;
    int held_length = 0;
    uint64_t held_word = 0, held_flags = 0;

    void write(AxiMemory& memory, const Word& word) {
        Burst& burst = bursts.front();
        if (word.last != (burst.left == 1)) memory.refuse(std::string(name) + ": WLAST");
        if (!memory.holds(burst.address, 1)) burst.fails = true;
        else
            for (int i = 0; i < 8; i++)
                if (word.strobes >> i & 1) memory.bytes[burst.address + i] = uint8_t(word.data >> 8 * i);
        burst.address += 8;
        memory.words_written++;
        if (--burst.left == 0) {
            answers.push_back({0, 0, memory.now + memory.timing.latency, burst.fails});
            bursts.pop_front();
        }
    }
};
