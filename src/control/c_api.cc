// The functions of include/weir/weir.h.
#include <errno.h>

#include <cstring>

#include "base/print.h"
#include "control/stats_print.h"
#include "control/sysctl.h"
#include "malloc/callbacks.h"
#include "malloc/process.h"
#include "weir/weir.h"

namespace {

void copy_out(const weir::Line& line, char* buffer, size_t capacity) {
  if (buffer == nullptr || capacity == 0) return;
  const size_t size = line.view().size() < capacity ? line.view().size() : capacity - 1;
  memcpy(buffer, line.view().data(), size);
  buffer[size] = '\0';
}

}  // namespace

extern "C" {

void* weir_malloc(size_t size) {
  return weir::process_malloc(size);
}

void* weir_calloc(size_t count, size_t size) {
  return weir::process_calloc(count, size);
}

void* weir_realloc(void* ptr, size_t size) {
  return weir::process_realloc(ptr, size);
}

void* weir_aligned_alloc(size_t alignment, size_t size) {
  if (weir::is_power_of_two(alignment)) return weir::process_memalign(alignment, size);
  errno = EINVAL;
  return nullptr;
}

void weir_free(void* ptr) {
  weir::process_free(ptr);
}

size_t weir_usable_size(const void* ptr) {
  return weir::process_usable_size(ptr);
}

size_t weir_trim(void) {
  weir::callbacks_drop_caches();
  return weir::process_trim();
}

void weir_stats_print(int fd) {
  weir::print_stats(fd);
}

const weir_stats_page* weir_stats(void) {
  if (!weir::process_start()) return nullptr;
  if (weir::Reclaimer* reclaimer = weir::process_allocator().reclaimer(); reclaimer != nullptr) reclaimer->publish();
  return weir::process_stats();
}

int weir_sysctl(const char* name, char* old_value, size_t old_size, const char* new_value, char* report,
                size_t report_size) {
  const int saved_errno = errno;
  weir::Line before, reason;
  // Looked at once: a value that is swapped out comes back now, not under a lock.
  const std::string_view value = new_value != nullptr ? new_value : "";
  const int error = weir::process_sysctl({name, new_value != nullptr ? &value : nullptr, &before, nullptr}, reason);
  copy_out(before, old_value, old_size);
  copy_out(reason, report, report_size);
  errno = saved_errno;
  return error;
}

int weir_debug_verify(void) {
  const char* wrong = weir::process_verify();
  if (wrong == nullptr) return 1;
  weir::Line line;
  line.text("weir: debug_verify: ").text(wrong).text("\n");
  line.write_to(2);
  return 0;
}

const char* weir_version(void) {
  return WEIR_VERSION;
}
}
