// Purpose: several transfers of one swap file under way at once: through an io_uring where the kernel allows it, else
//          one after the other as they are handed in.
// Thread safety: a queue belongs to one thread; the file may have many. Invariants: a buffer belongs to the queue from
//                submit until its completion was collected. Every transfer that was taken completes exactly once.
//
// Use: submit some; `poll` once, because transfers may be complete at once; sleep until fd() is readable, together with
// whatever else one waits for; `poll` again. Sleeping may end with EINTR or without a completion.
#pragma once

#include <cstdint>

#include "os/swap_ring.h"
#include "swap/swap_file.h"

namespace weir {

class SwapQueue {
 public:
  // A mask has a bit for each. More than an SSD of today needs to be busy.
  static constexpr unsigned kDepth = 64;

  enum class Mode : uint8_t { kBest, kSynchronous };
  struct Completion {
    uint64_t cookie = 0;
    IoResult result = IoResult::kOk;
    bool is_write = false;
    // Of a read: as it was handed in. Of a write: what holds data now (SwapFile::write).
    Slots slots;
    uint64_t bad_mask = 0;  // of a read
  };

  constexpr SwapQueue() = default;
  SwapQueue(const SwapQueue&) = delete;
  SwapQueue& operator=(const SwapQueue&) = delete;

  // False when there are no descriptors left.
  [[nodiscard]] bool open(SwapFile& file, Mode mode = Mode::kBest);
  // Waits for what is under way; completions that were not collected are lost.
  void close();
  // In the child of a fork, where the queue is the parent's. The descriptor is closed when the child got a copy.
  void abandon(bool close_descriptor);
  bool is_open() const { return file_ != nullptr; }
  // More than one transfer is under way at a time.
  bool asynchronous() const { return ring_.is_open(); }
  // Readable when there may be completions.
  int fd() const { return ring_.is_open() ? ring_.fd() : event_; }

  // False: kDepth transfers are under way or not collected.
  [[nodiscard]] bool submit_read(uint64_t first, unsigned count, void* buffer, uint64_t cookie);
  // The same, but where transfers are asynchronous it starts with the next `submit`: several at once cost the kernel
  // and the device (a virtual one most of all) little more than one.
  [[nodiscard]] bool prepare_read(uint64_t first, unsigned count, void* buffer, uint64_t cookie);
  void submit();
  // `buffer` must not change until completion, unless the file is encrypted. As SwapFile::write otherwise.
  [[nodiscard]] bool submit_write(Slots slots, const void* buffer, uint64_t cookie);
  // Collects up to `most` completions; poll does not sleep, wait does until there is one or nothing is under way.
  unsigned poll(Completion* completions, unsigned most);
  unsigned wait(Completion* completions, unsigned most);
  // Handed in and not collected.
  unsigned pending() const { return static_cast<unsigned>(__builtin_popcountll(busy_)); }

 private:
  struct Operation {
    Completion completion;
    void* buffer = nullptr;
    SwapFile::Outgoing out;  // of a write
    size_t done = 0;         // bytes
    unsigned stalls = 0;     // attempts in a row that brought nothing
    os::FaultInjector::Fault fault;
  };

  Operation* take(uint64_t cookie, bool is_write, Slots slots);
  void start(Operation& operation);
  void push(Operation& operation);
  void run_now(Operation& operation);
  void advance(Operation& operation, int result);
  void finish(Operation& operation, int error);
  void finish_with(Operation& operation, IoResult result);
  void reap();
  unsigned collect(Completion* completions, unsigned most);
  unsigned index_of(const Operation& operation) const { return static_cast<unsigned>(&operation - operations_); }

  SwapFile* file_ = nullptr;
  os::SwapRing ring_;
  int event_ = -1;      // without a ring
  uint64_t busy_ = 0;   // operations in use
  uint64_t ready_ = 0;  // of these, complete
  Operation operations_[kDepth];
};

}  // namespace weir
