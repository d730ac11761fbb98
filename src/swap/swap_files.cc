#include "swap/swap_files.h"

namespace weir {

unsigned SwapFiles::vacant() const {
  unsigned i = 0;
  while (i < kMost && is_open(i)) ++i;
  return i;
}

uint64_t SwapFiles::used_by_old() {
  uint64_t used = 0;
  for (unsigned i = 0; i < kMost; ++i)
    if (is_old(i)) used += files_[i].used();
  return used;
}

bool SwapFiles::has_old() const {
  for (unsigned i = 0; i < kMost; ++i)
    if (is_old(i)) return true;
  return false;
}

void SwapFiles::write_to(unsigned i) {
  states_[i] = State::kOwn;
  writer_.store(&files_[i], std::memory_order_release);
}

void SwapFiles::close(unsigned i) {
  states_[i] = State::kVacant;
  files_[i].close();
}

void SwapFiles::become_readers() {
  write_to_none();
  for (unsigned i = 0; i < kMost; ++i) {
    if (!is_open(i)) continue;
    states_[i] = State::kInherited;
    files_[i].become_reader();
  }
}

}  // namespace weir
