// The engine: header, then one descriptor after the other, each unit's work in its own file.
//
// What runs side by side in hw/rtl runs in order here, so a wait for something that comes later is refused, and the windows of
// an image are made when a CONV takes them. A Port reads and writes 64 bits of a region and reads words of the weight image's
// parts; each of its functions tells whether the memory answered.
#ifndef ILMPQ_ENGINE_HPP
#define ILMPQ_ENGINE_HPP

#include "convolution.hpp"
#include "pool.hpp"

namespace ilmpq {

template <class Config>
class Engine {
 public:
  ActivationMemory<Config> memory;
  uint32_t steps;

  // Reads the header and checks all descriptors.
  template <class Port>
  Error start(Port &port) {
    windows.clear();
    loads = stores = computes = 0;
    steps = 0;
    done = count = failed = 0;
    memory.misplaced = 0;
    uint32_t header[DESCRIPTOR_WORDS];
    error = fetch(port, 0, header);
    if (error == OK && (header[0] != PROGRAM_MAGIC || header[1] != ENGINE_VERSION)) error = HEADER;
    if (error == OK && header[2] != Config::GEOMETRY_ID) error = GEOMETRY;
    if (error == OK && header[3] > MOST_DESCRIPTORS) error = HEADER;
    if (error != OK) return error;
    count = header[3];
    uint32_t sum = 0;
    for (uint32_t i = 1; i <= count && error == OK; i++) {
      uint32_t words[DESCRIPTOR_WORDS];
      error = fetch(port, i, words);
      for (int w = 0; w < DESCRIPTOR_WORDS; w++) sum = checksum(sum, words[w]);
    }
    if (error == OK && sum != header[4]) error = CHECKSUM;
    return error;
  }

  bool busy() const { return error == OK && done < count; }

  uint32_t descriptors_done() const { return done; }

  uint32_t status() const { return status_word(busy(), error, failed); }

  // The next descriptor.
  template <class Port>
  void next(Port &port) {
    uint32_t words[DESCRIPTOR_WORDS];
    failed = ++done;
    error = fetch(port, done, words);
    if (error == OK) error = execute(port, words);
    if (error == OK) failed = 0;
    if (error == OK && done == count && !windows.empty()) error = unwanted();
  }

 private:
  Convolution<Config> convolution;
  Windows<Config> windows;
  Error error;
  uint32_t count, done, failed;
  uint16_t loads, stores, computes;

  template <class Port>
  static Error fetch(Port &port, uint64_t index, uint32_t words[DESCRIPTOR_WORDS]) {
    bool good = true;
    for (int i = 0; i < DESCRIPTOR_WORDS / 2; i++) {
      ILMPQ_HLS(pipeline II=1)
      uint64_t word = 0;
      good &= port.read(PROGRAM, index * DESCRIPTOR_WORDS * 4 + 8 * i, word);
      words[2 * i] = static_cast<uint32_t>(word);
      words[2 * i + 1] = static_cast<uint32_t>(word >> 32);
    }
    return good ? OK : READ;
  }

  // Windows that nothing takes: the image unit would wait for ever.
  Error unwanted() {
    failed = windows.next_descriptor();
    return ILLEGAL;
  }

  static bool waits_for_later(uint16_t completed, uint32_t wait) {
    return static_cast<uint16_t>(completed - wait) >= 0x8000;
  }

  template <class Port>
  Error execute(Port &port, const uint32_t words[DESCRIPTOR_WORDS]) {
    if (words[0] >> 24 != DESCRIPTOR_MARK || waits_for_later(loads, words[1] & 0xFFFF) ||
        waits_for_later(stores, words[1] >> 16) || waits_for_later(computes, words[2] & 0xFFFF))
      return ILLEGAL;
    const uint32_t kind = words[0] & 15;
    if (kind == LOAD || kind == STORE) return copy(port, Copy(words), kind == LOAD);
    if (kind == IMAGE) {
      if (windows.full()) return unwanted();
      const Image image(words);
      if (!image.legal<Config>()) return ILLEGAL;
      windows.push(image, done);
      return OK;
    }
    if (kind != CONV && kind != MAX && kind != AVERAGE) return ILLEGAL;
    const Compute op(words);
    if (!op.legal<Config>()) return ILLEGAL;
    computes++;
    if (kind != CONV) return pool<Config>(op, memory);
    const Error found = convolution.run(op, port, memory, windows, steps);
    if (found == READ) failed = windows.blamed(failed);
    return found;
  }

  template <class Port>
  Error copy(Port &port, const Copy &op, bool load) {
    static const int WORD = ActivationMemory<Config>::WORD;
    if (!op.legal()) return ILLEGAL;
    (load ? loads : stores)++;
    for (uint32_t run = 0; run < op.runs; run++) {
      uint64_t at = op.offset + static_cast<uint64_t>(run) * op.stride;
      for (uint32_t word = 0; word < op.words; word++) {
        const uint32_t d = op.base + run * op.word_stride + word;
        if (!memory.holds(d)) return ILLEGAL;
        for (int i = 0; i < WORD; i++, at += 8) {
          ILMPQ_HLS(pipeline II=1)
          uint64_t value = 0;
          if (load) {
            if (!port.read(op.space, at, value)) return READ;
            memory.put(d, i, value);
          } else if (!port.write(op.space, at, memory.get(d, i))) {
            return WRITE;
          }
        }
      }
    }
    return OK;
  }
};

}  // namespace ilmpq

#endif
