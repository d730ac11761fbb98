#include "heap_policy.h"

#include <iterator>

namespace weir::tool {

const char* policy_name(uint32_t policy) {
  constexpr const char* kNames[] = {"fail", "release", "abort"};
  return policy < std::size(kNames) ? kNames[policy] : "?";
}

bool is_capped(const weir_stats_heap& heap) {
  return heap.cap != 0 && heap.charged >= heap.cap - heap.cap / 8;
}

std::string policy_text(const weir_stats_heap& heap) {
  return std::string(policy_name(heap.oom_policy)) + (is_capped(heap) ? "*" : "");
}

}  // namespace weir::tool
