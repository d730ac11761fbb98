// Purpose: pages as people read them. Thread safety: pure.
#pragma once

#include <cstdint>

namespace weir::tool {

constexpr double mib(uint64_t pages) {
  constexpr double kPagesPerMib = 256;
  return static_cast<double>(pages) / kPagesPerMib;
}

}  // namespace weir::tool
