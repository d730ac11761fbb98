#include "process_list.h"

#include <fmt/format.h>

#include "procfs.h"
#include "water_level.h"

namespace weir::tool {
namespace {

// All but COMMAND are as wide as what size_text and count_text give, or as their names. 69 columns, which leaves 11.
std::vector<Column> columns() {
  return {{"PID", 7, false, true, true}, {"MODE", 7, true, false},   {"LIMIT", 5, false, false},
          {"USED", 5, false, false},     {"STBY", 5, false, false},  {"SWAP", 5, false, false},
          {"ZSWAP", 5, false, false},    {"IN/s", 5, false, false},  {"OUT/s", 5, false, false},
          {"SCAN/s", 6, false, false},   {"FLT/s", 5, false, false}, {"COMMAND", 0, true, true}};
}
constexpr size_t kUsedColumn = 3;

Cell size_cell(uint64_t pages, Style style = Style::kPlain) {
  return {size_text(pages), static_cast<double>(pages), pages == 0 ? Style::kFaint : style};
}

Cell count_cell(double rate, Style style = Style::kPlain) {
  return {count_text(rate), rate, rate == 0 ? Style::kFaint : style};
}

Row row_of(const Tracker& tracker, const std::string& command) {
  const Snapshot& s = tracker.last().snapshot;
  const Style level = s.limited() ? style_of(worst_level(s)) : Style::kPlain;
  Row row{static_cast<uint64_t>(s.pid()), {}};
  row.cells.push_back({fmt::format("{}", s.pid()), static_cast<double>(s.pid())});
  row.cells.push_back({s.mode()});
  row.cells.push_back(s.limited() ? size_cell(s.page().limit) : Cell{"-", 0, Style::kFaint});
  row.cells.push_back(size_cell(s.used(), level));
  row.cells.push_back(size_cell(s.sum(&weir_stats_node::standby)));
  row.cells.push_back(size_cell(s.sum(&weir_stats_node::swapped)));
  row.cells.push_back(size_cell(s.sum(&weir_stats_node::zswap_pool)));
  row.cells.push_back(count_cell(tracker.now(Activity::kSwapIn)));
  row.cells.push_back(count_cell(tracker.now(Activity::kSwapOut)));
  // Threads that have to look for pages themselves are what a user should see.
  const double direct = tracker.now(Activity::kDirectScan);
  row.cells.push_back(
      count_cell(tracker.now(Activity::kKswapdScan) + direct, direct > 0 ? style_of(Level::kBelowMin) : Style::kPlain));
  row.cells.push_back(count_cell(tracker.now(Activity::kFaults)));
  row.cells.push_back({command, 0, Style::kStrong});
  return row;
}

}  // namespace

ProcessList::ProcessList() : table_(columns(), kUsedColumn) {}

void ProcessList::update(std::vector<Seen> seen) {
  std::map<pid_t, Tracker> trackers;
  std::vector<Row> rows;
  for (Seen& each : seen) {
    const pid_t pid = each.moment.snapshot.pid();
    if (auto known = trackers_.extract(pid)) {
      known.mapped().add(std::move(each.moment));
      trackers.insert(std::move(known));
    } else {
      trackers.emplace(pid, Tracker(std::move(each.moment)));
    }
    rows.push_back(row_of(trackers.at(pid), each.command));
  }
  trackers_ = std::move(trackers);
  table_.set_rows(std::move(rows));
}

const Tracker* ProcessList::find(pid_t pid) const {
  const auto found = trackers_.find(pid);
  return found == trackers_.end() ? nullptr : &found->second;
}

ProcessList::Total ProcessList::total() const {
  Total total;
  total.processes = trackers_.size();
  for (const auto& [pid, tracker] : trackers_) {
    const Snapshot& s = tracker.last().snapshot;
    total.swapped += s.sum(&weir_stats_node::swapped);
    total.zswap_pool += s.sum(&weir_stats_node::zswap_pool);
    if (!s.limited()) continue;
    ++total.limited;
    total.limit += s.page().limit;
    total.used += s.used();
  }
  return total;
}

std::vector<ProcessList::Seen> see_processes() {
  std::vector<ProcessList::Seen> seen;
  for (Snapshot& each : all_snapshots()) {
    const pid_t pid = each.pid();
    seen.push_back({Moment(std::move(each), now_seconds()), command_of(pid)});
  }
  return seen;
}

}  // namespace weir::tool
