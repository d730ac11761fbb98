#include "control/stats_print.h"

#include "base/print.h"
#include "control/summary.h"
#include "heap/process_heaps.h"
#include "malloc/process.h"
#include "os/proc.h"
#include "os/thread.h"

namespace weir {
namespace {

constexpr const char* kTypeNames[kNrMigrateTypes] = {"unmovable", "movable", "reclaimable"};
// Wide enough for a terabyte in MiB with three decimals.
constexpr unsigned kSizeWidth = 12;
constexpr unsigned kNameWidth = 18;

Line& put_right(Line& line, std::string_view text, unsigned width) {
  for (size_t i = text.size(); i < width; ++i) line.text(" ");
  return line.text(text);
}

Line& put_mib(Line& line, Pages pages, unsigned width = kSizeWidth) {
  Line number;
  number.fixed((pages.v >> (20 - kPageShift)) * 1000 + ((bytes_of(pages) & 0xfffff) * 1000 >> 20));
  return put_right(line, number.view(), width);
}

void print_size(int fd, std::string_view name, Pages pages, std::string_view remark) {
  Line line;
  line.column(name, kNameWidth);
  put_mib(line, pages).text("   ").text(remark).text("\n").write_to(fd);
}

// -- the whole ------------------------------------------------------------------------------------------------------

template <class What>
void for_each_zone(Allocator& allocator, What what) {
  for (unsigned n = 0; n < allocator.nr_nodes(); ++n) {
    const NodeId node(static_cast<uint16_t>(n));
    if (allocator.has_zone(node)) what(node, allocator.pages().zone(node).stats());
  }
}

void print_heading(Allocator& allocator, int fd) {
  Line line;
  line.text("weir " WEIR_VERSION ": memory of process ").dec(static_cast<uint64_t>(os::process_id()));
  if (const weir_stats_page* page = process_stats(); page != nullptr)
    line.text(" after ").fixed((os::now_ns() - page->start_ns) / 1000000).text(" s");
  line.text(", ").dec(allocator.nr_caches()).text(allocator.nr_caches() == 1 ? " thread cache" : " thread caches");
  line.text("; sizes in MiB\n\n").write_to(fd);
}

void print_memory(Allocator& allocator, int fd) {
  Pages charged, free_resident;
  size_t metadata = 0;
  for_each_zone(allocator, [&](NodeId, const ZoneStats& s) {
    charged += s.charged;
    free_resident += s.free_resident;
    metadata += s.metadata_bytes;
  });
  print_size(fd, "given out", charged, "objects, and the slabs that they lie in");
  if (const Compactor* compactor = allocator.compactor(); compactor != nullptr) {
    Line objects;
    objects.text("of that, ").dec(compactor->table().nr_objects()).text(" objects that can be moved");
    print_size(fd, "with handles", pages_of(compactor->table().bytes()), objects.view());
  }
  Line decay;
  decay.text("in memory; goes back when it was unused for a while (decay_ms=");
  format_option(decay, allocator.options(), OptionId::decay_ms);
  print_size(fd, "free", free_resident, decay.text(")").view());
  print_size(fd, "bookkeeping", Pages(metadata >> kPageShift), "weir's own");
}

void print_limit(const ReclaimStats& s, int fd) {
  Line remark;
  print_size(fd, "limit", s.limit, remark.text("mode ").text(s.mode).view());
  remark.clear();
  put_mib(remark.text("of it; "), s.resident_peak, 0);
  print_size(fd, "resident", s.resident, remark.text(" at most").view());
  print_size(fd, "standby", s.standby, "of that, unmapped and not yet swapped");
  remark.clear();
  put_mib(remark.text("of that, for "), s.zswap_stored, 0);
  print_size(fd, "compressed memory", s.zswap_pool, remark.text(" that were compressed").view());
  if (s.swap_total.v == 0) return;
  remark.clear();
  put_mib(remark.text("of "), s.swap_total, 0);
  print_size(fd, "swap file", s.swap_used, remark.view());
}

// -- nodes ----------------------------------------------------------------------------------------------------------

void print_nodes(Allocator& allocator, int fd) {
  Line line;
  line.text("\nnode     managed   given out        free         min         low        high\n").write_to(fd);
  for_each_zone(allocator, [&](NodeId node, const ZoneStats& s) {
    line.column(node.v, 4);
    for (const Pages each : {s.managed, s.charged, s.free, s.watermarks.min, s.watermarks.low, s.watermarks.high})
      put_mib(line, each);
    line.text("\n").write_to(fd);
  });
  line.text("\nfree blocks           4K     8K    16K    32K    64K   128K   256K   512K     1M     2M     4M\n")
      .write_to(fd);
  for_each_zone(allocator, [&](NodeId node, const ZoneStats& s) {
    for (unsigned t = 0; t < kNrMigrateTypes; ++t) {
      if (s.buddy.pageblocks[t] == 0) continue;
      line.text("node ").dec(node.v).text(" ").text(kTypeNames[t]);
      for (size_t i = line.view().size(); i < kNameWidth - 1; ++i) line.text(" ");
      for (unsigned o = 0; o < kNrOrders; ++o) line.column(s.buddy.free_blocks[t][o], 7);
      line.text("\n").write_to(fd);
    }
  });
}

// -- objects --------------------------------------------------------------------------------------------------------

void print_class(size_t size_class, const DepotStats& s, int fd) {
  const SizeClass& info = kSizeClasses[size_class];
  const uint64_t objects = s.slabs * info.objects, used = objects - s.free_objects;
  Line line;
  line.column(info.size, 10).column(used, 12).column(s.free_objects, 12).column(used * 100 / objects, 5).text("%");
  line.column(s.slabs, 9);
  put_mib(line, Pages(s.slabs << info.slab_order)).text("\n").write_to(fd);
}

// Size classes that have slabs, and what is left of the pages given out.
void print_objects(Allocator& allocator, int fd) {
  Line line;
  line.text("\nsize class      in use        free   use    slabs      memory\n").write_to(fd);
  Pages charged, in_slabs;
  for_each_zone(allocator, [&](NodeId, const ZoneStats& s) { charged += s.charged; });
  for (unsigned c = 1; c < kNrSizeClasses; ++c) {
    DepotStats sum;
    for_each_zone(allocator, [&](NodeId node, const ZoneStats&) {
      const DepotStats s = allocator.depots(node).stats(c);
      sum.slabs += s.slabs;
      sum.free_objects += s.free_objects + s.transfer_objects;
    });
    if (sum.slabs != 0) print_class(c, sum, fd);
    in_slabs += Pages(sum.slabs << kSizeClasses[c].slab_order);
  }
  line.text("larger objects, and slabs of heaps");
  put_mib(line, charged > in_slabs ? charged - in_slabs : Pages(0), 27).text("\n").write_to(fd);
}

void print_heap(const HeapStats& s, const char* name, int fd) {
  Line line;
  put_mib(put_mib(line, s.charged), s.peak);
  if (s.limit == PageOwner::kNoLimit)
    put_right(line, "-", kSizeWidth);
  else
    put_mib(line, Pages(s.limit));
  Line score;
  score.sdec(s.oom_score_adj);
  line.column(s.objects, 11).column(s.limit_failures, 9);
  put_right(line, score.view(), 6).column(s.node.v, 5).text(" ").text(name).text("\n").write_to(fd);
}

void print_heaps(int fd) {
  HeapRegistry* heaps = process_heaps();
  if (heaps == nullptr || !heaps->next({})) return;
  Line line;
  line.text("\n     charged        peak       limit    objects   failed   adj node heap\n").write_to(fd);
  for (HeapId id = heaps->next({}); id; id = heaps->next(id)) {
    HeapStats s;
    char name[Heap::kNameBytes];
    if (heaps->name(id, name) && heaps->stats(id, s)) print_heap(s, name, fd);
  }
}

// -- counters: those that are not 0 ---------------------------------------------------------------------------------

void print_counter(std::string_view name, uint64_t value, std::string_view help, int fd) {
  if (value == 0) return;
  Line line;
  line.text("  ").column(name, 24).column(value, 14).text("  ").text(help).text("\n").write_to(fd);
}

void print_zone_counters(NodeId node, const ZoneStats& s, int fd) {
  Line line;
  line.text("\ncounters of node ").dec(node.v).text("\n").write_to(fd);
#define VMSTAT(name, help) print_counter(#name, s.name, help, fd);
#include "page/vmstat.def"
#undef VMSTAT
}

void print_reclaim_counters(const ReclaimStats& s, int fd) {
  Line line;
  line.text("\ncounters of reclaim\n").write_to(fd);
#define COUNTER(name, help) print_counter(#name, s.name, help, fd);
#include "reclaim/counters.def"
#undef COUNTER
}

void print_process_summary() {
  Reclaimer* reclaimer = process_allocator().reclaimer();
  const ReclaimStats stats = reclaimer != nullptr ? reclaimer->stats() : ReclaimStats();
  print_summary(2, stats, os::now_ns() - process_start_ns(), static_cast<uint64_t>(os::process_id()));
}

// Runs at exit() when it was asked for; after the program's own exit handlers, because this library's come last.
__attribute__((destructor)) void print_at_exit() {
  if (!process_started()) return;
  if (process_allocator().options().stats_at_exit) print_stats(2);
  const Options& options = process_allocator().options();
  if (options.summary && (options.summary_pid == 0 || options.summary_pid == os::process_id())) print_process_summary();
}

}  // namespace

void print_stats(int fd) {
  if (!process_start()) return;
  Allocator& allocator = process_allocator();
  Reclaimer* reclaimer = allocator.reclaimer();
  const ReclaimStats reclaim = reclaimer != nullptr ? reclaimer->stats() : ReclaimStats();
  print_heading(allocator, fd);
  print_memory(allocator, fd);
  if (reclaimer != nullptr) print_limit(reclaim, fd);
  print_nodes(allocator, fd);
  print_objects(allocator, fd);
  print_heaps(fd);
  for_each_zone(allocator, [&](NodeId node, const ZoneStats& s) { print_zone_counters(node, s, fd); });
  if (reclaimer != nullptr) print_reclaim_counters(reclaim, fd);
}

}  // namespace weir
