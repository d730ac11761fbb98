#include "os/capabilities.h"

#include <errno.h>
#include <linux/io_uring.h>

#include <cstring>

#include "base/units.h"
#include "os/file.h"
#include "os/pins.h"
#include "os/service_thread.h"
#include "os/swap_ring.h"
#include "os/syscall.h"
#include "os/uffd.h"
#include "os/vm.h"

namespace weir::os {
namespace {

int from_result(long result) {
  return result < 0 ? static_cast<int>(-result) : 0;
}

// 0 or the errno that the way was refused with.
int try_uffd(UffdWay way) {
  UffdFeatures features;
  const int fd = uffd_open_one_way(way, features);
  if (fd >= 0) close_descriptor(fd);
  return from_result(fd);
}

// Some descriptor to try requests on: what can be asked of it is the same whichever way it came.
int open_for_trying(UffdFeatures& features) {
  int fd = -1;
  for (const UffdWay way : {UffdWay::kSyscall, UffdWay::kDevice, UffdWay::kUserMode}) {
    fd = uffd_open_one_way(way, features);
    if (fd >= 0) break;
  }
  return fd;
}

// Two pages, the second a registered hole. A touch of that would wait for ever: it is looked at only when filled.
class TwoPages {
 public:
  explicit TwoPages(int uffd) : uffd_(uffd), memory_(static_cast<char*>(vm_map(2 * kPageSize))) {
    // The hole must not be filled by a huge page around it.
    if (memory_ != nullptr) vm_huge_pages(memory_, 2 * kPageSize, false);
  }
  ~TwoPages() {
    if (memory_ != nullptr) vm_unmap(memory_, 2 * kPageSize);
  }
  TwoPages(const TwoPages&) = delete;
  TwoPages& operator=(const TwoPages&) = delete;

  bool mapped() const { return memory_ != nullptr; }
  int register_hole() { return from_result(uffd_register(uffd_, hole(), kPageSize, false)); }

  int move() {
    constexpr int kContent = 0x5a;
    memset(memory_, kContent, kPageSize);
    int error = 0;
    if (uffd_move(uffd_, hole(), memory_, kPageSize, error) != kPageSize) return error != 0 ? error : EIO;
    return hole()[0] == kContent && hole()[kPageSize - 1] == kContent ? 0 : EIO;
  }
  int poison() { return from_result(uffd_poison(uffd_, hole(), kPageSize)); }

 private:
  char* hole() { return memory_ + kPageSize; }

  int uffd_;
  char* memory_;
};

// False: no memory for trying.
bool try_requests(int uffd, const UffdFeatures& features, Capabilities& c) {
  TwoPages for_move(uffd), for_poison(uffd);
  if (!for_move.mapped() || !for_poison.mapped()) return false;
  c.uffd_move = features.move ? for_move.register_hole() : EOPNOTSUPP;
  if (c.uffd_move == 0) c.uffd_move = for_move.move();
  c.uffd_poison = for_poison.register_hole();
  if (c.uffd_poison == 0) c.uffd_poison = for_poison.poison();
  c.uffd_write_protect = features.write_protect ? 0 : EOPNOTSUPP;
  c.uffd_thread_id = features.thread_id ? 0 : EOPNOTSUPP;
  return true;
}

// A thread may always copy from its own table, so whatever is refused here is refused by the kernel's version or by a
// filter; weir's threads, which have tables of their own, meet the same.
int try_thread_descriptors() {
  const int folder = open_directory("/");
  if (folder < 0) return from_result(folder);
  const int copy = copy_descriptor(thread_id(), folder);
  if (copy >= 0) close_descriptor(copy);
  close_descriptor(folder);
  return from_result(copy);
}

int try_lift() {
  const int proc = open_directory("/proc"), status = open_pin_status(proc);
  const int problem = why_not_lift(status);
  if (status >= 0) close_descriptor(status);
  if (proc >= 0) close_descriptor(proc);
  return from_result(problem);
}

// What SwapRing::open does not tell.
int reason_against_ring(unsigned entries) {
  struct io_uring_params parameters;
  memset(&parameters, 0, sizeof(parameters));
  const long fd = syscall6(SYS_io_uring_setup, entries, as_arg(&parameters));
  if (fd < 0) return from_result(fd);
  close_descriptor(static_cast<int>(fd));
  return EOPNOTSUPP;
}

int try_io_uring() {
  constexpr unsigned kEntries = 2;
  SwapRing ring;
  if (!ring.open(kEntries)) return reason_against_ring(kEntries);
  ring.push(SwapRing::Op::kNothing, -1, nullptr, 0, 0, 1);
  int error = from_result(ring.submit(true));
  uint64_t tag = 0;
  int result = 0;
  if (error == 0) error = ring.pop(tag, result) && tag == 1 ? from_result(result) : EIO;
  ring.close();
  return error;
}

}  // namespace

bool probe_capabilities(Capabilities& c) {
  c.uffd_syscall = try_uffd(UffdWay::kSyscall);
  c.uffd_device = try_uffd(UffdWay::kDevice);
  c.lift = try_lift();
  c.thread_descriptors = try_thread_descriptors();
  c.io_uring = try_io_uring();
  UffdFeatures features;
  const int uffd = open_for_trying(features);
  if (uffd < 0) {
    c.uffd_move = c.uffd_poison = c.uffd_write_protect = c.uffd_thread_id = from_result(uffd);
    return true;
  }
  const bool tried = try_requests(uffd, features, c);
  close_descriptor(uffd);
  return tried;
}

}  // namespace weir::os
