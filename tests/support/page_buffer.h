// Purpose: page-aligned memory for direct transfers, with content by page that shows which page it is.
// Thread safety: one thread each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "base/units.h"
#include "support/pattern.h"

namespace weir {

class PageBuffer {
 public:
  explicit PageBuffer(size_t pages)
      : pages_(pages), data_(static_cast<char*>(aligned_alloc(kPageSize, pages * kPageSize))) {
    if (data_ == nullptr) abort();
  }
  ~PageBuffer() { free(data_); }
  PageBuffer(const PageBuffer&) = delete;
  PageBuffer& operator=(const PageBuffer&) = delete;

  char* data() const { return data_; }
  char* page(size_t i) const { return data_ + i * kPageSize; }
  size_t bytes() const { return pages_ * kPageSize; }
  // Page i gets the content of seed + i.
  void fill(uint64_t seed) const {
    for (size_t i = 0; i < pages_; ++i) write_pattern(page(i), kPageSize, seed + i);
  }
  bool page_is(size_t i, uint64_t seed) const { return check_pattern(page(i), kPageSize, kPageSize, seed); }
  // The first `count` pages are as fill(seed) makes them.
  bool is(uint64_t seed, size_t count) const {
    for (size_t i = 0; i < count; ++i)
      if (!page_is(i, seed + i)) return false;
    return true;
  }
  bool is(uint64_t seed) const { return is(seed, pages_); }

 private:
  const size_t pages_;
  char* const data_;
};

}  // namespace weir
