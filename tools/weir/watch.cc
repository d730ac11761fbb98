#include "watch.h"

#include <fmt/format.h>

#include "procfs.h"

namespace weir::tool {
namespace {

// As slabtop(1), and the names of weir slabinfo.
std::vector<Column> columns() {
  return {{"OBJS", 10, false, false},         {"ACTIVE", 10, false, false}, {"USE", 4, false, false},
          {"OBJSIZE", 7, false, false, true}, {"SLABS", 8, false, false},   {"OBJ/SLAB", 8, false, false},
          {"MEMORY", 6, false, false},        {"NAME", 0, true, true}};
}
constexpr size_t kObjectsColumn = 0;

Cell number_cell(uint64_t number) {
  return {fmt::format("{}", number), static_cast<double>(number)};
}

Row row_of(const Snapshot::Slabs& s) {
  const uint64_t pages = s.slabs * s.pages_per_slab;
  const uint64_t percent = s.objects == 0 ? 0 : s.active * 100 / s.objects;
  return {s.object_size,
          {number_cell(s.objects),
           number_cell(s.active),
           {fmt::format("{}%", percent), static_cast<double>(percent)},
           number_cell(s.object_size),
           number_cell(s.slabs),
           number_cell(s.objects_per_slab),
           {size_text(pages), static_cast<double>(pages)},
           {fmt::format("malloc-{}", s.object_size)}}};
}

}  // namespace

Watch::Watch(Tracker tracker, std::string command, std::string arguments)
    : tracker_(std::move(tracker)),
      command_(std::move(command)),
      arguments_(std::move(arguments)),
      slabs_(columns(), kObjectsColumn) {
  update_slabs();
}

void Watch::update(Moment now, std::string command, std::string arguments) {
  if (state_ == State::kEnded) return;
  state_ = State::kRunning;
  tracker_.add(std::move(now));
  command_ = std::move(command);
  arguments_ = std::move(arguments);
  update_slabs();
}

void Watch::lose() {
  if (state_ != State::kEnded) state_ = State::kUnreadable;
}

void Watch::end() {
  state_ = State::kEnded;
}

void Watch::update_slabs() {
  std::vector<Row> rows;
  for (const auto& each : snapshot().slabs()) rows.push_back(row_of(each));
  slabs_.set_rows(std::move(rows));
}

void look_again(Watch& watch) {
  if (watch.state() == Watch::State::kEnded) return;
  const pid_t pid = watch.pid();
  PageCopy copy = read_page(pid);
  if (copy.status == PageStatus::kNoProcess) return watch.end();
  if (copy.status != PageStatus::kRead) return watch.lose();
  watch.update(Moment(Snapshot(pid, std::move(copy.words)), now_seconds()), command_of(pid), arguments_of(pid));
}

}  // namespace weir::tool
