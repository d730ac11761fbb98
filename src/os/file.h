// Purpose: reads the small files and folders that the kernel shows its state in (/sys, /proc), without stdio or malloc.
// Thread safety: any thread, also before constructors and inside malloc; none of it is a cancellation point.
// Invariants: errno is never touched, no descriptor outlives the call that opened it unless the caller asked for it.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace weir::os {

// Opens a folder for the *_at functions below; a negative result is -errno.
[[nodiscard]] int open_directory(const char* path);
[[nodiscard]] int open_directory_at(int directory, const char* path);
// Opens a file or device for reading and writing, close-on-exec; a negative result is -errno.
[[nodiscard]] int open_read_write(const char* path);
// Reads and writes that would wait fail with EAGAIN from now on, or wait again.
void set_nonblocking(int fd, bool on);
// Waits until one of the descriptors (at most 16) can be read, or a signal comes; bit n: descriptor n can be.
uint32_t wait_readable(const int* fds, unsigned count);
// Makes a pipe: ends[0] reads without waiting, ends[1] writes; false when there are no descriptors left.
[[nodiscard]] bool make_pipe(int ends[2]);
// True when nobody can write to the pipe any more.
[[nodiscard]] bool is_hung_up(int fd);
void close_descriptor(int fd);
// Whether it is a file whose pages the kernel can drop and find again: not one in memory (tmpfs, hugetlbfs), nor a
// device or a pipe.
[[nodiscard]] bool is_on_disk(int fd);

// Reads up to `capacity` bytes of the file (a path relative to `directory`) into `buffer`; no NUL is added. Returns the
// number of bytes, or -errno. A result equal to `capacity` means that there may be more.
[[nodiscard]] ssize_t read_small_file_at(int directory, const char* path, char* buffer, size_t capacity);
[[nodiscard]] ssize_t read_small_file(const char* path, char* buffer, size_t capacity);

// Calls `each(context, name)` for every entry of the open folder but "." and "..", in the kernel's order, until it
// returns false. Returns 0, or -errno when the folder cannot be read.
int list_directory(int directory, bool (*each)(void* context, const char* name), void* context);

}  // namespace weir::os
