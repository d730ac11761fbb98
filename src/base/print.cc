#include "base/print.h"

#include "base/port.h"

namespace weir {

Line& Line::text(std::string_view s) {
  for (char c : s) put(c);
  return *this;
}

void Line::digits(uint64_t n, unsigned base, unsigned width, char pad) {
  char reversed[64];  // 2^64 has 20 decimal digits; width may ask for more
  unsigned count = 0;
  do {
    reversed[count++] = "0123456789abcdef"[n % base];
    n /= base;
  } while (n != 0);
  for (unsigned i = count; i < width; ++i) put(pad);
  while (count != 0) put(reversed[--count]);
}

Line& Line::dec(uint64_t n) {
  digits(n, 10, 0, ' ');
  return *this;
}

Line& Line::sdec(int64_t n) {
  if (n < 0) put('-');
  digits(n < 0 ? 0 - static_cast<uint64_t>(n) : static_cast<uint64_t>(n), 10, 0, ' ');
  return *this;
}

Line& Line::hex(uint64_t n) {
  text("0x");
  digits(n, 16, 0, '0');
  return *this;
}

Line& Line::pointer(const void* p) {
  return hex(reinterpret_cast<uintptr_t>(p));
}

Line& Line::column(uint64_t n, unsigned width) {
  digits(n, 10, width, ' ');
  return *this;
}

Line& Line::column(std::string_view s, unsigned width) {
  text(s);
  for (size_t i = s.size(); i < width; ++i) put(' ');
  return *this;
}

Line& Line::fixed(uint64_t thousandths) {
  digits(thousandths / 1000, 10, 0, ' ');
  put('.');
  digits(thousandths % 1000, 10, 3, '0');
  return *this;
}

void Line::write_to(int fd) {
  port::write_all(fd, buffer_, size_);
  size_ = 0;
}

}  // namespace weir
