// Purpose: threads that belong to weir alone: no C library state but a thread pointer, a stack of their own, signals
//          blocked, and if wished a descriptor table of their own, which programs that close everything do not reach.
//          The C library does not know them, so the process ends when the program's own threads do, and starting one
//          allocates nothing.
// Thread safety: any thread; a ServiceStack belongs to one thread at a time.
// Invariants: what runs here uses neither malloc nor errno nor thread-local variables of the C library.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weir::os {

enum class FileTable : bool { kShared, kOwn };

// The memory of one thread; kept by its owner, and used again in the child of a fork, where the thread is gone.
struct ServiceStack {
  char* memory = nullptr;
  std::atomic<uint32_t> thread{0};  // kernel thread id; 0 when the thread has ended or none was started
};

// Starts a thread that calls run(argument). kOwn: its descriptor table is a copy, and what it opens or closes there is
// not seen by the program. Negative: -errno.
[[nodiscard]] long start_service_thread(ServiceStack& stack, FileTable files, void (*run)(void*), void* argument);

// Closes every descriptor in the calling thread's table but those `nr_kept`, in rising order.
void close_all_descriptors_but(const int* kept, unsigned nr_kept);
// Copies a descriptor out of the table of another thread of this process; negative: -errno. Before Linux 6.9 by
// reopen_descriptor.
[[nodiscard]] int copy_descriptor(uint32_t thread, int fd);
// Opens what such a descriptor refers to once more, in the same way (through /proc): a file, with a name or without, a
// device, a folder, an end of a pipe; not a socket, nor a userfaultfd. Negative: -errno, as -EACCES where the process
// has given up its right to it.
[[nodiscard]] int reopen_descriptor(uint32_t thread, int fd);

// Copies a descriptor of the program, as another thread with a table of its own sees it: for messages.
[[nodiscard]] int copy_descriptor_of_program(int fd);

uint32_t thread_id();
// Where the kernel keeps the processor number of the calling thread (its rseq area); null when it has none.
const volatile uint32_t* cpu_word();
// Binds a thread of the process (0: the calling one) to one processor; false when the system refuses.
[[nodiscard]] bool run_on_cpu(uint32_t thread, unsigned cpu);
// From now on the calling thread runs only where nothing else wants to (SCHED_IDLE).
void run_when_idle();
// Lets it run wherever that thread of the process may; false when the system refuses.
[[nodiscard]] bool run_where(uint32_t thread);
void yield();
// Sleeps while `word` holds `expected`, at most that long; may wake without a reason.
void futex_wait_ms(std::atomic<uint32_t>& word, uint32_t expected, uint64_t ms);

}  // namespace weir::os
