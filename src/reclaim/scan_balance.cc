#include "reclaim/scan_balance.h"

namespace weir {
namespace {

constexpr uint64_t kSwapClusterMax = 32;
constexpr uint64_t kMaxSwappiness = 200;

}  // namespace

void LruCost::note(uint64_t heap_activated, uint64_t file_activated, uint64_t pages) {
  heap_ += heap_activated * kSwapClusterMax;
  file_ += file_activated * kSwapClusterMax;
  // The kernel halves once for each page that it notes; here many are noted at once.
  while (heap_ + file_ > pages / 4 && heap_ + file_ != 0) {
    heap_ /= 2;
    file_ /= 2;
  }
}

ScanShares scan_shares(const ScanInput& in) {
  const uint64_t file = in.active_file + in.inactive_file;
  if (file == 0 || in.heap == 0) return {in.can_swap ? in.heap : 0, file};
  // Without swap space heap pages are not looked at, and with swappiness=0 only when there is next to nothing else.
  if (!in.can_swap) return {0, file};
  if (file + in.free <= in.high && in.heap >> in.priority != 0) return {in.heap, 0};
  // File pages that nobody seems to need go first (cache_trim_mode).
  const bool needs_active = in.file_refaults || in.inactive_file < in.active_file;
  if (in.inactive_file >> in.priority != 0 && !needs_active) return {0, file};
  const uint64_t sum = in.heap_cost + in.file_cost;
  const uint64_t heap_cost = sum + in.heap_cost, file_cost = sum + in.file_cost, total = heap_cost + file_cost;
  const uint64_t heap_part = in.swappiness * (total + 1) / (heap_cost + 1);
  const uint64_t file_part = (kMaxSwappiness - in.swappiness) * (total + 1) / (file_cost + 1);
  return {in.heap * heap_part, file * file_part};
}

}  // namespace weir
