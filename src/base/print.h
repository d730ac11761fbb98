// Purpose: builds text in a fixed buffer, without malloc, stdio or locale, so that it works inside malloc itself.
// Thread safety: a Line belongs to one thread. Invariants: text that does not fit is cut, never overflows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace weir {

class Line {
 public:
  // Long enough for a report line with a path in it.
  static constexpr size_t kCapacity = 512;

  Line& text(std::string_view s);
  Line& dec(uint64_t n);
  Line& sdec(int64_t n);
  Line& hex(uint64_t n);                             // "0x..." in lower case
  Line& pointer(const void* p);                      // as hex
  Line& column(uint64_t n, unsigned width);          // right-aligned decimal
  Line& column(std::string_view s, unsigned width);  // left-aligned text
  Line& fixed(uint64_t thousandths);                 // "12.345" from 12345
  // Writes what was built and empties the line.
  void write_to(int fd);
  std::string_view view() const { return {buffer_, size_}; }
  void clear() { size_ = 0; }

 private:
  void put(char c) {
    if (size_ < kCapacity) buffer_[size_++] = c;
  }
  void digits(uint64_t n, unsigned base, unsigned width, char pad);

  size_t size_ = 0;
  char buffer_[kCapacity];
};

}  // namespace weir
