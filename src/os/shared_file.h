// Purpose: a small file that processes share: mapped, and with locks on single bytes that the kernel takes back when
//          their holder dies.
// Thread safety: any thread. Invariants: errno is never touched. Locks are those of fcntl(2) (F_SETLK): they belong to
//                the descriptor table of the caller, are not inherited by children, and end when that table closes any
//                descriptor of the file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir::os {

// Opens the file, or makes it, with mode 0600; symbolic links are not followed. Negative: -errno; EPERM when it belongs
// to somebody else or others may write to it.
[[nodiscard]] int open_shared_file(const char* path);
// Gives the file memory from `offset` on for so many bytes, which makes it longer if need be; what is added is zeros.
// False: there is no room.
[[nodiscard]] bool reserve_file(int fd, size_t offset, size_t bytes);
// Maps the file's first bytes, shared, also those that it does not have yet: touching these raises SIGBUS until then.
// Null: the system refuses.
[[nodiscard]] void* map_shared_file(int fd, size_t bytes);

// Whether the file still has a name.
[[nodiscard]] bool has_name(int fd);

// Locks a byte for the caller's table; false: another has it, or the system refuses.
[[nodiscard]] bool try_lock_byte(int fd, uint64_t byte);
void unlock_byte(int fd, uint64_t byte);
// Whether another table has the byte locked. What cannot be found out counts as locked.
[[nodiscard]] bool is_byte_locked(int fd, uint64_t byte);
// The process whose table has it locked, as the caller's pid namespace numbers it; 0: nobody, or one that has no number
// there.
[[nodiscard]] int holder_of_byte(int fd, uint64_t byte);

}  // namespace weir::os
