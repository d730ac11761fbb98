// dlopen without RTLD_DEEPBIND. What is loaded with that finds the C library's malloc before the preloaded one, and
// crashes when it frees what the program allocated: PHP loads its extensions so. Without it, symbols are found as in
// what is linked. `deepbind=1` leaves the flag alone; then the C library's memory is told apart (foreign.cc).
#include <dlfcn.h>

#include <atomic>

#include "malloc/process.h"

namespace {

using Dlopen = void* (*)(const char*, int);
constinit std::atomic<Dlopen> real{nullptr};

bool strips() {
  return weir::process_start() && !weir::process_options().deepbind;
}

__attribute__((noinline, cold)) Dlopen find_real() {
  const auto found = reinterpret_cast<Dlopen>(dlsym(RTLD_NEXT, "dlopen"));
  real.store(found, std::memory_order_relaxed);
  return found;
}

}  // namespace

// The loader looks for a file where the code that it returns to says (DT_RUNPATH), and so the last call has to be a
// jump, as compilers make it where they optimize.
extern "C" __attribute__((visibility("default"))) void* dlopen(const char* file, int mode) noexcept {
  Dlopen next = real.load(std::memory_order_relaxed);
  if (next == nullptr) next = find_real();
  if (next == nullptr) return nullptr;
  if ((mode & RTLD_DEEPBIND) != 0 && strips()) mode &= ~RTLD_DEEPBIND;
  return next(file, mode);
}
