// Purpose: the swap files of one process: the one it writes; those that it wrote before, until nothing is left in them;
//          and those of the processes it was forked from, which it may only read. So each side of a fork writes to a
//          file of its own, and another file can be chosen while the program runs.
// Thread safety: opened and closed by one thread, and before and after a fork by the one that forks; everything else
//                from any thread. Who got the writer may go on writing to it after it was replaced.
// Invariants: at most one file is the writer. A place whose file is closed is nobody's, and no entry names it.
#pragma once

#include <atomic>

#include "base/live.h"
#include "swap/swap_entry.h"
#include "swap/swap_file.h"

namespace weir {

class SwapFiles {
 public:
  // A program that forks from a forked child over and over, each with pages swapped out, is out of the ordinary; the
  // eighth in such a line has compressed memory only.
  static constexpr unsigned kMost = 8;
  static constexpr unsigned kNone = kMost;

  SwapFile& operator[](unsigned i) { return files_[i]; }
  SwapFile& of(SwapEntry entry) { return files_[entry.file()]; }
  SwapEntry entry(const SwapFile& file, uint64_t slot) const { return SwapEntry::in_file(number_of(file), slot); }
  // Null when nothing can be written.
  SwapFile* writer() { return writer_.load(std::memory_order_acquire); }

  // A place where nothing is open; kNone: there is none.
  unsigned vacant() const;
  bool is_open(unsigned i) const { return states_[i] != State::kVacant; }
  // Written by this process, now or before.
  bool is_own(unsigned i) const { return states_[i] == State::kOwn; }
  // Written before, and not any more.
  bool is_old(unsigned i) const { return is_own(i) && writer_.load(std::memory_order_relaxed) != &files_[i]; }
  bool is_old(SwapEntry entry) const { return entry.kind() == SwapEntry::Kind::kFile && is_old(entry.file()); }
  // What this process has in old files, in pages.
  uint64_t used_by_old();
  bool has_old() const;

  // The file at a vacant place was opened: it is written from now on, instead of the one before.
  void write_to(unsigned i);
  // None is.
  void write_to_none() { writer_.store(nullptr, std::memory_order_release); }
  // An old file holds nothing, and nobody is writing to it or reading from it.
  void close(unsigned i);
  // In the child of a fork: all are the parent's.
  void become_readers();

 private:
  enum class State : uint8_t { kVacant, kOwn, kInherited };

  unsigned number_of(const SwapFile& file) const { return static_cast<unsigned>(&file - files_); }

  SwapFile files_[kMost];
  Live<State> states_[kMost];
  std::atomic<SwapFile*> writer_{nullptr};
};

}  // namespace weir
