#include "control/stats_print.h"

#include "base/print.h"
#include "control/summary.h"
#include "heap/process_heaps.h"
#include "malloc/process.h"
#include "os/proc.h"
#include "os/thread.h"

namespace weir {
namespace {

constexpr const char* kTypeNames[kNrMigrateTypes] = {"Unmovable", "Movable", "Reclaimable"};

// The layout of /proc/zoneinfo.
void print_zone(const ZoneStats& s, int fd) {
  Line line;
  line.text("Node ").dec(s.node.v).text(", zone   Normal\n").write_to(fd);
  const struct {
    const char* name;
    uint64_t pages;
  } rows[] = {{"  pages free     ", s.free.v},           {"        min      ", s.watermarks.min.v},
              {"        low      ", s.watermarks.low.v}, {"        high     ", s.watermarks.high.v},
              {"        spanned  ", s.capacity.v},       {"        present  ", s.accessible.v},
              {"        managed  ", s.managed.v},        {"        charged  ", s.charged.v},
              {"        freeres  ", s.free_resident.v},  {"        metadata ", s.metadata_bytes >> kPageShift}};
  for (const auto& row : rows) line.text(row.name).dec(row.pages).text("\n").write_to(fd);
}

// The layout of /proc/buddyinfo and the first table of /proc/pagetypeinfo.
void print_free_blocks(const ZoneStats& s, int fd) {
  Line line;
  line.text("Node ").dec(s.node.v).text(", zone   Normal ");
  for (unsigned o = 0; o < kNrOrders; ++o) {
    uint64_t blocks = 0;
    for (unsigned t = 0; t < kNrMigrateTypes; ++t) blocks += s.buddy.free_blocks[t][o];
    line.column(blocks, 6).text(" ");
  }
  line.text("\n").write_to(fd);
  for (unsigned t = 0; t < kNrMigrateTypes; ++t) {
    line.text("Node ").column(s.node.v, 4).text(", zone   Normal, type ");
    line.column(std::string_view(kTypeNames[t]), 12);
    for (unsigned o = 0; o < kNrOrders; ++o) line.column(s.buddy.free_blocks[t][o], 6).text(" ");
    line.text(" pageblocks ").dec(s.buddy.pageblocks[t]).text("\n").write_to(fd);
  }
}

// The columns of /proc/slabinfo that have a meaning here.
void print_slabs(Allocator& allocator, NodeId node, int fd) {
  Line line;
  line.text(
      "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : slabdata <num_slabs>\n");
  line.write_to(fd);
  for (unsigned c = 1; c < kNrSizeClasses; ++c) {
    const DepotStats s = allocator.depots(node).stats(c);
    if (s.slabs == 0) continue;
    const SizeClass& info = kSizeClasses[c];
    const uint64_t objects = s.slabs * info.objects;
    line.text("malloc-").dec(info.size);
    for (size_t i = line.view().size(); i < 17; ++i) line.text(" ");
    line.column(objects - s.free_objects, 7).text(" ").column(objects, 7).text(" ").column(info.size, 7).text(" ");
    line.column(info.objects, 5).text(" ").column(uint64_t{1} << info.slab_order, 4).text(" : slabdata ");
    line.column(s.slabs, 6).text("\n").write_to(fd);
  }
}

// Registered heaps, one a line; sizes in pages, "-" where there is no limit.
void print_heaps(int fd) {
  HeapRegistry* heaps = process_heaps();
  if (heaps == nullptr) return;
  Line line;
  line.text("# heap                    <charged> <peak> <limit> <slabs> <large> <objects> <fails> <adj> <node>\n")
      .write_to(fd);
  for (HeapId id = heaps->next({}); id; id = heaps->next(id)) {
    HeapStats s;
    char name[Heap::kNameBytes];
    if (!heaps->name(id, name) || !heaps->stats(id, s)) continue;
    line.column(std::string_view(name), 25).text(" ").column(s.charged.v, 9).text(" ").column(s.peak.v, 6).text(" ");
    if (s.limit == PageOwner::kNoLimit)
      line.text("      -");
    else
      line.column(s.limit, 7);
    line.text(" ").column(s.slabs.v, 7).text(" ").column(s.runs.v, 7).text(" ").column(s.objects, 9).text(" ");
    line.column(s.limit_failures, 7)
        .text("   ")
        .sdec(s.oom_score_adj)
        .text("   ")
        .dec(s.node.v)
        .text("\n")
        .write_to(fd);
  }
}

void print_counters(const ZoneStats& s, int fd) {
  Line line;
#define VMSTAT(name, help) line.text(#name " ").dec(s.name).text("\n").write_to(fd);
#include "page/vmstat.def"
#undef VMSTAT
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
  Line line;
  line.text("weir " WEIR_VERSION ": memory of this process, in pages of 4 KiB; ").dec(allocator.nr_caches());
  line.text(" thread caches\n").write_to(fd);
  for (unsigned n = 0; n < allocator.nr_nodes(); ++n) {
    const NodeId node(static_cast<uint16_t>(n));
    if (!allocator.has_zone(node)) continue;
    const ZoneStats stats = allocator.pages().zone(node).stats();
    print_zone(stats, fd);
    print_free_blocks(stats, fd);
    print_slabs(allocator, node, fd);
    print_counters(stats, fd);
  }
  print_heaps(fd);
}

}  // namespace weir
