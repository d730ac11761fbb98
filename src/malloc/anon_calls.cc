#include "malloc/anon_calls.h"

#include <errno.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "compact/content.h"
#include "malloc/decay.h"
#include "malloc/file_calls.h"
#include "malloc/oom.h"
#include "malloc/process.h"
#include "os/vm.h"

namespace weir {
namespace {

// Less is a table: not worth a run. (The least that allocators map at a time is 256 KiB, but for Ruby, 3.1 of which
// maps 32 KiB for each 16 KiB of its heap.)
constexpr size_t kLeastBytes = size_t{32} << 10;
// Less of what is inaccessible at first, or executable, is a stack's guard, or code of a small compiler.
constexpr size_t kLeastSpecial = size_t{128} << 10;
// Inaccessible memory up to this is about to be made accessible, a part of it, by allocators that align what they map
// by cutting it (V8: 508 KiB). More is a place in which a program lays out a heap of its own, and touches what it
// likes.
constexpr size_t kMostCut = size_t{4} << 20;
// Of the limit: what is larger is never all used.
constexpr uint64_t kMostLimits = 4;
// But it is where it is no more than a place: descriptors of pages cost 0.22 % of it when it is taken, 7 % of the limit
// for all that there is. Java reserves a quarter of the machine's memory unless told otherwise.
constexpr uint64_t kMostReservedLimits = 32;
// Who wants a certain address or nothing gives back what lies elsewhere, and tries others; it is granted one after so
// many times in a row. Java can do without, after ten; LuaJIT gives up after thirty.
constexpr uint32_t kMostVainWishes = 16;

constexpr int kReadWrite = PROT_READ | PROT_WRITE, kAllRights = kReadWrite | PROT_EXEC;
// With these it is not just memory, or must lie at a certain place.
constexpr int kSpecial = MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_GROWSDOWN | MAP_HUGETLB | MAP_LOCKED | MAP_STACK |
#ifdef MAP_32BIT
                         MAP_32BIT |
#endif
                         MAP_SYNC;
constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS;

// A handler of a signal came while its thread was within weir, where it may hold what is wanted here.
bool interrupts_weir() {
  return locks_held != 0;
}

// The last mapping that lies elsewhere than wished, and how many such were given back at once, one after the other.
// Several threads with wishes may count them wrong, which changes where memory comes from and nothing else.
struct Wishes {
  std::atomic<uintptr_t> address{0};
  std::atomic<size_t> bytes{0};
  std::atomic<uint32_t> in_vain{0};

  void mapped(long result, size_t length) {
    if (address.exchange(static_cast<uintptr_t>(result), std::memory_order_relaxed) != 0)
      in_vain.store(0, std::memory_order_relaxed);
    bytes.store(length, std::memory_order_relaxed);
  }
  void unmapped(const char* at, size_t length) {
    uintptr_t expected = reinterpret_cast<uintptr_t>(at);
    if (bytes.load(std::memory_order_relaxed) == length &&
        address.compare_exchange_strong(expected, 0, std::memory_order_relaxed))
      in_vain.fetch_add(1, std::memory_order_relaxed);
  }
};
constinit Wishes wishes;

bool is_anonymous(int flags) {
  return (flags & MAP_TYPE) == MAP_PRIVATE && (flags & MAP_ANONYMOUS) != 0 && (flags & MAP_HUGETLB) == 0;
}

Reclaimer* swapping_reclaimer() {
  Reclaimer* const reclaimer = process_started() ? process_allocator().reclaimer() : nullptr;
  return reclaimer != nullptr && reclaimer->can_swap() ? reclaimer : nullptr;
}

// There is no memory behind it, and so none is waited for.
bool is_reservation(size_t bytes, int protection) {
  return protection == PROT_NONE && bytes > kMostCut;
}

char* as_bytes(long address) {
  return reinterpret_cast<char*>(address);  // NOLINT: what mmap returned
}

long as_number(const char* address) {
  return static_cast<long>(reinterpret_cast<uintptr_t>(address));
}

bool is_error(long result) {
  return result < 0 && result >= -4095;
}

// Pages that follow each other in one zone.
struct Place {
  Zone* zone = nullptr;
  Pfn first = 0;
  Pages count{};

