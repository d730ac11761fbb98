// The functions of include/weir/shrinker.h and include/weir/events.h.
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/print.h"
#include "malloc/callbacks.h"
#include "malloc/follow_cgroup.h"
#include "malloc/process.h"
#include "os/eventfd.h"
#include "os/file.h"
#include "weir/events.h"
#include "weir/shrinker.h"

namespace weir {
namespace {

constexpr uint32_t kAllEvents =
    WEIR_EVENT_SOME | WEIR_EVENT_FULL | WEIR_EVENT_LIMIT | WEIR_EVENT_KSWAPD | WEIR_EVENT_OOM | WEIR_EVENT_CGROUP;
constexpr uint32_t kStallEvents = WEIR_EVENT_SOME | WEIR_EVENT_FULL;
constexpr uint64_t kDefaultWindowUs = 1'000'000;

int fail(int error) {
  errno = error;
  return -1;
}

// False: not acceptable.
bool read_filter(const weir_event_filter* given, Events::Filter& filter) {
  if (given == nullptr || given->size < sizeof(*given)) return false;
  if (given->events == 0 || (given->events & ~kAllEvents) != 0) return false;
  const uint64_t window_us = given->window_us == 0 ? kDefaultWindowUs : given->window_us;
  if (window_us < PsiTrigger::kLeastWindowNs / 1000 || window_us > PsiTrigger::kMostWindowNs / 1000) return false;
  const bool on_stalls = (given->events & kStallEvents) != 0;
  if (on_stalls && (given->stall_us == 0 || given->stall_us > window_us)) return false;
  filter.events = given->events;
  filter.stall_ns = on_stalls ? given->stall_us * 1000 : 0;
  filter.window_ns = window_us * 1000;
  return true;
}

Reclaimer* find_reclaimer() {
  return process_start() ? process_allocator().reclaimer() : nullptr;
}

// What somebody is to be told from here on.
void begin_to_listen(const Events::Filter& filter) {
  if ((filter.events & WEIR_EVENT_CGROUP) != 0 && find_reclaimer() != nullptr) follow_cgroup_from_now();
}

}  // namespace
}  // namespace weir

using namespace weir;

extern "C" {

int weir_register_shrinker(const weir_shrinker* shrinker) {
  // The first version ended before the heap.
  constexpr size_t kFirst = offsetof(weir_shrinker, heap);
  if (shrinker == nullptr || shrinker->size < kFirst) return fail(EINVAL);
  const uint64_t heap = shrinker->size >= sizeof(*shrinker) ? reinterpret_cast<uint64_t>(shrinker->heap) : 0;
  if (shrinker->count == nullptr || shrinker->scan == nullptr) return fail(EINVAL);
  if ((shrinker->flags & ~WEIR_SHRINKER_DIRECT) != 0) return fail(EINVAL);
  // All of it is read before a lock is taken: it may be away.
  char name[Shrinkers::kNameBytes] = "";
  if (shrinker->name != nullptr) strncpy(name, shrinker->name, sizeof(name) - 1);
  const ShrinkOps ops = {shrinker->count, shrinker->scan, shrinker->arg, shrinker->seeks, shrinker->batch};
  const bool direct = (shrinker->flags & WEIR_SHRINKER_DIRECT) != 0;
  const Shrinkers::Kind kind = direct ? Shrinkers::Kind::kDirect : Shrinkers::Kind::kProgram;
  switch (process_shrinkers().add(shrinker, ops, name, kind, heap)) {
    case Shrinkers::Added::kExists:
      return fail(EEXIST);
    case Shrinkers::Added::kNoMemory:
      return fail(ENOMEM);
    case Shrinkers::Added::kAdded:
      break;
  }
  callbacks_start_thread(heap != 0);
  return 0;
}

int weir_unregister_shrinker(const weir_shrinker* shrinker) {
  if (shrinker == nullptr || !process_shrinkers().remove(shrinker)) return fail(ENOENT);
  return 0;
}

int weir_events_open(const weir_event_filter* given) {
  Events::Filter filter;
  if (!read_filter(given, filter)) return fail(EINVAL);
  begin_to_listen(filter);
  const int fd = os::open_eventfd();
  if (fd < 0) return fail(-fd);
  if (process_events().add_descriptor(filter, fd) != Events::Added::kAdded) {
    os::close_descriptor(fd);
    return fail(ENOSPC);
  }
  Reclaimer* reclaimer = find_reclaimer();
  if (reclaimer == nullptr || !reclaimer->has_kswapd()) return fd;
  const int own = reclaimer->adopt_descriptor(fd);
  if (own >= 0) {
    process_events().adopted(fd, own);
    return fd;
  }
  static_cast<void>(weir_events_close(fd));
  return fail(EOPNOTSUPP);
}

int weir_events_read(int fd) {
  const int events = process_events().read(fd);
  return events < 0 ? fail(EBADF) : events;
}

int weir_events_close(int fd) {
  if (!process_events().remove_descriptor(fd)) return fail(EBADF);
  os::close_descriptor(fd);
  return 0;
}

int weir_on_event(const weir_event_filter* given, void (*callback)(uint32_t events, void* arg), void* arg) {
  Events::Filter filter;
  if (callback == nullptr || !read_filter(given, filter)) return fail(EINVAL);
  begin_to_listen(filter);
  switch (process_events().add_callback(filter, callback, arg)) {
    case Events::Added::kExists:
      return fail(EEXIST);
    case Events::Added::kNoRoom:
      return fail(ENOSPC);
    case Events::Added::kAdded:
      break;
  }
  callbacks_start_thread();
  return 0;
}

int weir_off_event(void (*callback)(uint32_t events, void* arg), void* arg) {
  return process_events().remove_callback(callback, arg) ? 0 : fail(ENOENT);
}

int weir_victims(uint64_t after, weir_victim* victims, int count, size_t size) {
  if (size < sizeof(weir_victim)) return fail(EINVAL);
  Reclaimer* reclaimer = find_reclaimer();
  if (reclaimer == nullptr || count <= 0) return 0;
  // Copied to the caller, whose memory may be away, with no lock held.
  weir_victim kept[VictimLog::kKept];
  const unsigned most = count < static_cast<int>(VictimLog::kKept) ? static_cast<unsigned>(count) : VictimLog::kKept;
  const unsigned copied = reclaimer->victims().copy(after, kept, most);
  for (unsigned i = 0; i < copied; ++i)
    memcpy(reinterpret_cast<char*>(victims) + i * size, &kept[i], sizeof(weir_victim));
  return static_cast<int>(copied);
}

size_t weir_pressure(char* text, size_t size) {
  Line line;
  if (Reclaimer* reclaimer = find_reclaimer(); reclaimer != nullptr)
    reclaimer->pressure().format(line);
  else
    Psi().format(line);
  const std::string_view all = line.view();
  if (text != nullptr && size != 0) {
    const size_t kept = all.size() < size ? all.size() : size - 1;
    memcpy(text, all.data(), kept);
    text[kept] = '\0';
  }
  return all.size();
}
}
