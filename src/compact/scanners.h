// Purpose: the two scanners of a compaction: one comes down from the top of a zone and finds objects, the other one
//          goes up from the bottom and finds free pages for them.
// Thread safety: one thread.
// Invariants: below `lowest_[k]` no stretch of 2^k free pages was seen, and below an entry of `exact_` none of its
//             length; what is freed there meanwhile is left to the next compaction.
// Source: Linux mm/compaction.c, isolate_migratepages and isolate_freepages. Objects are of all lengths here, and one
//         goes to pages that lie side by side: hence positions for lengths.
#pragma once

#include <algorithm>
#include <bit>

#include "compact/compactor.h"

namespace weir {

class Compactor::Scanners {
 public:
  Scanners(Zone& zone, CompactCounts& counts)
      : zone_(zone), counts_(counts), pageblock_(align_up(zone.accessible_estimate().v, kPageblockPages)) {
    at_ = static_cast<Pfn>(pageblock_);
  }

  // Goes on to the pageblock below; false: there is none with free pages below it.
  bool next_pageblock() {
    if (pageblock_ == 0 || lowest_[0] >= pageblock_) return false;
    pageblock_ -= kPageblockPages;
    at_ = static_cast<Pfn>(pageblock_);
    return true;
  }
  // The next object of the pageblock.
  MovableRun next_object() {
    const MovableRun run = zone_.find_movable(at_, static_cast<Pfn>(pageblock_ + kPageblockPages));
    if (run.head == kNoPfn) return run;
    at_ = run.head + static_cast<Pfn>(run.count.v);
    counts_.migrate_scanned += run.count.v;
    return run;
  }
  // The lowest place for an object below where it lies; kNoPfn: there is none. It may be gone when it is wanted.
  Pfn find_place(const MovableRun& run) {
    const unsigned k = static_cast<unsigned>(std::bit_width(run.count.v)) - 1;
    Exact& exact = exact_[run.count.v % kExact];
    if (exact.count != run.count) exact = {run.count, 0};
    FreeScan scan;
    scan.count = run.count;
    scan.least = Pages(uint64_t{1} << k);
    scan.at = std::max(lowest_[k], exact.at);
    scan.end = run.head;
    const bool from_lowest = scan.at == lowest_[k];
    while (zone_.scan_free(scan)) {
    }
    counts_.free_scanned += scan.scanned;
    exact.at = scan.found != kNoPfn ? scan.found : scan.at;
    if (!from_lowest) return scan.found;
    const Pfn lowest = scan.passed != kNoPfn ? scan.passed : scan.at;
    for (unsigned longer = k; longer < kLengths; ++longer) lowest_[longer] = std::max(lowest_[longer], lowest);
    return scan.found;
  }

 private:
  static constexpr unsigned kLengths = 33;  // page numbers have 32 bits

  Zone& zone_;
  CompactCounts& counts_;
  uint64_t pageblock_;
  Pfn at_ = 0;
  Pfn lowest_[kLengths] = {};
  // The same for stretches of exactly a length, of those that were looked for last.
  struct Exact {
    Pages count;
    Pfn at = 0;
  };
  static constexpr unsigned kExact = 64;
  Exact exact_[kExact];
};

}  // namespace weir
