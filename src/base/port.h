// Purpose: the few services of the system that base/ itself needs. They are declared here and defined in os/, the only
//          room that makes system calls.
// Thread safety: all may be called from any thread, at any time, also before constructors and inside malloc.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weir::port {

// Sleeps while `word` holds `expected`; may wake without a reason.
void futex_wait(std::atomic<uint32_t>& word, uint32_t expected);
// Wakes up to `count` sleepers of `word`.
void futex_wake(std::atomic<uint32_t>& word, int count);
// Writes all bytes to `fd` as far as it takes them; errors are dropped, errno is kept.
void write_all(int fd, const char* data, size_t size);
// The same to the program's standard error, also from weir's own threads, which have descriptors of their own.
void write_error(const char* data, size_t size);
// Ends the process with SIGABRT.
[[noreturn]] void abort_process();

}  // namespace weir::port
