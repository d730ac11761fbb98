// Purpose: checks that end the process with one clear line. WEIR_CHECK is always on and guards against damage;
//          WEIR_DCHECK is for our own mistakes and is on in debug and sanitizer builds.
// Thread safety: any thread, any time.
#pragma once

#include <string_view>

namespace weir {

// Writes "weir: <what>" with the place to stderr and aborts.
[[noreturn]] void check_failed(std::string_view what, const char* file, int line);

}  // namespace weir

#define WEIR_CHECK(condition)                                \
  (__builtin_expect(!!(condition), 1) ? static_cast<void>(0) \
                                      : ::weir::check_failed(#condition, __FILE_NAME__, __LINE__))

#ifdef WEIR_DEBUG
#define WEIR_DCHECK(condition) WEIR_CHECK(condition)
#else
#define WEIR_DCHECK(condition) static_cast<void>(sizeof(!(condition)))
#endif
