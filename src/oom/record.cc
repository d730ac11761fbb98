#include "oom/record.h"

#include <algorithm>
#include <cstring>

namespace weir {
namespace {

weir_fate fate_of(OomKill kill) {
  switch (kill) {
    case OomKill::kFail:
      return WEIR_FATE_FAILS;
    case OomKill::kRelease:
      return WEIR_FATE_EMPTIED;
    case OomKill::kAbort:
      return WEIR_FATE_ABORTED;
    case OomKill::kSignal:
      return WEIR_FATE_KILLED;
  }
  return WEIR_FATE_FAILS;
}

}  // namespace

weir_victim record_of(const OomCandidate& victim, int64_t points, uint64_t own_process, uint64_t asking_process) {
  weir_victim record = {};
  if (victim.is_heap && victim.process == own_process) record.heap = reinterpret_cast<weir_heap_t>(victim.handle);
  record.pages = victim.pages.v;
  record.swapped = victim.swapped.v;
  record.points = points;
  record.oom_score_adj = victim.oom_score_adj;
  record.fate = fate_of(victim.kill);
  record.is_heap = victim.is_heap;
  record.pid = static_cast<uint32_t>(victim.process);
  record.asking_pid = static_cast<uint32_t>(asking_process);
  memcpy(record.name, victim.name.data(), std::min(victim.name.size(), sizeof(record.name) - 1));
  return record;
}

}  // namespace weir