  char* begin() const { return zone->address(first); }
  size_t bytes() const { return bytes_of(count); }
  Place part(Pages from, Pages length) const { return {zone, first + static_cast<Pfn>(from.v), length}; }
};

// Where that is throughout in the accessible part of one arena; no zone: it is not.
Place place_of(const char* address, size_t bytes) {
  Place place;
  place.count = pages_of(bytes);
  Zone* const zone = process_allocator().zone_at(address);
  if (zone == nullptr || zone != process_allocator().zone_at(address + bytes_of(place.count) - 1)) return place;
  place.zone = zone;
  place.first = zone->pfn_of(address);
  return place;
}

// The pages from `from` on that are alike: what is mapped there is the program's own affair, or it is not.
Pages alike(const Place& place, Pages from, bool& foreign) {
  Reclaimer& reclaimer = *process_allocator().reclaimer();
  foreign = false;
  if (!reclaimer.has_foreign()) return place.count - from;
  foreign = reclaimer.is_foreign(place.begin() + bytes_of(from));
  Pages length(1);
  while (from + length < place.count && reclaimer.is_foreign(place.begin() + bytes_of(from + length)) == foreign)
    length += Pages(1);
  return length;
}

template <class Visit>
long for_alike(const Place& place, Visit visit) {
  bool foreign = false;
  for (Pages at(0), length; at < place.count; at += length) {
    length = alike(place, at, foreign);
    if (const long result = visit(place.part(at, length), foreign); is_error(result)) return result;
  }
  return 0;
}

void note_protected(const Place& place) {
  place.zone->note_protected(place.first, place.count, interrupts_weir());
}

bool is_protected(const Place& place) {
  return place.zone->is_protected(place.first, place.count);
}

// Of a place's pages from `from` on.
Pages mapped_from(const Place& place, Pages from) {
  return place.zone->mapped_at(place.first + static_cast<Pfn>(from.v), place.count - from);
}

long protect(const Place& place, int protection) {
  Reclaimer* const reclaimer = process_allocator().reclaimer();
  const long result = reclaimer->protect(place.begin(), place.begin() + place.bytes(), protection, os::kNoKey);
  if (result == 0 && protection != kReadWrite) note_protected(place);
  return result;
}

// Nothing of the arena may be missing: a child of a fork registers all of it.
void plug(const Place& place) {
  static_cast<void>(
      os::vm_mmap(place.begin(), place.bytes(), PROT_NONE, kAnonymous | MAP_NORESERVE | MAP_FIXED, -1, 0));
}

// Pages that are all of mapped runs.
void give_back(const Place& place) {
  static_cast<void>(for_alike(place, [](const Place& part, bool foreign) {
    if (foreign) {
      plug(part);
      return 0L;
    }
    if (is_protected(part)) static_cast<void>(protect(part, kReadWrite));
    os::vm_unlock(part.begin(), part.bytes());
    part.zone->release_mapped(part.first, part.count);
    return 0L;
  }));
}

// All of a place becomes the program's, where it is not yet; false: some of it is somebody else's.
bool take_all(const Place& place) {
  for (Pages at(0); at < place.count;) {
    const Pages rest = place.count - at;
    if (const Pages mine = mapped_from(place, at); mine.v != 0) {
      at += mine;
      continue;
    }
    Pages missing(1);
    while (missing < rest && mapped_from(place, at + missing).v == 0) missing += Pages(1);
    PageRun run;
    if (!place.zone->take_mapped(place.first + static_cast<Pfn>(at.v), missing, run)) return false;
    process_allocator().reclaimer()->keep_within_budget(*place.zone);
    at += missing;
  }
  return true;
}

// Fresh pages in place of what is there.
long renew(const Place& place, int protection, int flags) {
  return for_alike(place, [&](const Place& part, bool foreign) {
    if (foreign) return os::vm_mmap(part.begin(), part.bytes(), protection, flags | MAP_FIXED, -1, 0);
    Reclaimer& reclaimer = *process_allocator().reclaimer();
    os::vm_unlock(part.begin(), part.bytes());
    const long given = reclaimer.give_up(part.begin(), part.begin() + part.bytes(), MADV_DONTNEED);
    return given != 0 ? given : protect(part, protection);
  });
}

// What is there of a place, to another address, which reads as zeros. Where touches are not seen, most of what may have
// content may never have been touched, and need not be memory there.
void copy_content(const Place& place, char* to) {
  const Pfn end = place.first + static_cast<Pfn>(place.count.v);
  for (Zone::Stretch s = place.zone->find_content(place.first, end); s.first != end;
       s = place.zone->find_content(s.end, end)) {
    for (Pfn at = s.first; at != s.end; ++at) {
      const char* const page = place.zone->address(at);
      if (!is_zero_page(page)) memcpy(to + (at - place.first) * kPageSize, page, kPageSize);
    }
  }
}

// What the program has mapped there moves to another place by itself.
long move_foreign(const Place& place, size_t new_bytes, int flags, char* new_address) {
  const long result = os::vm_mremap(place.begin(), place.bytes(), new_bytes, flags, new_address);
  if (!is_error(result)) plug(place);
  return result;
}

// All of a place is about to be replaced by something that is not weir's; 0 or -errno.
long give_away(const Place& place) {
  if (place.zone == nullptr || interrupts_weir() || !take_all(place)) return -ENOMEM;
  os::vm_unlock(place.begin(), place.bytes());
  process_allocator().reclaimer()->give_away(place.begin(), place.begin() + place.bytes());
  return 0;
}

// Where the pages behind a place are free, it can grow there.
bool grow_in_place(const Place& place, Pages more) {
  PageRun run;
  const Place behind = place.part(place.count, more);
  if (!process_allocator().reclaimer()->may_take(*place.zone, more)) return false;
  if (!place.zone->take_mapped(behind.first, more, run)) return false;
  process_allocator().reclaimer()->keep_within_budget(*place.zone);
  if (run.resident.v != 0) process_allocator().clear_pages(*place.zone, behind.first, more);
  return true;
}

// Another mapping of the wished length with the same content; the old one is given up.
long move(const Place& place, Pages wanted, int flags, char* new_address) {
  const bool fixed = (flags & MREMAP_FIXED) != 0;
  const long result = process_mmap(fixed ? new_address : nullptr, bytes_of(wanted), kReadWrite,
                                   kAnonymous | MAP_NORESERVE | (fixed ? MAP_FIXED : 0), -1, 0);
  if (is_error(result)) return result;
  if (is_protected(place)) static_cast<void>(protect(place, kReadWrite));
  copy_content(place.part(Pages(0), std::min(place.count, wanted)), as_bytes(result));
  if ((flags & MREMAP_DONTUNMAP) != 0)
    static_cast<void>(renew(place, kReadWrite, kAnonymous));
  else
    give_back(place);
  return result;
}

}  // namespace

bool anon_wanted(const void* wish, size_t bytes, int protection, int flags) {
  if (bytes < kLeastBytes || !is_anonymous(flags) || (flags & kSpecial) != 0) return false;
  if (protection != kReadWrite && protection != PROT_NONE && protection != kAllRights) return false;
  if (protection != kReadWrite && bytes < kLeastSpecial) return false;
  // Code may have to lie near other code.
  if (protection == kAllRights && wish != nullptr) return false;
  if (wish != nullptr && wishes.in_vain.load(std::memory_order_relaxed) >= kMostVainWishes) return false;
  Reclaimer* const reclaimer = swapping_reclaimer();
  if (reclaimer == nullptr || !process_options().mmap || interrupts_weir()) return false;
  const uint64_t limit = bytes_of(reclaimer->limit());
  if (!is_reservation(bytes, protection)) return bytes <= limit * kMostLimits;
  // Arenas can be written throughout.
  if (os::vm_commits_strictly()) return false;
  const uint64_t most = limit * kMostReservedLimits;
  return bytes <= most && bytes_of(process_allocator().taken()) + bytes <= most;
}

long anon_map(const void* wish, size_t bytes, int protection) {
  const process_detail::KeepsCache keeps_cache;
  char* memory = nullptr;
  const bool may_wait = !is_reservation(bytes, protection);
  for (unsigned tries = 0; memory == nullptr; ++tries) {
    if (tries != 0 && !may_wait) return 0;
    if (tries != 0 && (tries > kMostOomTries || !oom_allocation_failed(bytes))) return -ENOMEM;
    memory = process_allocator().map_pages(pages_of(bytes), may_wait);
  }
  if (wish != nullptr) wishes.mapped(as_number(memory), bytes);
  decay_poll_on_alloc();
  const Place place = place_of(memory, bytes);
  if (protection == kReadWrite) return as_number(memory);
  if (const long result = protect(place, protection); result != 0) {
    give_back(place);
    return result;
  }
  return as_number(memory);
}

bool touches_arenas(const void* address, size_t bytes) {
  if (!process_started()) return false;
  const AddressMap& map = process_allocator().map();
  const size_t offset = map.offset_of(address);
  // Below them it wraps around, to the distance up to them.
  return offset < map.covered() || size_t{0} - offset < align_up(bytes, kPageSize);
}

bool anon_touches(const void* address, size_t bytes) {
  return touches_arenas(address, bytes) && process_allocator().reclaimer() != nullptr;
}

long anon_map_fixed(char* address, size_t bytes, int protection, int flags, int fd, long offset) {
  if (!is_page_range(address, bytes)) return -EINVAL;
  const Place place = place_of(address, bytes);
  if (place.zone == nullptr || interrupts_weir()) return -ENOMEM;
  if ((flags & MAP_FIXED_NOREPLACE) != 0) {
    for (Pages at(0); at < place.count; at += Pages(1))
      if (mapped_from(place, at).v != 0) return -EEXIST;
  }
  // As the kernel: with nothing but its own, it stays as it was.
  if (!is_anonymous(flags)) {
    const int elsewhere = flags & ~(MAP_FIXED | MAP_FIXED_NOREPLACE);
    const long tried = os::vm_mmap(nullptr, bytes, protection, elsewhere, fd, offset);
    if (is_error(tried)) return tried;
    static_cast<void>(os::vm_munmap(as_bytes(tried), bytes));
  }
  if (is_anonymous(flags)) {
    if (!take_all(place)) return -ENOMEM;
    const long result = renew(place, protection, flags & ~MAP_FIXED_NOREPLACE);
    return is_error(result) ? result : as_number(address);
  }
  if (const long result = give_away(place); result != 0) return result;
  return os::vm_mmap(address, bytes, protection, (flags & ~MAP_FIXED_NOREPLACE) | MAP_FIXED, fd, offset);
}

long anon_unmap(char* address, size_t bytes) {
  if (!is_page_range(address, bytes)) return -EINVAL;
  wishes.unmapped(address, bytes);
  const bool interrupts = interrupts_weir();
  char* const end = address + align_up(bytes, kPageSize);
  while (address < end) {
    Zone* const zone = process_allocator().zone_at(address);
    if (zone == nullptr) {
      // Up to where an arena begins.
      char* stop = address;
      while (stop < end && process_allocator().zone_at(stop) == nullptr) stop += kPageSize;
      if (!anon_touches(address, kPageSize))
        if (const long result = os::vm_munmap(address, static_cast<size_t>(stop - address)); result != 0) return result;
      address = stop;
      continue;
    }
    // Rather lose the pages than wait for oneself.
    if (interrupts) {
      address += kPageSize;
      continue;
    }
    const Pfn first = zone->pfn_of(address);
    const Pages mine = zone->mapped_at(first, Pages(static_cast<uint64_t>(end - address) >> kPageShift));
    if (mine.v != 0) give_back({zone, first, mine});
    // What is there that the program has not mapped is not its to unmap.
    address += mine.v != 0 ? bytes_of(mine) : kPageSize;
  }
  decay_poll_on_free(__builtin_return_address(0));
  return 0;
}

long anon_remap(char* address, size_t bytes, size_t new_bytes, int flags, char* new_address) {
  if (!is_page_range(address, bytes) || new_bytes == 0 || new_bytes > PTRDIFF_MAX) return -EINVAL;
  const Place place = place_of(address, bytes);
  if (interrupts_weir()) return -ENOMEM;
  if (place.zone == nullptr || mapped_from(place, Pages(0)) < place.count) return -EFAULT;
  const Pages wanted = pages_of(new_bytes);
  if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) == 0) {
    if (wanted < place.count) give_back(place.part(wanted, place.count - wanted));
    if (wanted <= place.count) return as_number(address);
  }
  bool foreign = false;
  // As in the kernel, only what is of one kind can be moved, or grow.
  if (alike(place, Pages(0), foreign) < place.count) return -EFAULT;
  if (foreign) return (flags & MREMAP_MAYMOVE) != 0 ? move_foreign(place, new_bytes, flags, new_address) : -ENOMEM;
  if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) == 0 && grow_in_place(place, wanted - place.count))
    return as_number(address);
  return (flags & MREMAP_MAYMOVE) != 0 ? move(place, wanted, flags, new_address) : -ENOMEM;
}

long anon_give_way(char* address, size_t bytes) {
  return is_page_range(address, bytes) ? give_away(place_of(address, bytes)) : -EINVAL;
}

void anon_protected(char* address, size_t bytes, int protection) {
  if (protection == kReadWrite || !anon_touches(address, bytes)) return;
  const Place place = place_of(address, bytes);
  if (place.zone != nullptr) note_protected(place);
}

bool anon_ignores(const void* address, size_t bytes, int advice) {
  return (advice == MADV_DONTFORK || advice == MADV_DOFORK) && is_page_range(address, bytes) &&
         anon_touches(address, bytes);
}

}  // namespace weir
