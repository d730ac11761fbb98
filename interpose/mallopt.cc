// What glibc offers around malloc: statistics, tuning, trimming. glibc's struct layouts are filled with weir's numbers.
#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#include "base/port.h"
#include "malloc/heap_report.h"
#include "malloc/process.h"

#define WEIR_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

weir::HeapTotals totals() {
  return weir::process_start() ? weir::heap_totals(weir::process_allocator()) : weir::HeapTotals();
}

void to_stderr(void*, std::string_view text) {
  weir::port::write_all(2, text.data(), text.size());
}

void to_stream(void* stream, std::string_view text) {
  fwrite(text.data(), 1, text.size(), static_cast<FILE*>(stream));
}

int clamp_to_int(size_t n) {
  return n > 0x7fffffff ? 0x7fffffff : static_cast<int>(n);
}

}  // namespace

WEIR_EXPORT struct mallinfo2 mallinfo2() {
  const weir::HeapTotals t = totals();
  struct mallinfo2 info = {};
  info.arena = t.accessible_bytes;
  info.ordblks = t.free_chunks;
  info.uordblks = t.in_use_bytes();
  info.fordblks = t.free_bytes;
  info.keepcost = t.free_resident_bytes;
  return info;
}

WEIR_EXPORT struct mallinfo mallinfo() {
  const struct mallinfo2 wide = mallinfo2();
  struct mallinfo info = {};
  info.arena = clamp_to_int(wide.arena);
  info.ordblks = clamp_to_int(wide.ordblks);
  info.uordblks = clamp_to_int(wide.uordblks);
  info.fordblks = clamp_to_int(wide.fordblks);
  info.keepcost = clamp_to_int(wide.keepcost);
  return info;
}

WEIR_EXPORT void malloc_stats() {
  if (weir::process_start()) weir::write_heap_stats(weir::process_allocator(), {to_stderr, nullptr});
}

WEIR_EXPORT int malloc_info(int options, FILE* stream) {
  if (options != 0) return EINVAL;
  if (weir::process_start()) weir::write_heap_info(weir::process_allocator(), {to_stream, stream});
  return ferror(stream) != 0 ? -1 : 0;
}

// glibc's tunables have no counterpart here; 1 is "accepted", which programs check for.
WEIR_EXPORT int mallopt(int, int) {
  return 1;
}

WEIR_EXPORT int malloc_trim(size_t) {
  return weir::process_trim() != 0 ? 1 : 0;
}
