// Windows of images, unrolled one output position after the other, in the order of the IMAGE descriptors.
#ifndef ILMPQ_IMAGE_HPP
#define ILMPQ_IMAGE_HPP

#include "descriptors.hpp"

namespace ilmpq {

template <class Config>
class Windows {
 public:
  static const int PENDING = 9;  // images that may wait
  static const int WORDS = 32;   // most words of a window
  static const int TK = Config::TK;

  void clear() {
    first = count = 0;
    oy = ox = 0;
    unread = false;
  }

  bool empty() const { return count == 0; }
  bool full() const { return count == PENDING; }

  // The descriptor of the next window's image.
  uint32_t next_descriptor() const { return descriptors[first]; }

  void push(const Image &image, uint32_t descriptor) {
    pending[(first + count) % PENDING] = image;
    descriptors[(first + count) % PENDING] = descriptor;
    count++;
  }

  // The descriptor whose image memory did not give, else the one at hand.
  uint32_t blamed(uint32_t descriptor) const { return unread ? next_descriptor() : descriptor; }

  // The next window as words of TK bytes.
  template <class Port>
  Error next(Port &port, uint32_t words, uint8_t window[WORDS * TK]) {
    const Image &image = pending[first];
    if (count == 0 || image.words != words) return ILLEGAL;
    const int column = image.kernel_y * image.channels;
    const uint64_t row_bytes = static_cast<uint64_t>((image.width + 1) / 2) * 8;
    for (uint32_t i = image.kernel_x * column; i < words * TK; i++) window[i] = 0;
    for (uint32_t kx = 0; kx < image.kernel_x; kx++) {
      for (uint32_t ky = 0; ky < image.kernel_y; ky++) {
        ILMPQ_HLS(pipeline)
        const int32_t y = static_cast<int32_t>(oy * image.stride_y + ky) - static_cast<int32_t>(image.top);
        const int32_t x = static_cast<int32_t>(ox * image.stride_x + kx) - static_cast<int32_t>(image.left);
        const bool inside =
            y >= 0 && y < static_cast<int32_t>(image.height) && x >= 0 && x < static_cast<int32_t>(image.width);
        const uint64_t at = image.offset + (inside ? y * row_bytes + 4 * static_cast<uint64_t>(x) : 0);
        uint64_t word = 0;
        if (inside && !port.read(image.space, at - at % 8, word)) unread = true;
        const uint32_t pixel = static_cast<uint32_t>(word >> (at % 8 * 8));
        const int to = (image.kernel_x - 1 - kx) * column + ky * image.channels;
        for (uint32_t c = 0; c < image.channels; c++)
          window[to + c] = inside ? static_cast<uint8_t>(pixel >> (8 * c)) : static_cast<uint8_t>(image.padding);
      }
    }
    if (unread) return READ;
    advance(image);
    return OK;
  }

 private:
  Image pending[PENDING];
  uint32_t descriptors[PENDING];
  int first, count;
  uint32_t oy, ox;
  bool unread;

  void advance(const Image &image) {
    if (++ox < image.columns) return;
    ox = 0;
    if (++oy < image.rows) return;
    oy = 0;
    first = (first + 1) % PENDING;
    count--;
  }
};

}  // namespace ilmpq

#endif
