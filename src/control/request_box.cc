// Purpose: answers what other processes ask of this one (include/weir/control_box.h).
// Thread safety: any thread comes by, with no lock held; one at a time answers, the others go on.
// Invariants: a request is copied before it is looked at, whatever is written to the box meanwhile; one that was
//             withdrawn before it was taken is not done; nothing here allocates, and errno is kept.
#include <errno.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/publish.h"
#include "control/sysctl.h"
#include "malloc/process.h"
#include "weir/control_box.h"

namespace weir {
namespace {

// Copied out whole, if it is what was asked for under this ticket.
bool copy_request(const weir_control_box& box, uint64_t ticket, weir_control_request& request) {
  memcpy(&request, &box.request, sizeof(request));
  const uint64_t checksum = __atomic_load_n(&box.checksum, __ATOMIC_RELAXED);
  if (request.ticket != ticket || checksum != weir_control_checksum(&request)) return false;
  return memchr(request.name, 0, sizeof(request.name)) != nullptr &&
         memchr(request.value, 0, sizeof(request.value)) != nullptr;
}

// Told before anything is done; false: who asked has given up meanwhile. Either it sees that this request was taken,
// or it is seen here that it was withdrawn.
bool take(weir_stats_page& page, weir_control_box& box, uint64_t ticket) {
  __atomic_store_n(&box.taken, ticket, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&page.request, __ATOMIC_SEQ_CST) == ticket) return true;
  __atomic_store_n(&box.taken, uint64_t{0}, __ATOMIC_SEQ_CST);
  return false;
}

void write_text(char* to, const Line& line) {
  const size_t size = std::min<size_t>(line.view().size(), WEIR_CONTROL_TEXT - 1);
  memcpy(to, line.view().data(), size);
  to[size] = '\0';
}

void answer_locked(weir_stats_page& page, weir_control_box& box) {
  const uint64_t ticket = __atomic_load_n(&page.request, __ATOMIC_ACQUIRE);
  weir_control_request request;
  if (ticket == 0 || !copy_request(box, ticket, request) || !take(page, box, ticket)) return;
  process_request_done(ticket);
  Line old_value, now, report;
  const std::string_view value = request.value;
  SysctlCall call{request.name, nullptr, &old_value, &now};
  if (request.operation == WEIR_CONTROL_SET) call.new_value = &value;
  box.error = process_sysctl_locked(call, report);
  write_text(box.old_value, old_value);
  write_text(box.new_value, now);
  write_text(box.report, report);
  publish(box.answered, ticket);
}

void answer(weir_stats_page& page, weir_control_box& box) {
  // Who changes something else will be done soon, and somebody will come by again.
  if (!process_settings_mutex().try_lock()) return;
  const int saved_errno = errno;
  answer_locked(page, box);
  errno = saved_errno;
  process_settings_mutex().unlock();
}

// 101 is the first priority that is ours to use; requests may come from then on.
__attribute__((constructor(101))) void at_load() {
  process_answer_requests(answer);
}

}  // namespace
}  // namespace weir
