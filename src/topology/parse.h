// Purpose: the formats in which the kernel writes sets of ids, memory sizes and distances in sysfs.
// Thread safety: pure functions. Invariants: garbage is refused, never followed: ids end at the set's own limit.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "os/env.h"

namespace weir {

// "0-3,7\n" (the kernel's %*pbl); an empty list is an empty set. False for anything else, a range that runs backwards,
// or an id that the set cannot hold.
[[nodiscard]] bool parse_id_list(std::string_view text, os::IdSet<os::kMaxOsNodes>& ids);

// "00000001,80000003\n" (%*pb): words of 32 bits in hexadecimal, highest first.
[[nodiscard]] bool parse_id_mask(std::string_view text, os::IdSet<os::kMaxOsCpus>& ids);

// The number of kB behind "MemTotal:", in bytes.
[[nodiscard]] bool parse_mem_total(std::string_view text, uint64_t& bytes);

// "10 20 20\n": the numbers, as many as `row` holds. False when they are fewer, or one is zero or beyond 16 bits.
[[nodiscard]] bool parse_distance_row(std::string_view text, std::span<uint16_t> row);

}  // namespace weir
