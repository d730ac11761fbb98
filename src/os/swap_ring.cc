#include "os/swap_ring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>

#include "os/syscall.h"
#include "os/vm.h"

namespace weir::os {
namespace {

unsigned* at(void* base, uint32_t offset) {
  return reinterpret_cast<unsigned*>(static_cast<char*>(base) + offset);
}

void* map_shared(int fd, size_t bytes, uint64_t offset) {
  const long result =
      vm_mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, static_cast<long>(offset));
  return result < 0 && result >= -4095 ? nullptr : reinterpret_cast<void*>(result);
}

void close_fd(int fd) {
  syscall6(SYS_close, fd);
}

}  // namespace

bool SwapRing::open(unsigned entries) {
  struct io_uring_params parameters;
  memset(&parameters, 0, sizeof(parameters));
  const long fd = syscall6(SYS_io_uring_setup, entries, as_arg(&parameters));
  if (fd < 0) return false;
  fd_ = static_cast<int>(fd);
  // RW_CUR_POS came with 5.6, as IORING_OP_READ and IORING_OP_WRITE did. The other two are older.
  const unsigned needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_RW_CUR_POS;
  if ((parameters.features & needed) == needed && map_rings(&parameters)) return true;
  close();
  return false;
}

bool SwapRing::map_rings(const void* parameters) {
  const auto& p = *static_cast<const struct io_uring_params*>(parameters);
  const size_t sq_bytes = p.sq_off.array + p.sq_entries * sizeof(unsigned);
  const size_t cq_bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
  rings_.bytes = align_up(sq_bytes > cq_bytes ? sq_bytes : cq_bytes, kPageSize);
  entries_.bytes = align_up(p.sq_entries * sizeof(struct io_uring_sqe), kPageSize);
  rings_.address = map_shared(fd_, rings_.bytes, IORING_OFF_SQ_RING);
  entries_.address = map_shared(fd_, entries_.bytes, IORING_OFF_SQES);
  if (rings_.address == nullptr || entries_.address == nullptr) return false;
  sq_tail_ = at(rings_.address, p.sq_off.tail);
  sq_array_ = at(rings_.address, p.sq_off.array);
  sq_mask_ = *at(rings_.address, p.sq_off.ring_mask);
  cq_head_ = at(rings_.address, p.cq_off.head);
  cq_tail_ = at(rings_.address, p.cq_off.tail);
  cq_mask_ = *at(rings_.address, p.cq_off.ring_mask);
  cqes_ = reinterpret_cast<struct io_uring_cqe*>(at(rings_.address, p.cq_off.cqes));
  sqes_ = static_cast<struct io_uring_sqe*>(entries_.address);
  return true;
}

void SwapRing::unmap_rings() {
  if (rings_.address != nullptr) vm_unmap(rings_.address, rings_.bytes);
  if (entries_.address != nullptr) vm_unmap(entries_.address, entries_.bytes);
  rings_ = entries_ = {};
  queued_ = 0;
}

void SwapRing::close() {
  abandon(true);
}

void SwapRing::abandon(bool close_descriptor) {
  unmap_rings();
  if (fd_ >= 0 && close_descriptor) close_fd(fd_);
  fd_ = -1;
}

void SwapRing::push(Op op, int fd, void* buffer, size_t bytes, uint64_t offset, uint64_t tag) {
  const unsigned tail = *sq_tail_;
  const unsigned index = tail & sq_mask_;
  struct io_uring_sqe& sqe = sqes_[index];
  memset(&sqe, 0, sizeof(sqe));
  sqe.opcode = op == Op::kRead ? IORING_OP_READ : op == Op::kWrite ? IORING_OP_WRITE : IORING_OP_NOP;
  sqe.fd = op == Op::kNothing ? -1 : fd;
  sqe.off = offset;
  sqe.addr = reinterpret_cast<uint64_t>(buffer);
  sqe.len = static_cast<uint32_t>(bytes);
  sqe.user_data = tag;
  sq_array_[index] = index;
  std::atomic_ref<unsigned>(*sq_tail_).store(tail + 1, std::memory_order_release);
  ++queued_;
}

int SwapRing::submit(bool wait) {
  if (queued_ == 0 && !wait) return 0;
  const unsigned flags = wait ? IORING_ENTER_GETEVENTS : 0;
  for (;;) {
    const long taken = syscall6(SYS_io_uring_enter, fd_, queued_, wait ? 1 : 0, flags, 0, 0);
    if (taken == -EINTR) continue;
    if (taken < 0) return static_cast<int>(taken);
    queued_ -= static_cast<unsigned>(taken);
    // The kernel stops at an entry that it refuses; its result says so. The rest is offered again.
    if (queued_ == 0 || taken == 0) return queued_ == 0 ? 0 : -EAGAIN;
  }
}

bool SwapRing::pop(uint64_t& tag, int& result) {
  const unsigned head = *cq_head_;
  if (head == std::atomic_ref<unsigned>(*cq_tail_).load(std::memory_order_acquire)) return false;
  const struct io_uring_cqe& cqe = cqes_[head & cq_mask_];
  tag = cqe.user_data;
  result = cqe.res;
  std::atomic_ref<unsigned>(*cq_head_).store(head + 1, std::memory_order_release);
  return true;
}

bool SwapRing::take_back(uint64_t& tag) {
  if (queued_ == 0) return false;
  --queued_;
  // The kernel reads the tail only when it is entered, which is by this thread.
  const unsigned tail = *sq_tail_ - 1;
  tag = sqes_[tail & sq_mask_].user_data;
  std::atomic_ref<unsigned>(*sq_tail_).store(tail, std::memory_order_release);
  return true;
}

int open_event() {
  return static_cast<int>(syscall6(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
}

void raise_event(int fd) {
  const uint64_t one = 1;
  syscall6(SYS_write, fd, as_arg(&one), sizeof(one));
}

void clear_event(int fd) {
  uint64_t count = 0;
  syscall6(SYS_read, fd, as_arg(&count), sizeof(count));
}

}  // namespace weir::os
