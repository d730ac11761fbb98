// Purpose: which sanitizer a test runs under, for what cannot be had there.
#pragma once

namespace weir {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kAsan = true;
#else
inline constexpr bool kAsan = false;
#endif

// ThreadSanitizer has shadow memory for the program, its libraries, heap and mmap area only: arenas in bare address
// space are out of its reach, so there everything that needs such arenas is left out.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kTsan = true;
#else
inline constexpr bool kTsan = false;
#endif

#ifdef WEIR_DEBUG
inline constexpr bool kDebugChecks = true;
#else
inline constexpr bool kDebugChecks = false;
#endif

}  // namespace weir
