// Purpose: of how many heap pages and how many pages of files a round of reclaim consists (swappiness).
// Thread safety: none. Invariants: values only; the formulas are the kernel's.
#pragma once

#include <cstdint>

namespace weir {

// What reclaim of each kind has cost lately (kernel: lru_note_cost, mm/swap.c): 32 for a page that came back soon after
// it had left, as much as is scanned at a time. What is older counts for half.
class LruCost {
 public:
  // So many pages that became active when they came back; `pages`: of both kinds, that there are.
  void note(uint64_t heap_activated, uint64_t file_activated, uint64_t pages);
  uint64_t heap() const { return heap_; }
  uint64_t file() const { return file_; }

 private:
  uint64_t heap_ = 0;
  uint64_t file_ = 0;
};

struct ScanInput {
  uint64_t swappiness = 60;  // 0 to 200
  bool can_swap = true;
  bool file_refaults = false;  // pages of files became active since the last round
  unsigned priority = 12;
  uint64_t heap = 0;  // pages
  uint64_t active_file = 0;
  uint64_t inactive_file = 0;
  uint64_t free = 0;
  uint64_t high = 0;  // the watermark
  uint64_t heap_cost = 0;
  uint64_t file_cost = 0;
};

// The proportion in which pages are to go; both 0: there are none.
struct ScanShares {
  uint64_t heap;
  uint64_t file;
};
// Kernel: get_scan_count and prepare_scan_control (mm/vmscan.c, 6.12), as in a memory cgroup.
ScanShares scan_shares(const ScanInput& in);

}  // namespace weir
