#include "watch.h"

#include "procfs.h"
#include "watch_tables.h"

namespace weir::tool {

Watch::Watch(Tracker tracker, std::string command, std::string arguments)
    : tracker_(std::move(tracker)),
      command_(std::move(command)),
      arguments_(std::move(arguments)),
      slabs_(slab_table()),
      heaps_(heap_table()) {
  update_tables();
}

void Watch::update(Moment now, std::string command, std::string arguments) {
  if (state_ == State::kEnded) return;
  state_ = State::kRunning;
  tracker_.add(std::move(now));
  command_ = std::move(command);
  arguments_ = std::move(arguments);
  update_tables();
}

void Watch::lose() {
  if (state_ != State::kEnded) state_ = State::kUnreadable;
}

void Watch::end() {
  state_ = State::kEnded;
}

void Watch::update_tables() {
  slabs_.set_rows(slab_rows(snapshot()));
  heaps_.set_rows(heap_rows(snapshot()));
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
