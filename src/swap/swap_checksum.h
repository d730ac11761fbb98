// Purpose: a checksum of a page, to notice what a disk, its cable or its file system damaged.
// Thread safety: a pure function. Invariants: a change in any one of the page's 64-bit words always changes the 64-bit
//                sum that the result is folded from.
//
// Why not CRC-32C: the instruction for it is missing from the x86-64 baseline, so it would need a second, slow version
// and a choice at run time; and a single stream of it takes 1,500 cycles a page. Eight independent lanes of
// multiplications take about 600 everywhere. What CRC is better at, bursts of a few bits on a line, disks themselves
// correct; what remains is whole sectors that are old, swapped or lost, where every 32-bit sum misses one in 2^32.
#pragma once

#include <cstdint>

namespace weir {

[[nodiscard]] uint32_t page_checksum(const void* page);

}  // namespace weir
