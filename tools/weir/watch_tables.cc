#include "watch_tables.h"

#include <fmt/format.h>

#include "heap_policy.h"

namespace weir::tool {
namespace {

Cell number_cell(uint64_t number) {
  return {fmt::format("{}", number), static_cast<double>(number)};
}

Cell size_cell(uint64_t pages) {
  return {size_text(pages), static_cast<double>(pages)};
}

// -- size classes ----------------------------------------------------------------------------------------------------

// As slabtop(1), and the names of weir slabinfo.
std::vector<Column> slab_columns() {
  return {{"OBJS", 10, false, false},         {"ACTIVE", 10, false, false}, {"USE", 4, false, false},
          {"OBJSIZE", 7, false, false, true}, {"SLABS", 8, false, false},   {"OBJ/SLAB", 8, false, false},
          {"MEMORY", 6, false, false},        {"NAME", 0, true, true}};
}
constexpr size_t kObjectsColumn = 0;

Row row_of(const Snapshot::Slabs& s) {
  const uint64_t percent = s.objects == 0 ? 0 : s.active * 100 / s.objects;
  return {s.object_size,
          {number_cell(s.objects),
           number_cell(s.active),
           {fmt::format("{}%", percent), static_cast<double>(percent)},
           number_cell(s.object_size),
           number_cell(s.slabs),
           number_cell(s.objects_per_slab),
           size_cell(s.slabs * s.pages_per_slab),
           {fmt::format("malloc-{}", s.object_size)}}};
}

// -- heaps -----------------------------------------------------------------------------------------------------------

// Those of weir heaps.
std::vector<Column> heap_columns() {
  return {{"CHARGED", 7, false, false}, {"SWAPPED", 7, false, false}, {"LIMIT", 5, false, false},
          {"SOFT", 5, false, false},    {"PEAK", 5, false, false},    {"ADJ", 5, false, false},
          {"POLICY", 8, true, false},   {"FAILED", 8, false, false},  {"NAME", 0, true, true}};
}
constexpr size_t kChargedColumn = 0;

Cell limit_cell(uint64_t pages, uint64_t resident, Style above) {
  if (pages == 0) return {"-", 0};
  return {size_text(pages), static_cast<double>(pages), resident > pages ? above : Style::kPlain};
}

Row row_of(const weir_stats_heap& h) {
  // What limits are on.
  const uint64_t resident = h.charged - std::min(h.charged, h.swapped);
  return {h.id,
          {size_cell(h.charged),
           size_cell(h.swapped),
           limit_cell(h.limit, resident, Style::kBelowMin),
           limit_cell(h.soft_limit, resident, Style::kBelowLow),
           size_cell(h.peak),
           {fmt::format("{}", h.oom_score_adj), static_cast<double>(h.oom_score_adj)},
           {policy_text(h), 0, is_capped(h) ? Style::kBelowMin : Style::kPlain},
           number_cell(h.limit_failures),
           {h.name}}};
}

}  // namespace

Table slab_table() {
  return {slab_columns(), kObjectsColumn};
}

std::vector<Row> slab_rows(const Snapshot& snapshot) {
  std::vector<Row> rows;
  for (const auto& each : snapshot.slabs()) rows.push_back(row_of(each));
  return rows;
}

Table heap_table() {
  return {heap_columns(), kChargedColumn};
}

std::vector<Row> heap_rows(const Snapshot& snapshot) {
  std::vector<Row> rows;
  for (const weir_stats_heap& each : snapshot.heaps()) rows.push_back(row_of(each));
  return rows;
}

std::string heap_note(const Snapshot& snapshot) {
  const uint64_t all = snapshot.page().nr_heaps;
  const size_t shown = snapshot.heaps().size();
  if (all == 0 && shown == 0) return "no heaps: a program makes them by weir_heap_create (weir/heap.h)";
  return shown < all ? fmt::format("{} of {} heaps are shown", shown, all) : std::string();
}

}  // namespace weir::tool
