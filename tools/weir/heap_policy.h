// Purpose: the words for what becomes of a heap when memory runs out, for all that show heaps.
// Thread safety: pure functions.
#pragma once

#include <weir/stats_page.h>

#include <string>

namespace weir::tool {

// "fail", "release" or "abort".
[[nodiscard]] const char* policy_name(uint32_t policy);
// Whether the heap was chosen and gets no pages until it has given some back.
[[nodiscard]] bool is_capped(const weir_stats_heap& heap);
// The policy's name, with a * behind that of a capped heap.
[[nodiscard]] std::string policy_text(const weir_stats_heap& heap);

}  // namespace weir::tool
