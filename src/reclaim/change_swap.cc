// Which swap files there are (the part of Reclaimer that decides it): the one that is opened at the start, another one
// that takes its place while the program runs, and what becomes of those that are not written any more.
//
// Thread safety: all but change_swap_file by weir's own threads, which have the descriptors; files are opened and
//                closed by one at a time.
// Invariants: a file is opened and closed within what counts as an eviction, so that no process is being forked
//             meanwhile. It is closed when nothing is in it and no other eviction is under way, which may have begun
//             when it was written.
#include <algorithm>
#include <cstring>

#include "base/publish.h"
#include "os/env.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/rights.h"
#include "os/service_thread.h"
#include "os/swap_io.h"
#include "reclaim/reclaimer.h"

namespace weir {
namespace {

// 16 MiB of the swap file stay as long as any of it is in use.
constexpr uint64_t kKeptSlots = 4096;
// What could not leave an old file, because there was no room for it, is tried again after this time.
constexpr uint64_t kEmptyPauseNs = 500'000'000;
// Clusters that leave at a time: 4 MiB, some ten milliseconds on a slow disk; where others need kswapd, less, and one
// part of the time.
constexpr unsigned kEmptied = 16, kEmptiedWhenBusy = 2;
constexpr uint64_t kBusyShare = 4;

}  // namespace

// -- opening ---------------------------------------------------------------------------------------------------------

// Opens what the options say, to be written from now on. Null, or why not; then nothing has changed.
const char* Reclaimer::open_swap_file() {
  // A child of a fork will need the file. What a thread cannot copy out of its own table, no other can. (Before
  // Linux 6.9 a userfaultfd cannot be.)
  int copy = os::copy_descriptor(os::thread_id(), shards_.fds[0]);
  if (copy < 0 && held_.proc >= 0) copy = os::copy_descriptor(os::thread_id(), held_.proc);
  if (copy < 0) return "a swap file needs descriptors that can be handed to children (Linux 6.9, or /proc)";
  os::close_descriptor(copy);
  const unsigned place = files_.vacant();
  if (place == SwapFiles::kNone) return "the files before it are not empty yet";
  const uint64_t most = options_->swap_size != 0 ? options_->swap_size : 4 * bytes_of(limit_.load());
  SwapFileConfig config;
  config.path = options_->swap.c_str();
  config.directory = held_.directory;
  config.max_bytes = most;
  config.encrypt = options_->swap_encrypt;
  config.faults = &faults_;
  const SwapFile::Open result = files_[place].open(config);
  if (result != SwapFile::Open::kOk) return os::describe(result);
  files_.write_to(place);
  show_swap_path(config.path);
  return nullptr;
}

// When weir's threads start.
void Reclaimer::open_first_swap_file() {
  if (!wants_file()) return;
  if (!options_->swap_fault.empty() && faults_.parse(options_->swap_fault.view())) {
    swap_problem_ = "swap_fault is not a list of faults";
    return;
  }
  // By the name only at first: a child may have another root directory.
  if (held_.directory < 0) held_.directory = os::swap_directory(options_->swap.c_str());
  swap_problem_ = open_swap_file();
}

// -- another one -----------------------------------------------------------------------------------------------------

bool Reclaimer::is_kswapd() const {
  const uint32_t own = os::thread_id();
  for (const Kswapd* each : kswapds_)
    if (each != nullptr && each->thread.load(std::memory_order_relaxed) == own) return true;
  return false;
}

const char* Reclaimer::change_swap_file() {
  // What other processes ask for may be answered by kswapd.
  if (is_kswapd()) {
    while (!enter_eviction()) {
      // Who forks waits for kswapd before it is done.
      run_requests();
      os::yield();
    }
    const char* const problem = replace_swap_file();
    leave_eviction();
    return problem;
  }
  Request request;
  request.swap_file = true;
  static_cast<void>(ask(request, first_kswapd()->node->zone().node()));
  return request.problem;
}

// While evictions are allowed, by a kswapd.
const char* Reclaimer::replace_swap_file() {
  // The name comes from the program, or from who may do as it does.
  if (wants_file() && held_.proc < 0)
    return "without /proc it cannot be told whether the program has given up rights that weir's threads have";
  if (wants_file() && !os::has_rights_of_process(held_.proc))
    return "the program has given up rights that weir's threads still have, and they open no file with these";
  const int before = held_.directory;
  held_.directory = wants_file() ? os::swap_directory(options_->swap.c_str()) : -1;
  const char* problem = nullptr;
  if (wants_file())
    problem = open_swap_file();
  else
    files_.write_to_none();
  const int useless = problem == nullptr ? before : held_.directory;
  if (problem != nullptr) held_.directory = before;
  if (useless >= 0) os::close_descriptor(useless);
  if (problem == nullptr) swap_problem_ = nullptr;
  return problem;
}

// -- those before ----------------------------------------------------------------------------------------------------

// What is in old files goes where pages go now, some of it; true: there is more, and it is worth going on at once.
// `busy`: memory is short, and somebody may wait for kswapd; but a program may be short of it all the time.
bool Reclaimer::empties_old_files(Kswapd& kswapd, bool busy) {
  if (mode() != Mode::kSwap || !files_.has_old()) return false;
  const uint64_t began = os::now_ns();
  if (began < kswapd.empty_again_ns || files_.used_by_old() == 0) return false;
  // Elsewhere there is no room then.
  if ((busy && files_.writer() == nullptr) || !enter_eviction()) return false;
  const bool more = kswapd.node->empty_old_files(busy ? kEmptiedWhenBusy : kEmptied, kswapd.bench);
  leave_eviction();
  const uint64_t now = os::now_ns();
  kswapd.empty_again_ns = !more ? now + kEmptyPauseNs : busy ? now + (now - began) * (kBusyShare - 1) : 0;
  return more && !busy;
}

void Reclaimer::close_old_files() {
  if (!files_.has_old() || !enter_eviction()) return;
  for (unsigned i = 0; i < SwapFiles::kMost; ++i)
    if (files_.is_old(i) && files_[i].is_empty() && evicting_.load() == 1) files_.close(i);
  leave_eviction();
  if (files_.writer() == nullptr && !files_.has_old()) show_swap_path("");
}

// Space that the swap file does not need any more, as far as can be told: nothing was written for as long as unused
// memory is kept, and there is as much free space as is in use. Others may need it.
void Reclaimer::give_files_back() {
  for (unsigned i = 0; i < SwapFiles::kMost; ++i)
    if (files_.is_old(i)) static_cast<void>(files_[i].give_back(0));
  SwapFile* file = files_.writer();
  if (file == nullptr) return;
  const uint64_t now = os::now_ms(), written = counters_.pswpout.load();
  if (written != file_written_) {
    file_written_ = written;
    file_rests_ms_ = now;
  }
  if (now - file_rests_ms_ < static_cast<uint64_t>(options_->decay_ms)) return;
  const uint64_t used = file->used();
  static_cast<void>(file->give_back(used == 0 ? 0 : std::max(used, kKeptSlots)));
}

// -- looking ---------------------------------------------------------------------------------------------------------

Pages Reclaimer::swap_used() {
  SwapFile* const file = files_.writer();
  return Pages((file != nullptr ? file->used() : 0) + files_.used_by_old());
}

// What can be in files: as in the kernel, what is still in one that is given up counts.
Pages Reclaimer::swap_total() {
  SwapFile* const file = files_.writer();
  return Pages((file != nullptr ? file->capacity() : 0) + files_.used_by_old());
}

// Of the file that is written, or that is emptied; "": there is none.
void Reclaimer::show_swap_path(const char* path) {
  if (published_ == nullptr) return;
  publish_when_free(published_->sequence, os::yield, [&] {
    char* const to = reinterpret_cast<char*>(published_) + published_->swap_path_offset;
    strncpy(to, path, WEIR_STATS_PATH - 1);
  });
}

}  // namespace weir
