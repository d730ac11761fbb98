// The functions of include/weir/movable.h.
#include "weir/movable.h"

#include <errno.h>

#include "base/port.h"
#include "base/print.h"
#include "malloc/callbacks.h"
#include "malloc/decay.h"
#include "malloc/kcompactd.h"
#include "malloc/oom.h"
#include "malloc/process.h"

namespace {

using weir::Compactor;
using weir::MovableCall;
using weir::MovableId;

MovableId id_of(weir_movable_t object) {
  return {reinterpret_cast<uint64_t>(object)};
}

// Does not return but for what was done.
void report(MovableCall result, const char* call, weir_movable_t object) {
  if (__builtin_expect(result == MovableCall::kDone, 1)) return;
  weir::Line line;
  line.text("weir: ").text(call).text(": ").pointer(object);
  switch (result) {
    case MovableCall::kNoObject:
      line.text(" is no handle, or its object was freed before");
      break;
    case MovableCall::kPinned:
      line.text(" is still pinned");
      break;
    case MovableCall::kNotPinned:
      line.text(" is not pinned");
      break;
    case MovableCall::kTooOften:
      line.text(" is pinned too often");
      break;
    case MovableCall::kDone:
      break;
  }
  line.text("\n").write_to(2);
  weir::port::abort_process();
}

// What a handle is looked up in; of none that was ever given out there may be no such thing.
Compactor& compactor_for(weir_movable_t object, const char* call) {
  Compactor* const compactor = weir::process_allocator().compactor();
  if (compactor == nullptr) report(MovableCall::kNoObject, call, object);
  return *compactor;
}

}  // namespace

extern "C" {

weir_movable_t weir_movable_alloc(size_t size) {
  MovableId id;
  for (unsigned tries = 0; weir::process_start(); ++tries) {
    id = weir::process_allocator().alloc_movable(size == 0 ? 1 : size);
    if (id || tries == weir::kMostOomTries || !weir::oom_allocation_failed(size)) break;
  }
  weir::decay_poll_on_alloc();
  weir::callbacks_poll(nullptr);
  if (!id) {
    errno = ENOMEM;
    return nullptr;
  }
  weir::kcompactd_poll();
  return reinterpret_cast<weir_movable_t>(id.bits);
}

void weir_movable_free(weir_movable_t object) {
  if (object == nullptr) return;
  const int saved_errno = errno;
  report(weir::process_allocator().free_movable(id_of(object)), "weir_movable_free", object);
  weir::kcompactd_poll();
  weir::decay_poll_on_free(__builtin_return_address(0));
  errno = saved_errno;
}

void* weir_movable_pin(weir_movable_t object) {
  char* address = nullptr;
  report(compactor_for(object, "weir_movable_pin").table().pin(id_of(object), address), "weir_movable_pin", object);
  return address;
}

void weir_movable_unpin(weir_movable_t object) {
  report(compactor_for(object, "weir_movable_unpin").table().unpin(id_of(object)), "weir_movable_unpin", object);
}

size_t weir_movable_size(weir_movable_t object) {
  const size_t bytes = compactor_for(object, "weir_movable_size").table().bytes_of_object(id_of(object));
  if (bytes == 0) report(MovableCall::kNoObject, "weir_movable_size", object);
  return bytes;
}

size_t weir_movable_compact(void) {
  Compactor* const compactor = weir::process_allocator().compactor();
  return compactor != nullptr ? weir::bytes_of(compactor->compact_all()) : 0;
}
}
