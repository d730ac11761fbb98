#include "malloc/file_calls.h"

#include <sys/mman.h>

#include "malloc/anon_calls.h"
#include "malloc/process.h"
#include "os/file.h"
#include "os/thread.h"
#include "os/vm.h"

namespace weir {
namespace {

constinit FilePages file_pages;

// Whether somebody may want to drop what is mapped.
bool is_limited() {
  return process_started() && process_allocator().reclaimer() != nullptr;
}

char* as_bytes(long address) {
  return reinterpret_cast<char*>(address);  // NOLINT: what mmap returned
}

bool is_error(long result) {
  return result < 0 && result >= -4095;
}

void forget(void* address, size_t bytes) {
  if (file_pages.is_empty() || !is_page_range(address, bytes)) return;
  const os::SignalsHeldBack uninterrupted;
  file_pages.forget(static_cast<char*>(address), bytes);
}

void add(char* address, size_t bytes, FilePages::Kind kind) {
  const os::SignalsHeldBack uninterrupted;
  file_pages.add(address, bytes, kind);
  process_allocator().reclaimer()->file_mapped();
}

// A private mapping that is writable holds what the program wrote, and nobody else has.
bool is_wanted(size_t bytes, int protection, int flags, int fd, FilePages::Kind& kind) {
  if (bytes < FilePages::kLeastBytes || fd < 0 || (flags & (MAP_ANONYMOUS | MAP_HUGETLB)) != 0) return false;
  const bool is_private = (flags & MAP_TYPE) == MAP_PRIVATE;
  const bool writable = (protection & PROT_WRITE) != 0;
  kind = is_private ? FilePages::Kind::kPrivate : writable ? FilePages::Kind::kWritable : FilePages::Kind::kReadOnly;
  return !(is_private && writable) && os::is_on_disk(fd);
}

bool is_staging(const void* address, size_t bytes) {
  if (!is_limited()) return false;
  Reclaimer& reclaimer = *process_allocator().reclaimer();
  for (unsigned n = 0; n < process_allocator().nr_nodes(); ++n)
    if (const NodeReclaim* node = reclaimer.node(n))
      if (node->stages_at(static_cast<const char*>(address), bytes)) return true;
  return false;
}

// The address to ask the kernel for. What is no more than a wish it would grant also where arenas are yet to grow, or
// pages to be staged.
void* granted(void* address, size_t bytes, int flags) {
  if (address == nullptr || (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0) return address;
  return touches_arenas(address, bytes) || is_staging(address, bytes) ? nullptr : address;
}

}  // namespace

FilePages& process_file_pages() {
  return file_pages;
}

long process_mmap(void* address, size_t bytes, int protection, int flags, int fd, long offset) {
  if (!is_limited()) return os::vm_mmap(granted(address, bytes, flags), bytes, protection, flags, fd, offset);
  if ((flags & MAP_FIXED) != 0) forget(address, bytes);
  if (anon_wanted(address, bytes, protection, flags)) {
    if (const long result = anon_map(address, bytes, protection); result != 0) return result;
  }
  const bool is_fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
  const long result = is_fixed && anon_touches(address, bytes)
                          ? anon_map_fixed(static_cast<char*>(address), bytes, protection, flags, fd, offset)
                          : os::vm_mmap(granted(address, bytes, flags), bytes, protection, flags, fd, offset);
  if (is_error(result)) return result;
  FilePages::Kind kind;
  if (is_wanted(bytes, protection, flags, fd, kind))
    add(as_bytes(result), bytes, kind);
  else
    forget(as_bytes(result), bytes);
  return result;
}

long process_munmap(void* address, size_t bytes) {
  forget(address, bytes);
  if (anon_touches(address, bytes)) return anon_unmap(static_cast<char*>(address), bytes);
  return os::vm_munmap(address, bytes);
}

// A mapping that moves or grows is the same file's. `bytes` of 0 makes another one of a shared one.
long process_mremap(void* address, size_t bytes, size_t new_bytes, int flags, void* new_address) {
  char* begin = nullptr;
  size_t whole = 0;
  FilePages::Kind kind;
  auto* const old = static_cast<char*>(address);
  bool known = false;
  if (!file_pages.is_empty() && (bytes == 0 || is_page_range(address, bytes))) {
    const os::SignalsHeldBack uninterrupted;
    known = file_pages.find(old, begin, whole, kind) && old + bytes <= begin + whole;
  }
  forget(address, bytes);
  if ((flags & MREMAP_FIXED) != 0) forget(new_address, new_bytes);
  const bool is_own = anon_touches(address, bytes);
  if (!is_own && (flags & MREMAP_FIXED) != 0 && anon_touches(new_address, new_bytes))
    if (const long error = anon_give_way(static_cast<char*>(new_address), new_bytes); error != 0) return error;
  const long result = is_own ? anon_remap(old, bytes, new_bytes, flags, static_cast<char*>(new_address))
                             : os::vm_mremap(address, bytes, new_bytes, flags, new_address);
  if (is_error(result)) {
    if (known && bytes != 0) add(old, bytes, kind);
  } else if (known) {
    add(as_bytes(result), new_bytes, kind);
  } else {
    forget(as_bytes(result), new_bytes);
  }
  return result;
}

void process_about_to_protect(void* address, size_t bytes, int protection) {
  if ((protection & PROT_WRITE) == 0 || file_pages.is_empty() || !is_page_range(address, bytes)) return;
  const os::SignalsHeldBack uninterrupted;
  file_pages.make_writable(static_cast<char*>(address), bytes);
}

// The child of a fork will not have it, and something else may come to lie there.
void process_about_to_advise(void* address, size_t bytes, int advice) {
  if (advice == MADV_DONTFORK) forget(address, bytes);
}

}  // namespace weir
