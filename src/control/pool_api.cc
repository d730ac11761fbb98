// The function of include/weir/pool.h.
#include <errno.h>
#include <string.h>

#include "heap/process_heaps.h"
#include "malloc/callbacks.h"
#include "malloc/process.h"
#include "weir/pool.h"

namespace weir {
namespace {

int error_of(BudgetPool::Join result) {
  switch (result) {
    case BudgetPool::Join::kOk:
      return 0;
    case BudgetPool::Join::kBadName:
      return EINVAL;
    case BudgetPool::Join::kNoAccess:
      return EACCES;
    case BudgetPool::Join::kNoMemory:
      return ENOMEM;
    case BudgetPool::Join::kOtherVersion:
      return EPROTO;
    case BudgetPool::Join::kFull:
      return ENOSPC;
    case BudgetPool::Join::kBusy:
      return EAGAIN;
  }
  return EINVAL;
}

// The settings say from then on that it is a member, to its children and to who looks.
int join(const char* name) {
  Reclaimer* reclaimer = process_start() ? process_allocator().reclaimer() : nullptr;
  if (reclaimer == nullptr || reclaimer->is_lifted() || !reclaimer->has_kswapd()) return ENXIO;
  // It has a say in who is chosen, heaps or not.
  if (process_make_heaps() == nullptr) return ENOMEM;
  LockGuard guard(process_settings_mutex());
  if (reclaimer->pool().is_member()) return EEXIST;
  Text& pool = process_options().pool;
  if (!pool.assign(name)) return EINVAL;
  const int error = error_of(reclaimer->join_pool_now(pool.view()));
  if (error == 0)
    static_cast<void>(process_options_changed(Reclaimer::Budget::kStays));
  else
    pool = Text();
  return error;
}

}  // namespace
}  // namespace weir

extern "C" int weir_pool_join(const char* name) {
  const bool is_name = name != nullptr && weir_pool_is_name(name, strnlen(name, WEIR_POOL_NAME)) != 0;
  const int error = is_name ? weir::join(name) : EINVAL;
  if (error == 0) weir::callbacks_expect_orders();
  if (error != 0) errno = error;
  return error == 0 ? 0 : -1;
}
