// Purpose: an io_uring of one thread, by raw system calls: queue reads and writes, start them, collect their results.
// Thread safety: one thread. Invariants: no more than `entries` operations are queued or under way at once (the caller
//                sees to it), so neither of the two rings can overflow.
#pragma once

#include <cstddef>
#include <cstdint>

struct io_uring_sqe;
struct io_uring_cqe;

namespace weir::os {

class SwapRing {
 public:
  enum class Op : uint8_t { kNothing, kRead, kWrite };

  constexpr SwapRing() = default;
  // False where the kernel has no io_uring with plain reads (5.6), or does not let this process have one.
  [[nodiscard]] bool open(unsigned entries);
  // Nothing may be under way: the kernel would go on writing into buffers.
  void close();
  // In the child of a fork, where the ring is still the parent's: lets go of the memory, and of the descriptor when the
  // child has got a copy of it.
  void abandon(bool close_descriptor);
  bool is_open() const { return fd_ >= 0; }
  // Readable while results wait.
  int fd() const { return fd_; }

  // Queues an operation; nothing starts before `submit`. kNothing completes at once with result 0.
  void push(Op op, int fd, void* buffer, size_t bytes, uint64_t offset, uint64_t tag);
  // Starts what is queued and, when told, sleeps until a result is there. Returns 0 or -errno; what was not started
  // stays queued.
  int submit(bool wait);
  bool pop(uint64_t& tag, int& result);
  // Takes back what was pushed last and is still queued; false when nothing is.
  bool take_back(uint64_t& tag);

 private:
  struct Map {
    void* address = nullptr;
    size_t bytes = 0;
  };
  bool map_rings(const void* parameters);
  void unmap_rings();

  int fd_ = -1;
  unsigned queued_ = 0;  // pushed and not yet taken by the kernel
  Map rings_;
  Map entries_;
  unsigned* sq_tail_ = nullptr;
  unsigned* sq_array_ = nullptr;
  unsigned* cq_head_ = nullptr;
  unsigned* cq_tail_ = nullptr;
  unsigned sq_mask_ = 0;
  unsigned cq_mask_ = 0;
  io_uring_sqe* sqes_ = nullptr;
  io_uring_cqe* cqes_ = nullptr;
};

// A descriptor that can be made readable and unreadable again (eventfd); negative: -errno.
[[nodiscard]] int open_event();
void raise_event(int fd);
void clear_event(int fd);

}  // namespace weir::os
