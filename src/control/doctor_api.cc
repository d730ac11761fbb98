// doctor_api.cc: the C functions of weir/doctor.h, on what os/ finds out.
#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/units.h"
#include "os/capabilities.h"
#include "os/cgroup.h"
#include "os/swap_io.h"
#include "weir/doctor.h"

namespace weir {
namespace {

// Where neither a file's size nor the caller says how much, this much is tried.
constexpr uint64_t kProbedBytes = 1 << 20;

// The caller may know an older, shorter struct than this library, or a newer one, whose rest reads as zeros.
template <class Struct>
void copy_known(const Struct& from, Struct* to, size_t size) {
  memset(to, 0, size);
  memcpy(to, &from, std::min(size, sizeof(from)));
}

int kind_of(os::SwapIo::Kind kind) {
  switch (kind) {
    case os::SwapIo::Kind::kNone:
      break;
    case os::SwapIo::Kind::kNameless:
      return WEIR_SWAP_NAMELESS;
    case os::SwapIo::Kind::kNamed:
      return WEIR_SWAP_FILE;
    case os::SwapIo::Kind::kDevice:
      return WEIR_SWAP_DEVICE;
  }
  return 0;
}

// A file or device says itself how much there is; a directory and an empty file do not.
os::SwapOpen open_for_trying(os::SwapIo& swap, const char* path, uint64_t max_bytes) {
  const os::SwapOpen result = swap.open(path, max_bytes, nullptr);
  return result == os::SwapOpen::kTooSmall && max_bytes == 0 ? swap.open(path, kProbedBytes, nullptr) : result;
}

void report_problem(os::SwapOpen problem, char* report, size_t capacity) {
  if (capacity == 0) return;
  const std::string_view text = os::describe(problem);
  const size_t size = std::min(text.size(), capacity - 1);
  memcpy(report, text.data(), size);
  report[size] = '\0';
}

}  // namespace
}  // namespace weir

using namespace weir;

int weir_capabilities_probe(weir_capabilities* capabilities, size_t size) {
  os::Capabilities found = {};
  if (!os::probe_capabilities(found)) return 0;
  weir_capabilities result = {};
  result.uffd_syscall = found.uffd_syscall;
  result.uffd_device = found.uffd_device;
  result.uffd_move = found.uffd_move;
  result.lift = found.lift;
  result.uffd_poison = found.uffd_poison;
  result.uffd_write_protect = found.uffd_write_protect;
  result.uffd_thread_id = found.uffd_thread_id;
  result.thread_descriptors = found.thread_descriptors;
  result.io_uring = found.io_uring;
  result.cgroup_limit = os::cgroup_memory_limit();
  copy_known(result, capabilities, size);
  return 1;
}

int weir_swap_probe(const char* path, uint64_t max_bytes, weir_swap_place* place, size_t size, char* report,
                    size_t capacity) {
  os::SwapIo swap;
  const os::SwapOpen opened = open_for_trying(swap, path, max_bytes);
  if (opened != os::SwapOpen::kOk) {
    report_problem(opened, report, capacity);
    return 0;
  }
  weir_swap_place result = {};
  result.kind = kind_of(swap.kind());
  result.direct = swap.direct() ? 1 : 0;
  result.tmpfile = swap.never_named() ? 1 : 0;
  result.bytes = swap.bytes();
  result.others_read = swap.readable_by_others() ? 1 : 0;
  swap.erase_and_close(kPageSize);
  copy_known(result, place, size);
  return 1;
}
