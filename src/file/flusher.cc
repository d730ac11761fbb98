#include "file/flusher.h"

#include <algorithm>

#include "os/file.h"

namespace weir {
namespace {

// Each is looked for in a list of all mappings, which may take some milliseconds.
constexpr unsigned kMostOpenedAtATime = 16;
// Written by one call; between two of them it is seen whether that is enough.
constexpr uint64_t kPieceBytes = uint64_t{32} << 20;
// Kernel: BANDWIDTH_INTERVAL, HZ / 5: so often more than the most is looked at.
constexpr uint64_t kOftenMs = 200;

}  // namespace

// Opens it if it is new. Null: there is no place for it, or it will have its turn in another round.
Flusher::File* Flusher::find(const FilePages::Writable& mapping, int proc, unsigned& opened) {
  for (unsigned i = 0; i < count_; ++i)
    if (files_[i].serial == mapping.serial) return &files_[i];
  if (count_ == kMost || opened == kMostOpenedAtATime) return nullptr;
  ++opened;
  File file = {mapping.serial, mapping.bytes, {}, 0, 0, false, false};
  static_cast<void>(os::open_mapped_file(proc, mapping.begin, file.at));
  files_[count_] = file;
  count_ = count_ + 1;
  return &files_[count_ - 1];
}

void Flusher::look(File& file, uint64_t now_ms) {
  file.seen = true;
  if (file.at.fd < 0) return;
  os::CachedPages pages;
  file.is_known = os::cached_pages(file.at.fd, file.at.offset, file.bytes, pages);
  file.dirty = pages.dirty;
  writeback_ = writeback_ + pages.writeback;
  // What cannot be told may be dirty.
  if (file.is_known && pages.dirty == 0)
    file.dirty_since_ms = 0;
  else if (file.dirty_since_ms == 0)
    file.dirty_since_ms = now_ms;
}

void Flusher::close_unseen() {
  unsigned kept = 0;
  for (unsigned i = 0; i < count_; ++i) {
    if (!files_[i].seen && files_[i].at.fd >= 0) os::close_descriptor(files_[i].at.fd);
    if (files_[i].seen) files_[kept++] = files_[i];
  }
  count_ = kept;
}

Flusher::File* Flusher::oldest_dirty() {
  File* oldest = nullptr;
  for (unsigned i = 0; i < count_; ++i) {
    File& file = files_[i];
    if (file.dirty != 0 && (oldest == nullptr || file.dirty_since_ms < oldest->dirty_since_ms)) oldest = &file;
  }
  return oldest;
}

// `dirty`: pages of all files, less what is not dirty any more.
void Flusher::write(File& file, bool wait, uint64_t& dirty) {
  for (uint64_t done = 0; done < file.bytes; done += kPieceBytes)
    static_cast<void>(
        os::write_dirty_pages(file.at.fd, file.at.offset + done, std::min(kPieceBytes, file.bytes - done), wait));
  os::CachedPages after;
  static_cast<void>(os::cached_pages(file.at.fd, file.at.offset, file.bytes, after));
  const uint64_t written = file.dirty > after.dirty ? file.dirty - after.dirty : 0;
  written_ = written_ + written;
  dirty -= written;
  // What was changed meanwhile is new.
  file.dirty = 0;
  file.dirty_since_ms = 0;
}

uint64_t Flusher::run(FilePages& files, const FlushPolicy& policy, int proc, uint64_t now_ms) {
  for (unsigned i = 0; i < count_; ++i) files_[i].seen = false;
  writeback_ = 0;
  uint64_t dirty = 0;
  unsigned opened = 0;
  FilePages::Writable mapping;
  for (const char* at = nullptr; files.find_writable(at, mapping); at = mapping.begin + mapping.bytes) {
    File* const file = find(mapping, proc, opened);
    if (file == nullptr) continue;
    look(*file, now_ms);
    dirty += file->dirty;
  }
  close_unseen();
  dirty_ = dirty;
  if (policy.interval_ms == 0) return kNever;
  const bool too_much = dirty > policy.most;
  for (unsigned i = 0; i < count_; ++i) {
    File& file = files_[i];
    if (file.dirty_since_ms != 0 && now_ms - file.dirty_since_ms >= policy.expire_ms) write(file, too_much, dirty);
  }
  for (File* file; dirty > policy.background && (file = oldest_dirty()) != nullptr;) write(*file, too_much, dirty);
  dirty_ = dirty;
  return too_much ? std::min(kOftenMs, policy.interval_ms) : policy.interval_ms;
}

}  // namespace weir
