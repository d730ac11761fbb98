#include "file/file_pages.h"

#include <algorithm>

#include "os/proc.h"
#include "os/uffd.h"

namespace weir {
namespace {

// What the kernel refused to drop is tried again after so long: as pages that do not compress (reclaim/rejected.cc).
constexpr uint64_t kRefusedMs = 10000;
// What is looked at with the lock held: 64 MiB take 0.1 to 1 ms.
constexpr size_t kLookBytes = size_t{64} << 20;
// 3 KiB of stack.
constexpr unsigned kRuns = 128;
// When more than an eighth of a mapping's pages, or 32 MiB, came back at once, and as many as came back later, it is
// touched at random. (Where it is read from one end to the other, those do that are being read just then.)
constexpr uint64_t kRandomParts = 8, kRandomPages = 8192;

uintptr_t chunk_of(const char* at) {
  return reinterpret_cast<uintptr_t>(at) / kChunkBytes;
}

// Of the first one that begins at or behind this address.
uintptr_t chunk_from(const char* at) {
  return (reinterpret_cast<uintptr_t>(at) + kChunkBytes - 1) / kChunkBytes;
}

char* begin_of(uintptr_t chunk) {
  return reinterpret_cast<char*>(chunk * kChunkBytes);  // NOLINT: a number by which it can be found
}

template <class Mapping>
uint64_t pages_of(const Mapping& mapping) {
  return static_cast<uint64_t>(mapping.end - mapping.begin) >> kPageShift;
}

size_t bytes_of_chunks(uintptr_t count) {
  return align_up(count * sizeof(FileChunk), kPageSize);
}

}  // namespace

// -- mappings --------------------------------------------------------------------------------------------------------

bool FilePages::init() {
  if (mappings_ == nullptr) mappings_ = static_cast<Mapping*>(os::vm_map(kMostMappings * sizeof(Mapping)));
  return mappings_ != nullptr;
}

// The first mapping that ends behind this address.
unsigned FilePages::find_from(const char* at) const {
  const auto ends_before = [](const Mapping& mapping, const char* address) { return mapping.end <= address; };
  return static_cast<unsigned>(std::lower_bound(mappings_, mappings_ + count_, at, ends_before) - mappings_);
}

void FilePages::insert(unsigned at, const Mapping& mapping) {
  std::copy_backward(mappings_ + at, mappings_ + count_, mappings_ + count_ + 1);
  mappings_[at] = mapping;
  mappings_[at].serial = ++last_serial_;
  count_ = count_ + 1;
  if (mapping.kind == Kind::kWritable) nr_writable_ = nr_writable_ + 1;
  mapped_pages_ = mapped_pages_ + pages_of(mapping);
}

void FilePages::remove(unsigned at) {
  const Mapping mapping = mappings_[at];
  unlist_range(mapping, mapping.first, mapping.first + mapping.nr_chunks);
  os::vm_unmap(mapping.chunks, bytes_of_chunks(mapping.nr_chunks));
  std::copy(mappings_ + at + 1, mappings_ + count_, mappings_ + at);
  count_ = count_ - 1;
  if (mapping.kind == Kind::kWritable) nr_writable_ = nr_writable_ - 1;
  mapped_pages_ = mapped_pages_ - pages_of(mapping);
}

// A mapping keeps [begin, end) of itself.
void FilePages::cut(unsigned at, char* begin, char* end) {
  Mapping& mapping = mappings_[at];
  unlist_range(mapping, mapping.first, chunk_of(begin));
  unlist_range(mapping, chunk_from(end), mapping.first + mapping.nr_chunks);
  const uint64_t before = pages_of(mapping);
  mapping.begin = begin;
  mapping.end = end;
  mapping.serial = ++last_serial_;
  mapped_pages_ = mapped_pages_ - before + pages_of(mapping);
}

// What lies from `where` on becomes a mapping of its own; false: there is no room for it.
bool FilePages::split(unsigned at, char* where) {
  const Mapping before = mappings_[at];
  Mapping behind = before;
  behind.begin = where;
  behind.first = chunk_of(where);
  behind.nr_chunks = chunk_from(before.end) - behind.first;
  if (count_ == kMostMappings) return false;
  behind.chunks = static_cast<FileChunk*>(os::vm_map(bytes_of_chunks(behind.nr_chunks)));
  if (behind.chunks == nullptr) return false;
  // A chunk that both have stays with the first.
  for (uintptr_t c = chunk_from(where); c < behind.first + behind.nr_chunks; ++c) {
    FileChunk& from = before.chunks[c - before.first];
    FileChunk& to = behind.chunks[c - behind.first];
    if (from.state == ChunkState::kAway && from.left_at == 0) continue;
    if (from.state == ChunkState::kInactive || from.state == ChunkState::kActive)
      list_of(from.state).replace(from, to);
    else
      to = from;
    from = FileChunk();
  }
  mappings_[at].end = where;
  mappings_[at].serial = ++last_serial_;
  mapped_pages_ = mapped_pages_ - pages_of(behind);
  insert(at + 1, behind);
  return true;
}

void FilePages::add(char* begin, size_t bytes, Kind kind) {
  bytes = align_up(bytes, kPageSize);
  if (bytes < kLeastBytes) return;
  Mapping mapping = {begin, begin + bytes, nullptr, chunk_of(begin), 0, kind, 0, 0, 0, 0};
  mapping.nr_chunks = chunk_from(mapping.end) - mapping.first;
  mapping.chunks = static_cast<FileChunk*>(os::vm_map(bytes_of_chunks(mapping.nr_chunks)));
  if (mapping.chunks == nullptr) return;
  forget(begin, bytes);
  bool added = false;
  {
    LockGuard guard(mutex_);
    added = init() && count_ < kMostMappings;
    if (added) insert(find_from(begin), mapping);
  }
  if (!added) os::vm_unmap(mapping.chunks, bytes_of_chunks(mapping.nr_chunks));
}

void FilePages::forget(char* begin, size_t bytes, bool only_private) {
  if (is_empty()) return;
  char* const end = begin + align_up(bytes, kPageSize);
  LockGuard guard(mutex_);
  for (unsigned i = find_from(begin); i < count_ && mappings_[i].begin < end;) {
    const Mapping mapping = mappings_[i];
    if (only_private && mapping.kind != Kind::kPrivate) {
      if (mapping.kind != Kind::kWritable) nr_writable_ = nr_writable_ + 1;
      mappings_[i++].kind = Kind::kWritable;
      continue;
    }
    if (mapping.kind == Kind::kWritable) writable_gone_ = writable_gone_ + 1;
    if (begin <= mapping.begin && mapping.end <= end) {
      remove(i);
      continue;
    }
    // Where it cannot be told what lies behind, that is forgotten as well.
    if (mapping.begin < begin) {
      if (end < mapping.end) static_cast<void>(split(i, end));
      cut(i, mapping.begin, begin);
    } else {
      cut(i, end, mapping.end);
    }
    ++i;
  }
  publish();
}

bool FilePages::find_writable(const char* at, Writable& mapping) {
  if (is_empty()) return false;
  LockGuard guard(mutex_);
  for (unsigned i = find_from(at); i < count_; ++i) {
    const Mapping& found = mappings_[i];
    if (found.kind != Kind::kWritable) continue;
    mapping = {found.begin, static_cast<size_t>(found.end - found.begin), found.serial};
    return true;
  }
  return false;
}

bool FilePages::find(const char* at, char*& begin, size_t& bytes, Kind& kind) {
  if (is_empty()) return false;
  LockGuard guard(mutex_);
  const unsigned i = find_from(at);
  if (i == count_ || mappings_[i].begin > at) return false;
  begin = mappings_[i].begin;
  bytes = static_cast<size_t>(mappings_[i].end - begin);
  kind = mappings_[i].kind;
  return true;
}

// -- lists -----------------------------------------------------------------------------------------------------------

void FilePages::unlist(FileChunk& chunk) {
  list_of(chunk.state).remove(chunk);
  chunk.state = ChunkState::kAway;
  --nr_listed_;
}

// Of a large mapping that was hardly touched, chunks are many and lists are short.
void FilePages::unlist_range(const Mapping& mapping, uintptr_t first, uintptr_t end) {
  if (first >= end) return;
  FileChunk* const chunks = mapping.chunks + (first - mapping.first);
  FileChunk* const behind = mapping.chunks + (end - mapping.first);
  if (end - first <= nr_listed_) {
    for (FileChunk* chunk = chunks; chunk < behind; ++chunk)
      if (chunk->state == ChunkState::kInactive || chunk->state == ChunkState::kActive) unlist(*chunk);
    return;
  }
  for (ChunkList* list : {&active_, &inactive_}) {
    for (FileChunk* chunk = list->oldest(); chunk != nullptr;) {
      FileChunk* const next = chunk->newer;
      if (chunk >= chunks && chunk < behind) unlist(*chunk);
      chunk = next;
    }
  }
}

void FilePages::publish() {
  active_pages_ = active_.pages().v;
  inactive_pages_ = inactive_.pages().v;
}

// -- what is mapped --------------------------------------------------------------------------------------------------

FilePages::Found FilePages::look(const Look& how) {
  Found found;
  const uint64_t began = os::now_ns();
  look_began_ns_ = began;
  {
    LockGuard guard(mutex_);
    ++look_;
    dropped_halfway_ = dropped_before_ + (nr_dropped_ - dropped_before_) / 2;
    dropped_before_ = nr_dropped_;
  }
  for (char* at = nullptr; look_on(how, at, found);) {
  }
  LockGuard guard(mutex_);
  publish();
  look_took_ns_ = os::now_ns() - began;
  return found;
}

// The next stretch from `at` on, which is moved behind it; false: it was the last, or nothing can be told.
bool FilePages::look_on(const Look& how, char*& at, Found& found) {
  os::MappedRun runs[kRuns];
  LockGuard guard(mutex_);
  const unsigned i = find_from(at);
  if (i == count_) {
    forget_unmapped(active_);
    forget_unmapped(inactive_);
    return false;
  }
  Mapping& mapping = mappings_[i];
  at = std::max(at, mapping.begin);
  const size_t left = static_cast<size_t>(mapping.end - at);
  const long count = os::mapped_runs(how.pagemap, at, at + std::min(left, kLookBytes), runs, kRuns);
  if (count < 0) return false;
  const Found before = found;
  for (long r = 0; r < count; ++r) note(mapping, runs[r], how, found);
  mapping.refaulted += found.refaulted - before.refaulted;
  mapping.at_once += found.at_once - before.at_once;
  const uint64_t enough = std::min(pages_of(mapping) / kRandomParts, kRandomPages);
  if (mapping.at_once > enough && mapping.at_once * 2 >= mapping.refaulted && mapping.kind != Kind::kWritable &&
      mapping.singly != generation_ && how.silent_uffd >= 0) {
    // Refused or not, not again.
    mapping.singly = generation_;
    static_cast<void>(
        os::uffd_map_singly(how.silent_uffd, mapping.begin, static_cast<size_t>(mapping.end - mapping.begin)));
  }
  return true;
}

void FilePages::note(const Mapping& mapping, const os::MappedRun& run, const Look& how, Found& found) {
  for (char* begin = run.begin; begin < run.end;) {
    const uintptr_t number = chunk_of(begin);
    char* const stop = std::min(run.end, begin_of(number + 1));
    FileChunk& chunk = mapping.chunks[number - mapping.first];
    chunk.number = number;
    if (run.of_file) {
      note_chunk(chunk, static_cast<uint16_t>((stop - begin) / static_cast<ptrdiff_t>(kPageSize)), how, found);
    } else {
      // Somebody wrote to it all the same, a debugger for instance: what is there is nowhere else.
      if (chunk.state == ChunkState::kInactive || chunk.state == ChunkState::kActive) unlist(chunk);
      chunk.state = ChunkState::kRefused;
      chunk.left_at = UINT64_MAX;
    }
    begin = stop;
  }
}

void FilePages::note_chunk(FileChunk& chunk, uint16_t pages, const Look& how, Found& found) {
  if (chunk.state == ChunkState::kRefused) {
    if (look_began_ns_ / 1000000 < chunk.left_at) return;
    chunk.state = ChunkState::kAway;
    chunk.left_at = 0;
  }
  if (chunk.state == ChunkState::kAway) {
    chunk.refaulted = chunk.left_at != 0;
    chunk.at_once = chunk.refaulted && look_ - chunk.looked_at == 1;
    // When it came back is between the last look and this one.
    const uint64_t distance = dropped_halfway_ > chunk.left_at ? dropped_halfway_ - chunk.left_at : 0;
    const bool soon = chunk.refaulted && Pages(distance) <= active_.pages() + how.others;
    chunk.state = soon && how.activates ? ChunkState::kActive : ChunkState::kInactive;
    chunk.pages = pages;
    list_of(chunk.state).push(chunk);
    ++nr_listed_;
  } else if (chunk.looked_at != look_) {
    chunk.refaulted = false;
    list_of(chunk.state).resize(chunk, pages);
  } else {
    list_of(chunk.state).resize(chunk, static_cast<uint16_t>(chunk.pages + pages));
  }
  chunk.looked_at = look_;
  if (!chunk.refaulted) return;
  found.refaulted += pages;
  if (chunk.at_once) found.at_once += pages;
  if (chunk.state == ChunkState::kActive) found.activated += pages;
}

// What was not found any more: the program gave it up, or its file is shorter now.
void FilePages::forget_unmapped(ChunkList& list) {
  for (FileChunk* chunk = list.oldest(); chunk != nullptr;) {
    FileChunk* const next = chunk->newer;
    if (chunk->looked_at != look_) {
      unlist(*chunk);
      chunk->left_at = 0;
    }
    chunk = next;
  }
}

// -- dropping --------------------------------------------------------------------------------------------------------

// Kernel: inactive_is_low (mm/vmscan.c). Of much memory, most may be active.
bool FilePages::inactive_is_low() const {
  const uint64_t inactive = inactive_.pages().v, active = active_.pages().v;
  const uint64_t gib = (inactive + active) >> (30 - kPageShift);
  uint64_t ratio = 1;
  while ((ratio + 1) * (ratio + 1) <= 10 * gib) ++ratio;
  return inactive * ratio < active;
}

uint64_t FilePages::deactivate(uint64_t pages) {
  uint64_t done = 0;
  while (done < pages && active_.oldest() != nullptr) {
    FileChunk& chunk = *active_.oldest();
    active_.remove(chunk);
    chunk.state = ChunkState::kInactive;
    inactive_.push(chunk);
    done += chunk.pages;
  }
  return done;
}

// The oldest inactive ones, off their list.
unsigned FilePages::take_oldest(uint64_t pages, FileChunk** chunks) {
  unsigned count = 0;
  for (uint64_t taken = 0; count < kBatch && taken < pages && inactive_.oldest() != nullptr; ++count) {
    chunks[count] = inactive_.oldest();
    taken += chunks[count]->pages;
    unlist(*chunks[count]);
  }
  return count;
}

FilePages::Dropped FilePages::shrink(Pages count) {
  Dropped result;
  while (result.dropped < count.v) {
    FileChunk* chunks[kBatch];
    LockGuard guard(mutex_);
    if (inactive_is_low()) result.deactivated += deactivate(kBatch * kChunkPages);
    const unsigned taken = take_oldest(count.v - result.dropped, chunks);
    if (taken != 0) drop(chunks, taken, result);
    publish();
    if (taken == 0) break;
  }
  return result;
}

os::VmRange FilePages::range_of(const FileChunk& chunk) const {
  // Two mappings may each have a part of the same stretch.
  char* const begin = begin_of(chunk.number);
  char* const end = begin + kChunkBytes;
  for (unsigned i = find_from(begin); i < count_ && mappings_[i].begin < end; ++i) {
    const Mapping& mapping = mappings_[i];
    const uintptr_t index = chunk.number - mapping.first;
    if (index >= mapping.nr_chunks || mapping.chunks + index != &chunk) continue;
    char* const from = std::max(begin, mapping.begin);
    return {from, static_cast<size_t>(std::min(end, mapping.end) - from)};
  }
  return {nullptr, 0};
}

void FilePages::note_dropped(FileChunk** chunks, unsigned count, bool refused, Dropped& dropped) {
  for (unsigned i = 0; i < count; ++i) {
    FileChunk& chunk = *chunks[i];
    dropped.scanned += chunk.pages;
    if (refused) {
      dropped.refused += chunk.pages;
      chunk.state = ChunkState::kRefused;
      chunk.left_at = os::now_ms() + kRefusedMs;
      continue;
    }
    dropped.dropped += chunk.pages;
    chunk.looked_at = look_;
    nr_dropped_ += chunk.pages;
    chunk.left_at = nr_dropped_;
  }
}

// Those side by side together: it is calls that take time, and interrupts of other processors.
void FilePages::drop(FileChunk** chunks, unsigned count, Dropped& dropped) {
  os::VmRange ranges[kBatch];
  unsigned first[kBatch + 1];
  unsigned nr = 0;
  for (unsigned i = 0; i < count; ++i) {
    const os::VmRange range = range_of(*chunks[i]);
    if (nr != 0 && static_cast<char*>(ranges[nr - 1].address) + ranges[nr - 1].bytes == range.address) {
      ranges[nr - 1].bytes += range.bytes;
      continue;
    }
    first[nr] = i;
    ranges[nr++] = range;
  }
  first[nr] = count;
  for (unsigned at = 0; at < nr; ++at) {
    const unsigned done = at + os::vm_purge_many(ranges + at, nr - at);
    note_dropped(chunks + first[at], first[done] - first[at], false, dropped);
    at = done;
    if (at == nr) break;
    // Some of it is locked.
    for (unsigned i = first[at]; i < first[at + 1]; ++i) {
      const os::VmRange range = range_of(*chunks[i]);
      note_dropped(chunks + i, 1, !os::vm_purge(range.address, range.bytes), dropped);
    }
  }
}

const char* FilePages::verify() {
  LockGuard guard(mutex_);
  for (unsigned i = 0; i < count_; ++i) {
    const Mapping& mapping = mappings_[i];
    if (mapping.begin >= mapping.end || (i != 0 && mappings_[i - 1].end > mapping.begin))
      return "file mappings are out of order";
    if (chunk_of(mapping.begin) < mapping.first || chunk_from(mapping.end) > mapping.first + mapping.nr_chunks)
      return "a file mapping is larger than its chunks";
  }
  unsigned writable = 0;
  for (unsigned i = 0; i < count_; ++i) writable += mappings_[i].kind == Kind::kWritable ? 1 : 0;
  if (writable != nr_writable_) return "writable file mappings are counted wrong";
  uint64_t listed = 0;
  for (const ChunkState state : {ChunkState::kActive, ChunkState::kInactive}) {
    uint64_t pages = 0;
    for (const FileChunk* chunk = list_of(state).oldest(); chunk != nullptr; chunk = chunk->newer) {
      if (chunk->state != state) return "a chunk of file pages is on the wrong list";
      if (chunk->newer != nullptr && chunk->newer->older != chunk) return "a list of file pages is torn";
      if (range_of(*chunk).bytes == 0) return "a chunk of file pages is of no mapping";
      pages += chunk->pages;
      ++listed;
    }
    if (Pages(pages) != list_of(state).pages()) return "file pages are counted wrong";
  }
  return listed == nr_listed_ ? nullptr : "chunks of file pages are counted wrong";
}

}  // namespace weir
