// What glibc offers around malloc: statistics, tuning, trimming. glibc's struct layouts are filled with weir's numbers.
#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#include "base/print.h"
#include "malloc/process.h"

#define WEIR_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

struct Totals {
  size_t mapped = 0;  // bytes of arenas that are accessible
  size_t in_use = 0;  // bytes in slabs' objects and large runs given out
  size_t free = 0;    // the rest
  size_t resident_free = 0;
};

Totals totals() {
  Totals t;
  if (!weir::process_start()) return t;
  const weir::AllocatorTotals sums = weir::process_allocator().totals();
  t.mapped = sums.accessible_bytes;
  t.free = sums.free_bytes;
  t.in_use = sums.accessible_bytes - sums.free_bytes;
  t.resident_free = sums.free_resident_bytes;
  return t;
}

int clamp_to_int(size_t n) {
  return n > 0x7fffffff ? 0x7fffffff : static_cast<int>(n);
}

}  // namespace

WEIR_EXPORT struct mallinfo2 mallinfo2() {
  const Totals t = totals();
  struct mallinfo2 info = {};
  info.arena = t.mapped;
  info.uordblks = t.in_use;
  info.fordblks = t.free;
  info.keepcost = t.resident_free;
  return info;
}

WEIR_EXPORT struct mallinfo mallinfo() {
  const struct mallinfo2 wide = mallinfo2();
  struct mallinfo info = {};
  info.arena = clamp_to_int(wide.arena);
  info.uordblks = clamp_to_int(wide.uordblks);
  info.fordblks = clamp_to_int(wide.fordblks);
  info.keepcost = clamp_to_int(wide.keepcost);
  return info;
}

// glibc's layout, so that scripts that read it keep working.
WEIR_EXPORT void malloc_stats() {
  const Totals t = totals();
  weir::Line line;
  line.text("Arena 0:\n");
  line.text("system bytes     = ").column(t.mapped, 10).text("\n");
  line.text("in use bytes     = ").column(t.in_use, 10).text("\n");
  line.text("Total (incl. mmap):\n");
  line.text("system bytes     = ").column(t.mapped, 10).text("\n");
  line.text("in use bytes     = ").column(t.in_use, 10).text("\n");
  line.write_to(2);
}

WEIR_EXPORT int malloc_info(int options, FILE* stream) {
  if (options != 0) return EINVAL;
  const Totals t = totals();
  const int written =
      fprintf(stream,
              "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n</sizes>\n"
              "<system type=\"current\" size=\"%zu\"/>\n<system type=\"max\" size=\"%zu\"/>\n"
              "<aspace type=\"total\" size=\"%zu\"/>\n<aspace type=\"mprotect\" size=\"%zu\"/>\n</heap>\n"
              "<total type=\"fast\" count=\"0\" size=\"0\"/>\n<total type=\"rest\" count=\"1\" size=\"%zu\"/>\n"
              "<total type=\"mmap\" count=\"0\" size=\"0\"/>\n<system type=\"current\" size=\"%zu\"/>\n"
              "<system type=\"max\" size=\"%zu\"/>\n<aspace type=\"total\" size=\"%zu\"/>\n"
              "<aspace type=\"mprotect\" size=\"%zu\"/>\n</malloc>\n",
              t.mapped, t.mapped, t.mapped, t.mapped, t.free, t.mapped, t.mapped, t.mapped, t.mapped);
  return written < 0 ? -1 : 0;
}

// glibc's tunables have no counterpart here; 1 is "accepted", which programs check for.
WEIR_EXPORT int mallopt(int, int) {
  return 1;
}

WEIR_EXPORT int malloc_trim(size_t) {
  return weir::process_trim() != 0 ? 1 : 0;
}
