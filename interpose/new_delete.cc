// The 20 replaceable forms of operator new and delete. This library is built without exceptions and without libstdc++;
// when memory runs out, the throwing forms hand over to libstdc++'s own operator new, which calls malloc again, runs
// the new_handler and throws bad_alloc.
#include <dlfcn.h>
#include <errno.h>

#include <new>

#include "base/port.h"
#include "base/print.h"
#include "malloc/process.h"

#define WEIR_EXPORT __attribute__((visibility("default")))

namespace {

// The next definition of a symbol after ours, in the program or in a libstdc++ that came by dlopen.
void* next_symbol(const char* name) {
  if (void* found = dlsym(RTLD_NEXT, name)) return found;
  void* library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
  return library == nullptr ? nullptr : dlsym(library, name);
}

[[noreturn]] void no_way_to_throw(size_t size) {
  weir::Line line;
  line.text("weir: operator new: out of memory for ")
      .dec(size)
      .text(" bytes, and there is no libstdc++ to throw with\n");
  line.write_to(2);
  weir::port::abort_process();
}

__attribute__((noinline)) void* new_failed(size_t size) {
  using New = void* (*)(size_t);
  if (New next = reinterpret_cast<New>(next_symbol("_Znwm"))) return next(size);
  no_way_to_throw(size);
}

__attribute__((noinline)) void* new_aligned_failed(size_t size, std::align_val_t alignment) {
  using New = void* (*)(size_t, std::align_val_t);
  if (New next = reinterpret_cast<New>(next_symbol("_ZnwmSt11align_val_t"))) return next(size, alignment);
  no_way_to_throw(size);
}

// libstdc++'s nothrow forms catch what the throwing ones throw, after the new_handler had its turn.
__attribute__((noinline)) void* new_nothrow_failed(size_t size) {
  using New = void* (*)(size_t, const std::nothrow_t&);
  New next = reinterpret_cast<New>(next_symbol("_ZnwmRKSt9nothrow_t"));
  return next == nullptr ? nullptr : next(size, std::nothrow_t{});
}

__attribute__((noinline)) void* new_aligned_nothrow_failed(size_t size, std::align_val_t alignment) {
  using New = void* (*)(size_t, std::align_val_t, const std::nothrow_t&);
  New next = reinterpret_cast<New>(next_symbol("_ZnwmSt11align_val_tRKSt9nothrow_t"));
  return next == nullptr ? nullptr : next(size, alignment, std::nothrow_t{});
}

inline __attribute__((always_inline)) void* new_or_throw(size_t size) {
  void* p = weir::process_malloc(size);
  return __builtin_expect(p != nullptr, 1) ? p : new_failed(size);
}

inline void* new_or_throw(size_t size, std::align_val_t alignment) {
  void* p = weir::process_memalign(static_cast<size_t>(alignment), size);
  return p != nullptr ? p : new_aligned_failed(size, alignment);
}

inline void* new_or_null(size_t size) {
  void* p = weir::process_malloc(size);
  return p != nullptr ? p : new_nothrow_failed(size);
}

inline void* new_or_null(size_t size, std::align_val_t alignment) {
  void* p = weir::process_memalign(static_cast<size_t>(alignment), size);
  return p != nullptr ? p : new_aligned_nothrow_failed(size, alignment);
}

}  // namespace

WEIR_EXPORT void* operator new(size_t size) {
  return new_or_throw(size);
}
WEIR_EXPORT void* operator new[](size_t size) {
  return new_or_throw(size);
}
WEIR_EXPORT void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return new_or_null(size);
}
WEIR_EXPORT void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return new_or_null(size);
}
WEIR_EXPORT void* operator new(size_t size, std::align_val_t a) {
  return new_or_throw(size, a);
}
WEIR_EXPORT void* operator new[](size_t size, std::align_val_t a) {
  return new_or_throw(size, a);
}
WEIR_EXPORT void* operator new(size_t size, std::align_val_t a, const std::nothrow_t&) noexcept {
  return new_or_null(size, a);
}
WEIR_EXPORT void* operator new[](size_t size, std::align_val_t a, const std::nothrow_t&) noexcept {
  return new_or_null(size, a);
}

WEIR_EXPORT void operator delete(void* p) noexcept {
  weir::process_free(p);
}
WEIR_EXPORT void operator delete[](void* p) noexcept {
  weir::process_free(p);
}
WEIR_EXPORT void operator delete(void* p, const std::nothrow_t&) noexcept {
  weir::process_free(p);
}
WEIR_EXPORT void operator delete[](void* p, const std::nothrow_t&) noexcept {
  weir::process_free(p);
}
WEIR_EXPORT void operator delete(void* p, size_t) noexcept {
  weir::process_free(p);
}
WEIR_EXPORT void operator delete[](void* p, size_t) noexcept {
  weir::process_free(p);
}
WEIR_EXPORT void operator delete(void* p, std::align_val_t) noexcept {
  weir::process_free(p);
}
WEIR_EXPORT void operator delete[](void* p, std::align_val_t) noexcept {
  weir::process_free(p);
}
WEIR_EXPORT void operator delete(void* p, size_t, std::align_val_t) noexcept {
  weir::process_free(p);
}
WEIR_EXPORT void operator delete[](void* p, size_t, std::align_val_t) noexcept {
  weir::process_free(p);
}
WEIR_EXPORT void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept {
  weir::process_free(p);
}
WEIR_EXPORT void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept {
  weir::process_free(p);
}
