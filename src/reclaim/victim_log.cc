#include "reclaim/victim_log.h"

#include <cstring>

namespace weir {
namespace {

bool is_same(const weir_victim& a, const weir_victim& b) {
  return a.pid == b.pid && a.heap == b.heap && a.is_heap == b.is_heap && a.fate == b.fate &&
         strncmp(a.name, b.name, sizeof(a.name)) == 0;
}

}  // namespace

void VictimLog::add(const weir_victim& victim) {
  LockGuard guard(mutex_);
  const bool again = nr_kept_ != 0 && is_same(kept_[nr_kept_ - 1], victim);
  if (!again && nr_kept_ == kKept) {
    memmove(&kept_[0], &kept_[1], (kKept - 1) * sizeof(weir_victim));
    --nr_kept_;
  }
  if (!again) ++nr_kept_;
  kept_[nr_kept_ - 1] = victim;
  kept_[nr_kept_ - 1].number = ++last_number_;
}

unsigned VictimLog::copy(uint64_t after, weir_victim* to, unsigned most) {
  unsigned count = 0;
  LockGuard guard(mutex_);
  for (unsigned i = 0; i < nr_kept_ && count < most; ++i)
    if (kept_[i].number > after) to[count++] = kept_[i];
  return count;
}

}  // namespace weir
